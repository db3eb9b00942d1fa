// Background Synchronization: https://wicg.github.io/background-sync/spec/
//
// Invariant: the promise of register() resolves only after the host has the registration on disk.

import { core } from "ext:core/mod.js";
import { ExtendableEvent } from "ext:kittiwake/extendable_event.js";

const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const { op_sync_register, op_sync_tags } = core.ops;

// Only Kittiwake constructs the interfaces that a script may not.
const hostKey = Symbol("host");

// https://wicg.github.io/background-sync/spec/#sync-manager-interface
export class SyncManager {
  #scope;

  constructor(key = undefined, scope = undefined) {
    if (key !== hostKey) webidl.illegalConstructor();
    this[webidl.brand] = webidl.brand;
    this.#scope = scope;
  }

  // https://wicg.github.io/background-sync/spec/#dom-syncmanager-register
  async register(tag) {
    webidl.assertBranded(this, SyncManagerPrototype);
    const prefix = "Failed to execute 'register' on 'SyncManager'";
    webidl.requiredArguments(arguments.length, 1, prefix);
    op_sync_register(this.#scope, webidl.converters.DOMString(tag, prefix, "parameter 1"));
  }

  // https://wicg.github.io/background-sync/spec/#dom-syncmanager-gettags
  async getTags() {
    webidl.assertBranded(this, SyncManagerPrototype);
    return op_sync_tags(this.#scope);
  }
}
webidl.configureInterface(SyncManager);
const SyncManagerPrototype = SyncManager.prototype;

const convertSyncEventInit = webidl.createDictionaryConverter("SyncEventInit", [
  { key: "bubbles", defaultValue: false, converter: webidl.converters.boolean },
  { key: "cancelable", defaultValue: false, converter: webidl.converters.boolean },
  { key: "composed", defaultValue: false, converter: webidl.converters.boolean },
], [
  { key: "lastChance", defaultValue: false, converter: webidl.converters.boolean },
  { key: "tag", required: true, converter: webidl.converters.DOMString },
]);

// https://wicg.github.io/background-sync/spec/#sync-event
export class SyncEvent extends ExtendableEvent {
  #tag;
  #lastChance;

  constructor(type, init) {
    const prefix = "Failed to construct 'SyncEvent'";
    webidl.requiredArguments(arguments.length, 2, prefix);
    const converted = convertSyncEventInit(init, prefix, "parameter 2");
    super(type, converted);
    this.#tag = converted.tag;
    this.#lastChance = converted.lastChance;
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

/** The manager of the registration with this scope. */
export function createSyncManager(scope) {
  return new SyncManager(hostKey, scope);
}
