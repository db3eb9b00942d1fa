// StorageManager: https://storage.spec.whatwg.org/#storagemanager
//
// Invariant: nothing is ever evicted, so that every origin's storage is persistent.

import { core } from "ext:core/mod.js";
import { assertThis, hostKey, requireHostKey, webidl } from "ext:kittiwake/webidl.js";

const { op_storage_estimate } = core.ops;

// https://storage.spec.whatwg.org/#api
export class StorageManager {
  constructor(key = undefined) {
    requireHostKey(key, "StorageManager");
    this[webidl.brand] = webidl.brand;
  }

  // https://storage.spec.whatwg.org/#dom-storagemanager-persisted
  async persisted() {
    assertThis(this, StorageManager, "Failed to execute 'persisted' on 'StorageManager'");
    return true;
  }

  // https://storage.spec.whatwg.org/#dom-storagemanager-persist
  async persist() {
    assertThis(this, StorageManager, "Failed to execute 'persist' on 'StorageManager'");
    return true;
  }

  // https://storage.spec.whatwg.org/#dom-storagemanager-estimate, with Chromium's details
  async estimate() {
    assertThis(this, StorageManager, "Failed to execute 'estimate' on 'StorageManager'");
    return estimateOf(0);
  }
}
webidl.configureInterface(StorageManager);

/** What a bucket keeps, and may keep; null if it is gone. Bucket 0 is the whole origin. */
export function estimateOf(bucket) {
  const estimate = op_storage_estimate(bucket);
  if (estimate === null) return null;
  const { caches, indexedDb, quota } = estimate;
  const usageDetails = {};
  if (caches > 0) usageDetails.caches = caches;
  if (indexedDb > 0) usageDetails.indexedDB = indexedDb;
  return { quota, usage: caches + indexedDb, usageDetails };
}

/** The storage of the realm's origin. */
export function createStorageManager() {
  return new StorageManager(hostKey);
}
