// navigator: https://html.spec.whatwg.org/#the-navigator-object
//
// Invariant: `onLine` is the network signal, the same that decides whether fetch() works.

import { core } from "ext:core/mod.js";

const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const { op_network_online } = core.ops;

const identity = { userAgent: "", language: "en-US", serviceWorker: undefined };

/** What the host says of itself, at the realm's start. */
export function setNavigatorIdentity(options) {
  identity.userAgent = options.userAgent;
  identity.language = options.language;
  identity.serviceWorker = options.serviceWorker;
}

function defineNavigator(name) {
  const Navigator = class {
    constructor() {
      webidl.illegalConstructor();
    }
    get appCodeName() {
      return "Mozilla";
    }
    get appName() {
      return "Netscape";
    }
    // https://html.spec.whatwg.org/#dom-navigator-appversion
    get appVersion() {
      return identity.userAgent.replace(/^Mozilla\//, "");
    }
    get hardwareConcurrency() {
      return 1;
    }
    get language() {
      return identity.language;
    }
    get languages() {
      return Object.freeze([identity.language]);
    }
    get onLine() {
      return op_network_online();
    }
    get platform() {
      return "Linux x86_64";
    }
    get product() {
      return "Gecko";
    }
    get serviceWorker() {
      return identity.serviceWorker;
    }
    get userAgent() {
      return identity.userAgent;
    }
  };
  Object.defineProperty(Navigator, "name", { value: name });
  webidl.configureInterface(Navigator);
  return Navigator;
}

export const Navigator = defineNavigator("Navigator");
export const WorkerNavigator = defineNavigator("WorkerNavigator");

export function createNavigator(Interface) {
  return webidl.createBranded(Interface);
}
