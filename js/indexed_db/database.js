// IDBDatabase: https://w3c.github.io/IndexedDB/#database-interface
//
// Invariant: what a connection knows of its database changes only in an upgrade, and goes back to
// what it was if that is aborted.

import { core, primordials } from "ext:core/mod.js";
import { defineHandlers } from "ext:kittiwake/events.js";
import { isValidKeyPath, keyPathArgument } from "ext:kittiwake/indexed_db/key_path.js";
import { requestState } from "ext:kittiwake/indexed_db/request.js";
import { sortedList } from "ext:kittiwake/indexed_db/string_list.js";
import {
  createTransaction,
  executeSilently,
  objectStoreHandle,
  requireActive,
  transactionState,
} from "ext:kittiwake/indexed_db/transaction.js";
import {
  dictionary,
  enumMember,
  enumValue,
  hostKey,
  isObject,
  requireArguments,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { EventTarget } = core.loadExtScript("ext:deno_web/02_event.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { op_indexed_db_begin, op_indexed_db_change, op_indexed_db_close } = core.ops;
const {
  ArrayIsArray,
  ArrayPrototypePush,
  JSONParse,
  JSONStringify,
  SafeMap,
  SymbolIterator,
  TypeError,
} = primordials;

let databaseState;

// https://w3c.github.io/IndexedDB/#idbdatabase
export class IDBDatabase extends EventTarget {
  #state;

  static {
    databaseState = (database) => database.#state;
  }

  constructor(key = undefined, state = undefined) {
    requireHostKey(key, "IDBDatabase");
    super();
    this.#state = state;
  }

  get name() {
    return this.#state.name;
  }

  get version() {
    return this.#state.version;
  }

  get objectStoreNames() {
    return sortedList(this.#state.objectStores.keys());
  }

  // https://w3c.github.io/IndexedDB/#dom-idbdatabase-transaction
  transaction(storeNames, mode = "readonly", options = undefined) {
    const prefix = "Failed to execute 'transaction' on 'IDBDatabase'";
    const state = this.#state;
    requireArguments(arguments.length, 1, prefix);
    const names = nameArguments(storeNames, prefix);
    const wanted = enumValue(mode, modes, "IDBTransactionMode", prefix);
    const { durability } = dictionary(options, "IDBTransactionOptions", prefix);
    const hint = enumMember(
      durability, "default", durabilities, "durability", "IDBTransactionOptions",
      "IDBTransactionDurability", prefix,
    );
    if (state.upgrade !== null) {
      const text = "A version change transaction is running.";
      throw new DOMException(`${prefix}: ${text}`, "InvalidStateError");
    }
    if (state.closePending) {
      const text = "The database connection is closing.";
      throw new DOMException(`${prefix}: ${text}`, "InvalidStateError");
    }
    const [scope, ids] = scopeOf(state, names, prefix);
    if (wanted === "versionchange") {
      throw new TypeError(
        `${prefix}: The mode provided ('versionchange') is not one of 'readonly' or 'readwrite'.`,
      );
    }
    const id = op_indexed_db_begin(state.id, {
      scope: ids,
      writes: wanted === "readwrite",
      relaxed: hint === "relaxed",
    });
    return createTransaction(id, this, state, wanted, scope, hint);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbdatabase-close
  close() {
    const state = this.#state;
    if (state.closePending) return;
    state.closePending = true;
    connections.delete(state.id);
    op_indexed_db_close(state.id);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbdatabase-createobjectstore
  createObjectStore(name, options = undefined) {
    const prefix = "Failed to execute 'createObjectStore' on 'IDBDatabase'";
    const state = this.#state;
    requireArguments(arguments.length, 1, prefix);
    const text = string(name, prefix);
    const { autoIncrement, keyPath } = dictionary(options, "IDBObjectStoreParameters", prefix);
    const path = keyPath === undefined || keyPath === null
      ? null
      : keyPathArgument(keyPath, prefix);
    const transaction = upgradeOf(state, prefix);
    requireActive(transactionState(transaction), prefix);
    if (path !== null && !isValidKeyPath(path)) {
      const reason = "The keyPath option is not a valid key path.";
      throw new DOMException(`${prefix}: ${reason}`, "SyntaxError");
    }
    if (state.objectStores.has(text)) {
      const reason = "An object store with the specified name already exists.";
      throw new DOMException(`${prefix}: ${reason}`, "ConstraintError");
    }
    if (autoIncrement && path !== null && (path === "" || ArrayIsArray(path))) {
      throw new DOMException(
        `${prefix}: The autoIncrement option was set but the keyPath option was empty or an array.`,
        "InvalidAccessError",
      );
    }
    return addObjectStore(state, transaction, text, path, !!autoIncrement);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbdatabase-deleteobjectstore
  deleteObjectStore(name) {
    const prefix = "Failed to execute 'deleteObjectStore' on 'IDBDatabase'";
    const state = this.#state;
    requireArguments(arguments.length, 1, prefix);
    const text = string(name, prefix);
    const transaction = upgradeOf(state, prefix);
    requireActive(transactionState(transaction), prefix);
    const metadata = state.objectStores.get(text);
    if (metadata === undefined) {
      const reason = "The specified object store was not found.";
      throw new DOMException(`${prefix}: ${reason}`, "NotFoundError");
    }
    state.objectStores.delete(text);
    metadata.deleted = true;
    for (const index of metadata.indexes.values()) index.deleted = true;
    metadata.indexes = new SafeMap();
    change(transaction, { deleteObjectStore: { id: metadata.id } });
  }
}
webidl.configureInterface(IDBDatabase);
defineHandlers(IDBDatabase.prototype, "abort", "close", "error", "versionchange");

const modes = ["readonly", "readwrite", "versionchange"];
const durabilities = ["default", "strict", "relaxed"];

// Connections that are not closed: their numbers -> the databases.
const connections = new SafeMap();

function nameArguments(value, prefix) {
  if (!isObject(value) || value[SymbolIterator] === undefined || value[SymbolIterator] === null) {
    return [string(value, prefix)];
  }
  const names = [];
  for (const each of value) ArrayPrototypePush(names, string(each, prefix));
  return names;
}

function scopeOf(state, names, prefix) {
  const scope = new SafeMap();
  const ids = [];
  for (let i = 0; i < names.length; i++) {
    const metadata = state.objectStores.get(names[i]);
    if (metadata === undefined) {
      const text = "One of the specified object stores was not found.";
      throw new DOMException(`${prefix}: ${text}`, "NotFoundError");
    }
    if (!scope.has(names[i])) ArrayPrototypePush(ids, metadata.id);
    scope.set(names[i], metadata);
  }
  if (ids.length > 0) return [scope, ids];
  throw new DOMException(`${prefix}: The storeNames parameter was empty.`, "InvalidAccessError");
}

function upgradeOf(state, prefix) {
  if (state.upgrade !== null) return state.upgrade;
  const text = "The database is not running a version change transaction.";
  throw new DOMException(`${prefix}: ${text}`, "InvalidStateError");
}

function addObjectStore(state, transaction, name, keyPath, autoIncrement) {
  const id = state.nextObjectStore++;
  const indexes = new SafeMap();
  const metadata = { id, name, keyPath, autoIncrement, indexes, deleted: false, empty: true };
  state.objectStores.set(name, metadata);
  const path = JSONStringify(keyPath);
  change(transaction, { createObjectStore: { id, name, keyPath: path, autoIncrement } });
  return objectStoreHandle(transaction, metadata);
}

/** Changes the schema on disk, in the order of the transaction's requests. */
export function change(transaction, description) {
  const { id } = transactionState(transaction);
  const send = (request) => op_indexed_db_change(id, request, description);
  executeSilently(transaction, send, () => {});
}

/** A connection that the host has made. */
export function createDatabase(id, metadata) {
  const objectStores = new SafeMap();
  for (let i = 0; i < metadata.objectStores.length; i++) {
    const store = objectStoreOf(metadata.objectStores[i]);
    objectStores.set(store.name, store);
  }
  const database = new IDBDatabase(hostKey, {
    id,
    name: metadata.name,
    version: metadata.version,
    objectStores,
    nextObjectStore: metadata.nextObjectStore,
    nextIndex: metadata.nextIndex,
    closePending: false,
    upgrade: null,
  });
  connections.set(id, database);
  return database;
}

function objectStoreOf({ id, name, keyPath, autoIncrement, indexes }) {
  const own = new SafeMap();
  for (let i = 0; i < indexes.length; i++) {
    const { id, name, keyPath, unique, multiEntry } = indexes[i];
    const index = { id, name, keyPath: JSONParse(keyPath), unique, multiEntry, deleted: false };
    own.set(name, index);
  }
  const path = JSONParse(keyPath);
  return { id, name, keyPath: path, autoIncrement, indexes: own, deleted: false, empty: false };
}

/** An open connection that the host means. */
export function connection(id) {
  return connections.get(id);
}

/** The host has closed the connection, and aborts its transactions. */
export function closeByForce(database) {
  const state = databaseState(database);
  state.closePending = true;
  connections.delete(state.id);
}

/** The upgrade of a new connection: https://w3c.github.io/IndexedDB/#upgrade-a-database */
export function beginUpgrade(id, database, oldVersion, openRequest) {
  const state = databaseState(database);
  const before = snapshotOf(state);
  const upgrade = {
    revert(transaction) {
      state.version = oldVersion;
      revertTo(state, before, transaction);
    },
    finish() {
      state.upgrade = null;
    },
    forget(wasAborted = false) {
      const requested = requestState(openRequest);
      requested.transaction = null;
      if (!wasAborted) return;
      requested.result = undefined;
      requested.done = false;
      database.close();
    },
  };
  const names = state.objectStores;
  const transaction = createTransaction(
    id, database, state, "versionchange", names, "default", upgrade,
  );
  state.upgrade = transaction;
  return transaction;
}

function snapshotOf(state) {
  const stores = [];
  for (const [name, metadata] of state.objectStores) {
    ArrayPrototypePush(stores, { name, metadata, indexes: [...metadata.indexes] });
  }
  return stores;
}

// https://w3c.github.io/IndexedDB/#abort-an-upgrade-transaction
function revertTo(state, before, transaction) {
  const known = new SafeMap();
  for (let i = 0; i < before.length; i++) known.set(before[i].metadata, before[i]);
  for (const metadata of transactionState(transaction).handles.keys()) {
    if (known.has(metadata)) continue;
    metadata.deleted = true;
    for (const index of metadata.indexes.values()) index.deleted = true;
    metadata.indexes = new SafeMap();
  }
  state.objectStores = new SafeMap();
  for (let i = 0; i < before.length; i++) {
    const { name, metadata, indexes } = before[i];
    for (const index of metadata.indexes.values()) index.deleted = true;
    metadata.name = name;
    metadata.deleted = false;
    metadata.indexes = new SafeMap();
    for (let j = 0; j < indexes.length; j++) {
      const [indexName, index] = indexes[j];
      index.name = indexName;
      index.deleted = false;
      metadata.indexes.set(indexName, index);
    }
    state.objectStores.set(name, metadata);
  }
}
