// IDBFactory: https://w3c.github.io/IndexedDB/#factory-interface

import { core, primordials } from "ext:core/mod.js";
import { compareKeys } from "ext:kittiwake/indexed_db/keys.js";
import { validKey } from "ext:kittiwake/indexed_db/key_range.js";
import { createOpenRequest } from "ext:kittiwake/indexed_db/request.js";
import {
  assertThis,
  hostKey,
  requireArguments,
  requireHostKey,
  string,
  unsignedLongLong,
  webidl,
} from "ext:kittiwake/webidl.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { op_indexed_db_delete, op_indexed_db_list, op_indexed_db_open } = core.ops;
const { ArrayPrototypePush, Promise, SafeMap, TypeError } = primordials;

// https://w3c.github.io/IndexedDB/#idbfactory
export class IDBFactory {
  #bucket;

  constructor(key = undefined, bucket = undefined) {
    requireHostKey(key, "IDBFactory");
    this[webidl.brand] = webidl.brand;
    this.#bucket = bucket;
  }

  // https://w3c.github.io/IndexedDB/#dom-idbfactory-open
  open(name, version = undefined) {
    const prefix = "Failed to execute 'open' on 'IDBFactory'";
    webidl.assertBranded(this, IDBFactoryPrototype);
    requireArguments(arguments.length, 1, prefix);
    const text = string(name, prefix);
    const wanted = version === undefined ? undefined : unsignedLongLong(version, prefix);
    if (wanted === 0) {
      throw new TypeError(`${prefix}: The version provided must not be 0.`);
    }
    return createOpenRequest((id) => op_indexed_db_open(this.#bucket, id, text, wanted ?? 0));
  }

  // https://w3c.github.io/IndexedDB/#dom-idbfactory-deletedatabase
  deleteDatabase(name) {
    const prefix = "Failed to execute 'deleteDatabase' on 'IDBFactory'";
    webidl.assertBranded(this, IDBFactoryPrototype);
    requireArguments(arguments.length, 1, prefix);
    const text = string(name, prefix);
    return createOpenRequest((id) => op_indexed_db_delete(this.#bucket, id, text));
  }

  // https://w3c.github.io/IndexedDB/#dom-idbfactory-databases
  async databases() {
    assertThis(this, IDBFactory, "Failed to execute 'databases' on 'IDBFactory'");
    const id = ++lastList;
    const listed = new Promise((resolve) => lists.set(id, resolve));
    op_indexed_db_list(this.#bucket, id);
    const databases = await listed;
    if (databases !== null) return databases;
    throw new DOMException("Internal error.", "UnknownError");
  }

  // https://w3c.github.io/IndexedDB/#dom-idbfactory-cmp
  cmp(first, second) {
    const prefix = "Failed to execute 'cmp' on 'IDBFactory'";
    webidl.assertBranded(this, IDBFactoryPrototype);
    requireArguments(arguments.length, 2, prefix);
    return compareKeys(validKey(first, prefix), validKey(second, prefix));
  }
}
webidl.configureInterface(IDBFactory);
const IDBFactoryPrototype = IDBFactory.prototype;

// Promises of `databases()` that wait: their numbers -> what resolves them.
const lists = new SafeMap();
let lastList = 0;

/** The host has listed the databases; null if their bucket is gone. */
export function listed(id, databases) {
  const resolve = lists.get(id);
  lists.delete(id);
  if (databases === null) return resolve(null);
  const result = [];
  for (let i = 0; i < databases.length; i++) {
    ArrayPrototypePush(result, { name: databases[i][0], version: databases[i][1] });
  }
  resolve(result);
}

/** The databases of a bucket of the realm's origin. */
export function createIndexedDb(bucket) {
  return new IDBFactory(hostKey, bucket);
}

/** Those of the bucket that every origin has. */
export const indexedDB = createIndexedDb(0);
