// Periodic Background Synchronization: https://wicg.github.io/periodic-background-sync/
//
// Invariant: a promise of register() or unregister() resolves only after the host has the change on
// disk.

import { core } from "ext:core/mod.js";
import { ExtendableEvent } from "ext:kittiwake/extendable_event.js";
import { onDisk } from "ext:kittiwake/sync_writes.js";
import {
  assertThis,
  dictionary,
  hostKey,
  requireArguments,
  requireHostKey,
  requiredDictionary,
  requiredStringMember,
  storableTag,
  string,
  unsignedLongLong,
  webidl,
} from "ext:kittiwake/webidl.js";

const { op_periodic_register, op_periodic_tags, op_periodic_unregister } = core.ops;

// https://wicg.github.io/periodic-background-sync/#periodicsyncmanager
export class PeriodicSyncManager {
  #scope;

  constructor(key = undefined, scope = undefined) {
    requireHostKey(key, "PeriodicSyncManager");
    this[webidl.brand] = webidl.brand;
    this.#scope = scope;
  }

  // https://wicg.github.io/periodic-background-sync/#dom-periodicsyncmanager-register
  async register(tag, options = undefined) {
    const prefix = "Failed to execute 'register' on 'PeriodicSyncManager'";
    assertThis(this, PeriodicSyncManager, prefix);
    requireArguments(arguments.length, 1, prefix);
    const text = storableTag(tag, prefix);
    await onDisk(op_periodic_register(this.#scope, text, minInterval(options, prefix)));
  }

  // https://wicg.github.io/periodic-background-sync/#dom-periodicsyncmanager-gettags
  async getTags() {
    assertThis(this, PeriodicSyncManager, "Failed to execute 'getTags' on 'PeriodicSyncManager'");
    return op_periodic_tags(this.#scope);
  }

  // https://wicg.github.io/periodic-background-sync/#dom-periodicsyncmanager-unregister
  async unregister(tag) {
    const prefix = "Failed to execute 'unregister' on 'PeriodicSyncManager'";
    assertThis(this, PeriodicSyncManager, prefix);
    requireArguments(arguments.length, 1, prefix);
    await onDisk(op_periodic_unregister(this.#scope, string(tag, prefix)));
  }
}
webidl.configureInterface(PeriodicSyncManager);

// https://wicg.github.io/periodic-background-sync/#dictdef-backgroundsyncoptions
function minInterval(options, prefix) {
  const { minInterval } = dictionary(options, "BackgroundSyncOptions", prefix);
  if (minInterval === undefined) return 0;
  const reading = `${prefix}: Failed to read the 'minInterval' property from ` +
    "'BackgroundSyncOptions'";
  return unsignedLongLong(minInterval, reading);
}

/** The manager of the registration with this scope. */
export function createPeriodicSyncManager(scope) {
  return new PeriodicSyncManager(hostKey, scope);
}

// https://wicg.github.io/periodic-background-sync/#periodicsyncevent-interface
export class PeriodicSyncEvent extends ExtendableEvent {
  #tag;

  constructor(type, init) {
    const prefix = "Failed to construct 'PeriodicSyncEvent'";
    requireArguments(arguments.length, 2, prefix);
    super(string(type, prefix), requiredDictionary(init, "PeriodicSyncEventInit", prefix));
    this.#tag = requiredStringMember(init, "tag", "PeriodicSyncEventInit", prefix);
  }

  get tag() {
    webidl.assertBranded(this, PeriodicSyncEventPrototype);
    return this.#tag;
  }
}
webidl.configureInterface(PeriodicSyncEvent);
const PeriodicSyncEventPrototype = PeriodicSyncEvent.prototype;
