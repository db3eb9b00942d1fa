// Bodies: https://fetch.spec.whatwg.org/#body-mixin
//
// A body made of bytes or text becomes a stream only when somebody asks for the stream.
//
// Invariant: a body is used once: after it was read, cancelled or given away it is unusable.

import { core, primordials } from "ext:core/mod.js";
import { HostBody } from "ext:kittiwake/fetch/host_body.js";
import { streamMethods } from "ext:kittiwake/fetch/stream_methods.js";
import { FORM_DATA, ifLoaded, load, STREAMS, streams } from "ext:kittiwake/lazy.js";
import { webidl } from "ext:kittiwake/webidl.js";

const web = (file) => core.loadExtScript(`ext:deno_web/${file}`);
const { Blob, BlobPrototype } = web("09_file.js");
const { parseUrlEncoded, URLSearchParamsPrototype } = web("00_url.js");
const mimesniff = web("01_mimesniff.js");
const { isAnyArrayBuffer } = core;
const {
  ArrayBufferIsView,
  ArrayBufferPrototypeSlice,
  ArrayPrototypePush,
  DataViewPrototypeGetBuffer,
  DataViewPrototypeGetByteLength,
  DataViewPrototypeGetByteOffset,
  JSONParse,
  MapPrototypeGet,
  ObjectDefineProperties,
  ObjectGetOwnPropertyDescriptors,
  ObjectPrototypeIsPrototypeOf,
  PromisePrototypeThen,
  PromiseReject,
  PromiseResolve,
  TypedArrayPrototypeGetBuffer,
  TypedArrayPrototypeGetByteLength,
  TypedArrayPrototypeGetByteOffset,
  TypedArrayPrototypeGetSymbolToStringTag,
  TypedArrayPrototypeSet,
  TypedArrayPrototypeSlice,
  TypeError,
  Uint8Array,
  uncurryThis,
} = primordials;
const searchParamsToString = uncurryThis(URLSearchParamsPrototype.toString);
const blobStream = uncurryThis(BlobPrototype.stream);
const blobArrayBuffer = uncurryThis(BlobPrototype.arrayBuffer);

/** <https://fetch.spec.whatwg.org/#concept-body> */
export class InnerBody {
  #stream = null;
  /** Text or bytes that were not read yet and became no stream. */
  #content = null;
  #isConsumed = false;
  /** What the body was made from and can be made from again; null for a stream, and for a response
   * of the host, whose bytes are given away when they are read. */
  source = null;
  /** In bytes, or null if it is not known. */
  length = null;

  /**
   * Of a stream, of a HostBody, or of a text or of bytes that nobody else can change.
   */
  constructor(content) {
    if (isStream(content)) {
      this.#stream = content;
      return;
    }
    this.#content = content;
    if (isHostBody(content)) return;
    this.source = content;
    if (typeof content !== "string") this.length = TypedArrayPrototypeGetByteLength(content);
  }

  /** A body of bytes that nobody else has. */
  static own(bytes) {
    const body = new InnerBody(bytes);
    body.source = null;
    return body;
  }

  get stream() {
    this.#stream ??= this.#isConsumed ? usedStream() : streamOf(this.#content);
    this.#content = null;
    return this.#stream;
  }

  /** Whether somebody has read or cancelled it. */
  consumed() {
    if (this.#stream === null) return this.#isConsumed;
    return streams().isReadableStreamDisturbed(this.#stream);
  }

  isLocked() {
    return this.#stream !== null && streams().isReadableStreamLocked(this.#stream);
  }

  /** <https://fetch.spec.whatwg.org/#body-unusable> */
  unusable() {
    return this.consumed() || this.isLocked();
  }

  /**
   * Reads all, and answers what `use` makes of it or a promise of that; throws if it has failed
   * already. It must be usable. What `use` gets, text or bytes, is its own.
   */
  consume(use) {
    if (this.#stream !== null) {
      streams().readableStreamThrowIfErrored(this.#stream);
      return collect(this.#stream, use);
    }
    const content = this.takeContent();
    if (isHostBody(content)) return PromisePrototypeThen(content.readAll(), use);
    const isOwn = typeof content === "string" || this.source === null;
    return use(isOwn ? content : TypedArrayPrototypeSlice(content));
  }

  /** The text, the bytes or the HostBody that it was made of, which is used then; null if it is a
   * stream by now. */
  takeContent() {
    if (this.#stream !== null) return null;
    const content = this.#content;
    if (isHostBody(content)) content.throwIfAborted();
    this.#isConsumed = true;
    this.#content = null;
    return isHostBody(content) ? content.takeBytes() ?? content : content;
  }

  /** <https://fetch.spec.whatwg.org/#concept-body-clone> */
  clone() {
    let second;
    if (this.#stream === null && !isHostBody(this.#content)) {
      const isOwn = typeof this.#content === "object" && this.source === null;
      second = new InnerBody(isOwn ? TypedArrayPrototypeSlice(this.#content) : this.#content);
    } else {
      const branches = streams().readableStreamTee(this.stream, true);
      this.#stream = branches[0];
      second = new InnerBody(branches[1]);
    }
    second.source = this.source;
    second.length = this.length;
    return second;
  }

  /** The same body for another owner; this one is used from now on. */
  createProxy() {
    let proxy;
    if (this.#stream === null) {
      proxy = new InnerBody(this.#content);
      this.#isConsumed = true;
      this.#content = null;
    } else {
      proxy = new InnerBody(streams().createProxy(this.#stream));
    }
    proxy.source = this.source;
    proxy.length = this.length;
    return proxy;
  }

  /** Cancels it with a reason, also while a reader holds it. */
  cancel(reason) {
    if (this.#stream === null) {
      if (isHostBody(this.#content)) this.#content.close();
      this.#isConsumed = true;
      this.#content = null;
    } else if (this.#stream[streams()._state] === "readable") {
      const cancelled = streams().readableStreamCancel(this.#stream, reason);
      PromisePrototypeThen(cancelled, undefined, () => {});
    }
  }
}

function isHostBody(content) {
  return ObjectPrototypeIsPrototypeOf(HostBody.prototype, content);
}

function isStream(value) {
  const loaded = ifLoaded(STREAMS);
  return loaded !== undefined &&
    ObjectPrototypeIsPrototypeOf(loaded.ReadableStreamPrototype, value);
}

function isForm(value) {
  const loaded = ifLoaded(FORM_DATA);
  return loaded !== undefined && ObjectPrototypeIsPrototypeOf(loaded.FormDataPrototype, value);
}

function streamOf(content) {
  if (isHostBody(content)) return content.stream();
  const {
    createReadableByteStream,
    readableByteStreamControllerClose,
    readableByteStreamControllerEnqueue,
    readableByteStreamControllerRespond,
  } = streams();
  const { byobRequest } = streamMethods();
  const pull = (controller) => {
    const bytes = typeof content === "string"
      ? core.encode(content)
      : TypedArrayPrototypeSlice(content);
    if (TypedArrayPrototypeGetByteLength(bytes) > 0) {
      readableByteStreamControllerEnqueue(controller, bytes);
    }
    readableByteStreamControllerClose(controller);
    // A reader that brought its own buffer for an empty body gets it back.
    if (byobRequest(controller) !== null) readableByteStreamControllerRespond(controller, 0);
    return PromiseResolve();
  };
  return createReadableByteStream(() => {}, pull, () => PromiseResolve());
}

// https://streams.spec.whatwg.org/#readablestreamdefaultreader-read-all-bytes. No chunk is the value
// of a promise, or a script that defines Object.prototype.then would see and change it.
function collect(stream, use) {
  const chunks = [];
  let length = 0;
  const write = (chunk) => {
    if (TypedArrayPrototypeGetSymbolToStringTag(chunk) !== "Uint8Array") {
      throw new TypeError("Received a chunk that is not a Uint8Array");
    }
    ArrayPrototypePush(chunks, chunk);
    length += TypedArrayPrototypeGetByteLength(chunk);
  };
  const { readableStreamPipeTo, WritableStream } = streams();
  const sink = new WritableStream({ __proto__: null, write }, { __proto__: null });
  return PromisePrototypeThen(readableStreamPipeTo(stream, sink, false, false, false), () => {
    const bytes = new Uint8Array(length);
    let offset = 0;
    for (let i = 0; i < chunks.length; i++) {
      TypedArrayPrototypeSet(bytes, chunks[i], offset);
      offset += TypedArrayPrototypeGetByteLength(chunks[i]);
    }
    return use(bytes);
  });
}

function usedStream() {
  const of = streams();
  const nothing = () => PromiseResolve();
  const stream = of.createReadableByteStream(() => {}, nothing, nothing);
  of.readableStreamDisturb(stream);
  of.acquireReadableStreamDefaultReader(stream);
  of.readableStreamClose(stream);
  return stream;
}

/** A BodyInit argument that is not null: https://fetch.spec.whatwg.org/#bodyinit */
export function toBodyInit(value, prefix, context) {
  if (typeof value === "object" && value !== null) {
    if (isStream(value) || ObjectPrototypeIsPrototypeOf(BlobPrototype, value)) return value;
    if (isAnyArrayBuffer(value) || ArrayBufferIsView(value)) return value;
    if (isForm(value)) return value;
    if (ObjectPrototypeIsPrototypeOf(URLSearchParamsPrototype, value)) return value;
  }
  return webidl.converters.USVString(value, prefix, context);
}

function copyOf(source) {
  if (!ArrayBufferIsView(source)) return new Uint8Array(ArrayBufferPrototypeSlice(source));
  const isArray = TypedArrayPrototypeGetSymbolToStringTag(source) !== undefined;
  const buffer = isArray
    ? TypedArrayPrototypeGetBuffer(source)
    : DataViewPrototypeGetBuffer(source);
  const offset = isArray
    ? TypedArrayPrototypeGetByteOffset(source)
    : DataViewPrototypeGetByteOffset(source);
  const length = isArray
    ? TypedArrayPrototypeGetByteLength(source)
    : DataViewPrototypeGetByteLength(source);
  return TypedArrayPrototypeSlice(new Uint8Array(buffer, offset, length));
}

/** <https://fetch.spec.whatwg.org/#bodyinit-safely-extract>: the body and its content type. */
export function extractBody(init, prefix) {
  if (typeof init === "string") {
    return { body: new InnerBody(init), contentType: "text/plain;charset=UTF-8" };
  }
  if (isStream(init)) {
    const { isReadableStreamDisturbed, isReadableStreamLocked } = streams();
    if (isReadableStreamLocked(init) || isReadableStreamDisturbed(init)) {
      throw new TypeError(`${prefix}: Response body object should not be disturbed or locked`);
    }
    return { body: new InnerBody(init), contentType: null };
  }
  if (ObjectPrototypeIsPrototypeOf(URLSearchParamsPrototype, init)) {
    const contentType = "application/x-www-form-urlencoded;charset=UTF-8";
    return { body: new InnerBody(searchParamsToString(init)), contentType };
  }
  if (isForm(init) || ObjectPrototypeIsPrototypeOf(BlobPrototype, init)) {
    const blob = isForm(init) ? load(FORM_DATA).formDataToBlob(init) : init;
    const body = new InnerBody(blobStream(blob));
    body.source = blob;
    body.length = blob.size;
    return { body, contentType: blob.type === "" ? null : blob.type };
  }
  return { body: new InnerBody(copyOf(init)), contentType: null };
}

/** All of a body's bytes or text again, if they are to be had without its stream. */
export function sourceOf(body) {
  if (typeof body.source !== "object" || body.source === null) return body.source;
  if (!ObjectPrototypeIsPrototypeOf(BlobPrototype, body.source)) return body.source;
  return PromisePrototypeThen(blobArrayBuffer(body.source), (buffer) => new Uint8Array(buffer));
}

// https://fetch.spec.whatwg.org/#concept-body-consume-body, each with how it ends.
const package_ = {
  arrayBuffer: (content) =>
    TypedArrayPrototypeGetBuffer(typeof content === "string" ? core.encode(content) : content),
  blob: (content, mimeTypeOf) => {
    const mimeType = mimeTypeOf();
    const type = mimeType === null ? "" : mimesniff.serializeMimeType(mimeType);
    return new Blob([content], { type });
  },
  bytes: (content) => typeof content === "string" ? core.encode(content) : content,
  formData: (content, mimeTypeOf, prefix) => {
    const { formDataFromEntries, parseFormData } = load(FORM_DATA);
    const mimeType = mimeTypeOf();
    const bytes = typeof content === "string" ? core.encode(content) : content;
    const essence = mimeType === null ? "" : mimesniff.essence(mimeType);
    if (essence === "application/x-www-form-urlencoded") {
      const entries = [];
      const pairs = parseUrlEncoded(bytes);
      for (let i = 0; i < pairs.length; i++) {
        ArrayPrototypePush(entries, { name: pairs[i][0], value: pairs[i][1] });
      }
      return formDataFromEntries(entries);
    }
    const boundary = essence === "multipart/form-data"
      ? MapPrototypeGet(mimeType.parameters, "boundary")
      : undefined;
    if (boundary === undefined) throw new TypeError(`${prefix}: Invalid MIME type`);
    return parseFormData(bytes, boundary);
  },
  json: (content) => JSONParse(textOf(content)),
  text: (content) => textOf(content),
};

// https://encoding.spec.whatwg.org/#utf-8-decode
function textOf(content) {
  if (typeof content !== "string") return core.decode(content);
  return content[0] === "\ufeff" ? core.decode(core.encode(content)) : content;
}

/**
 * Gives an interface the members of Body. `bodyOf` answers an object's body or null, and throws if
 * it is not of the interface; `mimeTypeOf` answers its MIME type or null.
 */
export function mixinBody(Interface, bodyOf, mimeTypeOf) {
  const define = (name) => {
    const prefix = `Failed to execute '${name}' on '${Interface.name}'`;
    const operation = {
      [name]() {
        try {
          const body = bodyOf(this);
          if (body === null) return PromiseResolve(finish(this, new Uint8Array()));
          if (body.isLocked()) throw new TypeError(`${prefix}: body stream is locked`);
          if (body.consumed()) throw new TypeError(`${prefix}: body stream already read`);
          return PromiseResolve(body.consume((content) => finish(this, content)));
        } catch (error) {
          return PromiseReject(error);
        }
      },
    };
    const finish = (object, content) =>
      package_[name](content, () => mimeTypeOf(object), prefix);
    return {
      __proto__: null,
      value: operation[name],
      writable: true,
      enumerable: true,
      configurable: true,
    };
  };
  const attributes = {
    get body() {
      return bodyOf(this)?.stream ?? null;
    },
    get bodyUsed() {
      return bodyOf(this)?.consumed() ?? false;
    },
  };
  ObjectDefineProperties(Interface.prototype, {
    __proto__: null,
    ...ObjectGetOwnPropertyDescriptors(attributes),
    arrayBuffer: define("arrayBuffer"),
    blob: define("blob"),
    bytes: define("bytes"),
    formData: define("formData"),
    json: define("json"),
    text: define("text"),
  });
}
