// Dispatching events that bubble from a request over its transaction to its database.
// https://dom.spec.whatwg.org/#concept-event-dispatch
//
// Invariant: a microtask checkpoint follows each listener; so a dispatch starts from Rust. Whoever
// dispatches learns whether a listener threw.

import { core, primordials } from "ext:core/mod.js";
import { checkpoint, listenersOf } from "ext:kittiwake/events.js";

const { Event, eventTargetData, reportException, setIsTrusted } = core
  .loadExtScript("ext:deno_web/02_event.js");
const {
  ArrayPrototypeFind,
  ArrayPrototypeIncludes,
  ArrayPrototypeIndexOf,
  ArrayPrototypeSlice,
  ArrayPrototypeSplice,
  ObjectGetOwnPropertySymbols,
  ReflectApply,
  SymbolPrototypeGetDescription,
} = primordials;

// deno_web keeps an event's state under symbols of its own, which its dispatch alone knows; that
// dispatch has no parents for targets that are no nodes.
const symbols = ObjectGetOwnPropertySymbols(new Event("x"));
const symbolOf = (description) =>
  ArrayPrototypeFind(symbols, (symbol) => SymbolPrototypeGetDescription(symbol) === description);
const attributes = symbolOf("[[attributes]]");
const canceled = symbolOf("[[canceledFlag]]");
const dispatched = symbolOf("[[dispatched]]");
const passive = symbolOf("[[inPassiveListener]]");
const path = symbolOf("[[path]]");
const stopped = symbolOf("[[stopPropagationFlag]]");
const stoppedAtOnce = symbolOf("[[stopImmediatePropagationFlag]]");
const trusted = symbolOf("[[isTrusted]]");
const atTarget = Event.AT_TARGET;

/** Whether somebody listens at it. */
export function isHeard(target, type) {
  return hasAny(target[eventTargetData]?.listeners[type]);
}

/** Dispatches a trusted event at the first target; the others are its ancestors, in order. */
export function dispatchUp(targets, event) {
  setIsTrusted(event, true);
  return dispatchAlong(pathTo(targets[0], targets[1], targets[2]), event);
}

/** A path for `composedPath()`. A list that grows would take three times the memory. */
function pathTo(target, parent, ancestor) {
  const first = stepOf(target, target);
  if (parent === undefined) return [first];
  const second = stepOf(parent, null);
  return ancestor === undefined ? [first, second] : [first, second, stepOf(ancestor, null)];
}

/** What paths of a transaction's requests have in common. */
export function ancestry(transaction, database) {
  return [stepOf(transaction, null), stepOf(database, null)];
}

/** As `pathTo`, for a request of a transaction. */
export function pathBelow(request, ancestors) {
  return [stepOf(request, request), ancestors[0], ancestors[1]];
}

function stepOf(item, target) {
  return { item, target, listeners: listenersOf(item) };
}

/**
 * Dispatches a success event along a path from a request to its database. A cursor has one for each
 * step, and most are heard at the request alone.
 */
export function dispatchSuccess(steps) {
  const { item, listeners } = steps[0];
  if (hasAny(steps[1].listeners.success) || hasAny(steps[2].listeners.success)) {
    return dispatchAlong(steps, new SuccessEvent());
  }
  if (!hasAny(listeners.success)) return false;
  const event = new SuccessEvent();
  begin(event, steps);
  const { success } = listeners;
  const captures = success.length > 1 || success[0].options.capture;
  let threw = captures && invoke(success, item, event, atTarget, true);
  threw = invoke(success, item, event, atTarget, false) || threw;
  end(event);
  return threw;
}

function dispatchAlong(steps, event) {
  const { bubbles, type } = event[attributes];
  const last = bubbles ? steps.length - 1 : 0;
  begin(event, steps);
  let threw = false;
  for (let i = steps.length - 1; i >= 0; i--) {
    const { item, listeners } = steps[i];
    const phase = i === 0 ? Event.AT_TARGET : Event.CAPTURING_PHASE;
    threw = invoke(listeners[type], item, event, phase, true) || threw;
  }
  for (let i = 0; i <= last; i++) {
    const { item, listeners } = steps[i];
    const phase = i === 0 ? Event.AT_TARGET : Event.BUBBLING_PHASE;
    threw = invoke(listeners[type], item, event, phase, false) || threw;
  }
  end(event);
  return threw;
}

function begin(event, steps) {
  event[attributes].target = steps[0].item;
  event[dispatched] = true;
  event[path] = steps;
}

function end(event) {
  const state = event[attributes];
  state.eventPhase = Event.NONE;
  state.currentTarget = null;
  event[path] = [];
  event[dispatched] = false;
  event[stopped] = false;
  event[stoppedAtOnce] = false;
}

/** Makes what `new Event("success")` makes, trusted, without a look at arguments. */
const SuccessEvent = function Event() {
  this[canceled] = false;
  this[stopped] = false;
  this[stoppedAtOnce] = false;
  this[passive] = false;
  this[dispatched] = false;
  this[trusted] = true;
  this[path] = undefined;
  this[attributes] = {
    type: "success",
    bubbles: false,
    cancelable: false,
    composed: false,
    currentTarget: null,
    eventPhase: 0,
    target: null,
    timeStamp: 0,
  };
};
SuccessEvent.prototype = Event.prototype;

function hasAny(listeners) {
  return listeners !== undefined && listeners.length !== 0;
}

// https://dom.spec.whatwg.org/#concept-event-listener-inner-invoke
function invoke(all, target, event, phase, capture) {
  if (!hasAny(all) || event[stopped]) return false;
  event[attributes].eventPhase = phase;
  event[attributes].currentTarget = target;
  let threw = false;
  // One that is alone needs no list that stays as it was.
  const listeners = all.length === 1 ? all : ArrayPrototypeSlice(all);
  const { length } = listeners;
  for (let i = 0; i < length && !event[stoppedAtOnce]; i++) {
    const listener = listeners[i];
    const { options } = listener;
    if (!!options.capture !== capture) continue;
    if (i > 0 && !ArrayPrototypeIncludes(all, listener)) continue;
    if (options.once) ArrayPrototypeSplice(all, ArrayPrototypeIndexOf(all, listener), 1);
    event[passive] = !!options.passive;
    try {
      call(listener.callback, target, event);
    } catch (error) {
      threw = true;
      reportException(error);
    }
    event[passive] = false;
    checkpoint();
  }
  return threw;
}

// https://webidl.spec.whatwg.org/#call-a-user-objects-operation
function call(callback, target, event) {
  if (typeof callback === "function") ReflectApply(callback, target, [event]);
  else callback.handleEvent(event);
}
