// WebAssembly's streaming functions: https://webassembly.github.io/spec/web-api/#streaming-modules
//
// Invariant: whatever V8 hands over is fed to its end, or aborted with what went wrong.

import { core, primordials } from "ext:core/mod.js";
import { Response } from "ext:kittiwake/fetch/response.js";
import { streamMethods } from "ext:kittiwake/fetch/stream_methods.js";
import * as originals from "ext:kittiwake/originals.js";

const { op_wasm_streaming_feed, op_wasm_streaming_set_url } = core.ops;
const {
  ObjectPrototypeIsPrototypeOf,
  PromisePrototypeThen,
  StringPrototypeToLowerCase,
  TypeError,
  TypedArrayPrototypeGetSymbolToStringTag,
} = primordials;

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
  if (!originals.responseOk(source)) throw new TypeError(`${prefix}: HTTP status code is not ok`);
  const type = originals.getHeader(originals.responseHeaders(source), "content-type");
  if (type === null || StringPrototypeToLowerCase(type) !== "application/wasm") {
    throw new TypeError(`${prefix}: Incorrect response MIME type. Expected 'application/wasm'.`);
  }
  const body = originals.responseBody(source);
  if (originals.responseBodyUsed(source) || body?.locked) {
    const refusal = "Cannot compile WebAssembly.Module from an already read Response";
    throw new TypeError(`${prefix}: ${refusal}`);
  }
  op_wasm_streaming_set_url(rid, originals.responseUrl(source));
  if (body === null) return;
  const { getReader, read } = streamMethods();
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
