// What our own code calls of streams, as it was before a script could replace it.

import { primordials } from "ext:core/mod.js";
import { prepare, STREAMS, streams } from "ext:kittiwake/lazy.js";

const { ObjectGetOwnPropertyDescriptor, uncurryThis } = primordials;

const getter = (prototype, name) =>
  uncurryThis(ObjectGetOwnPropertyDescriptor(prototype, name).get);

let methods;
prepare(STREAMS, (streams) => {
  const { prototype: reader } = streams.ReadableStreamDefaultReader;
  const { prototype: controller } = streams.ReadableStreamDefaultController;
  const { prototype: byteController } = streams.ReadableByteStreamController;
  const { prototype: byobRequest } = streams.ReadableStreamBYOBRequest;
  const { prototype: readable } = streams.ReadableStream;
  const { prototype: writable } = streams.WritableStream;
  const { prototype: transform } = streams.TransformStream;
  methods = {
    __proto__: null,
    byobRequest: getter(byteController, "byobRequest"),
    byobView: getter(byobRequest, "view"),
    close: uncurryThis(controller.close),
    closeBytes: uncurryThis(byteController.close),
    enqueue: uncurryThis(controller.enqueue),
    enqueueBytes: uncurryThis(byteController.enqueue),
    fail: uncurryThis(controller.error),
    failBytes: uncurryThis(byteController.error),
    failWritable: uncurryThis(streams.WritableStreamDefaultController.prototype.error),
    getReader: uncurryThis(readable.getReader),
    pipeTo: uncurryThis(readable.pipeTo),
    read: uncurryThis(reader.read),
    readableIsLocked: getter(readable, "locked"),
    readableOf: getter(transform, "readable"),
    respond: uncurryThis(byobRequest.respond),
    writableIsLocked: getter(writable, "locked"),
    writableOf: getter(transform, "writable"),
  };
});

/** What streams have, each called with the object first. */
export function streamMethods() {
  streams();
  return methods;
}
