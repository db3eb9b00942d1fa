// Asking for records: the arguments of getAll() and its kin, and the queries of the host.
// https://w3c.github.io/IndexedDB/#dictdef-idbgetalloptions

import { core, primordials } from "ext:core/mod.js";
import { extractKey, inject } from "ext:kittiwake/indexed_db/key_path.js";
import { isPotentialRange, toRange } from "ext:kittiwake/indexed_db/key_range.js";
import {
  dictionary,
  enumMember,
  enumValue,
  hostKey,
  requireHostKey,
  webidl,
} from "ext:kittiwake/webidl.js";

const { op_indexed_db_query } = core.ops;
const { MathTrunc, NumberIsFinite, TypeError } = primordials;

export const directions = ["next", "nextunique", "prev", "prevunique"];

/** What the host is asked for. */
export const keysOnly = 0;
export const withValues = 1;
export const counting = 2;
export const deleting = 3;
export const clearing = 4;
const valuesOnly = 5;

const fromTheStart = {
  past: false,
  key: undefined,
  primaryKey: undefined,
  skip: 0,
};

/** Sends a query: ops/indexed_db/operation.rs has the flags. `source` has `store` and `index`. */
export function query(transaction, request, kind, source, range, options = undefined) {
  const { direction = "next", limit = 0, from = fromTheStart, isPage = false } = options ?? {};
  const what = kind |
    (range.lowerOpen ? 16 : 0) |
    (range.upperOpen ? 32 : 0) |
    (direction === "prev" || direction === "prevunique" ? 64 : 0) |
    (direction === "nextunique" || direction === "prevunique" ? 128 : 0) |
    (from.past ? 256 : 0) |
    (isPage ? 512 : 0);
  op_indexed_db_query(
    transaction,
    request,
    what,
    source.store.id,
    source.index === null ? 0 : source.index.id,
    range.lower,
    range.upper,
    from.key,
    from.primaryKey,
    from.skip,
    limit,
  );
}

/** An `[EnforceRange] unsigned long`: https://webidl.spec.whatwg.org/#js-unsigned-long */
export function unsignedLong(value, prefix) {
  if (typeof value === "symbol" || typeof value === "bigint") {
    const kind = typeof value === "symbol" ? "Symbol" : "BigInt";
    throw new TypeError(`${prefix}: Cannot convert a ${kind} value to a number`);
  }
  const number = +value;
  if (!NumberIsFinite(number)) {
    const what = number === Infinity || number === -Infinity ? "infinite and " : "";
    throw new TypeError(`${prefix}: Value is ${what}not of type 'unsigned long'.`);
  }
  const integer = MathTrunc(number) + 0;
  if (integer >= 0 && integer <= 0xffffffff) return integer;
  throw new TypeError(`${prefix}: Value is outside the 'unsigned long' value range.`);
}

/** The arguments of `getAll()` and `getAllKeys()`. The range is read when `range` is called. */
export function getAllArguments(queryOrOptions, count, prefix) {
  const limit = count === undefined ? 0 : unsignedLong(count, prefix);
  if (isPotentialRange(queryOrOptions)) {
    return { limit, direction: "next", range: () => toRange(queryOrOptions, prefix) };
  }
  return getAllOptions(queryOrOptions, prefix);
}

/** The argument of `getAllRecords()`. */
export function getAllOptions(options, prefix) {
  const name = "IDBGetAllOptions";
  const { count, direction, query } = dictionary(options, name, prefix);
  const limit = count === undefined ? 0 : unsignedLong(count, prefix);
  const wanted = enumMember(
    direction, "next", directions, "direction", name, "IDBCursorDirection", prefix,
  );
  return { limit, direction: wanted, range: () => toRange(query, prefix) };
}

export function directionArgument(direction, prefix) {
  return enumValue(direction, directions, "IDBCursorDirection", prefix);
}

/** Whether values may lack the key that the generator gave. */
function mayLackKeys(store) {
  return store.autoIncrement && store.keyPath !== null;
}

/** The value of a record, with the key that the generator gave. */
export function completed(store, primaryKey, value) {
  if (mayLackKeys(store) && extractKey(value, store.keyPath) === undefined) {
    inject(value, store.keyPath, primaryKey);
  }
  return value;
}

/** How values are asked for; `valuesTo` takes what is answered. */
export function kindOfValues(store) {
  return mayLackKeys(store) ? withValues : valuesOnly;
}

const asTheyAre = (values) => values;

/** What to make of the answer to `kindOfValues`. */
export function valuesTo(store) {
  return mayLackKeys(store) ? recordsTo(store, "values") : asTheyAre;
}

const firstAsItIs = firstOf(asTheyAre);

/** What to make of the answer to `kindOfValues`, of one record. */
export function valueTo(store) {
  return mayLackKeys(store) ? firstOf(valuesTo(store)) : firstAsItIs;
}

/** The options of who wants one record. With all of them, none is looked for in a prototype. */
export const one = { direction: "next", limit: 1, from: fromTheStart, isPage: false };

/**
 * What to make of records, which the host gives as three lists: keys, primary keys or undefined
 * where those are the same, and values or undefined.
 */
export function recordsTo(store, kind) {
  const make = {
    keys: (_key, primaryKey) => primaryKey,
    records: (key, primaryKey, value) =>
      new IDBRecord(hostKey, { key, primaryKey, value: completed(store, primaryKey, value) }),
    values: (_key, primaryKey, value) => completed(store, primaryKey, value),
  }[kind];
  return (found) => {
    const keys = found[0];
    const primaryKeys = found[1] ?? keys;
    const values = found[2];
    // In place: no element is added that a setter on a prototype could meet.
    for (let i = 0; i < keys.length; i++) {
      const primaryKey = primaryKeys[i];
      keys[i] = make(keys[i], primaryKey, values === undefined ? undefined : values[i]);
    }
    return keys;
  };
}

/** What to make of the first of them, or of none. */
export function firstOf(all) {
  return (answer) => {
    const found = all(answer);
    return found.length === 0 ? undefined : found[0];
  };
}

// https://w3c.github.io/IndexedDB/#idbrecord
export class IDBRecord {
  #record;

  constructor(key = undefined, record = undefined) {
    requireHostKey(key, "IDBRecord");
    this[webidl.brand] = webidl.brand;
    this.#record = record;
  }

  get key() {
    return this.#record.key;
  }

  get primaryKey() {
    return this.#record.primaryKey;
  }

  get value() {
    return this.#record.value;
  }
}
webidl.configureInterface(IDBRecord);
