// WebAssembly's streaming functions: https://webassembly.github.io/spec/web-api/#streaming-modules
//
// Invariant: whatever V8 hands over is fed to its end, or aborted with what went wrong.

import { core, primordials } from "ext:core/mod.js";
import { Headers } from "ext:kittiwake/fetch/headers.js";
import { Response } from "ext:kittiwake/fetch/response.js";

const { ReadableStream, ReadableStreamDefaultReader } = core.loadExtScript(
  "ext:deno_web/06_streams.js",
);
const { op_wasm_streaming_feed, op_wasm_streaming_set_url } = core.ops;
const {
  ObjectGetOwnPropertyDescriptor,
  ObjectPrototypeIsPrototypeOf,
  PromisePrototypeThen,
  StringPrototypeToLowerCase,
  TypeError,
  TypedArrayPrototypeGetSymbolToStringTag,
  uncurryThis,
} = primordials;

// Taken now, so that no script can stand in between.
const getter = (name) => uncurryThis(ObjectGetOwnPropertyDescriptor(Response.prototype, name).get);
const bodyOf = getter("body");
const bodyIsUsed = getter("bodyUsed");
const headersOf = getter("headers");
const isOk = getter("ok");
const urlOf = getter("url");
const getHeader = uncurryThis(Headers.prototype.get);
const getReader = uncurryThis(ReadableStream.prototype.getReader);
const read = uncurryThis(ReadableStreamDefaultReader.prototype.read);

/** Called once in each realm; without it, a script that compiles a response ends the process. */
export function installWasmStreaming() {
  core.setWasmStreamingCallback((source, rid) => {
    PromisePrototypeThen(
      compile(source, rid),
      () => core.close(rid),
      (error) => core.abortWasmStreaming(rid, error),
    );
  });
}

// https://webassembly.github.io/spec/web-api/#compile-a-potential-webassembly-response
async function compile(source, rid) {
  const prefix = "Failed to execute 'compile' on 'WebAssembly'";
  if (!ObjectPrototypeIsPrototypeOf(Response.prototype, source)) {
    throw new TypeError(`${prefix}: An argument must be provided, which must be a Response or ` +
      "Promise<Response> object");
  }
  if (!isOk(source)) throw new TypeError(`${prefix}: HTTP status code is not ok`);
  const type = getHeader(headersOf(source), "content-type");
  if (type === null || StringPrototypeToLowerCase(type) !== "application/wasm") {
    throw new TypeError(`${prefix}: Incorrect response MIME type. Expected 'application/wasm'.`);
  }
  const body = bodyOf(source);
  if (bodyIsUsed(source) || body?.locked) {
    const refusal = "Cannot compile WebAssembly.Module from an already read Response";
    throw new TypeError(`${prefix}: ${refusal}`);
  }
  op_wasm_streaming_set_url(rid, urlOf(source));
  if (body === null) return;
  const reader = getReader(body);
  for (;;) {
    const { done, value } = await read(reader);
    if (done) return;
    if (TypedArrayPrototypeGetSymbolToStringTag(value) !== "Uint8Array") {
      throw new TypeError(`${prefix}: A chunk of the body is no Uint8Array`);
    }
    op_wasm_streaming_feed(rid, value);
  }
}
