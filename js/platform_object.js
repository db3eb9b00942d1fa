// Objects of the platform that have no serialization steps, wherever they stand in a value.
// https://html.spec.whatwg.org/#serializable-objects
//
// V8's serialiser takes them for plain objects. It asks each object for a property of the engine's,
// though: these answer with a function that throws.
//
// Invariant: an object that is not cloned as what it is, is not cloned at all.

import { core, primordials } from "ext:core/mod.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const {
  ObjectDefineProperty,
  ObjectGetOwnPropertyDescriptor,
  ObjectHasOwn,
  SafeWeakMap,
  SafeWeakSet,
  WeakMapPrototypeGet,
  WeakMapPrototypeSet,
  WeakSetPrototypeAdd,
  WeakSetPrototypeHas,
} = primordials;

const refusing = new SafeWeakSet();
const refusals = new SafeWeakMap();

/** No object of an interface can be cloned, unless it says itself how. */
export function refuseToClone({ name, prototype }) {
  if (prototype === undefined || ObjectHasOwn(prototype, core.hostObjectBrand)) return;
  const inherited = prototype[core.hostObjectBrand];
  if (inherited !== undefined && !WeakSetPrototypeHas(refusing, inherited)) return;
  const refuse = () => {
    const text = `${name} object could not be cloned.`;
    const error = new DOMException(text, "DataCloneError");
    WeakMapPrototypeSet(refusals, error, text);
    throw error;
  };
  WeakSetPrototypeAdd(refusing, refuse);
  ObjectDefineProperty(prototype, core.hostObjectBrand, { __proto__: null, value: refuse });
}

/**
 * Why an object was not cloned, if that is what `error` says; so that a caller can say who was to
 * clone it. `shared` is what is wrong with shared memory.
 */
export function refusalOf(error, shared) {
  if (typeof error !== "object" || error === null) return undefined;
  const message = ObjectGetOwnPropertyDescriptor(error, "message")?.value;
  return message === "[object SharedArrayBuffer] could not be cloned."
    ? shared
    : WeakMapPrototypeGet(refusals, error);
}
