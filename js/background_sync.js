// Background Synchronization: https://wicg.github.io/background-sync/spec/
//
// Invariant: the promise of register() resolves only after the host has the registration on disk.

import { core, primordials } from "ext:core/mod.js";
import { ExtendableEvent } from "ext:kittiwake/extendable_event.js";
import {
  assertThis,
  hostKey,
  isObject,
  requireArguments,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { op_sync_register, op_sync_tags } = core.ops;
const { StringPrototypeIsWellFormed, TypeError } = primordials;

// https://wicg.github.io/background-sync/spec/#sync-manager-interface
export class SyncManager {
  #scope;

  constructor(key = undefined, scope = undefined) {
    requireHostKey(key, "SyncManager");
    this[webidl.brand] = webidl.brand;
    this.#scope = scope;
  }

  // https://wicg.github.io/background-sync/spec/#dom-syncmanager-register
  async register(tag) {
    const prefix = "Failed to execute 'register' on 'SyncManager'";
    assertThis(this, SyncManager, prefix);
    requireArguments(arguments.length, 1, prefix);
    op_sync_register(this.#scope, storableTag(tag, prefix));
  }

  // https://wicg.github.io/background-sync/spec/#dom-syncmanager-gettags
  async getTags() {
    assertThis(this, SyncManager, "Failed to execute 'getTags' on 'SyncManager'");
    return op_sync_tags(this.#scope);
  }
}
webidl.configureInterface(SyncManager);

/** A tag may be any DOMString, but one with a lone surrogate is no text that a disk could keep and an
 * event could give back; Chromium ends the renderer that registers it. Two such tags must not become
 * one, so it is refused. */
function storableTag(value, prefix) {
  const tag = string(value, prefix);
  if (StringPrototypeIsWellFormed(tag)) return tag;
  throw new TypeError(`${prefix}: The tag has a lone surrogate, which cannot be stored.`);
}

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
    super(type, requireInit(init, prefix));
    // Members are read after the inherited ones, in the order of their names.
    this.#lastChance = Boolean(init.lastChance);
    const tag = init.tag;
    const reading = `${prefix}: Failed to read the 'tag' property from 'SyncEventInit'`;
    if (tag === undefined) throw new TypeError(`${reading}: Required member is undefined.`);
    this.#tag = string(tag, reading);
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

function requireInit(init, prefix) {
  if (isObject(init)) return init;
  // A dictionary with a required member has no empty default.
  const missing = "Failed to read the 'tag' property from 'SyncEventInit': Required member is undefined.";
  const text = init === undefined ? missing : "The provided value is not of type 'SyncEventInit'.";
  throw new TypeError(`${prefix}: ${text}`);
}
