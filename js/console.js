// console: https://console.spec.whatwg.org/, written to the host's trace with its level.

import { core, primordials } from "ext:core/mod.js";

const { Console, inspect, setNoColorFns } = core.loadExtScript("ext:deno_web/01_console.js");
const { op_console_write } = core.ops;
const { StringPrototypeEndsWith, StringPrototypeSlice } = primordials;

setNoColorFns(() => true, () => true);

function write(text, level) {
  const line = StringPrototypeEndsWith(text, "\n") ? StringPrototypeSlice(text, 0, -1) : text;
  if (line !== "") op_console_write(level, line);
}

export function createConsole() {
  return new Console(write);
}

/** A value as a person reads it, on one line: strings bare, all else as the console shows it. */
export function describe(value) {
  if (typeof value === "string") return value;
  return inspect(value, { breakLength: Infinity, compact: true });
}
