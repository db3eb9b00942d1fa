// Buffers whose length may change: https://tc39.es/ecma262/#sec-arraybuffer-constructor
// The engine's, but for a bound: it reserves their memory where no allocator sees it.
//
// Invariant: no such buffer has more bytes than its realm may have in buffers, and none is shared;
// none is made that leaves the process without memory mappings.

import { core, primordials } from "ext:core/mod.js";
import { isObject } from "ext:kittiwake/webidl.js";

const { op_mappings_have_room } = core.ops;
const {
  ArrayBuffer,
  ArrayBufferPrototype,
  ObjectDefineProperty,
  Proxy,
  RangeError,
  ReflectApply,
  ReflectConstruct,
} = primordials;

/** Of addresses, which the process has 2 ** 47 of, a buffer takes its largest length at once. */
const LARGEST = 2 ** 32;

let limit = Infinity;

function refuse() {
  throw new RangeError("Array buffer allocation failed");
}

function requireRoom(length) {
  if (length > limit) refuse();
}

/** The constructor of `prototype`, which calls `resizable` for a buffer whose length may change. */
function replaceConstructor(prototype, constructor, resizable) {
  const value = new Proxy(constructor, {
    __proto__: null,
    construct(target, args, newTarget) {
      const options = args[1];
      const maxByteLength = isObject(options) ? options.maxByteLength : undefined;
      return maxByteLength === undefined
        ? ReflectConstruct(target, [args[0]], newTarget)
        : resizable(args[0], maxByteLength, newTarget);
    },
  });
  ObjectDefineProperty(prototype, "constructor", { __proto__: null, value });
  return value;
}

const { resize, transfer } = ArrayBufferPrototype;
const bounded = {
  // https://tc39.es/ecma262/#sec-arraybuffer.prototype.resize
  resize(newLength) {
    newLength = +newLength;
    requireRoom(newLength);
    return ReflectApply(resize, this, [newLength]);
  },
  // https://tc39.es/ecma262/#sec-arraybuffer.prototype.transfer
  transfer() {
    if (arguments[0] === undefined) return ReflectApply(transfer, this, []);
    const newLength = +arguments[0];
    requireRoom(newLength);
    return ReflectApply(transfer, this, [newLength]);
  },
};
for (const name in bounded) {
  ObjectDefineProperty(ArrayBufferPrototype, name, { __proto__: null, value: bounded[name] });
}

function resizable(length = 0, maxByteLength, newTarget) {
  maxByteLength = +maxByteLength;
  if (maxByteLength > LARGEST || !op_mappings_have_room(1)) refuse();
  const buffer = ReflectConstruct(
    ArrayBuffer,
    [0, { __proto__: null, maxByteLength }],
    newTarget,
  );
  ReflectApply(bounded.resize, buffer, [length]);
  return buffer;
}

/** https://tc39.es/ecma262/#sec-arraybuffer-constructor */
export const BoundedArrayBuffer = replaceConstructor(ArrayBufferPrototype, ArrayBuffer, resizable);

/**
 * Takes the global away, which only an origin has that is cross-origin isolated. A shared
 * WebAssembly memory leads to the constructor all the same; but what has grown the engine does not
 * count. The engine gives it to realms alone, no snapshot has it.
 */
function boundSharedArrayBuffer() {
  const { SharedArrayBuffer } = globalThis;
  if (SharedArrayBuffer === undefined) return;
  delete globalThis.SharedArrayBuffer;
  replaceConstructor(SharedArrayBuffer.prototype, SharedArrayBuffer, refuse);
}

/** How many bytes such a buffer may have. Called once, before any user script. */
export function setBufferLimit(bytes) {
  limit = bytes;
  boundSharedArrayBuffer();
}
