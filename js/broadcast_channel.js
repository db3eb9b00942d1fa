// BroadcastChannel: https://html.spec.whatwg.org/#broadcasting-to-other-browsing-contexts
// Messages go from realm to realm by the engine's ops, and to a channel by a port of its own: each
// is a task.
//
// Invariants: a channel that is open is no work, so that a realm that only listens has nothing left
// to do; a message reaches the channels that are open when it is posted, in their order.

import { core, primordials } from "ext:core/mod.js";
import { defineHandlers, dispatchPlatformEvent } from "ext:kittiwake/events.js";
import { close, createPorts, listen, messageEvent } from "ext:kittiwake/message_port.js";
import { serializeWithTransfer } from "ext:kittiwake/structured_transfer.js";
import { requireArguments, string, webidl } from "ext:kittiwake/webidl.js";

const { EventTarget } = core.loadExtScript("ext:deno_web/02_event.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { getLocationHref } = core.loadExtScript("ext:deno_web/12_location.js");
const {
  op_broadcast_admit,
  op_broadcast_recv,
  op_broadcast_send,
  op_broadcast_subscribe,
  op_broadcast_unsubscribe,
  op_port_post,
} = core.ops;
const { SafeArrayIterator, SafeMap, SafeMapIterator, Uint8Array } = primordials;

const nothing = [];

/** The channels of this realm that are open, each with its name and its two ports. */
const open = new SafeMap();
/** Whence the messages of other realms come, while there is a channel. */
let subscription;

export class BroadcastChannel extends EventTarget {
  #name;

  constructor(name) {
    const prefix = "Failed to construct 'BroadcastChannel'";
    requireArguments(arguments.length, 1, prefix);
    super();
    this.#name = string(name, prefix);
    this[webidl.brand] = webidl.brand;
    const ports = createPorts();
    open.set(this, { name: this.#name, ports });
    listen(ports[1], {
      receive: (message) => {
        const { origin } = new URL(getLocationHref());
        dispatchPlatformEvent(this, messageEvent(message, { origin }));
      },
    });
    if (subscription === undefined) {
      subscription = op_broadcast_subscribe();
      receive(subscription);
    }
  }

  get name() {
    return this.#name;
  }

  // https://html.spec.whatwg.org/#dom-broadcastchannel-postmessage
  postMessage(message) {
    webidl.assertBranded(this, BroadcastChannelPrototype);
    const prefix = "Failed to execute 'postMessage' on 'BroadcastChannel'";
    requireArguments(arguments.length, 1, prefix);
    if (!open.has(this)) {
      throw new DOMException(`${prefix}: Channel is closed`, "InvalidStateError");
    }
    const { data } = serializeWithTransfer(message, [], prefix);
    if (!open.has(this)) return; // a getter of the message has closed it; as in Chromium
    op_broadcast_admit(data.byteLength);
    deliver(this.#name, data, this);
    op_broadcast_send(subscription, this.#name, data, 0);
  }

  // https://html.spec.whatwg.org/#dom-broadcastchannel-close
  close() {
    webidl.assertBranded(this, BroadcastChannelPrototype);
    const channel = open.get(this);
    if (channel === undefined) return;
    open.delete(this);
    for (const port of new SafeArrayIterator(channel.ports)) close(port);
    if (open.size > 0) return;
    op_broadcast_unsubscribe(subscription);
    subscription = undefined;
  }
}
webidl.configureInterface(BroadcastChannel);
defineHandlers(BroadcastChannel.prototype, "message", "messageerror");
const BroadcastChannelPrototype = BroadcastChannel.prototype;

/** Takes what other realms have posted, until `from` ends. */
async function receive(from) {
  for (;;) {
    const received = op_broadcast_recv(from);
    core.unrefOpPromise(received);
    const message = await received;
    // Once the last channel is closed, nobody is to hear what still comes this way.
    if (message === null || from !== subscription) break;
    try {
      deliver(message[0], new Uint8Array(message[1]));
    } catch {
      // This realm has too many messages waiting; the trace says so.
    }
  }
  core.close(from);
}

function deliver(name, data, source) {
  for (const { 0: channel, 1: own } of new SafeMapIterator(open)) {
    if (channel !== source && own.name === name) op_port_post(own.ports[0], data, nothing);
  }
}
