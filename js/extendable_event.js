// ExtendableEvent and its kin: https://w3c.github.io/ServiceWorker/#extendableevent-interface
//
// Invariant: an event settles exactly once, when its dispatch is over and its pending promises
// count is zero; a rejection does not end it early.

import { core, primordials } from "ext:core/mod.js";
import { dispatchPlatformEvent } from "ext:kittiwake/events.js";

const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const { Event } = core.loadExtScript("ext:deno_web/02_event.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { op_event_settled } = core.ops;
const { ObjectFreeze, PromiseResolve, PromisePrototypeThen, SafeMap } = primordials;

// Kittiwake's number of each event that is not settled yet -> the event.
const unsettled = new SafeMap();

let lifetimeOf;

// https://w3c.github.io/ServiceWorker/#extendableevent-interface
export class ExtendableEvent extends Event {
  #lifetime = {
    id: 0,
    dispatching: false,
    timedOut: false,
    pendingPromises: 0,
    rejected: false,
    reason: undefined,
  };

  static {
    lifetimeOf = (event) => event.#lifetime;
  }

  constructor(type, eventInitDict = undefined) {
    const prefix = "Failed to construct 'ExtendableEvent'";
    webidl.requiredArguments(arguments.length, 1, prefix);
    super(type, webidl.converters.EventInit(eventInitDict, prefix, "parameter 2"));
    this[webidl.brand] = webidl.brand;
  }

  // https://w3c.github.io/ServiceWorker/#dom-extendableevent-waituntil
  waitUntil(f) {
    webidl.assertBranded(this, ExtendableEventPrototype);
    const prefix = "Failed to execute 'waitUntil' on 'ExtendableEvent'";
    webidl.requiredArguments(arguments.length, 1, prefix);
    addLifetimePromise(this, PromiseResolve(f));
  }
}

// The events that the registry's converters know have no EventInit of their own.
webidl.converters.EventInit = webidl.createDictionaryConverter("EventInit", [
  { key: "bubbles", defaultValue: false, converter: webidl.converters.boolean },
  { key: "cancelable", defaultValue: false, converter: webidl.converters.boolean },
  { key: "composed", defaultValue: false, converter: webidl.converters.boolean },
]);
webidl.configureInterface(ExtendableEvent);
const ExtendableEventPrototype = ExtendableEvent.prototype;

// https://w3c.github.io/ServiceWorker/#add-lifetime-promise
export function addLifetimePromise(event, promise) {
  const lifetime = lifetimeOf(event);
  const prefix = "Failed to execute 'waitUntil' on 'ExtendableEvent'";
  if (!event.isTrusted) {
    throw new DOMException(
      `${prefix}: Can not call waitUntil on a script constructed ExtendableEvent.`,
      "InvalidStateError",
    );
  }
  const active = !lifetime.timedOut && (lifetime.dispatching || lifetime.pendingPromises > 0);
  if (!active) {
    throw new DOMException(`${prefix}: The event handler is already finished.`, "InvalidStateError");
  }
  lifetime.pendingPromises++;
  // The specification takes the promise off the count one microtask after its reaction.
  const settled = () => {
    PromisePrototypeThen(PromiseResolve(), () => {
      lifetime.pendingPromises--;
      settleIfOver(lifetime);
    });
  };
  PromisePrototypeThen(promise, settled, (reason) => {
    if (!lifetime.rejected) {
      lifetime.rejected = true;
      lifetime.reason = reason;
    }
    settled();
  });
}

function settleIfOver(lifetime) {
  if (lifetime.dispatching || lifetime.pendingPromises > 0 || !unsettled.has(lifetime.id)) return;
  unsettled.delete(lifetime.id);
  op_event_settled(lifetime.id, lifetime.rejected, lifetime.reason);
}

/** Dispatches `event` at the worker's global scope; the host hears of its end by its `id`. */
export function dispatchExtendableEvent(id, event) {
  const lifetime = lifetimeOf(event);
  lifetime.id = id;
  lifetime.dispatching = true;
  unsettled.set(id, event);
  dispatchPlatformEvent(globalThis, event);
  lifetime.dispatching = false;
  settleIfOver(lifetime);
}

/** The host no longer waits: `waitUntil` throws from now on. */
export function timeOutEvent(id) {
  const event = unsettled.get(id);
  if (event === undefined) return;
  unsettled.delete(id);
  lifetimeOf(event).timedOut = true;
}

// https://w3c.github.io/ServiceWorker/#installevent
export class InstallEvent extends ExtendableEvent {
  constructor(type, eventInitDict = undefined) {
    webidl.requiredArguments(arguments.length, 1, "Failed to construct 'InstallEvent'");
    super(type, eventInitDict);
  }
}
webidl.configureInterface(InstallEvent);

// https://w3c.github.io/ServiceWorker/#extendablemessageevent-interface
export class ExtendableMessageEvent extends ExtendableEvent {
  #init;

  constructor(type, eventInitDict = undefined) {
    webidl.requiredArguments(arguments.length, 1, "Failed to construct 'ExtendableMessageEvent'");
    super(type, eventInitDict);
    this.#init = {
      data: eventInitDict?.data ?? null,
      origin: eventInitDict?.origin === undefined ? "" : `${eventInitDict.origin}`,
      lastEventId: eventInitDict?.lastEventId === undefined ? "" : `${eventInitDict.lastEventId}`,
      source: eventInitDict?.source ?? null,
      ports: ObjectFreeze([...(eventInitDict?.ports ?? [])]),
    };
  }

  get data() {
    return this.#init.data;
  }
  get origin() {
    return this.#init.origin;
  }
  get lastEventId() {
    return this.#init.lastEventId;
  }
  get source() {
    return this.#init.source;
  }
  get ports() {
    return this.#init.ports;
  }
}
webidl.configureInterface(ExtendableMessageEvent);
