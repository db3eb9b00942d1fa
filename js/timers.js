// setTimeout() and its kin: https://html.spec.whatwg.org/#timers
// deno_web's, but for a bound.
//
// Invariant: a realm has no more timers that wait than its host allows.

import { core, primordials } from "ext:core/mod.js";

const engine = core.loadExtScript("ext:deno_web/02_timers.js");
const { QuotaExceededError } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const { op_timer_refused } = core.ops;
const {
  indirectEval,
  ReflectApply,
  SafeSet,
  SetPrototypeAdd,
  SetPrototypeDelete,
  SetPrototypeGetSize,
} = primordials;

const waiting = new SafeSet();
let limit = Infinity;

/** How many timers may wait. */
export function setTimerLimit(most) {
  limit = most;
}

function requireRoom(name) {
  if (SetPrototypeGetSize(waiting) < limit) return;
  op_timer_refused();
  throw new QuotaExceededError(`Failed to execute '${name}': ${limit} timers are waiting already.`);
}

function functionOf(callback) {
  if (typeof callback === "function") return callback;
  const source = webidl.converters.DOMString(callback);
  return () => indirectEval(source);
}

export function setTimeout(callback, delay = 0, ...args) {
  requireRoom("setTimeout");
  const run = functionOf(callback);
  const id = ReflectApply(engine.setTimeout, this, [() => {
    SetPrototypeDelete(waiting, id);
    ReflectApply(run, globalThis, args);
  }, delay]);
  SetPrototypeAdd(waiting, id);
  return id;
}

export function setInterval(callback, delay = 0, ...args) {
  requireRoom("setInterval");
  const id = ReflectApply(engine.setInterval, this, [functionOf(callback), delay, ...args]);
  SetPrototypeAdd(waiting, id);
  return id;
}

export function clearTimeout(id = 0) {
  id = webidl.converters.long(id);
  ReflectApply(engine.clearTimeout, this, [id]);
  SetPrototypeDelete(waiting, id);
}

export function clearInterval(id = 0) {
  id = webidl.converters.long(id);
  ReflectApply(engine.clearInterval, this, [id]);
  SetPrototypeDelete(waiting, id);
}
