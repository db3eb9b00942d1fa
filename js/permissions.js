// Permissions: https://w3c.github.io/permissions/
//
// Invariant: the host decides; a feature that it does not have is denied. A state never changes
// while the realm lives, so that `change` never fires.

import { core, primordials } from "ext:core/mod.js";
import { defineHandler } from "ext:kittiwake/events.js";
import {
  assertThis,
  enumValue,
  hostKey,
  isObject,
  requireArguments,
  requireHostKey,
  requiredMember,
  webidl,
} from "ext:kittiwake/webidl.js";

const { EventTarget } = core.loadExtScript("ext:deno_web/02_event.js");
const { op_permission_query } = core.ops;
const { SafeArrayIterator, TypeError } = primordials;

const supported = [
  "background-fetch", "background-sync", "notifications", "periodic-background-sync",
];

// https://w3c.github.io/permissions-registry/, as far as Chromium knows it.
const names = [
  ...new SafeArrayIterator(supported),
  "accelerometer", "camera", "clipboard-read", "clipboard-write",
  "display-capture", "geolocation", "gyroscope", "idle-detection", "keyboard-lock", "local-fonts",
  "magnetometer", "microphone", "midi", "nfc", "payment-handler",
  "persistent-storage", "pointer-lock", "push", "screen-wake-lock", "storage-access",
  "system-wake-lock", "top-level-storage-access", "window-management",
];

// https://w3c.github.io/permissions/#permissions-interface
export class Permissions {
  constructor(key = undefined) {
    requireHostKey(key, "Permissions");
    this[webidl.brand] = webidl.brand;
  }

  // https://w3c.github.io/permissions/#query-method
  async query(permissionDesc) {
    const prefix = "Failed to execute 'query' on 'Permissions'";
    assertThis(this, Permissions, prefix);
    requireArguments(arguments.length, 1, prefix);
    if (!isObject(permissionDesc)) {
      throw new TypeError(`${prefix}: parameter 1 is not of type 'object'.`);
    }
    const reading = `${prefix}: Failed to read the 'name' property from 'PermissionDescriptor'`;
    const given = requiredMember(permissionDesc.name, reading);
    const name = enumValue(given, names, "PermissionName", reading);
    return new PermissionStatus(hostKey, name, stateOf(name));
  }
}
webidl.configureInterface(Permissions);

function stateOf(name) {
  if (supported.includes(name)) return op_permission_query(name);
  // Nothing is ever evicted (storage_manager.js).
  return name === "persistent-storage" ? "granted" : "denied";
}

// https://w3c.github.io/permissions/#permissionstatus-interface
export class PermissionStatus extends EventTarget {
  #name;
  #state;

  constructor(key = undefined, name = undefined, state = undefined) {
    requireHostKey(key, "PermissionStatus");
    super();
    this[webidl.brand] = webidl.brand;
    this.#name = name;
    this.#state = state;
  }

  // The name that was asked for, as the specification says. Chromium has its own: background_sync.
  get name() {
    webidl.assertBranded(this, PermissionStatusPrototype);
    return this.#name;
  }

  get state() {
    webidl.assertBranded(this, PermissionStatusPrototype);
    return this.#state;
  }
}
webidl.configureInterface(PermissionStatus);
defineHandler(PermissionStatus.prototype, "change");
const PermissionStatusPrototype = PermissionStatus.prototype;

/** The realm's `navigator.permissions`. */
export function createPermissions() {
  return new Permissions(hostKey);
}
