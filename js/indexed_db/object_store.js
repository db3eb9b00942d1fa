// IDBObjectStore: https://w3c.github.io/IndexedDB/#object-store-interface

import { core, primordials } from "ext:core/mod.js";
import { openCursor } from "ext:kittiwake/indexed_db/cursor.js";
import { change } from "ext:kittiwake/indexed_db/database.js";
import { createIndex, fillIndex } from "ext:kittiwake/indexed_db/index.js";
import { isValidKeyPath, keyPathArgument } from "ext:kittiwake/indexed_db/key_path.js";
import { toRange, validKey } from "ext:kittiwake/indexed_db/key_range.js";
import { toValue } from "ext:kittiwake/indexed_db/keys.js";
import { storeValue } from "ext:kittiwake/indexed_db/put.js";
import * as retrieval from "ext:kittiwake/indexed_db/retrieval.js";
import { sortedList } from "ext:kittiwake/indexed_db/string_list.js";
import {
  changing,
  execute,
  requireActive,
  requireWritable,
  transactionState,
} from "ext:kittiwake/indexed_db/transaction.js";
import {
  dictionary,
  hostKey,
  requireArguments,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { ArrayIsArray, JSONStringify, SafeMap } = primordials;

const on = (name) => `Failed to execute '${name}' on 'IDBObjectStore'`;

// https://w3c.github.io/IndexedDB/#idbobjectstore
export class IDBObjectStore {
  #state;

  constructor(key = undefined, state = undefined) {
    requireHostKey(key, "IDBObjectStore");
    this[webidl.brand] = webidl.brand;
    this.#state = state;
  }

  get name() {
    return this.#state.metadata.name;
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-name
  set name(value) {
    const prefix = "Failed to set the 'name' property on 'IDBObjectStore'";
    const { metadata, transaction } = this.#state;
    const text = string(value, prefix);
    requireExisting(metadata, prefix);
    requireUpgrade(transactionState(transaction), prefix);
    requireActive(transactionState(transaction), prefix);
    const { connection } = transactionState(transaction);
    if (metadata.name === text) return;
    if (connection.objectStores.has(text)) {
      const reason = "An object store with the specified name already exists.";
      throw new DOMException(`${prefix}: ${reason}`, "ConstraintError");
    }
    connection.objectStores.delete(metadata.name);
    metadata.name = text;
    connection.objectStores.set(text, metadata);
    change(transaction, { renameObjectStore: { id: metadata.id, name: text } });
  }

  get keyPath() {
    const state = this.#state;
    if (state.keyPath === undefined) state.keyPath = toValue(state.metadata.keyPath);
    return state.keyPath;
  }

  get indexNames() {
    return sortedList(this.#state.metadata.indexes.keys());
  }

  get transaction() {
    return this.#state.transaction;
  }

  get autoIncrement() {
    return this.#state.metadata.autoIncrement;
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-put
  put(value, key = undefined) {
    const state = this.#state;
    requireArguments(arguments.length, 1, on("put"));
    return addOrPut(this, state, value, key, true, on("put"));
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-add
  add(value, key = undefined) {
    const state = this.#state;
    requireArguments(arguments.length, 1, on("add"));
    return addOrPut(this, state, value, key, false, on("add"));
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-delete
  delete(query) {
    const state = this.#state;
    requireArguments(arguments.length, 1, on("delete"));
    requireUsable(state, on("delete"), true);
    const range = toRange(query, on("delete"), true);
    changing(state.transaction);
    return ask(this, state, retrieval.deleting, range, () => undefined);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-clear
  clear() {
    const state = this.#state;
    requireUsable(state, on("clear"), true);
    changing(state.transaction);
    return ask(this, state, retrieval.clearing, {}, () => undefined);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-get
  get(query) {
    const state = this.#state;
    requireArguments(arguments.length, 1, on("get"));
    requireUsable(state, on("get"));
    const range = toRange(query, on("get"), true);
    const finish = retrieval.valueTo(state.metadata);
    const kind = retrieval.kindOfValues(state.metadata);
    return ask(this, state, kind, range, finish, retrieval.one);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-getkey
  getKey(query) {
    const state = this.#state;
    requireArguments(arguments.length, 1, on("getKey"));
    requireUsable(state, on("getKey"));
    const range = toRange(query, on("getKey"), true);
    const finish = retrieval.firstOf(retrieval.recordsTo(state.metadata, "keys"));
    return ask(this, state, retrieval.keysOnly, range, finish, retrieval.one);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-getall
  getAll(queryOrOptions = undefined, count = undefined) {
    const state = this.#state;
    const options = retrieval.getAllArguments(queryOrOptions, count, on("getAll"));
    requireUsable(state, on("getAll"));
    const finish = retrieval.valuesTo(state.metadata);
    const kind = retrieval.kindOfValues(state.metadata);
    return ask(this, state, kind, options.range(), finish, options);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-getallkeys
  getAllKeys(queryOrOptions = undefined, count = undefined) {
    const state = this.#state;
    const options = retrieval.getAllArguments(queryOrOptions, count, on("getAllKeys"));
    requireUsable(state, on("getAllKeys"));
    const finish = retrieval.recordsTo(state.metadata, "keys");
    return ask(this, state, retrieval.keysOnly, options.range(), finish, options);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-getallrecords
  getAllRecords(options = undefined) {
    const state = this.#state;
    const wanted = retrieval.getAllOptions(options, on("getAllRecords"));
    requireUsable(state, on("getAllRecords"));
    const finish = retrieval.recordsTo(state.metadata, "records");
    return ask(this, state, retrieval.withValues, wanted.range(), finish, wanted);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-count
  count(query = undefined) {
    const state = this.#state;
    requireUsable(state, on("count"));
    const range = toRange(query, on("count"));
    return ask(this, state, retrieval.counting, range, (count) => count);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-opencursor
  openCursor(query = undefined, direction = "next") {
    const state = this.#state;
    const wanted = retrieval.directionArgument(direction, on("openCursor"));
    requireUsable(state, on("openCursor"));
    const range = toRange(query, on("openCursor"));
    return openCursor(this, state.transaction, state.metadata, null, range, wanted, false);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-openkeycursor
  openKeyCursor(query = undefined, direction = "next") {
    const state = this.#state;
    const wanted = retrieval.directionArgument(direction, on("openKeyCursor"));
    requireUsable(state, on("openKeyCursor"));
    const range = toRange(query, on("openKeyCursor"));
    return openCursor(this, state.transaction, state.metadata, null, range, wanted, true);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-index
  index(name) {
    const state = this.#state;
    requireArguments(arguments.length, 1, on("index"));
    const text = string(name, on("index"));
    requireExisting(state.metadata, on("index"));
    if (transactionState(state.transaction).phase === "finished") {
      throw new DOMException(`${on("index")}: The transaction has finished.`, "InvalidStateError");
    }
    const metadata = state.metadata.indexes.get(text);
    if (metadata === undefined) {
      const reason = "The specified index was not found.";
      throw new DOMException(`${on("index")}: ${reason}`, "NotFoundError");
    }
    return indexHandle(this, state, metadata);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-createindex
  createIndex(name, keyPath, options = undefined) {
    const prefix = on("createIndex");
    const state = this.#state;
    requireArguments(arguments.length, 2, prefix);
    const text = string(name, prefix);
    const path = keyPathArgument(keyPath, prefix);
    const { multiEntry, unique } = dictionary(options, "IDBIndexParameters", prefix);
    const { connection } = requireChangeable(state, prefix);
    if (state.metadata.indexes.has(text)) {
      const reason = "An index with the specified name already exists.";
      throw new DOMException(`${prefix}: ${reason}`, "ConstraintError");
    }
    if (!isValidKeyPath(path)) {
      const reason = "The keyPath argument contains an invalid key path.";
      throw new DOMException(`${prefix}: ${reason}`, "SyntaxError");
    }
    if (multiEntry && ArrayIsArray(path)) {
      const reason = "The keyPath argument was an array and the multiEntry option is true.";
      throw new DOMException(`${prefix}: ${reason}`, "InvalidAccessError");
    }
    const id = connection.nextIndex++;
    const flags = { unique: !!unique, multiEntry: !!multiEntry };
    const metadata = { id, name: text, keyPath: path, ...flags, deleted: false };
    state.metadata.indexes.set(text, metadata);
    const description = { objectStore: state.metadata.id, id, name: text, ...flags };
    const pathText = JSONStringify(path);
    change(state.transaction, { createIndex: { keyPath: pathText, ...description } });
    if (!state.metadata.empty) fillIndex(state.transaction, state.metadata, metadata);
    return indexHandle(this, state, metadata);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbobjectstore-deleteindex
  deleteIndex(name) {
    const prefix = on("deleteIndex");
    const state = this.#state;
    requireArguments(arguments.length, 1, prefix);
    const text = string(name, prefix);
    requireChangeable(state, prefix);
    const metadata = state.metadata.indexes.get(text);
    if (metadata === undefined) {
      const reason = "The specified index was not found.";
      throw new DOMException(`${prefix}: ${reason}`, "NotFoundError");
    }
    state.metadata.indexes.delete(text);
    metadata.deleted = true;
    change(state.transaction, { deleteIndex: { id: metadata.id } });
  }
}
webidl.configureInterface(IDBObjectStore);

export function createObjectStore(transaction, metadata) {
  const state = { transaction, metadata, keyPath: undefined, handles: new SafeMap() };
  return new IDBObjectStore(hostKey, state);
}

function indexHandle(store, state, metadata) {
  let handle = state.handles.get(metadata);
  if (handle === undefined) {
    handle = createIndex(store, state.metadata, state.transaction, metadata);
    state.handles.set(metadata, handle);
  }
  return handle;
}

function requireExisting(metadata, prefix) {
  if (!metadata.deleted) return;
  const reason = "The object store has been deleted.";
  throw new DOMException(`${prefix}: ${reason}`, "InvalidStateError");
}

function requireUsable({ metadata, transaction }, prefix, writes = false) {
  requireExisting(metadata, prefix);
  const state = transactionState(transaction);
  requireActive(state, prefix);
  if (writes) requireWritable(state, prefix);
}

/** What a change of the schema asks first. */
function requireChangeable({ metadata, transaction }, prefix) {
  const state = transactionState(transaction);
  requireUpgrade(state, prefix);
  requireExisting(metadata, prefix);
  requireActive(state, prefix);
  return state;
}

export function requireUpgrade({ upgrade }, prefix) {
  if (upgrade !== null) return;
  const reason = "The database is not running a version change transaction.";
  throw new DOMException(`${prefix}: ${reason}`, "InvalidStateError");
}

function ask(store, { metadata, transaction }, kind, range, finish, options = undefined) {
  const { id } = transactionState(transaction);
  const source = { store: metadata, index: null };
  const send = (request) => retrieval.query(id, request, kind, source, range, options);
  return execute(transaction, store, send, finish);
}

// https://w3c.github.io/IndexedDB/#add-or-put
function addOrPut(store, { metadata, transaction }, value, key, overwrite, prefix) {
  requireUsable({ metadata, transaction }, prefix, true);
  if (key !== undefined && metadata.keyPath !== null) {
    const reason = "The object store uses in-line keys and the key parameter was provided.";
    throw new DOMException(`${prefix}: ${reason}`, "DataError");
  }
  if (key === undefined && metadata.keyPath === null && !metadata.autoIncrement) {
    const reason = "The object store uses out-of-line keys and has no key generator and the key " +
      "parameter was not provided.";
    throw new DOMException(`${prefix}: ${reason}`, "DataError");
  }
  const given = key === undefined ? undefined : validKey(key, prefix);
  return storeValue(transaction, metadata, value, given, { overwrite, source: store, prefix });
}
