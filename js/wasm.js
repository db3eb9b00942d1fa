// WebAssembly streaming: https://webassembly.github.io/spec/web-api/#streaming-modules
//
// Invariant: a module is compiled only from a successful response that says it is WebAssembly,
// chunk by chunk as the chunks come.

import { core, primordials } from "ext:core/mod.js";

const { Response } = core.loadExtScript("ext:deno_fetch/23_response.js");
const { Headers } = core.loadExtScript("ext:deno_fetch/20_headers.js");
const { ReadableStream, ReadableStreamDefaultReader } = core.loadExtScript(
  "ext:deno_web/06_streams.js",
);
const { op_wasm_streaming_feed, op_wasm_streaming_set_url } = core.ops;
const {
  ObjectGetOwnPropertyDescriptor,
  ObjectPrototypeIsPrototypeOf,
  ReflectApply,
  StringPrototypeToLowerCase,
  StringPrototypeTrim,
  TypeError,
} = primordials;

// Taken before a script can replace them.
const getter = (prototype, name) => ObjectGetOwnPropertyDescriptor(prototype, name).get;
const responseGet = {
  body: getter(Response.prototype, "body"),
  bodyUsed: getter(Response.prototype, "bodyUsed"),
  headers: getter(Response.prototype, "headers"),
  ok: getter(Response.prototype, "ok"),
  url: getter(Response.prototype, "url"),
};
const { get: headersGet } = Headers.prototype;
const { getReader } = ReadableStream.prototype;
const { read } = ReadableStreamDefaultReader.prototype;

// https://webassembly.github.io/spec/web-api/#compile-a-potential-webassembly-response
function streamFrom(source) {
  const prefix = "Failed to execute 'compile' on 'WebAssembly'";
  if (!ObjectPrototypeIsPrototypeOf(Response.prototype, source)) {
    const text = "which must be a Response or Promise<Response> object";
    throw new TypeError(`${prefix}: An argument must be provided, ${text}`);
  }
  const response = (name) => ReflectApply(responseGet[name], source, []);
  if (!response("ok")) throw new TypeError(`${prefix}: HTTP status code is not ok`);
  const type = ReflectApply(headersGet, response("headers"), ["content-type"]) ?? "";
  if (StringPrototypeToLowerCase(StringPrototypeTrim(type)) !== "application/wasm") {
    const text = "Incorrect response MIME type. Expected 'application/wasm'.";
    throw new TypeError(`${prefix}: ${text}`);
  }
  const body = response("body");
  if (response("bodyUsed") || body?.locked) {
    const text = "Cannot compile WebAssembly.Module from an already read Response";
    throw new TypeError(`${prefix}: ${text}`);
  }
  return { body, url: response("url") };
}

async function feed(source, resource) {
  try {
    const { body, url } = streamFrom(source);
    op_wasm_streaming_set_url(resource, url);
    const reader = body === null ? null : ReflectApply(getReader, body, []);
    while (reader !== null) {
      const { done, value } = await ReflectApply(read, reader, []);
      if (done) break;
      op_wasm_streaming_feed(resource, value);
    }
    core.close(resource);
  } catch (error) {
    core.abortWasmStreaming(resource, error);
  }
}

/** Has the engine compile from responses. */
export function installWasmStreaming() {
  core.setWasmStreamingCallback((source, resource) => {
    feed(source, resource);
  });
}
