// navigator: https://html.spec.whatwg.org/#the-navigator-object
//
// Invariant: `onLine` is the network signal, the same that decides whether fetch() works.

import { core, primordials } from "ext:core/mod.js";
import {
  load,
  NETWORK_INFORMATION,
  STORAGE,
  STORAGE_BUCKETS,
} from "ext:kittiwake/lazy.js";
import {
  assertThis,
  hostKey,
  requireHostKey,
  unsignedLongLong,
  webidl,
} from "ext:kittiwake/webidl.js";

const { op_badge_set, op_network_online } = core.ops;
const { StringPrototypeSlice, StringPrototypeStartsWith } = primordials;

/** A badge that is no number, to the host. */
const FLAG = -1;

const identity = { userAgent: "", languages: Object.freeze(["en-US", "en"]) };

function defineNavigator(name) {
  const Navigator = class {
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
      const { userAgent } = identity;
      const isMozilla = StringPrototypeStartsWith(userAgent, "Mozilla/");
      return isMozilla ? StringPrototypeSlice(userAgent, "Mozilla/".length) : userAgent;
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
    get platform() {
      webidl.assertBranded(this, Navigator.prototype);
      return "Linux x86_64";
    }
    get product() {
      webidl.assertBranded(this, Navigator.prototype);
      return "Gecko";
    }
    get userAgent() {
      webidl.assertBranded(this, Navigator.prototype);
      return identity.userAgent;
    }
  };
  Object.defineProperty(Navigator, "name", { value: name });
  Object.defineProperties(
    Navigator.prototype,
    Object.getOwnPropertyDescriptors(mixins(Navigator, name)),
  );
  webidl.configureInterface(Navigator);
  return Navigator;
}

let ownLocks;
let ownPermissions;
let ownStorage;
let ownStorageBuckets;
let ownUserAgentData;

// What other specifications add to both interfaces.
function mixins(Navigator, name) {
  return {
    // https://wicg.github.io/netinfo/#connection-attribute
    get connection() {
      webidl.assertBranded(this, Navigator.prototype);
      return load(NETWORK_INFORMATION).ownConnection();
    },
    // https://w3c.github.io/permissions/#navigator-and-workernavigator-extension
    get permissions() {
      webidl.assertBranded(this, Navigator.prototype);
      return ownPermissions ??= load("ext:kittiwake/permissions.js").createPermissions();
    },
    // https://storage.spec.whatwg.org/#navigatorstorage
    get storage() {
      webidl.assertBranded(this, Navigator.prototype);
      return ownStorage ??= load(STORAGE).createStorageManager();
    },
    // https://wicg.github.io/storage-buckets/#navigatorstoragebuckets
    get storageBuckets() {
      webidl.assertBranded(this, Navigator.prototype);
      return ownStorageBuckets ??= load(STORAGE_BUCKETS).createStorageBucketManager();
    },
    // https://www.w3.org/TR/device-memory/: one value for all machines, as for the processors
    get deviceMemory() {
      webidl.assertBranded(this, Navigator.prototype);
      return 8;
    },
    // https://w3c.github.io/web-locks/#navigator-mixins
    get locks() {
      webidl.assertBranded(this, Navigator.prototype);
      return ownLocks ??= load("ext:kittiwake/locks.js").createLockManager();
    },
    // https://wicg.github.io/ua-client-hints/#navigatorua
    get userAgentData() {
      webidl.assertBranded(this, Navigator.prototype);
      return ownUserAgentData ??= load("ext:kittiwake/user_agent_data.js")
        .createUserAgentData(identity.userAgent);
    },
    // https://w3c.github.io/badging/#clearappbadge-method
    async clearAppBadge() {
      assertThis(this, Navigator, `Failed to execute 'clearAppBadge' on '${name}'`);
      op_badge_set(0);
    },
    // https://w3c.github.io/badging/#setappbadge-method
    async setAppBadge(contents = undefined) {
      const prefix = `Failed to execute 'setAppBadge' on '${name}'`;
      assertThis(this, Navigator, prefix);
      op_badge_set(contents === undefined ? FLAG : unsignedLongLong(contents, prefix));
    },
  };
}

export const Navigator = defineNavigator("Navigator");
export const WorkerNavigator = defineNavigator("WorkerNavigator");

/** The realm's navigator, with what the host says of itself. */
export function createNavigator(Interface, options) {
  identity.userAgent = options.userAgent;
  return new Interface(hostKey);
}
