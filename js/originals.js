// What parts that are loaded late take of interfaces, as it was before a script could replace it.

import { core, primordials } from "ext:core/mod.js";
import { Headers } from "ext:kittiwake/fetch/headers.js";
import { Response } from "ext:kittiwake/fetch/response.js";

const { AbortController } = core.loadExtScript("ext:deno_web/03_abort_signal.js");
const { BlobPrototype } = core.loadExtScript("ext:deno_web/09_file.js");
const { TextDecoder, TextEncoder } = core.loadExtScript("ext:deno_web/08_text_encoding.js");
const { ObjectGetOwnPropertyDescriptor, uncurryThis } = primordials;

const getter = (prototype, name) =>
  uncurryThis(ObjectGetOwnPropertyDescriptor(prototype, name).get);
const responseGetter = (name) => getter(Response.prototype, name);

export const arrayValues = Array.prototype.values;
export const abort = uncurryThis(AbortController.prototype.abort);
export const blobArrayBuffer = uncurryThis(BlobPrototype.arrayBuffer);
export const decode = uncurryThis(TextDecoder.prototype.decode);
export const encode = uncurryThis(TextEncoder.prototype.encode);
export const getHeader = uncurryThis(Headers.prototype.get);
export const responseBody = responseGetter("body");
export const responseBodyUsed = responseGetter("bodyUsed");
export const responseHeaders = responseGetter("headers");
export const responseOk = responseGetter("ok");
export const responseStatus = responseGetter("status");
export const responseUrl = responseGetter("url");
