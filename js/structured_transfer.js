// Structured cloning with transfer: https://html.spec.whatwg.org/#structuredserializewithtransfer
//
// Invariant: what cannot be cloned or transferred is a DataCloneError, and then nothing has been
// transferred.

import { core, primordials } from "ext:core/mod.js";
import {
  isDetached,
  isPort,
  receivePort,
  sendPort,
} from "ext:kittiwake/message_port.js";
import { ifLoaded, load, STREAMS } from "ext:kittiwake/lazy.js";
import { refusalOf } from "ext:kittiwake/platform_object.js";
import { requireRoomForClone } from "ext:kittiwake/structured_storage.js";
import { isObject, requireArguments, webidl } from "ext:kittiwake/webidl.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const engine = core.loadExtScript("ext:deno_web/13_message_port.js");
const { op_clone_is_forged } = core.ops;
const {
  ArrayBufferPrototypeGetDetached,
  ArrayBufferPrototypeTransfer,
  ArrayPrototypeFilter,
  ArrayPrototypeIndexOf,
  ArrayPrototypeMap,
  ArrayPrototypePush,
  ObjectFreeze,
  ObjectPrototypeIsPrototypeOf,
  SymbolIterator,
  TypeError,
  TypeErrorPrototype,
} = primordials;

const SHARED = "SharedArrayBuffer transfer requires self.crossOriginIsolated.";
const nothing = ObjectFreeze([]);

/** What `postMessage()` got as its second argument: a sequence, or a dictionary with one. */
export function transferList(options, prefix) {
  if (options === undefined || options === null) return nothing;
  if (!isObject(options)) throw new TypeError(`${prefix}: Overload resolution failed.`);
  return options[SymbolIterator] === undefined
    ? transferMember(options, prefix)
    : sequence(options, prefix);
}

// https://html.spec.whatwg.org/#structuredserializeoptions
function transferMember({ transfer }, prefix) {
  if (transfer === undefined) return nothing;
  const name = "StructuredSerializeOptions";
  const reading = `${prefix}: Failed to read the 'transfer' property from '${name}'`;
  if (!isObject(transfer) || transfer[SymbolIterator] === undefined) {
    throw new TypeError(`${reading}: The provided value cannot be converted to a sequence.`);
  }
  return sequence(transfer, reading);
}

function sequence(iterable, prefix) {
  const list = [];
  for (const each of iterable) {
    if (!isObject(each)) throw new TypeError(`${prefix}: Failed to convert value to 'object'.`);
    ArrayPrototypePush(list, each);
  }
  return list;
}

/** The bytes of `value`, and what goes along; the objects in `list` have left this realm then. */
export function serializeWithTransfer(value, list, prefix) {
  const refuse = (text) => {
    throw new DOMException(`${prefix}: ${text}`, "DataCloneError");
  };
  for (let index = 0; index < list.length; index++) mayTransfer(list, index, refuse);
  const hostObjects = ArrayPrototypeFilter(list, (each) => !core.isArrayBuffer(each));
  const data = serialize(value, hostObjects, refuse);
  if (op_clone_is_forged(data)) refuse("An object could not be cloned.");
  // A getter that ran meanwhile may have transferred one of them.
  for (let index = 0; index < list.length; index++) mayTransfer(list, index, refuse);
  const transfer = ArrayPrototypeMap(hostObjects, sendObject);
  for (let index = 0; index < list.length; index++) {
    // The bytes are in the message; what is left of a transfer is that they are gone here.
    if (core.isArrayBuffer(list[index])) ArrayBufferPrototypeTransfer(list[index], 0);
  }
  return { data, transfer };
}

function serialize(value, hostObjects, refuse) {
  const fail = (text) => {
    if (text !== "Unsupported object type") refuse(text);
    const name = isPort(value) ? "MessagePort" : streamKind(value);
    const what = name === undefined ? "An object" : `A ${name}`;
    refuse(`${what} could not be cloned because it was not transferred.`);
  };
  try {
    return hostObjects.length === 0
      ? engine.serializeMessageData(value, fail)
      : core.serialize(value, { hostObjects }, fail);
  } catch (error) {
    const refusal = refusalOf(error, SHARED);
    if (refusal !== undefined) refuse(refusal);
    const isEngines = ObjectPrototypeIsPrototypeOf(TypeErrorPrototype, error) &&
      error.message === "Failed to serialize response";
    throw isEngines ? new DOMException("The object could not be cloned.", "DataCloneError") : error;
  }
}

function mayTransfer(list, index, refuse) {
  const each = list[index];
  const isTwice = ArrayPrototypeIndexOf(list, each) !== index;
  if (core.isArrayBuffer(each)) {
    if (isTwice) refuse(`ArrayBuffer at index ${index} is a duplicate of an earlier ArrayBuffer.`);
    if (ArrayBufferPrototypeGetDetached(each)) {
      refuse(`ArrayBuffer at index ${index} is already detached.`);
    }
  } else if (isPort(each)) {
    if (isTwice) refuse(`Message port at index ${index} is a duplicate of an earlier port.`);
    if (isDetached(each)) refuse(`Port at index ${index} is already neutered.`);
  } else {
    const kind = streamKind(each);
    if (kind === undefined) refuse(`Value at index ${index} does not have a transferable type.`);
    if (isTwice) refuse(`${kind} at index ${index} is a duplicate of an earlier ${kind}.`);
    const { isLocked } = transferable();
    if (isLocked(each)) refuse(`A ${kind} could not be cloned because it was locked`);
  }
}

function sendObject(each) {
  if (isPort(each)) return { kind: "MessagePort", ports: [sendPort(each)] };
  return transferable().sendStream(each);
}

function receiveObject(sent) {
  if (sent.kind === "MessagePort") return receivePort(sent.ports[0]);
  return transferable().receiveStream(sent);
}

/**
 * The value of a message, and the ports among what came along.
 * https://html.spec.whatwg.org/#structureddeserializewithtransfer
 */
export function deserializeWithTransfer({ data, transfer }) {
  requireRoomForClone(data);
  if (transfer.length === 0) return { value: engine.deserializeMessageData(data), ports: nothing };
  const hostObjects = ArrayPrototypeMap(transfer, receiveObject);
  const deserializers = core.getCloneableDeserializers();
  const value = core.deserialize(data, { hostObjects, deserializers });
  return { value, ports: ArrayPrototypeFilter(hostObjects, isPort) };
}

let scopeName;

/** As which scope the realm speaks of itself. */
export function setScopeName(name) {
  scopeName = name;
}

// https://html.spec.whatwg.org/#dom-structuredclone
export function structuredClone(value, options = undefined) {
  const prefix = `Failed to execute 'structuredClone' on '${scopeName()}'`;
  requireArguments(arguments.length, 1, prefix);
  if (options !== undefined && options !== null && !isObject(options)) {
    const name = "StructuredSerializeOptions";
    throw new TypeError(`${prefix}: The provided value is not of type '${name}'.`);
  }
  const transfer = transferMember(options ?? {}, prefix);
  return deserializeWithTransfer(serializeWithTransfer(value, transfer, prefix)).value;
}

/** Which stream `value` is, or undefined. */
export function streamKind(value) {
  const streams = ifLoaded(STREAMS);
  if (streams === undefined) return undefined;
  const is = (kind) => ObjectPrototypeIsPrototypeOf(streams[kind].prototype, value);
  if (is("ReadableStream")) return "ReadableStream";
  if (is("WritableStream")) return "WritableStream";
  return is("TransformStream") ? "TransformStream" : undefined;
}

function transferable() {
  return load("ext:kittiwake/transferable_streams.js");
}
