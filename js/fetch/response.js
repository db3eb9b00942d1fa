// Response: https://fetch.spec.whatwg.org/#response-class
//
// An inner response is the standard's response: { type, urlList, status, statusMessage, headerList,
// body, aborted, internal }. A filtered response whose parts a script must not see (opaque,
// opaqueredirect) has nothing of its own; its `internal` is the response that it hides.
//
// Invariant: no script reaches an inner response, so that what is hidden stays hidden.

import { core, primordials } from "ext:core/mod.js";
import { extractBody, mixinBody, toBodyInit } from "ext:kittiwake/fetch/body.js";
import { decodeAndSplit } from "ext:kittiwake/fetch/header_values.js";
import {
  appendToList,
  fill,
  getHeader,
  headersFrom,
  toHeadersInit,
} from "ext:kittiwake/fetch/headers.js";
import { requireArguments, webidl } from "ext:kittiwake/webidl.js";

const { getLocationHref } = core.loadExtScript("ext:deno_web/12_location.js");
const { extractMimeType } = core.loadExtScript("ext:deno_web/01_mimesniff.js");
const { markNotSerializable } = core.loadExtScript("ext:deno_web/13_message_port.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const {
  ArrayPrototypeMap,
  ArrayPrototypeSlice,
  JSONStringify,
  RangeError,
  RegExpPrototypeTest,
  SafeRegExp,
  StringPrototypeSplit,
  Symbol,
  TypeError,
} = primordials;

// https://httpwg.org/specs/rfc9112.html#status.line
const REASON_PHRASE = new SafeRegExp("^[\\t\\x20-\\x7e\\x80-\\xff]*$");

/** A response of type "default" with its own, empty parts. */
export function newInnerResponse(status = 200, statusMessage = "") {
  return {
    type: "default",
    urlList: [],
    status,
    statusMessage,
    headerList: [],
    body: null,
    aborted: false,
    internal: null,
  };
}

/** <https://fetch.spec.whatwg.org/#concept-filtered-response-opaque>, and opaqueredirect */
export function filteredResponse(type, internal) {
  const filtered = newInnerResponse(0);
  filtered.type = type;
  filtered.internal = internal;
  // https://fetch.spec.whatwg.org/#concept-filtered-response-opaque-redirect keeps the URL list
  if (type === "opaqueredirect") filtered.urlList = internal.urlList;
  return filtered;
}

/** <https://fetch.spec.whatwg.org/#null-body-status> */
export function nullBodyStatus(status) {
  return status === 101 || status === 103 || status === 204 || status === 205 || status === 304;
}

// https://fetch.spec.whatwg.org/#concept-response-clone
function cloneInnerResponse(inner) {
  return {
    type: inner.type,
    urlList: ArrayPrototypeSlice(inner.urlList),
    status: inner.status,
    statusMessage: inner.statusMessage,
    headerList: ArrayPrototypeMap(inner.headerList, (header) => [header[0], header[1]]),
    body: inner.body === null ? null : inner.body.clone(),
    aborted: inner.aborted,
    internal: inner.internal === null ? null : cloneInnerResponse(inner.internal),
  };
}

const responseInit = webidl.createDictionaryConverter("ResponseInit", [
  { key: "headers", converter: toHeadersInit },
  { key: "status", converter: webidl.converters["unsigned short"], defaultValue: 200 },
  { key: "statusText", converter: webidl.converters.ByteString, defaultValue: "" },
]);

// https://fetch.spec.whatwg.org/#initialize-a-response
function initialize(inner, init, bodyWithType, prefix) {
  if (init.status < 200 || init.status > 599) {
    const range = "The status provided";
    throw new RangeError(`${prefix}: ${range} (${init.status}) is outside the range [200, 599].`);
  }
  if (!RegExpPrototypeTest(REASON_PHRASE, init.statusText)) {
    throw new TypeError(`${prefix}: Invalid statusText`);
  }
  inner.status = init.status;
  inner.statusMessage = init.statusText;
  if (init.headers !== undefined) fill(inner.headerList, "response", init.headers, prefix);
  if (bodyWithType === null) return;
  if (nullBodyStatus(inner.status)) {
    throw new TypeError(`${prefix}: Response with null body status cannot have body`);
  }
  inner.body = bodyWithType.body;
  const { contentType } = bodyWithType;
  if (contentType !== null && getHeader(inner.headerList, "content-type") === null) {
    appendToList(inner.headerList, "Content-Type", contentType);
  }
}

const key = Symbol("internal");

/** The standard's response of a Response object. */
export let toInnerResponse;
/** A Response object for an inner response. */
export let fromInnerResponse;

export class Response {
  #inner = null;
  #headers = null;
  #guard = "response";
  [webidl.brand] = webidl.brand;

  static {
    toInnerResponse = (response) => response.#inner;
    fromInnerResponse = (inner, guard) => {
      const response = new Response(key);
      response.#inner = inner;
      response.#guard = guard;
      return response;
    };
  }

  // https://fetch.spec.whatwg.org/#dom-response
  constructor(body = null, init = undefined) {
    if (body === key) return;
    this.#inner = newInnerResponse();
    const prefix = "Failed to construct 'Response'";
    if (body !== null) body = toBodyInit(body, prefix, "parameter 1");
    init = responseInit(init, prefix, "parameter 2");
    initialize(this.#inner, init, body === null ? null : extractBody(body, prefix), prefix);
  }

  // https://fetch.spec.whatwg.org/#dom-response-error
  static error() {
    const inner = newInnerResponse(0);
    inner.type = "error";
    return fromInnerResponse(inner, "immutable");
  }

  // https://fetch.spec.whatwg.org/#dom-response-json
  static json(data, init = undefined) {
    const prefix = "Failed to execute 'json' on 'Response'";
    requireArguments(arguments.length, 1, prefix);
    init = responseInit(init, prefix, "parameter 2");
    const text = JSONStringify(data);
    if (text === undefined) throw new TypeError(`${prefix}: The data is not JSON serializable`);
    const { body } = extractBody(text, prefix);
    const inner = newInnerResponse();
    initialize(inner, init, { body, contentType: "application/json" }, prefix);
    return fromInnerResponse(inner, "response");
  }

  // https://fetch.spec.whatwg.org/#dom-response-redirect
  static redirect(url, status = 302) {
    const prefix = "Failed to execute 'redirect' on 'Response'";
    requireArguments(arguments.length, 1, prefix);
    url = webidl.converters.USVString(url, prefix, "parameter 1");
    status = webidl.converters["unsigned short"](status, prefix, "parameter 2");
    let parsed;
    try {
      parsed = new URL(url, getLocationHref());
    } catch {
      throw new TypeError(`${prefix}: Invalid URL`);
    }
    if (!redirectStatus(status)) throw new RangeError(`${prefix}: Invalid status code`);
    const inner = newInnerResponse(status);
    appendToList(inner.headerList, "Location", parsed.href);
    return fromInnerResponse(inner, "immutable");
  }

  // https://fetch.spec.whatwg.org/#dom-response-type
  get type() {
    webidl.assertBranded(this, Response.prototype);
    return this.#inner.type;
  }

  // https://fetch.spec.whatwg.org/#dom-response-url
  get url() {
    webidl.assertBranded(this, Response.prototype);
    const { urlList } = this.#inner;
    if (urlList.length === 0) return "";
    return StringPrototypeSplit(urlList[urlList.length - 1], "#", 1)[0];
  }

  // https://fetch.spec.whatwg.org/#dom-response-redirected
  get redirected() {
    webidl.assertBranded(this, Response.prototype);
    return this.#inner.urlList.length > 1;
  }

  // https://fetch.spec.whatwg.org/#dom-response-status
  get status() {
    webidl.assertBranded(this, Response.prototype);
    return this.#inner.status;
  }

  // https://fetch.spec.whatwg.org/#dom-response-ok
  get ok() {
    webidl.assertBranded(this, Response.prototype);
    return this.#inner.status >= 200 && this.#inner.status <= 299;
  }

  // https://fetch.spec.whatwg.org/#dom-response-statustext
  get statusText() {
    webidl.assertBranded(this, Response.prototype);
    return this.#inner.statusMessage;
  }

  // https://fetch.spec.whatwg.org/#dom-response-headers
  get headers() {
    webidl.assertBranded(this, Response.prototype);
    this.#headers ??= headersFrom(this.#inner.headerList, this.#guard);
    return this.#headers;
  }

  // https://fetch.spec.whatwg.org/#dom-response-clone
  clone() {
    webidl.assertBranded(this, Response.prototype);
    if (this.#inner.body !== null && this.#inner.body.unusable()) {
      const prefix = "Failed to execute 'clone' on 'Response'";
      throw new TypeError(`${prefix}: Response body is already used`);
    }
    return fromInnerResponse(cloneInnerResponse(this.#inner), this.#guard);
  }
}

function bodyOf(response) {
  webidl.assertBranded(response, Response.prototype);
  return toInnerResponse(response).body;
}

function redirectStatus(status) {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}

function mimeTypeOf(response) {
  const value = getHeader(toInnerResponse(response).headerList, "content-type");
  return extractMimeType(decodeAndSplit(value));
}

mixinBody(Response, bodyOf, mimeTypeOf);
webidl.configureInterface(Response);
markNotSerializable(Response.prototype);
