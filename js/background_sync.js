// Background Synchronization: https://wicg.github.io/background-sync/spec/
//
// Invariant: the promise of register() resolves only after the host has the registration on disk.

import { core, primordials } from "ext:core/mod.js";
import { ExtendableEvent } from "ext:kittiwake/extendable_event.js";
import { onDisk } from "ext:kittiwake/sync_writes.js";
import {
  assertThis,
  hostKey,
  requireArguments,
  requireHostKey,
  requiredDictionary,
  requiredStringMember,
  storableTag,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { op_sync_register, op_sync_tags } = core.ops;
const { PromiseReject } = primordials;

// https://wicg.github.io/background-sync/spec/#sync-manager-interface
export class SyncManager {
  #scope;

  constructor(key = undefined, scope = undefined) {
    requireHostKey(key, "SyncManager");
    this[webidl.brand] = webidl.brand;
    this.#scope = scope;
  }

  // https://wicg.github.io/background-sync/spec/#dom-syncmanager-register
  register(tag) {
    const prefix = "Failed to execute 'register' on 'SyncManager'";
    try {
      assertThis(this, SyncManager, prefix);
      requireArguments(arguments.length, 1, prefix);
      return onDisk(op_sync_register(this.#scope, storableTag(tag, prefix)));
    } catch (error) {
      return PromiseReject(error);
    }
  }

  // https://wicg.github.io/background-sync/spec/#dom-syncmanager-gettags
  async getTags() {
    assertThis(this, SyncManager, "Failed to execute 'getTags' on 'SyncManager'");
    return op_sync_tags(this.#scope);
  }
}
webidl.configureInterface(SyncManager);

/** The manager of the registration with this scope. */
export function createSyncManager(scope) {
  return new SyncManager(hostKey, scope);
}

// https://wicg.github.io/background-sync/spec/#sync-event
export class SyncEvent extends ExtendableEvent {
  #tag;
  #lastChance;

  constructor(type, init) {
    const prefix = "Failed to construct 'SyncEvent'";
    requireArguments(arguments.length, 2, prefix);
    super(string(type, prefix), requiredDictionary(init, "SyncEventInit", prefix));
    // Members are read after the inherited ones, in the order of their names.
    this.#lastChance = Boolean(init.lastChance);
    this.#tag = requiredStringMember(init, "tag", "SyncEventInit", prefix);
  }

  get tag() {
    webidl.assertBranded(this, SyncEventPrototype);
    return this.#tag;
  }

  get lastChance() {
    webidl.assertBranded(this, SyncEventPrototype);
    return this.#lastChance;
  }
}
webidl.configureInterface(SyncEvent);
const SyncEventPrototype = SyncEvent.prototype;
