// Dispatching events that bubble from a request over its transaction to its database.
// https://dom.spec.whatwg.org/#concept-event-dispatch
//
// Invariant: a microtask checkpoint follows each listener; so a dispatch starts from Rust. Whoever
// dispatches learns whether a listener threw.

import { core, primordials } from "ext:core/mod.js";
import { checkpoint } from "ext:kittiwake/events.js";

const { Event, eventTargetData, reportException, setIsTrusted, setTarget } = core.loadExtScript(
  "ext:deno_web/02_event.js",
);
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
const path = symbolOf("[[path]]");
const dispatched = symbolOf("[[dispatched]]");
const passive = symbolOf("[[inPassiveListener]]");
const stopped = symbolOf("[[stopPropagationFlag]]");
const stoppedAtOnce = symbolOf("[[stopImmediatePropagationFlag]]");

/** A property that events have, and nothing else. */
export const eventMark = attributes;

/** Whether one of them would hear of an event. */
export function isHeard(targets, type) {
  for (let i = 0; i < targets.length; i++) {
    if (listenersOf(targets[i], type) !== undefined) return true;
  }
  return false;
}

/** Dispatches a trusted event at the first target; the others are its ancestors, in order. */
export function dispatchUp(targets, event) {
  setIsTrusted(event, true);
  if (!isHeard(targets, event.type)) {
    setTarget(event, targets[0]);
    return false;
  }
  event[dispatched] = true;
  event[path] = pathOf(targets);
  setTarget(event, targets[0]);
  let threw = false;
  for (let i = targets.length - 1; i >= 0; i--) {
    const phase = i === 0 ? Event.AT_TARGET : Event.CAPTURING_PHASE;
    threw = invoke(targets[i], event, phase, true) || threw;
  }
  for (let i = 0; i < (event.bubbles ? targets.length : 1); i++) {
    const phase = i === 0 ? Event.AT_TARGET : Event.BUBBLING_PHASE;
    threw = invoke(targets[i], event, phase, false) || threw;
  }
  event[attributes].eventPhase = Event.NONE;
  event[attributes].currentTarget = null;
  event[path] = [];
  event[dispatched] = false;
  event[stopped] = false;
  event[stoppedAtOnce] = false;
  return threw;
}

/** What `composedPath()` reads. A list that grows would take three times the memory. */
function pathOf(targets) {
  const first = { item: targets[0], target: targets[0] };
  if (targets.length === 1) return [first];
  const second = { item: targets[1], target: null };
  if (targets.length === 2) return [first, second];
  return [first, second, { item: targets[2], target: null }];
}

function listenersOf(target, type) {
  const listeners = target[eventTargetData]?.listeners[type];
  return listeners === undefined || listeners.length === 0 ? undefined : listeners;
}

// https://dom.spec.whatwg.org/#concept-event-listener-inner-invoke
function invoke(target, event, phase, capture) {
  const all = listenersOf(target, event.type);
  if (all === undefined || event[stopped]) return false;
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
