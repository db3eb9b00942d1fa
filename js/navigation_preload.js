// Navigation preload: https://w3c.github.io/ServiceWorker/#navigation-preload-manager
//
// Invariant: the state is the registration's, in whatever realm it is asked for or set; a promise
// that sets it resolves when it is on disk.

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
const { op_preload_set, op_preload_state } = core.ops;
const { StringPrototypeCharCodeAt, TypeError } = primordials;

// https://w3c.github.io/ServiceWorker/#navigation-preload-manager
export class NavigationPreloadManager {
  #registration;

  constructor(key = undefined, registration = undefined) {
    requireHostKey(key, "NavigationPreloadManager");
    this[webidl.brand] = webidl.brand;
    this.#registration = registration;
  }

  async enable() {
    const prefix = "Failed to execute 'enable' on 'NavigationPreloadManager'";
    assertThis(this, NavigationPreloadManager, prefix);
    this.#set({ enabled: true }, "enable or disable navigation preload");
  }

  async disable() {
    const prefix = "Failed to execute 'disable' on 'NavigationPreloadManager'";
    assertThis(this, NavigationPreloadManager, prefix);
    this.#set({ enabled: false }, "enable or disable navigation preload");
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
    this.#set({ headerValue: text }, "set the navigation preload header value");
  }

  async getState() {
    const prefix = "Failed to execute 'getState' on 'NavigationPreloadManager'";
    assertThis(this, NavigationPreloadManager, prefix);
    return op_preload_state(this.#registration.scope);
  }

  #set(change, what) {
    const { active, scope } = this.#registration;
    if (active === null) {
      const text = `Failed to ${what}: The registration does not have an active worker.`;
      throw new DOMException(text, "InvalidStateError");
    }
    const { enabled, headerValue } = { ...op_preload_state(scope), ...change };
    op_preload_set(scope, enabled, headerValue);
  }
}
webidl.configureInterface(NavigationPreloadManager);

export function createNavigationPreload(registration) {
  return new NavigationPreloadManager(hostKey, registration);
}
