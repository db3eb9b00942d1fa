// Storage buckets: https://wicg.github.io/storage-buckets/
//
// Invariant: the promise of whatever changes a bucket resolves only after the host has the change
// on disk. A bucket that is gone is UnknownError to whoever still has it.

import { core, primordials } from "ext:core/mod.js";
import { createCacheStorage } from "ext:kittiwake/cache.js";
import { INDEXED_DB, load, STORAGE } from "ext:kittiwake/lazy.js";
import {
  assertThis,
  dictionary,
  finiteDouble,
  hostKey,
  requireArguments,
  requireHostKey,
  string,
  unsignedLongLong,
  webidl,
} from "ext:kittiwake/webidl.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const {
  op_bucket_delete,
  op_bucket_expire,
  op_bucket_names,
  op_bucket_open,
  op_bucket_persist,
  op_bucket_state,
  op_clock_now,
} = core.ops;
const { MathTrunc, RegExpPrototypeExec, TypeError } = primordials;

// https://wicg.github.io/storage-buckets/#storagebucketmanager
export class StorageBucketManager {
  constructor(key = undefined) {
    requireHostKey(key, "StorageBucketManager");
    this[webidl.brand] = webidl.brand;
  }

  // https://wicg.github.io/storage-buckets/#dom-storagebucketmanager-open
  async open(name, options = undefined) {
    const prefix = "Failed to execute 'open' on 'StorageBucketManager'";
    assertThis(this, StorageBucketManager, prefix);
    requireArguments(arguments.length, 1, prefix);
    const text = string(name, prefix);
    const converted = bucketOptions(options, prefix);
    requireName(text);
    if (converted.quota === 0) throw new TypeError("The bucket's quota cannot equal zero.");
    if (converted.expires !== null && converted.expires <= op_clock_now()) {
      throw new TypeError("The bucket expiration is invalid.");
    }
    return new StorageBucket(hostKey, text, op_bucket_open(text, converted));
  }

  // https://wicg.github.io/storage-buckets/#dom-storagebucketmanager-keys
  async keys() {
    assertThis(this, StorageBucketManager, "Failed to execute 'keys' on 'StorageBucketManager'");
    return op_bucket_names();
  }

  // https://wicg.github.io/storage-buckets/#dom-storagebucketmanager-delete
  async delete(name) {
    const prefix = "Failed to execute 'delete' on 'StorageBucketManager'";
    assertThis(this, StorageBucketManager, prefix);
    requireArguments(arguments.length, 1, prefix);
    const text = string(name, prefix);
    requireName(text);
    await op_bucket_delete(text);
  }
}
webidl.configureInterface(StorageBucketManager);

// https://wicg.github.io/storage-buckets/#dictdef-storagebucketoptions
function bucketOptions(options, prefix) {
  const { expires, persisted, quota } = dictionary(options, "StorageBucketOptions", prefix);
  const reading = (member) =>
    `${prefix}: Failed to read the '${member}' property from 'StorageBucketOptions'`;
  return {
    expires: expires === undefined ? null : MathTrunc(finiteDouble(expires, reading("expires"))),
    persisted: Boolean(persisted),
    quota: quota === undefined ? null : unsignedLongLong(quota, reading("quota")),
  };
}

// https://wicg.github.io/storage-buckets/#validate-a-bucket-name
function requireName(name) {
  if (RegExpPrototypeExec(/^[a-z0-9][a-z0-9_-]{0,63}$/, name) !== null) return;
  throw new TypeError(`The bucket name '${name}' is not a valid name.`);
}

// https://wicg.github.io/storage-buckets/#storagebucket
export class StorageBucket {
  #name;
  #id;
  #caches;
  #indexedDB;

  constructor(key = undefined, name = undefined, id = undefined) {
    requireHostKey(key, "StorageBucket");
    this[webidl.brand] = webidl.brand;
    this.#name = name;
    this.#id = id;
  }

  get name() {
    return this.#name;
  }

  // https://wicg.github.io/storage-buckets/#dom-storagebucket-persist
  async persist() {
    assertThis(this, StorageBucket, "Failed to execute 'persist' on 'StorageBucket'");
    if (!op_bucket_persist(this.#id)) refuse("persisting");
    return true;
  }

  // https://wicg.github.io/storage-buckets/#dom-storagebucket-persisted
  async persisted() {
    assertThis(this, StorageBucket, "Failed to execute 'persisted' on 'StorageBucket'");
    return (op_bucket_state(this.#id) ?? refuse("getting persisted")).persisted;
  }

  // https://wicg.github.io/storage-buckets/#dom-storagebucket-estimate
  async estimate() {
    assertThis(this, StorageBucket, "Failed to execute 'estimate' on 'StorageBucket'");
    return load(STORAGE).estimateOf(this.#id) ?? refuse("getting estimate");
  }

  // https://wicg.github.io/storage-buckets/#dom-storagebucket-setexpires
  async setExpires(expires) {
    const prefix = "Failed to execute 'setExpires' on 'StorageBucket'";
    assertThis(this, StorageBucket, prefix);
    requireArguments(arguments.length, 1, prefix);
    const time = MathTrunc(finiteDouble(expires, prefix));
    if (!op_bucket_expire(this.#id, time)) refuse("setting expires");
  }

  // https://wicg.github.io/storage-buckets/#dom-storagebucket-expires
  async expires() {
    assertThis(this, StorageBucket, "Failed to execute 'expires' on 'StorageBucket'");
    return (op_bucket_state(this.#id) ?? refuse("getting expires")).expires;
  }

  // https://wicg.github.io/storage-buckets/#dom-storagebucket-indexeddb
  get indexedDB() {
    this.#indexedDB ??= load(INDEXED_DB).createIndexedDb(this.#id);
    return this.#indexedDB;
  }

  // https://wicg.github.io/storage-buckets/#dom-storagebucket-caches
  get caches() {
    this.#caches ??= createCacheStorage(this.#id);
    return this.#caches;
  }

  // https://wicg.github.io/storage-buckets/#dom-storagebucket-getdirectory
  async getDirectory() {
    const prefix = "Failed to execute 'getDirectory' on 'StorageBucket'";
    assertThis(this, StorageBucket, prefix);
    const text = `${prefix}: Kittiwake has no file system for scripts.`;
    throw new DOMException(text, "NotSupportedError");
  }
}
webidl.configureInterface(StorageBucket);

function refuse(doing) {
  throw new DOMException(`Unknown error occurred while ${doing}.`, "UnknownError");
}

/** The buckets of the realm's origin. */
export function createStorageBucketManager() {
  return new StorageBucketManager(hostKey);
}
