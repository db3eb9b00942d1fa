// IDBKeyRange: https://w3c.github.io/IndexedDB/#keyrange
//
// Invariant: a range never changes; its bounds are keys of our own.

import { core, primordials } from "ext:core/mod.js";
import { compareKeys, invalid, toKey, toValue } from "ext:kittiwake/indexed_db/keys.js";
import { hostKey, requireArguments, requireHostKey, webidl } from "ext:kittiwake/webidl.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { ArrayIsArray, ObjectPrototypeIsPrototypeOf } = primordials;

let rangeOf;

// https://w3c.github.io/IndexedDB/#idbkeyrange
export class IDBKeyRange {
  #range;

  static {
    rangeOf = (object) => object.#range;
  }

  constructor(key = undefined, range = undefined) {
    requireHostKey(key, "IDBKeyRange");
    this[webidl.brand] = webidl.brand;
    this.#range = {
      ...range,
      lowerValue: range.lower === undefined ? undefined : toValue(range.lower),
      upperValue: range.upper === undefined ? undefined : toValue(range.upper),
    };
  }

  get lower() {
    return this.#range.lowerValue;
  }

  get upper() {
    return this.#range.upperValue;
  }

  get lowerOpen() {
    return this.#range.lowerOpen;
  }

  get upperOpen() {
    return this.#range.upperOpen;
  }

  // https://w3c.github.io/IndexedDB/#dom-idbkeyrange-includes
  includes(key) {
    const prefix = "Failed to execute 'includes' on 'IDBKeyRange'";
    const range = this.#range;
    requireArguments(arguments.length, 1, prefix);
    return isInRange(validKey(key, prefix), range);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbkeyrange-only
  static only(value) {
    const prefix = "Failed to execute 'only' on 'IDBKeyRange'";
    requireArguments(arguments.length, 1, prefix);
    return new IDBKeyRange(hostKey, only(validKey(value, prefix)));
  }

  // https://w3c.github.io/IndexedDB/#dom-idbkeyrange-lowerbound
  static lowerBound(lower, open = false) {
    const prefix = "Failed to execute 'lowerBound' on 'IDBKeyRange'";
    requireArguments(arguments.length, 1, prefix);
    const key = validKey(lower, prefix);
    const lowerOpen = !!open;
    return new IDBKeyRange(hostKey, { lower: key, lowerOpen, upper: undefined, upperOpen: true });
  }

  // https://w3c.github.io/IndexedDB/#dom-idbkeyrange-upperbound
  static upperBound(upper, open = false) {
    const prefix = "Failed to execute 'upperBound' on 'IDBKeyRange'";
    requireArguments(arguments.length, 1, prefix);
    const key = validKey(upper, prefix);
    const upperOpen = !!open;
    return new IDBKeyRange(hostKey, { lower: undefined, lowerOpen: true, upper: key, upperOpen });
  }

  // https://w3c.github.io/IndexedDB/#dom-idbkeyrange-bound
  static bound(lower, upper, lowerOpen = false, upperOpen = false) {
    const prefix = "Failed to execute 'bound' on 'IDBKeyRange'";
    requireArguments(arguments.length, 2, prefix);
    const range = {
      lower: validKey(lower, prefix),
      upper: validKey(upper, prefix),
      lowerOpen: !!lowerOpen,
      upperOpen: !!upperOpen,
    };
    const order = compareKeys(range.lower, range.upper);
    if (order > 0) {
      const text = `${prefix}: The lower key is greater than the upper key.`;
      throw new DOMException(text, "DataError");
    }
    if (order === 0 && (range.lowerOpen || range.upperOpen)) {
      const text = "The lower key and upper key are equal and one of the bounds is open.";
      throw new DOMException(`${prefix}: ${text}`, "DataError");
    }
    return new IDBKeyRange(hostKey, range);
  }
}
webidl.configureInterface(IDBKeyRange);

/** The key that a value is; a DataError if it is none. */
export function validKey(value, prefix) {
  const key = toKey(value);
  if (key !== invalid) return key;
  throw new DOMException(`${prefix}: The parameter is not a valid key.`, "DataError");
}

/** The range of one key. */
export function only(key) {
  return { lower: key, upper: key, lowerOpen: false, upperOpen: false };
}

const everything = { lower: undefined, upper: undefined, lowerOpen: false, upperOpen: false };

export function isKeyRange(value) {
  return ObjectPrototypeIsPrototypeOf(IDBKeyRange.prototype, value);
}

/** https://w3c.github.io/IndexedDB/#convert-a-value-to-a-key-range */
export function toRange(value, prefix, nullDisallowed = false) {
  if (isKeyRange(value)) return rangeOf(value);
  if (value === undefined || value === null) {
    if (!nullDisallowed) return everything;
    throw new DOMException(`${prefix}: No key or key range specified.`, "DataError");
  }
  return only(validKey(value, prefix));
}

/** https://w3c.github.io/IndexedDB/#is-a-potentially-valid-key-range */
export function isPotentialRange(value) {
  if (typeof value !== "object" || value === null) return true;
  return isKeyRange(value) || ArrayIsArray(value) || core.isDate(value) ||
    core.isAnyArrayBuffer(value) || core.isArrayBufferView(value);
}

/** https://w3c.github.io/IndexedDB/#in */
export function isInRange(key, { lower, upper, lowerOpen, upperOpen }) {
  if (lower !== undefined) {
    const order = compareKeys(key, lower);
    if (order < 0 || (order === 0 && lowerOpen)) return false;
  }
  if (upper === undefined) return true;
  const order = compareKeys(key, upper);
  return order < 0 || (order === 0 && !upperOpen);
}
