// Blobs in values that are kept as bytes: https://html.spec.whatwg.org/#structuredserializeforstorage

import { core, primordials } from "ext:core/mod.js";
import { deserialize } from "ext:kittiwake/structured_storage.js";

const { op_indexed_db_has_blobs } = core.ops;
const { ArrayPrototypePush, SafeMap } = primordials;

/**
 * The parts of blobs that a serialised value names, and an object with which they may go: the
 * engine forgets what no object has.
 */
export function blobParts(bytes) {
  const names = [];
  if (!op_indexed_db_has_blobs(bytes)) return { names, holder: undefined };
  const holder = deserialize(bytes, withParts((part) => {
    ArrayPrototypePush(names, part.uuid);
    return [part];
  }));
  return { names, holder };
}

/** Values as the host gives them, of which those at the places in `unread` are read here. */
export function readValues(values, unread) {
  for (let i = 0; i < unread.length; i++) values[unread[i]] = read(values[unread[i]]);
  return values;
}

/**
 * A stored value: its bytes, name of a part of its blobs, identifier and size of each piece of the
 * part in an array, ...
 */
function read(stored) {
  const parts = new SafeMap();
  for (let i = 1; i < stored.length; i += 2) {
    const pieces = [];
    const numbered = stored[i + 1];
    for (let j = 0; j < numbered.length; j += 2) {
      ArrayPrototypePush(pieces, { uuid: numbered[j], size: numbered[j + 1] });
    }
    parts.set(stored[i], pieces);
  }
  return deserialize(stored[0], withParts((part) => parts.get(part.uuid) ?? [part]));
}

/** The engine's deserialisers, with other parts for blobs: `replace` answers those of one. */
function withParts(replace) {
  const own = core.getCloneableDeserializers();
  const replacing = (type) => (data) => {
    const parts = [];
    for (let i = 0; i < data.parts.length; i++) {
      const pieces = replace(data.parts[i]);
      for (let j = 0; j < pieces.length; j++) ArrayPrototypePush(parts, pieces[j]);
    }
    return own[type]({ ...data, parts });
  };
  return { __proto__: null, ...own, Blob: replacing("Blob"), File: replacing("File") };
}
