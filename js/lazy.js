// Parts of the platform that are not in the snapshot: a realm loads them when something first asks
// for them. Which files are parts says runtime/extension.rs.
//
// Invariant: until a part is loaded there is no object of its, and its interfaces on the global
// object look like any others.

import { core, primordials } from "ext:core/mod.js";
import { refuseToClone } from "ext:kittiwake/platform_object.js";

const { op_lazy_answer, op_lazy_define, op_lazy_load } = core.ops;
const {
  ObjectAssign,
  ObjectGetOwnPropertyDescriptor,
  ObjectPrototype,
  ReflectDefineProperty,
  ReflectDeleteProperty,
  ReflectOwnKeys,
} = primordials;

// What deno_core gives to each script that it loads. What such a script asks for may be a part.
const captured = core.loadExtScript("ext:kittiwake/captured.js");
captured.core.loadExtScript = load;

/** What parts may import, by its specifier. */
const importable = { __proto__: null, __bootstrap: captured };
const loaded = { __proto__: null };
/** What the language has on Object.prototype. */
const plainKeys = { __proto__: null };
for (const key of ReflectOwnKeys(ObjectPrototype)) plainKeys[key] = true;
/** The part of each interface, and the names of the interfaces of each part. */
const partOf = { __proto__: null };
const interfacesOf = { __proto__: null };
/** What is done to what a part exports, before anybody has it. */
const preparations = { __proto__: null };

/** What a part exports. */
export function load(specifier) {
  const known = loaded[specifier];
  if (known !== undefined) return known;
  const exports = withPlainObjects(() => op_lazy_load(specifier, importable));
  // Not a part, but a script that the snapshot has.
  if (exports === undefined) return loaded[specifier] = core.loadExtScript(specifier);
  loaded[specifier] = exports;
  const names = interfacesOf[specifier];
  for (let i = 0; i < names?.length; i++) refuseToClone(exports[names[i]]);
  preparations[specifier]?.(exports);
  return exports;
}

/** Takes off Object.prototype what a script has put there: to a descriptor it would be a part of
 * its own, and its accessors would see objects of the platform that are not made yet. */
function withPlainObjects(run) {
  const keys = ReflectOwnKeys(ObjectPrototype);
  const taken = { __proto__: null };
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i];
    if (plainKeys[key]) continue;
    taken[i] = { __proto__: null, ...ObjectGetOwnPropertyDescriptor(ObjectPrototype, key) };
    ReflectDeleteProperty(ObjectPrototype, key);
  }
  try {
    return run();
  } finally {
    for (let i = 0; i < keys.length; i++) {
      if (taken[i] !== undefined) ReflectDefineProperty(ObjectPrototype, keys[i], taken[i]);
    }
  }
}

/** What a part exports if it is loaded; undefined if nobody can have anything of it. */
export function ifLoaded(specifier) {
  return loaded[specifier];
}

/** Defines an interface of a part on `target`. */
export function defineLazily(target, name, specifier) {
  interfacesOf[specifier] ??= [];
  interfacesOf[specifier].push(name);
  partOf[name] = specifier;
  op_lazy_define(target, name);
}

/** Called once in each realm, before its first script. */
export function answerLazily() {
  op_lazy_answer((name) => load(partOf[name])[name]);
}

/** Has `how` done to what a part exports as soon as it is loaded. */
export function prepare(specifier, how) {
  preparations[specifier] = how;
}

/** Lets parts import these, by their specifiers. */
export function allowImports(modules) {
  ObjectAssign(importable, modules);
}

// The parts that several files name.
export const BACKGROUND_FETCH = "ext:kittiwake/background_fetch.js";
export const COOKIES = "ext:kittiwake/cookie_store.js";
export const FORM_DATA = "ext:deno_fetch/21_formdata.js";
export const INDEXED_DB = "ext:kittiwake/indexed_db/interfaces.js";
export const NETWORK_INFORMATION = "ext:kittiwake/network_information.js";
export const NOTIFICATIONS = "ext:kittiwake/notifications.js";
export const PERFORMANCE = "ext:deno_web/15_performance.js";
export const PERIODIC_SYNC = "ext:kittiwake/periodic_sync.js";
export const PUSH = "ext:kittiwake/push.js";
export const SCHEDULER = "ext:kittiwake/scheduler.js";
export const STORAGE = "ext:kittiwake/storage_manager.js";
export const STORAGE_BUCKETS = "ext:kittiwake/storage_buckets.js";
export const STREAMS = "ext:deno_web/06_streams.js";

export const streams = () => load(STREAMS);
