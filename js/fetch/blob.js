// Responses to blob: URLs: https://fetch.spec.whatwg.org/#scheme-fetch
//
// Invariant: a blob is the one that its URL named when the request was made.

import { core, primordials } from "ext:core/mod.js";
import { extractBody } from "ext:kittiwake/fetch/body.js";
import { getHeader } from "ext:kittiwake/fetch/headers.js";
import { newInnerResponse } from "ext:kittiwake/fetch/response.js";

const { BlobPrototype } = core.loadExtScript("ext:deno_web/09_file.js");
const {
  ArrayPrototypePush,
  MathMin,
  NumberParseInt,
  RegExpPrototypeExec,
  SafeRegExp,
  TypeError,
  uncurryThis,
} = primordials;
const slice = uncurryThis(BlobPrototype.slice);

// https://fetch.spec.whatwg.org/#simple-range-header-value
const SINGLE_RANGE = new SafeRegExp("^bytes=(\\d*)-(\\d*)$");

/** The response to a GET of a blob's URL. */
export function fetchBlob(request) {
  const { blob } = request;
  const range = getHeader(request.headerList, "range");
  if (range === null) return response(request, blob, blob.type, 200, "OK");
  const [start, end] = resolve(range, blob.size);
  const part = slice(blob, start, end + 1, blob.type);
  const partial = response(request, part, blob.type, 206, "Partial Content");
  ArrayPrototypePush(partial.headerList, [
    "content-range",
    `bytes ${start}-${end}/${blob.size}`,
  ]);
  return partial;
}

function response(request, blob, type, status, statusText) {
  const inner = newInnerResponse(status, statusText);
  inner.type = "basic";
  inner.urlList = [request.url()];
  inner.headerList = [["content-length", `${blob.size}`], ["content-type", type]];
  inner.body = extractBody(blob, "blob").body;
  return inner;
}

/** The first and the last byte of a range: https://fetch.spec.whatwg.org/#scheme-fetch */
function resolve(range, size) {
  const match = RegExpPrototypeExec(SINGLE_RANGE, range);
  const failed = () => new TypeError("Failed to fetch");
  if (match === null || (match[1] === "" && match[2] === "")) throw failed();
  if (match[1] === "") {
    const length = MathMin(NumberParseInt(match[2], 10), size);
    return [size - length, size - 1];
  }
  const start = NumberParseInt(match[1], 10);
  const end = match[2] === "" ? size - 1 : MathMin(NumberParseInt(match[2], 10), size - 1);
  if (start >= size || start > end) throw failed();
  return [start, end];
}
