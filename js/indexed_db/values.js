// Values as bytes: https://html.spec.whatwg.org/#structuredserializeforstorage
//
// Invariant: what cannot be cloned is a DataCloneError to the script.

import { core, primordials } from "ext:core/mod.js";
import { refusalOf } from "ext:kittiwake/platform_object.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { op_blob_create_part, op_indexed_db_has_blobs } = core.ops;
const {
  ArrayPrototypePush,
  ObjectPrototypeIsPrototypeOf,
  SafeMap,
  TypeErrorPrototype,
} = primordials;

/**
 * https://html.spec.whatwg.org/#structuredserializeforstorage: `write` is given what the host needs
 * for it.
 */
export function serialize(value, write, prefix) {
  const refuse = (text) => {
    throw new DOMException(`${prefix}: ${text}`, "DataCloneError");
  };
  try {
    return write(core.hostObjectBrand, refuse);
  } catch (error) {
    const refusal = refusalOf(error);
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

/** https://html.spec.whatwg.org/#structureddeserialize */
export function deserialize(bytes, deserializers = core.getCloneableDeserializers()) {
  return core.deserialize(bytes, { forStorage: true, deserializers });
}

/** The parts of blobs that a serialised value names. */
export function blobParts(bytes) {
  if (!op_indexed_db_has_blobs(bytes)) return [];
  const names = [];
  deserialize(bytes, withParts((part) => {
    ArrayPrototypePush(names, part.uuid);
    return part;
  }));
  return names;
}

/** Records as the host gives them, flat; `unread` says where a value is left to be read here. */
export function readValues([flat, unread]) {
  for (let i = 0; i < unread.length; i++) flat[unread[i]] = read(flat[unread[i]]);
  return flat;
}

/** A stored value: its bytes, name of a part of its blobs, the part's bytes, ... */
function read(stored) {
  const parts = new SafeMap();
  for (let i = 1; i < stored.length; i += 2) {
    const bytes = stored[i + 1];
    const part = { uuid: op_blob_create_part(bytes), size: bytes.byteLength };
    parts.set(stored[i], part);
  }
  return deserialize(stored[0], withParts((part) => parts.get(part.uuid) ?? part));
}

/** The engine's deserialisers, with other parts for blobs. */
function withParts(replace) {
  const own = core.getCloneableDeserializers();
  const replacing = (type) => (data) => {
    const parts = [];
    for (let i = 0; i < data.parts.length; i++) ArrayPrototypePush(parts, replace(data.parts[i]));
    return own[type]({ ...data, parts });
  };
  return { __proto__: null, ...own, Blob: replacing("Blob"), File: replacing("File") };
}
