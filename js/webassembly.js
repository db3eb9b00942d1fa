// WebAssembly's streaming functions: https://webassembly.github.io/spec/web-api/#streaming-modules
// And what makes memories: https://webassembly.github.io/spec/js-api/#memories
// They are the engine's, but for a bound: each memory takes mappings of the process's.
//
// Invariant: whatever V8 hands over is fed to its end, or aborted with what went wrong; no memory
// is made that leaves the process without mappings.

import { core, primordials } from "ext:core/mod.js";
import { Response } from "ext:kittiwake/fetch/response.js";
import { streamMethods } from "ext:kittiwake/fetch/stream_methods.js";
import * as originals from "ext:kittiwake/originals.js";
import { isObject } from "ext:kittiwake/webidl.js";

const {
  op_mappings_have_room,
  op_wasm_memories,
  op_wasm_streaming_feed,
  op_wasm_streaming_set_url,
} = core.ops;
const {
  ArrayBufferIsView,
  ObjectDefineProperty,
  ObjectPrototypeIsPrototypeOf,
  PromisePrototypeThen,
  Proxy,
  RangeError,
  ReflectApply,
  ReflectConstruct,
  StringPrototypeReplace,
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

/** Memories of instances under way: what looks up their imports may make others meanwhile. */
let underWay = 0;

/** What `make` answers, which makes an instance of `module`. */
function withRoom(module, prefix, make) {
  const memories = op_wasm_memories(module);
  if (!op_mappings_have_room(underWay + memories)) {
    const reason = "Out of memory: Cannot allocate Wasm memory for new instance";
    throw new RangeError(`${prefix}: ${reason}`);
  }
  underWay += memories;
  try {
    return make();
  } finally {
    underWay -= memories;
  }
}

/** Called once in each realm, before any user script. */
export function boundWebAssembly() {
  const { WebAssembly } = globalThis;
  const { CompileError, compile, compileStreaming, instantiate, instantiateStreaming } =
    WebAssembly;

  async function instantiateModule(module, imports) {
    const make = () => ReflectApply(instantiate, WebAssembly, [module, imports]);
    return await withRoom(module, "WebAssembly.instantiate()", make);
  }

  /** What the engine does in one step; there is room to be looked for between the two. */
  async function compileAndInstantiate(compile, args) {
    let module;
    try {
      module = await ReflectApply(compile, WebAssembly, [args[0], args[2]]);
    } catch (error) {
      if (!ObjectPrototypeIsPrototypeOf(CompileError.prototype, error)) throw error;
      throw new CompileError(StringPrototypeReplace(error.message, "compile", "instantiate"));
    }
    return { module, instance: await instantiateModule(module, args[1]) };
  }

  const functions = {
    // https://webassembly.github.io/spec/js-api/#dom-webassembly-instantiate
    instantiate(source) {
      const mayHaveImports = arguments[1] === undefined || isObject(arguments[1]);
      if (mayHaveImports && (core.isAnyArrayBuffer(source) || ArrayBufferIsView(source))) {
        return compileAndInstantiate(compile, arguments);
      }
      return ReflectApply(instantiateModule, undefined, arguments);
    },
    // https://webassembly.github.io/spec/web-api/#dom-webassembly-instantiatestreaming
    instantiateStreaming(source) {
      return arguments[1] === undefined || isObject(arguments[1])
        ? compileAndInstantiate(compileStreaming, arguments)
        : ReflectApply(instantiateStreaming, this, arguments);
    },
  };
  WebAssembly.instantiate = functions.instantiate;
  WebAssembly.instantiateStreaming = functions.instantiateStreaming;
  replaceConstructor("Instance", (module, make) => {
    return withRoom(module, "WebAssembly.Instance()", make);
  });
  replaceConstructor("Memory", (_descriptor, make) => {
    if (op_mappings_have_room(1)) return make();
    throw new RangeError("WebAssembly.Memory(): could not allocate memory");
  });
}

/** One that `construct` makes, from the first argument and what the engine would do. */
function replaceConstructor(name, construct) {
  const constructor = WebAssembly[name];
  const value = new Proxy(constructor, {
    __proto__: null,
    construct(target, args, newTarget) {
      return construct(args[0], () => ReflectConstruct(target, args, newTarget));
    },
  });
  ObjectDefineProperty(constructor.prototype, "constructor", { __proto__: null, value });
  WebAssembly[name] = value;
}
