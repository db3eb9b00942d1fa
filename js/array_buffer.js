// Resizable ArrayBuffers: https://tc39.es/ecma262/#sec-arraybuffer-constructor
// The engine's, but for a bound: it reserves their memory where no allocator sees it.
//
// Invariant: no resizable buffer has more bytes than its realm may have in buffers.

import { primordials } from "ext:core/mod.js";
import { isObject } from "ext:kittiwake/webidl.js";

const {
  ArrayBuffer,
  ArrayBufferPrototype,
  ObjectDefineProperty,
  Proxy,
  RangeError,
  ReflectApply,
  ReflectConstruct,
} = primordials;

let limit = Infinity;

/** How many bytes such a buffer may have. */
export function setBufferLimit(bytes) {
  limit = bytes;
  // A shared WebAssembly memory would lead to them; the global is taken away.
  delete globalThis.SharedArrayBuffer?.prototype.constructor;
}

function requireRoom(length) {
  if (length > limit) throw new RangeError("Array buffer allocation failed");
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

/** https://tc39.es/ecma262/#sec-arraybuffer-constructor */
export const BoundedArrayBuffer = new Proxy(ArrayBuffer, {
  __proto__: null,
  construct(target, args, newTarget) {
    const options = args[1];
    const maxByteLength = isObject(options) ? options.maxByteLength : undefined;
    if (maxByteLength === undefined) return ReflectConstruct(target, [args[0]], newTarget);
    const buffer = ReflectConstruct(target, [0, { __proto__: null, maxByteLength }], newTarget);
    ReflectApply(bounded.resize, buffer, [args[0] ?? 0]);
    return buffer;
  },
});
ObjectDefineProperty(ArrayBufferPrototype, "constructor", {
  __proto__: null,
  value: BoundedArrayBuffer,
});
