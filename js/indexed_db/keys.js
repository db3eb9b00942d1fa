// Keys: https://w3c.github.io/IndexedDB/#keys
//
// Inside, a key is a number, a string, a Date, a Uint8Array or an array of keys, each made here, so
// that no script holds it.
//
// Invariant: converting a key again runs no code of a script.

import { core, primordials } from "ext:core/mod.js";

const {
  ArrayBufferPrototypeSlice,
  ArrayIsArray,
  ArrayPrototypeIncludes,
  ArrayPrototypePop,
  ArrayPrototypePush,
  DataViewPrototypeGetBuffer,
  Date,
  DatePrototypeGetTime,
  NumberIsNaN,
  ObjectDefineProperty,
  ObjectHasOwn,
  TypedArrayPrototypeGetBuffer,
  TypedArrayPrototypeGetByteLength,
  TypedArrayPrototypeGetByteOffset,
  TypedArrayPrototypeGetSymbolToStringTag,
  Uint8Array,
} = primordials;
const { DataViewPrototypeGetByteLength, DataViewPrototypeGetByteOffset } = primordials;

/** What is no key. */
export const invalid = { __proto__: null };

/** Stands in a value for the key that the generator will give; `null` as a key. */
export const generated = { __proto__: null };

// As in Chromium, and in store/indexed_db/key.rs.
const maxDepth = 2000;

/** https://w3c.github.io/IndexedDB/#convert-a-value-to-a-key: `invalid` if it is none. */
export function toKey(input, seen = []) {
  switch (typeof input) {
    case "number":
      return NumberIsNaN(input) ? invalid : input;
    case "string":
      return input;
    case "object":
      break;
    default:
      return invalid;
  }
  if (input === null) return invalid;
  if (input === generated) return null;
  if (core.isDate(input)) {
    const time = DatePrototypeGetTime(input);
    return NumberIsNaN(time) ? invalid : new Date(time);
  }
  if (core.isAnyArrayBuffer(input) || core.isArrayBufferView(input)) return toBinary(input);
  if (!ArrayIsArray(input) || core.isProxy(input)) return invalid;
  if (seen.length >= maxDepth || ArrayPrototypeIncludes(seen, input)) return invalid;
  ArrayPrototypePush(seen, input);
  const keys = [];
  const { length } = input;
  for (let i = 0; i < length; i++) {
    if (!ObjectHasOwn(input, i)) return invalid;
    const key = toKey(input[i], seen);
    if (key === invalid) return invalid;
    append(keys, key);
  }
  ArrayPrototypePop(seen);
  return keys;
}

// https://webidl.spec.whatwg.org/#dfn-get-buffer-source-copy
function toBinary(input) {
  if (core.isSharedArrayBuffer(input)) return invalid;
  let buffer = input;
  let offset = 0;
  let length;
  try {
    if (core.isArrayBufferView(input)) {
      const isTypedArray = TypedArrayPrototypeGetSymbolToStringTag(input) !== undefined;
      buffer = isTypedArray
        ? TypedArrayPrototypeGetBuffer(input)
        : DataViewPrototypeGetBuffer(input);
      offset = isTypedArray
        ? TypedArrayPrototypeGetByteOffset(input)
        : DataViewPrototypeGetByteOffset(input);
      length = isTypedArray
        ? TypedArrayPrototypeGetByteLength(input)
        : DataViewPrototypeGetByteLength(input);
      if (core.isSharedArrayBuffer(buffer)) return invalid;
    }
    if (buffer.detached) return invalid;
    const end = length === undefined ? undefined : offset + length;
    return new Uint8Array(ArrayBufferPrototypeSlice(buffer, offset, end));
  } catch {
    return invalid; // a view of a buffer that is detached
  }
}

/** https://w3c.github.io/IndexedDB/#convert-a-value-to-a-multientry-key */
export function toMultiEntryKeys(input) {
  if (!ArrayIsArray(input) || core.isProxy(input)) {
    const key = toKey(input);
    return key === invalid ? [] : [key];
  }
  const keys = [];
  for (let i = 0; i < input.length; i++) {
    const key = ObjectHasOwn(input, i) ? toKey(input[i], [input]) : invalid;
    if (key !== invalid && !includesKey(keys, key)) append(keys, key);
  }
  return keys;
}

function includesKey(keys, key) {
  for (let i = 0; i < keys.length; i++) {
    if (compareKeys(keys[i], key) === 0) return true;
  }
  return false;
}

/** Unlike `push()`, it meets no setter that a script put on a prototype. */
function append(array, value) {
  const descriptor = { __proto__: null, value, writable: true, enumerable: true };
  descriptor.configurable = true;
  ObjectDefineProperty(array, array.length, descriptor);
}

/** https://w3c.github.io/IndexedDB/#convert-a-key-to-a-value */
export function toValue(key) {
  if (typeof key !== "object" || key === null) return key;
  if (core.isDate(key)) return new Date(DatePrototypeGetTime(key));
  if (ArrayIsArray(key)) {
    const values = [];
    for (let i = 0; i < key.length; i++) append(values, toValue(key[i]));
    return values;
  }
  return ArrayBufferPrototypeSlice(TypedArrayPrototypeGetBuffer(key));
}

/** https://w3c.github.io/IndexedDB/#compare-two-keys */
export function compareKeys(a, b) {
  const rank = rankOf(a);
  const other = rankOf(b);
  if (rank !== other) return rank < other ? -1 : 1;
  switch (rank) {
    case 1:
      return compare(DatePrototypeGetTime(a), DatePrototypeGetTime(b));
    case 3:
      return compareEach(a, b, compare);
    case 4:
      return compareEach(a, b, compareKeys);
    default:
      return compare(a, b);
  }
}

function rankOf(key) {
  if (typeof key === "number" || key === null) return 0;
  if (typeof key === "string") return 2;
  if (core.isDate(key)) return 1;
  return ArrayIsArray(key) ? 4 : 3;
}

function compare(a, b) {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function compareEach(a, b, compareElements) {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const order = compareElements(a[i], b[i]);
    if (order !== 0) return order;
  }
  return compare(a.length, b.length);
}
