// The body of a response that comes from the host.
//
// It becomes a stream only when somebody asks for the stream: reading all of it is one op, or none
// if all of it came with the head.
//
// Invariant: the host's resource is closed when the body has ended, failed, was cancelled, or when
// nobody can read it any more.

import { core, primordials } from "ext:core/mod.js";
import { streamMethods } from "ext:kittiwake/fetch/stream_methods.js";
import { streams } from "ext:kittiwake/lazy.js";

const {
  PromisePrototypeThen,
  SafeFinalizationRegistry,
  TypedArrayPrototypeGetByteLength,
  TypedArrayPrototypeSubarray,
  Uint8Array,
} = primordials;
const { op_fetch_body_read_all } = core.ops;

const CHUNK = 64 * 1024;

const unreachable = new SafeFinalizationRegistry((rid) => core.tryClose(rid));

export class HostBody {
  /** The resource; null if all of it came with the head. */
  #rid;
  /** All of it then, in bytes of its own. */
  #bytes;
  /** Ends it if it is aborted, or null. */
  #signal;
  #controller = null;
  #isOver = false;
  #isAborted = false;

  constructor(rid, bytes, signal) {
    this.#rid = rid;
    this.#bytes = bytes;
    this.#signal = signal;
    if (rid !== null) unreachable.register(this, rid, this);
  }

  /** All of it, which is the caller's from now on, if it came with the head; else null. */
  takeBytes() {
    if (this.#bytes !== null) this.#isOver = true;
    return this.#bytes;
  }

  /** All of it, in bytes of the caller's own; nothing may have been read. */
  readAll() {
    return this.give(op_fetch_body_read_all);
  }

  /** Gives its resource to an operation that reads it to its end; answers what that answers. */
  give(read) {
    return PromisePrototypeThen(read(this.#rid), (answer) => {
      this.close();
      return answer;
    }, (error) => {
      this.close();
      throw this.#reason(error);
    });
  }

  /** A stream of it, which asks for one chunk ahead, so that it learns of a failure by itself. */
  stream() {
    if (this.#isAborted) return erroredStream(this.#signal.reason);
    const source = {
      __proto__: null,
      type: "bytes",
      start: (controller) => {
        this.#controller = controller;
      },
      pull: (controller) => this.#pull(controller),
      cancel: () => this.close(),
    };
    return new (streams().ReadableStream)(source, { __proto__: null, highWaterMark: 1 });
  }

  async #pull(controller) {
    if (this.#bytes !== null) return this.#pullBytes(controller);
    const { byobRequest, byobView, closeBytes, enqueueBytes, failBytes, respond } = streamMethods();
    const request = byobRequest(controller);
    const view = request === null ? new Uint8Array(CHUNK) : byobView(request);
    let length;
    try {
      length = await core.read(this.#rid, view);
    } catch (error) {
      this.close();
      return failBytes(controller, this.#reason(error));
    }
    if (length === 0) {
      this.close();
      closeBytes(controller);
      if (request !== null) respond(request, 0);
    } else if (request !== null) {
      respond(request, length);
    } else {
      enqueueBytes(controller, TypedArrayPrototypeSubarray(view, 0, length));
    }
  }

  #pullBytes(controller) {
    const { byobRequest, closeBytes, enqueueBytes, respond } = streamMethods();
    if (TypedArrayPrototypeGetByteLength(this.#bytes) > 0) enqueueBytes(controller, this.#bytes);
    closeBytes(controller);
    const request = byobRequest(controller);
    if (request !== null) respond(request, 0);
  }

  /** Fails whoever reads it with the reason of the signal. */
  abort() {
    if (this.#isOver) return;
    this.#isAborted = true;
    if (this.#controller !== null) streamMethods().failBytes(this.#controller, this.#signal.reason);
    this.close();
  }

  throwIfAborted() {
    if (this.#isAborted) throw this.#signal.reason;
  }

  /** The resource, which somebody else reads and closes from now on. */
  take() {
    this.#isOver = true;
    unreachable.unregister(this);
    return this.#rid;
  }

  close() {
    this.#isOver = true;
    if (this.#rid === null) return;
    unreachable.unregister(this);
    core.tryClose(this.#rid);
  }

  #reason(error) {
    return this.#signal?.aborted ? this.#signal.reason : error;
  }
}

function erroredStream(reason) {
  const start = (controller) => streamMethods().failBytes(controller, reason);
  return new (streams().ReadableStream)({ __proto__: null, type: "bytes", start });
}
