// ExtendableEvent and its kin: https://w3c.github.io/ServiceWorker/#extendableevent-interface
//
// Invariant: an event settles exactly once, when its dispatch is over and its pending promises
// count is zero; a rejection does not end it early.

import { core, primordials } from "ext:core/mod.js";
import { dispatchPlatformEvent, forgiveRejection, hasListener } from "ext:kittiwake/events.js";
import { load } from "ext:kittiwake/lazy.js";
import { MessagePort } from "ext:kittiwake/message_port.js";
import {
  assertThis,
  dictionary,
  requireArguments,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { Event } = core.loadExtScript("ext:deno_web/02_event.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { getLocationHref } = core.loadExtScript("ext:deno_web/12_location.js");
const { op_event_settled, op_worker_add_routes } = core.ops;
const {
  ArrayPrototypePush,
  ObjectFreeze,
  ObjectPrototypeIsPrototypeOf,
  PromisePrototypeThen,
  PromiseResolve,
  SafeMap,
  TypeError,
} = primordials;

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
    requireArguments(arguments.length, 1, prefix);
    const { bubbles, cancelable, composed } = dictionary(eventInitDict, "EventInit", prefix);
    super(string(type, prefix), { bubbles, cancelable, composed });
    this[webidl.brand] = webidl.brand;
  }

  // https://w3c.github.io/ServiceWorker/#dom-extendableevent-waituntil
  waitUntil(f) {
    webidl.assertBranded(this, ExtendableEventPrototype);
    const prefix = "Failed to execute 'waitUntil' on 'ExtendableEvent'";
    requireArguments(arguments.length, 1, prefix);
    addLifetimePromise(this, PromiseResolve(f));
  }
}

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
  if (!isActive(event)) {
    const text = "The event handler is already finished and no extend lifetime promises are " +
      "outstanding.";
    throw new DOMException(`${prefix}: ${text}`, "InvalidStateError");
  }
  lifetime.pendingPromises++;
  // The specification takes the promise off the count one microtask after its reaction.
  const settled = () => {
    PromisePrototypeThen(PromiseResolve(), () => {
      lifetime.pendingPromises--;
      settleIfOver(lifetime);
    });
  };
  const derived = PromisePrototypeThen(promise, settled, (reason) => {
    if (!lifetime.rejected) {
      lifetime.rejected = true;
      lifetime.reason = reason;
    }
    settled();
    // In Chromium nobody handles the derived promise, so that `unhandledrejection` fires.
    forgiveRejection(derived);
    throw reason;
  });
}

function settleIfOver(lifetime) {
  if (lifetime.dispatching || lifetime.pendingPromises > 0 || !unsettled.has(lifetime.id)) return;
  unsettled.delete(lifetime.id);
  op_event_settled(lifetime.id, lifetime.rejected, lifetime.reason);
}

// https://w3c.github.io/ServiceWorker/#extendableevent-active
export function isActive(event) {
  const { timedOut, dispatching, pendingPromises } = lifetimeOf(event);
  return !timedOut && (dispatching || pendingPromises > 0);
}

/** Whether the event's listeners are being called. */
export function isDispatching(event) {
  return lifetimeOf(event).dispatching;
}

/** Dispatches `event` at the worker's global scope; the host hears of its end by its `id`. */
export function dispatchExtendableEvent(id, event, afterDispatch = undefined) {
  const lifetime = lifetimeOf(event);
  lifetime.id = id;
  lifetime.dispatching = true;
  unsettled.set(id, event);
  dispatchPlatformEvent(globalThis, event);
  lifetime.dispatching = false;
  afterDispatch?.(event);
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
  #routes = 0;

  constructor(type, eventInitDict = undefined) {
    requireArguments(arguments.length, 1, "Failed to construct 'InstallEvent'");
    super(type, eventInitDict);
  }

  // https://w3c.github.io/ServiceWorker/#register-router-method
  async addRoutes(rules) {
    const prefix = "Failed to execute 'addRoutes' on 'InstallEvent'";
    assertThis(this, InstallEvent, prefix);
    requireArguments(arguments.length, 1, prefix);
    if (!this.isTrusted) {
      const text = "Can not call addRoutes on a script constructed InstallEvent.";
      throw new DOMException(`${prefix}: ${text}`, "InvalidStateError");
    }
    const context = {
      baseURL: getLocationHref(),
      hasFetchHandler: hasListener(globalThis, "fetch"),
      known: this.#routes,
    };
    const { convertRules } = load("ext:kittiwake/static_routing.js");
    const converted = convertRules(rules, context, prefix);
    op_worker_add_routes(converted);
    this.#routes += converted.length;
  }
}
webidl.configureInterface(InstallEvent);

// https://w3c.github.io/ServiceWorker/#extendablemessageevent-interface
export class ExtendableMessageEvent extends ExtendableEvent {
  #init;

  constructor(type, eventInitDict = undefined) {
    const prefix = "Failed to construct 'ExtendableMessageEvent'";
    requireArguments(arguments.length, 1, prefix);
    super(type, eventInitDict);
    this.#init = {
      data: eventInitDict?.data === undefined ? null : eventInitDict.data,
      origin: eventInitDict?.origin === undefined ? "" : `${eventInitDict.origin}`,
      lastEventId: eventInitDict?.lastEventId === undefined ? "" : `${eventInitDict.lastEventId}`,
      source: sourceOf(eventInitDict, prefix),
      ports: portsOf(eventInitDict, prefix),
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
    // A new frozen array at each read, as in Chromium.
    return ObjectFreeze([...this.#init.ports]);
  }
}
webidl.configureInterface(ExtendableMessageEvent);

/** `(Client or ServiceWorker or MessagePort)?` */
function sourceOf(init, prefix) {
  const source = init?.source ?? null;
  const isOf = (Interface) => ObjectPrototypeIsPrototypeOf(Interface.prototype, source);
  if (source === null || sourceInterfaces.some(isOf)) return source;
  throw new TypeError(
    `${prefix}: Failed to read the 'source' property from 'ExtendableMessageEventInit': The ` +
      "provided value is not of type '(Client or MessagePort or ServiceWorker)'.",
  );
}

function portsOf(init, prefix) {
  if (init?.ports === undefined) return [];
  const reading = `${prefix}: Failed to read the 'ports' property from ` +
    "'ExtendableMessageEventInit'";
  if (init.ports === null || typeof init.ports !== "object") {
    throw new TypeError(`${reading}: The provided value cannot be converted to a sequence.`);
  }
  const ports = [...init.ports];
  const isPort = (port) => ObjectPrototypeIsPrototypeOf(MessagePort.prototype, port);
  if (ports.every(isPort)) return ports;
  throw new TypeError(`${reading}: Failed to convert value to 'MessagePort'.`);
}

// The files of the other two import this one, so they name themselves.
const sourceInterfaces = [MessagePort];

/** Makes objects of an interface possible sources of a message. */
export function acceptAsSource(Interface) {
  ArrayPrototypePush(sourceInterfaces, Interface);
}
