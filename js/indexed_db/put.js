// Storing a value: https://w3c.github.io/IndexedDB/#add-or-put, from the clone on. The host finds
// most keys in what it has serialised; where it does not, they are found in a clone here.
//
// Invariant: the transaction is not active while a value is cloned, which may run a script's code.

import { core, primordials } from "ext:core/mod.js";
import {
  canInject,
  extractIndexKeys,
  extractKey,
  inject,
  recipe as keyRecipe,
} from "ext:kittiwake/indexed_db/key_path.js";
import { compareKeys, generated, invalid } from "ext:kittiwake/indexed_db/keys.js";
import {
  changing,
  execute,
  requireActive,
  transactionState,
} from "ext:kittiwake/indexed_db/transaction.js";
import { blobParts } from "ext:kittiwake/indexed_db/values.js";
import { deserialize, refusing } from "ext:kittiwake/structured_storage.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { op_indexed_db_put, op_indexed_db_put_bytes } = core.ops;
const { ArrayPrototypePush, ObjectPrototype } = primordials;

/**
 * Stores a value under `key`, or under its own or a generated one if that is undefined. A cursor
 * gives the key that its record has in `mustKeep`.
 */
export function storeValue(transaction, store, value, key, options) {
  const { mustKeep, overwrite, prefix, source } = options;
  const state = changing(transaction);
  const request = state.lastRequest + 1;
  const recipe = mustKeep === undefined && state.held === null ? recipeOf(state, store) : null;
  state.phase = "inactive";
  let bytes;
  try {
    bytes = refusing(prefix, (refuse) =>
      op_indexed_db_put(
        state.id, request, store.id, recipe, value, key, overwrite,
        core.hostObjectBrand, ObjectPrototype, refuse,
      ));
  } finally {
    if (state.phase === "inactive") state.phase = "active";
  }
  requireActive(state, prefix);
  store.empty = false;
  if (bytes === undefined) return execute(transaction, source, sent, answer);
  return storeBytes(transaction, store, bytes, key, options);
}

const sent = () => {};
const answer = (stored) => stored;

/** Only an upgrade changes indexes. */
function recipeOf({ upgrade }, store) {
  if (upgrade !== null) return keyRecipe(store);
  if (store.recipe === undefined) store.recipe = keyRecipe(store);
  return store.recipe;
}

/** As `storeValue`, of a serialised value whose keys the host has not found. */
function storeBytes(transaction, store, bytes, key, { mustKeep, overwrite, prefix, source }) {
  const isInline = store.keyPath !== null;
  const clone = isInline || store.indexes.size > 0 ? deserialize(bytes) : undefined;
  if (isInline) {
    key = inlineKey(store, clone, prefix);
    if (mustKeep !== undefined && (key === undefined || compareKeys(key, mustKeep) !== 0)) {
      const reason = "The effective object store of this cursor uses in-line keys and evaluating " +
        "the key path of the value parameter results in a different value than the cursor's " +
        "effective key.";
      throw new DOMException(`${prefix}: ${reason}`, "DataError");
    }
    if (key === undefined) inject(clone, store.keyPath, generated);
  }
  key = mustKeep ?? key;
  const indexes = indexKeys(store, clone);
  const { id } = transactionState(transaction);
  // Kept until it is sent, which may be later.
  const blobs = blobParts(bytes);
  const send = (request) =>
    op_indexed_db_put_bytes(id, request, store.id, key, bytes, indexes, blobs.names, overwrite);
  return execute(transaction, source, send, answer);
}

/** The key in a value; undefined if the generator is to give one. */
function inlineKey(store, clone, prefix) {
  const key = extractKey(clone, store.keyPath);
  if (key === invalid) {
    const reason = "Evaluating the object store's key path yielded a value that is not a valid " +
      "key.";
    throw new DOMException(`${prefix}: ${reason}`, "DataError");
  }
  if (key !== undefined) return key;
  if (!store.autoIncrement) {
    const reason = "Evaluating the object store's key path did not yield a value.";
    throw new DOMException(`${prefix}: ${reason}`, "DataError");
  }
  if (!canInject(clone, store.keyPath)) {
    const reason = "A generated key could not be inserted into the value.";
    throw new DOMException(`${prefix}: ${reason}`, "DataError");
  }
  return undefined;
}

/** Flat: index, whether it is unique, keys, ... */
function indexKeys(store, clone) {
  const flat = [];
  for (const index of store.indexes.values()) {
    ArrayPrototypePush(flat, index.id, index.unique, extractIndexKeys(clone, index));
  }
  return flat;
}
