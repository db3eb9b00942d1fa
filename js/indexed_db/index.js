// IDBIndex: https://w3c.github.io/IndexedDB/#index-interface

import { core, primordials } from "ext:core/mod.js";
import { openCursor } from "ext:kittiwake/indexed_db/cursor.js";
import { change } from "ext:kittiwake/indexed_db/database.js";
import { extractIndexKeys } from "ext:kittiwake/indexed_db/key_path.js";
import { toRange } from "ext:kittiwake/indexed_db/key_range.js";
import { toKey, toValue } from "ext:kittiwake/indexed_db/keys.js";
import { requireUpgrade } from "ext:kittiwake/indexed_db/object_store.js";
import * as retrieval from "ext:kittiwake/indexed_db/retrieval.js";
import {
  execute,
  executeAhead,
  executeSilently,
  hold,
  release,
  requireActive,
  transactionState,
} from "ext:kittiwake/indexed_db/transaction.js";
import {
  hostKey,
  requireArguments,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { op_indexed_db_index } = core.ops;
const { ArrayPrototypePush } = primordials;

const on = (name) => `Failed to execute '${name}' on 'IDBIndex'`;

// https://w3c.github.io/IndexedDB/#idbindex
export class IDBIndex {
  #state;

  constructor(key = undefined, state = undefined) {
    requireHostKey(key, "IDBIndex");
    this[webidl.brand] = webidl.brand;
    this.#state = state;
  }

  get name() {
    return this.#state.metadata.name;
  }

  // https://w3c.github.io/IndexedDB/#dom-idbindex-name
  set name(value) {
    const prefix = "Failed to set the 'name' property on 'IDBIndex'";
    const { metadata, store, transaction } = this.#state;
    const text = string(value, prefix);
    requireUpgrade(transactionState(transaction), prefix);
    requireActive(transactionState(transaction), prefix);
    requireExisting(this.#state, prefix);
    if (metadata.name === text) return;
    if (store.indexes.has(text)) {
      const reason = "An index with the specified name already exists.";
      throw new DOMException(`${prefix}: ${reason}`, "ConstraintError");
    }
    store.indexes.delete(metadata.name);
    metadata.name = text;
    store.indexes.set(text, metadata);
    change(transaction, { renameIndex: { id: metadata.id, name: text } });
  }

  get objectStore() {
    return this.#state.objectStore;
  }

  get keyPath() {
    const state = this.#state;
    if (state.keyPath === undefined) state.keyPath = toValue(state.metadata.keyPath);
    return state.keyPath;
  }

  get multiEntry() {
    return this.#state.metadata.multiEntry;
  }

  get unique() {
    return this.#state.metadata.unique;
  }

  // https://w3c.github.io/IndexedDB/#dom-idbindex-get
  get(query) {
    const state = this.#state;
    requireArguments(arguments.length, 1, on("get"));
    requireUsable(state, on("get"));
    const range = toRange(query, on("get"), true);
    const finish = retrieval.valueTo(state.store);
    const kind = retrieval.kindOfValues(state.store);
    return ask(this, state, kind, range, finish, retrieval.one);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbindex-getkey
  getKey(query) {
    const state = this.#state;
    requireArguments(arguments.length, 1, on("getKey"));
    requireUsable(state, on("getKey"));
    const range = toRange(query, on("getKey"), true);
    const finish = retrieval.firstOf(retrieval.recordsTo(state.store, "keys"));
    return ask(this, state, retrieval.keysOnly, range, finish, retrieval.one);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbindex-getall
  getAll(queryOrOptions = undefined, count = undefined) {
    const state = this.#state;
    const options = retrieval.getAllArguments(queryOrOptions, count, on("getAll"));
    requireUsable(state, on("getAll"));
    const finish = retrieval.valuesTo(state.store);
    const kind = retrieval.kindOfValues(state.store);
    return ask(this, state, kind, options.range(), finish, options);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbindex-getallkeys
  getAllKeys(queryOrOptions = undefined, count = undefined) {
    const state = this.#state;
    const options = retrieval.getAllArguments(queryOrOptions, count, on("getAllKeys"));
    requireUsable(state, on("getAllKeys"));
    const finish = retrieval.recordsTo(state.store, "keys");
    return ask(this, state, retrieval.keysOnly, options.range(), finish, options);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbindex-getallrecords
  getAllRecords(options = undefined) {
    const state = this.#state;
    const wanted = retrieval.getAllOptions(options, on("getAllRecords"));
    requireUsable(state, on("getAllRecords"));
    const finish = retrieval.recordsTo(state.store, "records");
    return ask(this, state, retrieval.withValues, wanted.range(), finish, wanted);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbindex-count
  count(query = undefined) {
    const state = this.#state;
    requireUsable(state, on("count"));
    const range = toRange(query, on("count"));
    return ask(this, state, retrieval.counting, range, (count) => count);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbindex-opencursor
  openCursor(query = undefined, direction = "next") {
    const state = this.#state;
    const wanted = retrieval.directionArgument(direction, on("openCursor"));
    requireUsable(state, on("openCursor"));
    const range = toRange(query, on("openCursor"));
    return openCursor(this, state.transaction, state.store, state.metadata, range, wanted, false);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbindex-openkeycursor
  openKeyCursor(query = undefined, direction = "next") {
    const state = this.#state;
    const wanted = retrieval.directionArgument(direction, on("openKeyCursor"));
    requireUsable(state, on("openKeyCursor"));
    const range = toRange(query, on("openKeyCursor"));
    return openCursor(this, state.transaction, state.store, state.metadata, range, wanted, true);
  }
}
webidl.configureInterface(IDBIndex);

export function createIndex(objectStore, store, transaction, metadata) {
  const state = { objectStore, store, transaction, metadata, keyPath: undefined };
  return new IDBIndex(hostKey, state);
}

function requireExisting({ metadata, store }, prefix) {
  if (!metadata.deleted && !store.deleted) return;
  const reason = "The index or its object store has been deleted.";
  throw new DOMException(`${prefix}: ${reason}`, "InvalidStateError");
}

function requireUsable(state, prefix) {
  requireExisting(state, prefix);
  requireActive(transactionState(state.transaction), prefix);
}

function ask(handle, state, kind, range, finish, options = undefined) {
  const { metadata, store, transaction } = state;
  const { id } = transactionState(transaction);
  const source = { store, index: metadata };
  const send = (request) => retrieval.query(id, request, kind, source, range, options);
  return execute(transaction, handle, send, finish);
}

// Records that are looked at together.
const batch = 256;

/** Fills a new index of an object store that may have records; later requests wait for it. */
export function fillIndex(transaction, store, index) {
  const state = transactionState(transaction);
  const source = { store, index: null };
  const ask = (from) => (request) =>
    retrieval.query(state.id, request, retrieval.withValues, source, {}, { limit: batch, from });
  const finish = (found) => {
    const keys = found[0];
    if (keys.length > 0) {
      const records = entriesOf(store, index, keys, found[2]);
      const send = (request) =>
        op_indexed_db_index(state.id, request, store.id, index.id, index.unique, records);
      executeAhead(transaction, send, () => {});
    }
    if (keys.length < batch) {
      release(state);
      return;
    }
    const last = toKey(keys[keys.length - 1]);
    const from = { past: true, key: last, primaryKey: undefined, skip: 0 };
    executeAhead(transaction, ask(from), finish);
  };
  executeSilently(transaction, (request) => {
    hold(state);
    ask(undefined)(request);
  }, finish);
}

/** Flat: primary key, keys, ... */
function entriesOf(store, index, keys, values) {
  const records = [];
  for (let i = 0; i < keys.length; i++) {
    const value = retrieval.completed(store, keys[i], values[i]);
    ArrayPrototypePush(records, toKey(keys[i]), extractIndexKeys(value, index));
  }
  return records;
}
