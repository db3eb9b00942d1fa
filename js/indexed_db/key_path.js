// Key paths: https://w3c.github.io/IndexedDB/#key-path-construct
//
// Invariant: a key path is evaluated on a clone, of whose properties only its own are read.

import { core, primordials } from "ext:core/mod.js";
import { invalid, toKey, toMultiEntryKeys } from "ext:kittiwake/indexed_db/keys.js";
import { isObject, string } from "ext:kittiwake/webidl.js";

const { Blob, BlobPrototype, FilePrototype } = core.loadExtScript("ext:deno_web/09_file.js");
const {
  ArrayIsArray,
  ArrayPrototypePush,
  ObjectDefineProperty,
  ObjectHasOwn,
  ObjectPrototypeIsPrototypeOf,
  RegExpPrototypeExec,
  SafeRegExp,
  StringPrototypeCharCodeAt,
  StringPrototypeSplit,
  SymbolIterator,
  Uint8Array,
} = primordials;

const identifier = new SafeRegExp("^[\\p{ID_Start}$_][\\p{ID_Continue}$\\u200c\\u200d]*$", "u");

/** A `(DOMString or sequence<DOMString>)` argument. */
export function keyPathArgument(value, prefix) {
  if (!isObject(value) || value[SymbolIterator] === undefined || value[SymbolIterator] === null) {
    return string(value, prefix);
  }
  const paths = [];
  for (const each of { [SymbolIterator]: () => value[SymbolIterator]() }) {
    ArrayPrototypePush(paths, string(each, prefix));
  }
  return paths;
}

/** https://w3c.github.io/IndexedDB/#valid-key-path */
export function isValidKeyPath(keyPath) {
  if (typeof keyPath === "string") return keyPath === "" || hasValidIdentifiers(keyPath);
  if (keyPath.length === 0) return false;
  for (let i = 0; i < keyPath.length; i++) {
    if (typeof keyPath[i] !== "string" || !isValidKeyPath(keyPath[i])) return false;
  }
  return true;
}

function hasValidIdentifiers(keyPath) {
  const identifiers = StringPrototypeSplit(keyPath, ".");
  for (let i = 0; i < identifiers.length; i++) {
    if (RegExpPrototypeExec(identifier, identifiers[i]) === null) return false;
  }
  return true;
}

/** https://w3c.github.io/IndexedDB/#evaluate-a-key-path-on-a-value: undefined for failure */
function evaluate(value, keyPath) {
  if (ArrayIsArray(keyPath)) {
    const values = [];
    for (let i = 0; i < keyPath.length; i++) {
      const each = evaluate(value, keyPath[i]);
      if (each === undefined) return undefined;
      ArrayPrototypePush(values, each);
    }
    return values;
  }
  if (keyPath === "") return value;
  const identifiers = StringPrototypeSplit(keyPath, ".");
  for (let i = 0; i < identifiers.length && value !== undefined; i++) {
    value = member(value, identifiers[i]);
  }
  return value;
}

function member(value, name) {
  if (typeof value === "string") return name === "length" ? value.length : undefined;
  if (!isObject(value)) return undefined;
  if (ObjectPrototypeIsPrototypeOf(BlobPrototype ?? Blob.prototype, value)) {
    if (name === "size" || name === "type") return value[name];
    const isFile = ObjectPrototypeIsPrototypeOf(FilePrototype, value);
    return isFile && (name === "name" || name === "lastModified") ? value[name] : undefined;
  }
  return ObjectHasOwn(value, name) ? value[name] : undefined;
}

/** https://w3c.github.io/IndexedDB/#extract-a-key-from-a-value-using-a-key-path: undefined for
 * failure, `invalid` for what is no key. */
export function extractKey(value, keyPath) {
  const found = evaluate(value, keyPath);
  return found === undefined ? undefined : toKey(found);
}

/** The keys of a value in an index: none, one, or with multiple entries many. */
export function extractIndexKeys(value, index) {
  const found = evaluate(value, index.keyPath);
  if (found === undefined) return [];
  if (index.multiEntry) return toMultiEntryKeys(found);
  const key = toKey(found);
  return key === invalid ? [] : [key];
}

/** https://w3c.github.io/IndexedDB/#check-that-a-key-could-be-injected-into-a-value */
export function canInject(value, keyPath) {
  const identifiers = StringPrototypeSplit(keyPath, ".");
  for (let i = 0; i < identifiers.length - 1; i++) {
    if (!isInjectable(value)) return false;
    if (!ObjectHasOwn(value, identifiers[i])) return true;
    value = value[identifiers[i]];
  }
  return isInjectable(value);
}

// What the host's flags of a key path mean: ops/indexed_db/key_path.rs.
const unique = 1;
const compound = 2;
const multiEntry = 4;
const generated = 8;

/** How the host finds the keys of a value by itself; null if they are to be found here. */
export function recipe(store) {
  const bytes = [];
  const flags = store.autoIncrement ? generated : 0;
  if (store.keyPath !== null && !writeKeyPath(bytes, 0, store.keyPath, flags)) return null;
  for (const index of store.indexes.values()) {
    const flags = (index.unique ? unique : 0) | (index.multiEntry ? multiEntry : 0);
    if (!writeKeyPath(bytes, index.id, index.keyPath, flags)) return null;
  }
  return new Uint8Array(bytes);
}

function writeKeyPath(bytes, id, keyPath, flags) {
  const isCompound = ArrayIsArray(keyPath);
  const paths = isCompound ? keyPath : [keyPath];
  if (paths.length > 255) return false;
  ArrayPrototypePush(bytes, id & 255, id >> 8 & 255, id >> 16 & 255, id >>> 24);
  ArrayPrototypePush(bytes, flags | (isCompound ? compound : 0), paths.length);
  for (let i = 0; i < paths.length; i++) {
    const identifiers = paths[i] === "" ? [] : StringPrototypeSplit(paths[i], ".");
    if (identifiers.length > 255) return false;
    ArrayPrototypePush(bytes, identifiers.length);
    for (let j = 0; j < identifiers.length; j++) {
      if (!writeIdentifier(bytes, identifiers[j])) return false;
    }
  }
  return true;
}

function writeIdentifier(bytes, identifier) {
  if (identifier.length > 255) return false;
  ArrayPrototypePush(bytes, identifier.length);
  for (let i = 0; i < identifier.length; i++) {
    const unit = StringPrototypeCharCodeAt(identifier, i);
    if (unit > 127) return false;
    ArrayPrototypePush(bytes, unit);
  }
  return true;
}

function isInjectable(value) {
  return typeof value === "object" && value !== null;
}

/** https://w3c.github.io/IndexedDB/#inject-a-key-into-a-value-using-a-key-path */
export function inject(value, keyPath, key) {
  const identifiers = StringPrototypeSplit(keyPath, ".");
  const last = identifiers.length - 1;
  for (let i = 0; i < last; i++) {
    if (!ObjectHasOwn(value, identifiers[i])) create(value, identifiers[i], {});
    value = value[identifiers[i]];
    if (!isInjectable(value)) return;
  }
  create(value, identifiers[last], key);
}

// https://tc39.es/ecma262/#sec-createdataproperty
function create(object, name, value) {
  const descriptor = { __proto__: null, value, writable: true, enumerable: true };
  descriptor.configurable = true;
  ObjectDefineProperty(object, name, descriptor);
}
