// What Web IDL asks of every interface, in the words that Chromium's bindings use.
// https://webidl.spec.whatwg.org/

import { core, primordials } from "ext:core/mod.js";

const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const {
  MathTrunc,
  NumberIsFinite,
  NumberIsNaN,
  NumberMAX_SAFE_INTEGER,
  ObjectDefineProperty,
  ObjectGetOwnPropertyDescriptors,
  ObjectHasOwn,
  ObjectKeys,
  ObjectPrototypeIsPrototypeOf,
  StringPrototypeIsWellFormed,
  Symbol,
  TypeError,
} = primordials;

/** The first argument of a constructor that only Kittiwake may call. */
export const hostKey = Symbol("host");

export function requireHostKey(key, name) {
  if (key !== hostKey) throw new TypeError(`Failed to construct '${name}': Illegal constructor`);
}

/** <https://webidl.spec.whatwg.org/#dfn-create-operation-function>, in Chromium's words. */
export function requireArguments(given, required, prefix) {
  if (given >= required) return;
  const noun = required === 1 ? "argument" : "arguments";
  throw new TypeError(`${prefix}: ${required} ${noun} required, but only ${given} present.`);
}

/** For operations that return promises: inside an async function, this rejects. */
export function assertThis(self, Interface, prefix) {
  if (!isObject(self) || !ObjectPrototypeIsPrototypeOf(Interface.prototype, self)) {
    throw new TypeError(`${prefix}: Illegal invocation`);
  }
}

/**
 * The object whose attribute is read or set: the global object if there is none, and an exception
 * if it is not `target`'s. https://webidl.spec.whatwg.org/#dfn-attribute-getter
 */
export function attributeOwner(self, target) {
  const owner = self ?? globalThis;
  const isOwn = owner === target || ObjectPrototypeIsPrototypeOf(target, owner);
  // An object that has only inherited the mark is none of ours.
  if (!isOwn || !ObjectHasOwn(owner, webidl.brand)) throw new TypeError("Illegal invocation");
  return owner;
}

/** Names the attributes of an interface of deno_web's that has left that out. */
export function nameGetters(target) {
  const descriptors = ObjectGetOwnPropertyDescriptors(target);
  for (const name of ObjectKeys(descriptors)) {
    const { get } = descriptors[name];
    if (get === undefined || get.name !== "get") continue;
    ObjectDefineProperty(get, "name", { __proto__: null, value: `get ${name}` });
  }
}

/** A dictionary argument: an object, or the empty dictionary for undefined and null. */
export function dictionary(value, name, prefix) {
  if (value === undefined || value === null) return { __proto__: null };
  if (!isObject(value)) {
    throw new TypeError(`${prefix}: The provided value is not of type '${name}'.`);
  }
  return value;
}

/** A dictionary argument that has a required member, so that undefined and null are refused. */
export function requiredDictionary(value, name, prefix) {
  if (isObject(value)) return value;
  throw new TypeError(`${prefix}: The provided value is not of type '${name}'.`);
}

/** A member of a dictionary that may not be left out. */
export function requiredMember(value, reading) {
  if (value === undefined) throw new TypeError(`${reading}: Required member is undefined.`);
  return value;
}

/** A required member that is a string. */
export function requiredStringMember(init, member, dictionaryName, prefix) {
  const reading = `${prefix}: Failed to read the '${member}' property from '${dictionaryName}'`;
  return string(requiredMember(init[member], reading), reading);
}

/** A member of a dictionary that is an enumeration value. */
export function enumMember(value, fallback, allowed, member, dictionaryName, enumName, prefix) {
  if (value === undefined) return fallback;
  const reading = `${prefix}: Failed to read the '${member}' property from '${dictionaryName}'`;
  return enumValue(value, allowed, enumName, reading);
}

/** https://webidl.spec.whatwg.org/#js-enumeration */
export function enumValue(value, allowed, enumName, reading) {
  const text = string(value, reading);
  if (allowed.includes(text)) return text;
  throw new TypeError(
    `${reading}: The provided value '${text}' is not a valid enum value of type ${enumName}.`,
  );
}

/** An `[EnforceRange] unsigned long long`: https://webidl.spec.whatwg.org/#js-unsigned-long-long */
export function unsignedLongLong(value, prefix) {
  if (typeof value === "symbol" || typeof value === "bigint") {
    const kind = typeof value === "symbol" ? "Symbol" : "BigInt";
    throw new TypeError(`${prefix}: Cannot convert a ${kind} value to a number`);
  }
  const number = +value;
  const type = "'unsigned long long'";
  if (NumberIsNaN(number)) throw new TypeError(`${prefix}: Value is not of type ${type}.`);
  if (number === Infinity || number === -Infinity) {
    throw new TypeError(`${prefix}: Value is infinite and not of type ${type}.`);
  }
  const integer = MathTrunc(number) + 0; // no negative zero
  if (integer < 0 || integer > NumberMAX_SAFE_INTEGER) {
    throw new TypeError(`${prefix}: Value is outside the ${type} value range.`);
  }
  return integer;
}

/** A `double`: https://webidl.spec.whatwg.org/#js-double */
export function finiteDouble(value, prefix) {
  if (typeof value === "symbol" || typeof value === "bigint") {
    const kind = typeof value === "symbol" ? "Symbol" : "BigInt";
    throw new TypeError(`${prefix}: Cannot convert a ${kind} value to a number`);
  }
  const number = +value;
  if (NumberIsFinite(number)) return number;
  throw new TypeError(`${prefix}: The provided double value is non-finite.`);
}

export function isObject(value) {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}

/** A string argument; a symbol is refused with the operation's prefix. */
export function string(value, prefix) {
  if (typeof value === "symbol") {
    throw new TypeError(`${prefix}: Cannot convert a Symbol value to a string`);
  }
  return `${value}`;
}

/** A sync's tag may be any DOMString, but one with a lone surrogate is no text that a disk could
 * keep and an event could give back; Chromium ends the renderer that registers it. Two such tags
 * must not become one, so it is refused. */
export function storableTag(value, prefix) {
  const tag = string(value, prefix);
  if (StringPrototypeIsWellFormed(tag)) return tag;
  throw new TypeError(`${prefix}: The tag has a lone surrogate, which cannot be stored.`);
}

export { webidl };
