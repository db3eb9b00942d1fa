// Values as bytes that are kept: https://html.spec.whatwg.org/#structuredserializeforstorage
//
// Invariant: what cannot be cloned is a DataCloneError to the script.

import { core, primordials } from "ext:core/mod.js";
import { refusalOf } from "ext:kittiwake/platform_object.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { op_clone_is_forged, op_mappings_have_room_for_clone } = core.ops;
const { ObjectPrototypeIsPrototypeOf, TypeErrorPrototype } = primordials;

/** To be called before a clone is read, whose buffers may be too many. */
export function requireRoomForClone(bytes) {
  if (op_mappings_have_room_for_clone(bytes)) return;
  throw new DOMException("Data cannot be cloned, out of memory.", "DataCloneError");
}

/** What `write` answers, which is given what to call with the reason of a refusal. */
export function refusing(prefix, write) {
  const refuse = (text) => {
    const reason = text === "Wasm modules cannot be stored"
      ? "A WebAssembly.Module can not be serialized for storage."
      : text;
    throw new DOMException(`${prefix}: ${reason}`, "DataCloneError");
  };
  try {
    return write(refuse);
  } catch (error) {
    const refusal = refusalOf(error, "A SharedArrayBuffer can not be serialized for storage.");
    if (refusal !== undefined) refuse(refusal);
    // The engine's own refusals; a getter's exception is the script's.
    if (ObjectPrototypeIsPrototypeOf(TypeErrorPrototype, error) && isEngines(error)) {
      refuse(error.message);
    }
    throw error;
  }
}

function isEngines(error) {
  return error.message === "Failed to serialize response";
}

/** The bytes of `value`. */
export function serialize(value, prefix) {
  return refusing(prefix, (refuse) => {
    const bytes = core.serialize(value, { forStorage: true }, refuse);
    if (op_clone_is_forged(bytes)) refuse("An object could not be cloned.");
    return bytes;
  });
}

/** https://html.spec.whatwg.org/#structureddeserialize */
export function deserialize(bytes, deserializers = core.getCloneableDeserializers()) {
  requireRoomForClone(bytes);
  return core.deserialize(bytes, { forStorage: true, deserializers });
}
