// BroadcastChannel: https://html.spec.whatwg.org/#broadcasting-to-other-browsing-contexts
// deno_web's.
//
// Invariant: a channel that is open is no work: a realm that only listens has nothing left to do.

import { primordials } from "ext:core/mod.js";
import { load } from "ext:kittiwake/lazy.js";

const channels = load("ext:deno_web/01_broadcast_channel.js");
const { refBroadcastChannel } = channels;
const { ObjectDefineProperty, Proxy, ReflectConstruct } = primordials;

export const BroadcastChannel = new Proxy(channels.BroadcastChannel, {
  __proto__: null,
  construct(target, args, newTarget) {
    const channel = ReflectConstruct(target, args, newTarget);
    channel[refBroadcastChannel](false);
    return channel;
  },
});
ObjectDefineProperty(BroadcastChannel.prototype, "constructor", {
  __proto__: null,
  value: BroadcastChannel,
});
