// navigator: https://html.spec.whatwg.org/#the-navigator-object
//
// Invariant: `onLine` is the network signal, the same that decides whether fetch() works.

import { core } from "ext:core/mod.js";
import { ownConnection } from "ext:kittiwake/network_information.js";
import { createPermissions } from "ext:kittiwake/permissions.js";
import { createStorageManager } from "ext:kittiwake/storage_manager.js";
import { hostKey, requireHostKey, webidl } from "ext:kittiwake/webidl.js";

const { op_network_online } = core.ops;

const identity = { userAgent: "", languages: Object.freeze(["en-US", "en"]) };

function defineNavigator(name) {
  const Navigator = class {
    #permissions;
    #storage;

    constructor(key = undefined) {
      requireHostKey(key, name);
      this[webidl.brand] = webidl.brand;
    }
    get appCodeName() {
      webidl.assertBranded(this, Navigator.prototype);
      return "Mozilla";
    }
    get appName() {
      webidl.assertBranded(this, Navigator.prototype);
      return "Netscape";
    }
    // https://html.spec.whatwg.org/#dom-navigator-appversion
    get appVersion() {
      webidl.assertBranded(this, Navigator.prototype);
      return identity.userAgent.replace(/^Mozilla\//, "");
    }
    // https://wicg.github.io/netinfo/#connection-attribute
    get connection() {
      webidl.assertBranded(this, Navigator.prototype);
      return ownConnection();
    }
    get hardwareConcurrency() {
      webidl.assertBranded(this, Navigator.prototype);
      return 1;
    }
    get language() {
      webidl.assertBranded(this, Navigator.prototype);
      return identity.languages[0];
    }
    get languages() {
      webidl.assertBranded(this, Navigator.prototype);
      return identity.languages;
    }
    get onLine() {
      webidl.assertBranded(this, Navigator.prototype);
      return op_network_online();
    }
    // https://w3c.github.io/permissions/#navigator-and-workernavigator-extension
    get permissions() {
      webidl.assertBranded(this, Navigator.prototype);
      this.#permissions ??= createPermissions();
      return this.#permissions;
    }
    get platform() {
      webidl.assertBranded(this, Navigator.prototype);
      return "Linux x86_64";
    }
    get product() {
      webidl.assertBranded(this, Navigator.prototype);
      return "Gecko";
    }
    // https://storage.spec.whatwg.org/#navigatorstorage
    get storage() {
      webidl.assertBranded(this, Navigator.prototype);
      this.#storage ??= createStorageManager();
      return this.#storage;
    }
    get userAgent() {
      webidl.assertBranded(this, Navigator.prototype);
      return identity.userAgent;
    }
  };
  Object.defineProperty(Navigator, "name", { value: name });
  webidl.configureInterface(Navigator);
  return Navigator;
}

export const Navigator = defineNavigator("Navigator");
export const WorkerNavigator = defineNavigator("WorkerNavigator");

/** The realm's navigator, with what the host says of itself. */
export function createNavigator(Interface, options) {
  identity.userAgent = options.userAgent;
  return new Interface(hostKey);
}
