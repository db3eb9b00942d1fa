// FetchEvent and navigation preload, as far as a script can make and look at them: no request is
// intercepted yet. https://w3c.github.io/ServiceWorker/#fetchevent-interface
//
// Invariant: no FetchEvent is trusted, because none is dispatched by the host.

import { core, primordials } from "ext:core/mod.js";
import { ExtendableEvent } from "ext:kittiwake/extendable_event.js";
import { Request } from "ext:kittiwake/fetch/request.js";
import {
  assertThis,
  hostKey,
  requireArguments,
  requiredDictionary,
  requiredMember,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const {
  ObjectPrototypeIsPrototypeOf,
  Promise,
  PromiseReject,
  PromiseResolve,
  StringPrototypeCharCodeAt,
  TypeError,
} = primordials;

// https://w3c.github.io/ServiceWorker/#fetchevent-interface
export class FetchEvent extends ExtendableEvent {
  #request;
  #clientIds;
  #preloadResponse;
  #handled;

  constructor(type, eventInitDict) {
    const prefix = "Failed to construct 'FetchEvent'";
    requireArguments(arguments.length, 2, prefix);
    const name = "FetchEventInit";
    super(string(type, prefix), requiredDictionary(eventInitDict, name, prefix));
    const init = eventInitDict;
    const text = (value) => value === undefined ? "" : string(value, prefix);
    this.#clientIds = {
      client: text(init.clientId),
      replaces: text(init.replacesClientId),
      resulting: text(init.resultingClientId),
    };
    this.#handled = PromiseResolve(init.handled ?? new Promise(() => {}));
    this.#preloadResponse = PromiseResolve(init.preloadResponse);
    const reading = `${prefix}: Failed to read the 'request' property from '${name}'`;
    this.#request = requiredMember(init.request, reading);
    if (!ObjectPrototypeIsPrototypeOf(Request.prototype, this.#request)) {
      throw new TypeError(`${reading}: Failed to convert value to 'Request'.`);
    }
  }

  get request() {
    return this.#request;
  }

  get preloadResponse() {
    return promiseAttribute(() => this.#preloadResponse);
  }

  get clientId() {
    return this.#clientIds.client;
  }

  get resultingClientId() {
    return this.#clientIds.resulting;
  }

  get replacesClientId() {
    return this.#clientIds.replaces;
  }

  // Chromium has it still.
  get isReload() {
    webidl.assertBranded(this, FetchEventPrototype);
    return false;
  }

  get handled() {
    return promiseAttribute(() => this.#handled);
  }

  // https://w3c.github.io/ServiceWorker/#dom-fetchevent-respondwith
  respondWith(_response) {
    webidl.assertBranded(this, FetchEventPrototype);
    requireArguments(arguments.length, 1, "Failed to execute 'respondWith' on 'FetchEvent'");
  }
}
webidl.configureInterface(FetchEvent);
const FetchEventPrototype = FetchEvent.prototype;

// An attribute whose type is a promise rejects where another would throw.
// https://webidl.spec.whatwg.org/#dfn-attribute-getter
function promiseAttribute(read) {
  try {
    return read();
  } catch (error) {
    return PromiseReject(error);
  }
}

// https://w3c.github.io/ServiceWorker/#navigation-preload-manager. A page here is opened without a
// navigation that a worker could see, so that the state is kept for scripts alone.
export class NavigationPreloadManager {
  #registration;
  #state = { enabled: false, headerValue: "true" };

  constructor(key = undefined, registration = undefined) {
    requireHostKey(key, "NavigationPreloadManager");
    this[webidl.brand] = webidl.brand;
    this.#registration = registration;
  }

  async enable() {
    const prefix = "Failed to execute 'enable' on 'NavigationPreloadManager'";
    assertThis(this, NavigationPreloadManager, prefix);
    this.#requireActive("enable or disable navigation preload");
    this.#state.enabled = true;
  }

  async disable() {
    const prefix = "Failed to execute 'disable' on 'NavigationPreloadManager'";
    assertThis(this, NavigationPreloadManager, prefix);
    this.#requireActive("enable or disable navigation preload");
    this.#state.enabled = false;
  }

  async setHeaderValue(value) {
    const prefix = "Failed to execute 'setHeaderValue' on 'NavigationPreloadManager'";
    assertThis(this, NavigationPreloadManager, prefix);
    requireArguments(arguments.length, 1, prefix);
    const text = string(value, prefix);
    for (let i = 0; i < text.length; i++) {
      const unit = StringPrototypeCharCodeAt(text, i);
      if (unit > 0xff) throw new TypeError(`${prefix}: String contains non ISO-8859-1 code point.`);
      if (unit === 0 || unit === 0xa || unit === 0xd) {
        const what = `The string provided to setHeaderValue ('${text}')`;
        throw new TypeError(`${prefix}: ${what} is not a valid HTTP header field value.`);
      }
    }
    this.#requireActive("set the navigation preload header value");
    this.#state.headerValue = text;
  }

  async getState() {
    const prefix = "Failed to execute 'getState' on 'NavigationPreloadManager'";
    assertThis(this, NavigationPreloadManager, prefix);
    return { ...this.#state };
  }

  #requireActive(what) {
    if (this.#registration.active !== null) return;
    const text = `Failed to ${what}: The registration does not have an active worker.`;
    throw new DOMException(text, "InvalidStateError");
  }
}
webidl.configureInterface(NavigationPreloadManager);

export function createNavigationPreload(registration) {
  return new NavigationPreloadManager(hostKey, registration);
}
