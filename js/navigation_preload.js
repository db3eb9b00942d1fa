// Navigation preload: https://w3c.github.io/ServiceWorker/#navigation-preload-manager
//
// Invariant: its state is what the realm's scripts made of it; nothing is preloaded yet.

import { core, primordials } from "ext:core/mod.js";
import {
  assertThis,
  hostKey,
  requireArguments,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { StringPrototypeCharCodeAt, TypeError } = primordials;

// https://w3c.github.io/ServiceWorker/#navigation-preload-manager
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
