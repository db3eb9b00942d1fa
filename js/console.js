// console: https://console.spec.whatwg.org/, written to the host's trace with its level.

import { core, primordials } from "ext:core/mod.js";

const { Console, inspect, setNoColorFns } = core.loadExtScript("ext:deno_web/01_console.js");
const { op_console_write } = core.ops;
const {
  ArrayPrototypeJoin,
  ObjectGetOwnPropertyDescriptor,
  ObjectGetPrototypeOf,
  ObjectHasOwn,
  ObjectIs,
  ObjectPrototype,
  ReflectOwnKeys,
  RegExpPrototypeExec,
  StringPrototypeEndsWith,
  StringPrototypeSlice,
} = primordials;

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
  return plainText(value) ?? inspect(value, { breakLength: Infinity, compact: true });
}

const PLAIN_KEY = /^[a-zA-Z_][a-zA-Z_0-9]*$/;
const PLAIN_STRING = /^[ !#-[\]-~]{0,200}$/;
const PLAIN_MEMBERS = 8;

/**
 * The text of a plain object of plain values, as messages usually are; null for what needs a closer
 * look. The trace tells each message, and the console's inspection costs more than the message.
 */
function plainText(value) {
  if (typeof value !== "object" || value === null || core.isProxy(value)) return null;
  if (ObjectGetPrototypeOf(value) !== ObjectPrototype) return null;
  const keys = ReflectOwnKeys(value);
  if (keys.length === 0 || keys.length > PLAIN_MEMBERS) return null;
  const members = [];
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i];
    if (typeof key !== "string" || RegExpPrototypeExec(PLAIN_KEY, key) === null) return null;
    const descriptor = ObjectGetOwnPropertyDescriptor(value, key);
    if (!descriptor.enumerable || !ObjectHasOwn(descriptor, "value")) return null;
    const text = plainMember(descriptor.value);
    if (text === null) return null;
    members[i] = `${key}: ${text}`;
  }
  return `{ ${ArrayPrototypeJoin(members, ", ")} }`;
}

function plainMember(value) {
  switch (typeof value) {
    case "string":
      return RegExpPrototypeExec(PLAIN_STRING, value) === null ? null : `"${value}"`;
    case "number":
      return ObjectIs(value, -0) ? "-0" : `${value}`;
    case "boolean":
    case "undefined":
      return `${value}`;
    default:
      return value === null ? "null" : null;
  }
}
