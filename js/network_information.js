// Network Information: https://wicg.github.io/netinfo/
//
// Invariant: what it says is the network signal's, the same as `onLine`; `change` fires after the
// values have changed, and only then.

import { core } from "ext:core/mod.js";
import { defineHandler, dispatchPlatformEvent } from "ext:kittiwake/events.js";
import { hostKey, requireHostKey, webidl } from "ext:kittiwake/webidl.js";

const { Event, EventTarget } = core.loadExtScript("ext:deno_web/02_event.js");
const { op_network_information } = core.ops;

// https://wicg.github.io/netinfo/#networkinformation-interface, with the members that Chromium has
// on Linux: `type`, `downlinkMax` and `ontypechange` it has on Android and ChromeOS alone.
export class NetworkInformation extends EventTarget {
  constructor(key = undefined) {
    requireHostKey(key, "NetworkInformation");
    super();
    this[webidl.brand] = webidl.brand;
  }

  // https://wicg.github.io/netinfo/#effectivetype-attribute
  get effectiveType() {
    webidl.assertBranded(this, NetworkInformationPrototype);
    return op_network_information().effectiveType;
  }

  // https://wicg.github.io/netinfo/#rtt-attribute
  get rtt() {
    webidl.assertBranded(this, NetworkInformationPrototype);
    return op_network_information().rtt;
  }

  // https://wicg.github.io/netinfo/#downlink-attribute
  get downlink() {
    webidl.assertBranded(this, NetworkInformationPrototype);
    return op_network_information().downlink;
  }

  // https://wicg.github.io/savedata/#savedata-attribute: nobody asked for less data.
  get saveData() {
    webidl.assertBranded(this, NetworkInformationPrototype);
    return false;
  }
}
webidl.configureInterface(NetworkInformation);
defineHandler(NetworkInformation.prototype, "change");
const NetworkInformationPrototype = NetworkInformation.prototype;

let own;

/** The realm's `navigator.connection`: https://wicg.github.io/netinfo/#connection-attribute */
export function ownConnection() {
  own ??= new NetworkInformation(hostKey);
  return own;
}

/** https://wicg.github.io/netinfo/#handling-changes-to-the-underlying-connection */
export function changeConnection() {
  // Nobody listens to what nobody has asked for.
  if (own !== undefined) dispatchPlatformEvent(own, new Event("change"));
}
