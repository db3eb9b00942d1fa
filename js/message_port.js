// Message ports: https://html.spec.whatwg.org/#message-ports. The host entangles them, and keeps
// their queues.
//
// Invariant: a port that is started stays reachable for as long as its other end may send to it.

import { core, primordials } from "ext:core/mod.js";
import { afterSetting, defineHandler, dispatchPlatformEvent } from "ext:kittiwake/events.js";
import { deserializeWithTransfer, serializeWithTransfer, transferList } from
  "ext:kittiwake/structured_transfer.js";
import { hostKey, requireArguments, requireHostKey, webidl } from "ext:kittiwake/webidl.js";

const { Event, EventTarget, MessageEvent } = core.loadExtScript("ext:deno_web/02_event.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { op_port_close, op_port_create, op_port_post, op_port_start } = core.ops;
const {
  ArrayPrototypeIndexOf,
  ObjectDefineProperty,
  ObjectPrototypeIsPrototypeOf,
  SafeFinalizationRegistry,
  SafeMap,
  SafeWeakRef,
  uncurryThis,
} = primordials;

// Kittiwake's number of each port that listens -> who listens: an object with `receive(message)`
// and `ended()`.
const listening = new SafeMap();
// Kittiwake's number of each port that an object stands for, but does not listen yet.
const unstarted = new SafeMap();

// Nobody can send by it any more. Scripts must not see when the engine collects.
const unreachable = new SafeFinalizationRegistry((id) => {
  unstarted.delete(id);
  op_port_close(id, true);
});

/** Two entangled ports, without objects. */
export function createPorts() {
  return op_port_create();
}

/** Starts a port whose messages go to `listener`. */
export function listen(id, listener) {
  listening.set(id, listener);
  op_port_start(id);
}

export function send(id, message, prefix) {
  const { data, transfer } = serializeWithTransfer(message, [], prefix);
  op_port_post(id, data, transfer);
}

export function close(id) {
  listening.delete(id);
  op_port_close(id, false);
}

/** The host delivers a message. */
export function receivePortMessage(id, message) {
  listening.get(id)?.receive(message);
}

/** The other end has gone; a script is told unless that one was collected. */
export function endPort(id, told) {
  const listener = listening.get(id) ?? unstarted.get(id)?.deref();
  listening.delete(id);
  if (told) listener?.ended();
}

let stateOf;

// https://html.spec.whatwg.org/#message-ports
export class MessagePort extends EventTarget {
  // `id` is undefined when it was closed or transferred, `detached` only then.
  #state;

  static {
    stateOf = (port) => port.#state;
  }

  constructor(key = undefined, id = undefined) {
    requireHostKey(key, "MessagePort");
    super();
    this[webidl.brand] = webidl.brand;
    this.#state = { id, started: false, detached: false, listener: listenerOf(this) };
    if (id === undefined) return;
    unstarted.set(id, new SafeWeakRef(this.#state.listener));
    unreachable.register(this, id, this.#state.listener);
  }

  // https://html.spec.whatwg.org/#dom-messageport-postmessage
  postMessage(message, options = undefined) {
    const state = this.#state;
    const prefix = "Failed to execute 'postMessage' on 'MessagePort'";
    requireArguments(arguments.length, 1, prefix);
    const transferred = transferList(options, prefix);
    const at = ArrayPrototypeIndexOf(transferred, this);
    if (at !== -1) {
      const text = `${prefix}: Port at index ${at} contains the source port.`;
      throw new DOMException(text, "DataCloneError");
    }
    const { data, transfer } = serializeWithTransfer(message, transferred, prefix);
    if (state.id !== undefined) op_port_post(state.id, data, transfer);
  }

  // https://html.spec.whatwg.org/#dom-messageport-start
  start() {
    const { id, started, listener } = this.#state;
    if (id === undefined || started) return;
    this.#state.started = true;
    unstarted.delete(id);
    // From here on the listener is held, and it holds the port.
    listener.port = this;
    listen(id, listener);
  }

  // https://html.spec.whatwg.org/#dom-messageport-close
  close() {
    const { id } = this.#state;
    if (id === undefined) return;
    forget(this);
    op_port_close(id, false);
  }
}
ObjectDefineProperty(MessagePort.prototype, core.hostObjectBrand, {
  __proto__: null,
  value: "MessagePort",
});
webidl.configureInterface(MessagePort);
for (const type of ["message", "messageerror", "close"]) {
  defineHandler(MessagePort.prototype, type);
}
// https://html.spec.whatwg.org/#message-ports: setting onmessage starts the port
afterSetting(MessagePort.prototype, "message", uncurryThis(MessagePort.prototype.start));

/** What the host's deliveries do to `port`; holds it only once it is started. */
function listenerOf(port) {
  const weak = new SafeWeakRef(port);
  return {
    port: null,
    receive(message) {
      dispatchPlatformEvent(this.port, messageEvent(message, {}));
    },
    // It keeps its number: what was sent before may still be received.
    ended() {
      const ended = this.port ?? weak.deref();
      if (ended !== undefined) dispatchPlatformEvent(ended, new Event("close"));
    },
  };
}

/** The `message` event of what the host brings, or `messageerror`. */
export function messageEvent(message, init) {
  try {
    const { value, ports } = deserializeWithTransfer(message);
    return new MessageEvent("message", { ...init, data: value, ports });
  } catch {
    return new MessageEvent("messageerror", init);
  }
}

function forget(port) {
  const state = stateOf(port);
  listening.delete(state.id);
  unstarted.delete(state.id);
  unreachable.unregister(state.listener);
  state.id = undefined;
}

export function isPort(value) {
  return ObjectPrototypeIsPrototypeOf(MessagePort.prototype, value);
}

export function isDetached(port) {
  return stateOf(port).detached;
}

/** https://html.spec.whatwg.org/#message-ports:transfer-steps; 0 for a port that is closed */
export function sendPort(port) {
  const { id } = stateOf(port);
  if (id !== undefined) forget(port);
  stateOf(port).detached = true;
  return id ?? 0;
}

/** https://html.spec.whatwg.org/#message-ports:transfer-receiving-steps */
export function receivePort(id) {
  return new MessagePort(hostKey, id === 0 ? undefined : id);
}

// https://html.spec.whatwg.org/#message-channels
export class MessageChannel {
  #port1;
  #port2;

  constructor() {
    this[webidl.brand] = webidl.brand;
    const ids = createPorts();
    this.#port1 = new MessagePort(hostKey, ids[0]);
    this.#port2 = new MessagePort(hostKey, ids[1]);
  }

  get port1() {
    return this.#port1;
  }

  get port2() {
    return this.#port2;
  }
}
webidl.configureInterface(MessageChannel);

// deno_web's MessageEvent takes the ports of this interface instead of its own.
core.loadExtScript("ext:deno_web/13_message_port.js").MessagePortPrototype = MessagePort.prototype;
