// Dispatching the platform's own events, and reporting what nobody caught.
//
// Invariant: a microtask checkpoint follows each listener of a platform event, before the event's
// dispatch is over. A dispatch therefore starts from Rust, never inside a microtask.

import { core, primordials } from "ext:core/mod.js";
import { attributeOwner } from "ext:kittiwake/webidl.js";

const {
  PromiseRejectionEvent,
  defineEventHandler,
  dispatch,
  eventTargetData,
  kResistStopImmediatePropagation,
  reportException,
  setEventTargetData,
  setIsTrusted,
} = core.loadExtScript("ext:deno_web/02_event.js");
const { op_exception_report } = core.ops;
const {
  ArrayPrototypeFilter,
  ArrayPrototypePush,
  ObjectDefineProperty,
  ObjectGetOwnPropertyDescriptor,
  ObjectSetPrototypeOf,
  ReflectApply,
  SafeWeakSet,
  Symbol,
} = primordials;

/** Listeners by the type of their event. Null-prototype literals are slow dictionaries in V8. */
class Listeners {}
ObjectSetPrototypeOf(Listeners.prototype, null);

/** The listeners of a target, which deno_web keeps by a symbol of its own. */
export function listenersOf(target) {
  const data = target[eventTargetData];
  return (data ?? setListeners(target)).listeners;
}

// It makes a slow dictionary of listeners, and the rest is the same for each target.
const sample = {};
setEventTargetData(sample);

function setListeners(target) {
  const data = { ...sample[eventTargetData], listeners: new Listeners() };
  target[eventTargetData] = data;
  return data;
}

/** Whether anybody listens at `target`. */
export function hasListener(target, type) {
  const own = target[eventTargetData]?.listeners?.[type];
  return own !== undefined && own.length > 0;
}

let platformEvent = null;

let nextAfterCheckpoint = () => {};

/** Has something done after each microtask checkpoint of a platform event. */
export function afterCheckpoint(then) {
  nextAfterCheckpoint = then;
}

/** https://html.spec.whatwg.org/#perform-a-microtask-checkpoint */
export function checkpoint() {
  core.runMicrotasks();
  nextAfterCheckpoint();
}

// deno_web's dispatch calls listeners one after the other and knows no checkpoints. This record
// stands behind each listener for the time of one dispatch.
// https://html.spec.whatwg.org/#clean-up-after-running-script
const checkpointRecord = {
  callback(event) {
    // A script that dispatches a synthetic event from a listener is still on the stack.
    if (event === platformEvent) checkpoint();
  },
  options: { capture: false, once: false, passive: false, [kResistStopImmediatePropagation]: true },
};

/** Dispatches a trusted event with a microtask checkpoint after each listener. */
export function dispatchPlatformEvent(target, event) {
  setIsTrusted(event, true);
  const listeners = target[eventTargetData]?.listeners;
  const { type } = event;
  const own = listeners?.[type];
  if (own === undefined) return dispatch(target, event);

  const interleaved = [];
  for (let i = 0; i < own.length; i++) ArrayPrototypePush(interleaved, own[i], checkpointRecord);
  listeners[type] = interleaved;
  platformEvent = event;
  try {
    return dispatch(target, event);
  } finally {
    platformEvent = null;
    const isOwn = (record) => record !== checkpointRecord;
    listeners[type] = ArrayPrototypeFilter(listeners[type], isOwn);
  }
}

/**
 * https://html.spec.whatwg.org/#event-handlers: what stands among the listeners of a target, in the
 * place that the first value had.
 */
class EventHandler {
  constructor(type, value, next) {
    this.type = type;
    this.value = value;
    this.next = next;
  }

  handleEvent(event) {
    if (typeof this.value === "function") ReflectApply(this.value, event.currentTarget, [event]);
  }
}

/** As `addEventListener`, which would have to look at options and for another of the same. */
function addHandler(target, type, handler) {
  const listeners = listenersOf(target);
  const options = { capture: false, once: false, passive: false };
  const record = { callback: handler, options, signal: undefined, abortListener: undefined };
  if (listeners[type] === undefined) listeners[type] = [record];
  else ArrayPrototypePush(listeners[type], record);
}

// By this, a target has its handlers: the last one, which knows the others. A symbol for each type
// would be looked up by name at each setting, because the setters share what the engine learns.
const lastHandler = Symbol("handlers");

function handlerOf(target, type) {
  let handler = target[lastHandler];
  while (handler !== undefined && handler.type !== type) handler = handler.next;
  return handler;
}

/**
 * Defines `on${type}`. deno_web's accessors take any object and have no names, and make a map and a
 * closure for each target; these do not.
 * https://html.spec.whatwg.org/#event-handler-idl-attributes
 */
export function defineHandler(target, type, isErrorHandler = false) {
  if (isErrorHandler) {
    defineErrorHandler(target, type);
    return;
  }
  const name = `on${type}`;
  const attribute = {
    get [name]() {
      return handlerOf(attributeOwner(this, target), type)?.value ?? null;
    },
    set [name](value) {
      const owner = attributeOwner(this, target);
      const isHandler = typeof value === "function" || typeof value === "object";
      const handler = handlerOf(owner, type);
      if (handler !== undefined) {
        handler.value = isHandler ? value : null;
      } else if (isHandler && value !== null) {
        const added = new EventHandler(type, value, owner[lastHandler]);
        owner[lastHandler] = added;
        addHandler(owner, type, added);
      }
    },
  };
  const descriptor = ObjectGetOwnPropertyDescriptor(attribute, name);
  ObjectDefineProperty(target, name, { __proto__: null, ...descriptor });
}

export function defineHandlers(target, ...types) {
  for (let i = 0; i < types.length; i++) defineHandler(target, types[i]);
}

/** https://html.spec.whatwg.org/#onerroreventhandler: it is given five arguments. */
function defineErrorHandler(target, type) {
  const name = `on${type}`;
  defineEventHandler(target, type, undefined, true);
  const { get, set } = ObjectGetOwnPropertyDescriptor(target, name);
  const attribute = {
    get [name]() {
      return ReflectApply(get, attributeOwner(this, target), []);
    },
    set [name](value) {
      ReflectApply(set, attributeOwner(this, target), [value]);
    },
  };
  ObjectDefineProperty(target, name, ObjectGetOwnPropertyDescriptor(attribute, name));
}

/** Has `then` called with the target each time after `on${type}` was set. */
export function afterSetting(target, type, then) {
  const name = `on${type}`;
  const { get, set } = ObjectGetOwnPropertyDescriptor(target, name);
  const attribute = {
    set [name](value) {
      ReflectApply(set, this, [value]);
      then(this);
    },
  };
  const started = ObjectGetOwnPropertyDescriptor(attribute, name).set;
  ObjectDefineProperty(target, name, { __proto__: null, get, set: started });
}

/** Dispatches a trusted event from JavaScript that may itself run inside a microtask. */
export function dispatchTrusted(target, event) {
  setIsTrusted(event, true);
  return dispatch(target, event);
}

// Promises whose rejection the trace tells in another way.
const forgiven = new SafeWeakSet();

/** Scripts hear of this promise's rejection by `unhandledrejection`; the trace hears nothing. */
export function forgiveRejection(promise) {
  forgiven.add(promise);
}

// https://html.spec.whatwg.org/#unhandled-promise-rejections
export function installErrorReporting() {
  core.setReportExceptionCallback(reportException);
  core.setUnhandledPromiseRejectionHandler((promise, reason) => {
    const event = new PromiseRejectionEvent("unhandledrejection", {
      cancelable: true,
      promise,
      reason,
    });
    const untold = dispatchTrusted(globalThis, event) && !forgiven.has(promise);
    if (untold) op_exception_report(reason, true);
    return true;
  });
  core.setHandledPromiseRejectionHandler((promise, reason) => {
    const event = new PromiseRejectionEvent("rejectionhandled", { promise, reason });
    dispatchTrusted(globalThis, event);
  });
}
