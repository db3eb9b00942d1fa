// What the host answers to a request, and what becomes its result.

import { primordials } from "ext:core/mod.js";
import { readValues } from "ext:kittiwake/indexed_db/values.js";

const { ArrayPrototypePush } = primordials;

// The host's kinds of answers: ops/indexed_db/event.rs.
export const failed = 0;
export const succeeded = 1;
const unreadValues = 2;

/** Some of the values that a request asks for; its answer has the last of them. */
export function addPart(requested, kind, values) {
  requested.parts ??= [];
  ArrayPrototypePush(requested.parts, { kind, values });
}

/** Makes a request's result of the answer, which is none that failed; the error if that fails. */
export function finishWith(requested, kind, answer) {
  try {
    let found = kind === succeeded ? answer : read(kind, answer);
    if (requested.parts !== undefined) found = withParts(requested, found);
    requested.result = requested.finish(found);
    return null;
  } catch (error) {
    return unreadable(error);
  }
}

function withParts(requested, last) {
  const { parts } = requested;
  requested.parts = undefined;
  const all = [];
  for (let i = 0; i < parts.length; i++) {
    const { kind, values } = parts[i];
    append(all, kind === succeeded ? values : read(kind, values));
  }
  append(all, last);
  return all;
}

function append(all, values) {
  for (let i = 0; i < values.length; i++) ArrayPrototypePush(all, values[i]);
}

/** An answer with values that the host has left to be read here. */
function read(kind, answer) {
  // Else `unreadRecords`: keys, primary keys, values.
  if (kind === unreadValues) return readValues(answer[0], answer[1]);
  readValues(answer[0][2], answer[1]);
  return answer[0];
}

/** A stored value that the engine cannot read. */
function unreadable(error) {
  return { name: "DataError", message: `Failed to read a stored value: ${error}` };
}
