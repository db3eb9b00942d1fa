// Date and Math.random where time and chance are the host's: in a simulation, and by an embedder's
// own doors.
//
// Invariant: installed only there; with the machine's clock a script gets V8's own.

import { core, primordials } from "ext:core/mod.js";

const { op_clock_now, op_entropy_random } = core.ops;
const {
  Date: RealDate,
  DatePrototypeToString,
  ObjectDefineProperty,
  ReflectConstruct,
} = primordials;

// https://tc39.es/ecma262/#sec-date-constructor
function SimulatedDate(...args) {
  if (new.target === undefined) return DatePrototypeToString(new RealDate(now()));
  return ReflectConstruct(RealDate, args.length === 0 ? [now()] : args, new.target);
}

function now() {
  return Math.floor(op_clock_now());
}

/** Replaces the clock. Called once, before any user script. */
export function installHostClock() {
  hide(SimulatedDate, "name", "Date");
  hide(SimulatedDate, "length", 7);
  SimulatedDate.prototype = RealDate.prototype;
  ObjectDefineProperty(SimulatedDate, "prototype", { writable: false, enumerable: false });
  for (const name of ["parse", "UTC"]) define(SimulatedDate, name, RealDate[name]);
  define(SimulatedDate, "now", { now: () => now() }.now);
  define(RealDate.prototype, "constructor", SimulatedDate);
  define(globalThis, "Date", SimulatedDate);
}

/** Replaces the dice. Called once, before any user script. */
export function installHostEntropy() {
  define(Math, "random", { random: () => op_entropy_random() }.random);
}

function define(target, name, value) {
  const descriptor = { value, writable: true, configurable: true, enumerable: false };
  ObjectDefineProperty(target, name, descriptor);
}

function hide(target, name, value) {
  ObjectDefineProperty(target, name, { value, configurable: true });
}
