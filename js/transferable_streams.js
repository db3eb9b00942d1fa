// Streams that leave their realm: https://streams.spec.whatwg.org/#transferrable-streams
//
// A message port carries the chunks, one for each `pull`, so that a slow reader holds the writer
// back.

import { core, primordials } from "ext:core/mod.js";
import { close, createPorts, listen, send } from "ext:kittiwake/message_port.js";
import { streamMethods } from "ext:kittiwake/fetch/stream_methods.js";
import { streams } from "ext:kittiwake/lazy.js";
import { deserializeWithTransfer, streamKind } from "ext:kittiwake/structured_transfer.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { ReadableStream, TransformStream, WritableStream } = streams();
const {
  enqueue,
  close: closeReadable,
  fail: failReadable,
  failWritable,
  pipeTo,
  readableIsLocked,
  readableOf,
  writableIsLocked,
  writableOf,
} = streamMethods();
const { ObjectDefineProperty, PromisePrototypeThen, PromiseWithResolvers } = primordials;

const PREFIX = "Failed to transfer a chunk of a stream";
export function isLocked(stream) {
  switch (streamKind(stream)) {
    case "ReadableStream":
      return readableIsLocked(stream);
    case "WritableStream":
      return writableIsLocked(stream);
    default:
      return readableIsLocked(readableOf(stream)) || writableIsLocked(writableOf(stream));
  }
}

/** The transfer steps of the three interfaces. */
export function sendStream(stream) {
  const kind = streamKind(stream);
  switch (kind) {
    case "ReadableStream":
      return { kind, ports: [sendReadable(stream)] };
    case "WritableStream":
      return { kind, ports: [sendWritable(stream)] };
    default:
      return {
        kind,
        ports: [sendReadable(readableOf(stream)), sendWritable(writableOf(stream))],
      };
  }
}

/** The transfer-receiving steps of the three interfaces. */
export function receiveStream({ kind, ports }) {
  switch (kind) {
    case "ReadableStream":
      return crossRealmReadable(ports[0]);
    case "WritableStream":
      return crossRealmWritable(ports[0]);
    default:
      return transformOf(crossRealmReadable(ports[0]), crossRealmWritable(ports[1]));
  }
}

/** A TransformStream whose sides are these. */
function transformOf(readable, writable) {
  const stream = new TransformStream();
  ObjectDefineProperty(stream, "readable", { __proto__: null, value: readable });
  ObjectDefineProperty(stream, "writable", { __proto__: null, value: writable });
  return stream;
}

// https://streams.spec.whatwg.org/#rs-transfer
function sendReadable(stream) {
  const ports = createPorts();
  handled(pipeTo(stream, crossRealmWritable(ports[0])));
  return ports[1];
}

// https://streams.spec.whatwg.org/#ws-transfer
function sendWritable(stream) {
  const ports = createPorts();
  handled(pipeTo(crossRealmReadable(ports[0]), stream));
  return ports[1];
}

function handled(promise) {
  PromisePrototypeThen(promise, undefined, () => {});
}

// https://streams.spec.whatwg.org/#abstract-opdef-setupcrossrealmtransformreadable
function crossRealmReadable(port) {
  let controller;
  const stream = new ReadableStream({
    __proto__: null,
    start: (own) => controller = own,
    pull: () => post(port, "pull", undefined),
    cancel: (reason) => postAndClose(port, "error", reason),
  }, { __proto__: null, highWaterMark: 0 });
  listen(port, {
    receive(message) {
      const { type, value } = read(message, port);
      if (type === "chunk") return enqueue(controller, value);
      if (type === "close") closeReadable(controller);
      else failReadable(controller, value);
      close(port);
    },
    ended: () => failReadable(controller, otherEndIsGone()),
  });
  return stream;
}

// https://streams.spec.whatwg.org/#abstract-opdef-setupcrossrealmtransformwritable
function crossRealmWritable(port) {
  let controller;
  let backpressure = PromiseWithResolvers();
  const release = () => {
    backpressure?.resolve();
    backpressure = undefined;
  };
  const stream = new WritableStream({
    __proto__: null,
    start: (own) => controller = own,
    write(chunk) {
      const then = () => {
        backpressure = PromiseWithResolvers();
        postOrFail(port, "chunk", chunk);
      };
      return backpressure === undefined
        ? then()
        : PromisePrototypeThen(backpressure.promise, then);
    },
    close: () => postAndClose(port, "close", undefined),
    abort: (reason) => postAndClose(port, "error", reason),
  });
  listen(port, {
    receive(message) {
      const { type, value } = read(message, port);
      if (type === "error") {
        failWritable(controller, value);
        close(port);
      }
      release();
    },
    ended() {
      failWritable(controller, otherEndIsGone());
      release();
    },
  });
  return stream;
}

/** A chunk that cannot be received is an error, here and at the other end. */
function read(message, port) {
  try {
    return deserializeWithTransfer(message).value;
  } catch {
    const text = "A chunk of the stream could not be received.";
    const value = new DOMException(text, "DataCloneError");
    post(port, "error", value);
    return { type: "error", value };
  }
}

// The standard leaves open what a stream does whose other realm has ended: it fails.
function otherEndIsGone() {
  return new DOMException("The realm at the other end of the stream has ended.", "AbortError");
}

// https://streams.spec.whatwg.org/#abstract-opdef-packandpostmessage
function post(port, type, value) {
  send(port, { __proto__: null, type, value }, PREFIX);
}

// https://streams.spec.whatwg.org/#abstract-opdef-packandpostmessagehandlingerror
function postOrFail(port, type, value) {
  try {
    post(port, type, value);
  } catch (error) {
    post(port, "error", error);
    close(port);
    throw error;
  }
}

function postAndClose(port, type, value) {
  postOrFail(port, type, value);
  close(port);
}
