// Request: https://fetch.spec.whatwg.org/#request-class
//
// An inner request is the standard's request, as far as a script and the host need it. `referrer`
// is "client", "no-referrer" or a URL; `blob` is the blob URL entry of its URL.
//
// Invariant: a copy of a request, by the constructor or by clone(), leaves out no part of it.

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
import { isForbiddenMethod } from "ext:kittiwake/fetch/safelist.js";
import { requireArguments, webidl } from "ext:kittiwake/webidl.js";

const web = (file) => core.loadExtScript(`ext:deno_web/${file}`);
const { HTTP_TOKEN_CODE_POINT_RE } = web("00_infra.js");
const { URL } = web("00_url.js");
const { extractMimeType } = web("01_mimesniff.js");
const { createDependentAbortSignal, newSignal } = web("03_abort_signal.js");
const { blobFromObjectUrl } = web("09_file.js");
const { getLocationHref } = web("12_location.js");
const { markNotSerializable } = web("13_message_port.js");
const {
  ArrayPrototypeMap,
  RegExpPrototypeTest,
  StringPrototypeStartsWith,
  StringPrototypeToUpperCase,
  Symbol,
  TypeError,
} = primordials;

/** A request with the standard's initial values, as a script's Request begins. */
export function newInnerRequest(method, url) {
  return {
    method,
    urlList: [url],
    headerList: [],
    body: null,
    mode: "cors",
    credentialsMode: "same-origin",
    cacheMode: "default",
    redirectMode: "follow",
    referrer: "client",
    referrerPolicy: "",
    integrity: "",
    keepalive: false,
    priority: "auto",
    destination: "",
    reloadNavigation: false,
    historyNavigation: false,
    blob: StringPrototypeStartsWith(url, "blob:") ? blobFromObjectUrl(url) : null,
    url: urlOf,
  };
}

function urlOf() {
  return this.urlList[0];
}

// https://fetch.spec.whatwg.org/#concept-request-clone, without the body
function copyOf(inner) {
  const headerList = ArrayPrototypeMap(inner.headerList, (header) => [header[0], header[1]]);
  return { ...inner, urlList: [inner.urlList[0]], headerList, body: null };
}

const enumeration = webidl.createEnumConverter;
const requestInit = webidl.createDictionaryConverter("RequestInit", [
  {
    key: "body",
    converter: (value, prefix, context) =>
      value === null ? null : toBodyInit(value, prefix, context),
  },
  {
    key: "cache",
    converter: enumeration("RequestCache", [
      "default", "no-store", "reload", "no-cache", "force-cache", "only-if-cached",
    ]),
  },
  {
    key: "credentials",
    converter: enumeration("RequestCredentials", ["omit", "same-origin", "include"]),
  },
  { key: "duplex", converter: enumeration("RequestDuplex", ["half"]) },
  { key: "headers", converter: toHeadersInit },
  { key: "integrity", converter: webidl.converters.DOMString },
  { key: "keepalive", converter: webidl.converters.boolean },
  { key: "method", converter: webidl.converters.ByteString },
  {
    key: "mode",
    converter: enumeration("RequestMode", ["navigate", "same-origin", "no-cors", "cors"]),
  },
  { key: "priority", converter: enumeration("RequestPriority", ["high", "low", "auto"]) },
  { key: "redirect", converter: enumeration("RequestRedirect", ["follow", "error", "manual"]) },
  { key: "referrer", converter: webidl.converters.USVString },
  {
    key: "referrerPolicy",
    converter: enumeration("ReferrerPolicy", [
      "", "no-referrer", "no-referrer-when-downgrade", "same-origin", "origin", "strict-origin",
      "origin-when-cross-origin", "strict-origin-when-cross-origin", "unsafe-url",
    ]),
  },
  {
    key: "signal",
    converter: webidl.createNullableConverter(webidl.converters.AbortSignal),
  },
  { key: "window", converter: webidl.converters.any },
]);

// https://fetch.spec.whatwg.org/#concept-method-normalize
function normalizedMethod(method, prefix) {
  if (!RegExpPrototypeTest(HTTP_TOKEN_CODE_POINT_RE, method)) {
    throw new TypeError(`${prefix}: '${method}' is not a valid HTTP method.`);
  }
  if (isForbiddenMethod(method)) {
    throw new TypeError(`${prefix}: '${method}' HTTP method is unsupported.`);
  }
  const upper = StringPrototypeToUpperCase(method);
  switch (upper) {
    case "DELETE":
    case "GET":
    case "HEAD":
    case "OPTIONS":
    case "POST":
    case "PUT":
      return upper;
    default:
      return method;
  }
}

function fromUrl(input, prefix) {
  const text = webidl.converters.USVString(input, prefix, "parameter 1");
  let url;
  try {
    url = new URL(text, getLocationHref());
  } catch {
    throw new TypeError(`${prefix}: Failed to parse URL from ${text}`);
  }
  if (url.username !== "" || url.password !== "") {
    const includes = "Request cannot be constructed from a URL that includes credentials";
    throw new TypeError(`${prefix}: ${includes}: ${text}`);
  }
  return newInnerRequest("GET", url.href);
}

// https://fetch.spec.whatwg.org/#dom-request, step "if init["referrer"] exists"
function referrerFrom(referrer, prefix) {
  if (referrer === "") return "no-referrer";
  const base = new URL(getLocationHref());
  let parsed;
  try {
    parsed = new URL(referrer, base);
  } catch {
    throw new TypeError(`${prefix}: Referrer '${referrer}' is not a valid URL.`);
  }
  const isClient = parsed.protocol === "about:" && parsed.pathname === "client";
  return isClient || parsed.origin !== base.origin ? "client" : parsed.href;
}

// https://fetch.spec.whatwg.org/#dom-request, the steps between "if init is not empty" and "method"
function initializeModes(inner, init, prefix) {
  if (inner.mode === "navigate") inner.mode = "same-origin";
  inner.reloadNavigation = false;
  inner.historyNavigation = false;
  inner.referrer = "client";
  inner.referrerPolicy = "";
  if (init.referrer !== undefined) inner.referrer = referrerFrom(init.referrer, prefix);
  if (init.referrerPolicy !== undefined) inner.referrerPolicy = init.referrerPolicy;
  if (init.mode === "navigate") {
    throw new TypeError(
      `${prefix}: Cannot construct a Request with a RequestInit whose mode member is set as ` +
        "'navigate'.",
    );
  }
  if (init.mode !== undefined) inner.mode = init.mode;
  if (init.credentials !== undefined) inner.credentialsMode = init.credentials;
  if (init.cache !== undefined) inner.cacheMode = init.cache;
  if (inner.cacheMode === "only-if-cached" && inner.mode !== "same-origin") {
    throw new TypeError(
      `${prefix}: 'only-if-cached' can be set only with 'same-origin' mode`,
    );
  }
  if (init.redirect !== undefined) inner.redirectMode = init.redirect;
  if (init.integrity !== undefined) inner.integrity = init.integrity;
  if (init.keepalive !== undefined) inner.keepalive = init.keepalive;
  if (init.priority !== undefined) inner.priority = init.priority;
  if (init.method !== undefined) inner.method = normalizedMethod(init.method, prefix);
}

// https://fetch.spec.whatwg.org/#dom-request, the steps about headers; answers the guard
function initializeHeaders(inner, init, hasMembers, prefix) {
  let guard = "request";
  if (inner.mode === "no-cors") {
    if (inner.method !== "GET" && inner.method !== "HEAD" && inner.method !== "POST") {
      throw new TypeError(`${prefix}: '${inner.method}' is unsupported in no-cors mode.`);
    }
    guard = "request-no-cors";
  }
  if (!hasMembers) return guard;
  const headers = init.headers ?? inner.headerList;
  inner.headerList = [];
  fill(inner.headerList, guard, headers, prefix);
  return guard;
}

// https://fetch.spec.whatwg.org/#dom-request, the steps about bodies
function initializeBody(inner, init, inputBody, prefix) {
  const hasBody = (init.body !== undefined && init.body !== null) || inputBody !== null;
  if (hasBody && (inner.method === "GET" || inner.method === "HEAD")) {
    throw new TypeError(`${prefix}: Request with GET/HEAD method cannot have body.`);
  }
  if (init.body === undefined || init.body === null) {
    if (inputBody === null) return;
    if (inputBody.unusable()) {
      const used = "Cannot construct a Request with a Request object that has already been used.";
      throw new TypeError(`${prefix}: ${used}`);
    }
    if (inputBody.source === null) requireStreamable(inner, prefix);
    inner.body = inputBody.createProxy();
    return;
  }
  const { body, contentType } = extractBody(init.body, prefix);
  if (contentType !== null && getHeader(inner.headerList, "content-type") === null) {
    appendToList(inner.headerList, "Content-Type", contentType);
  }
  if (body.source === null) {
    if (init.duplex === undefined) {
      const missing = "The `duplex` member must be specified for a request with a streaming body";
      throw new TypeError(`${prefix}: ${missing}`);
    }
    requireStreamable(inner, prefix);
  }
  inner.body = body;
  if (inputBody !== null && !inputBody.unusable()) inputBody.cancel();
}

function requireStreamable(inner, prefix) {
  if (inner.mode !== "same-origin" && inner.mode !== "cors") {
    const modes = `mode should be "same-origin" or "cors"`;
    throw new TypeError(`${prefix}: If request is made from ReadableStream, ${modes}`);
  }
  if (inner.keepalive) {
    throw new TypeError(`${prefix}: Keepalive request cannot have a ReadableStream body.`);
  }
}

const key = Symbol("internal");

/** The standard's request of a Request object. */
export let toInnerRequest;
/** A Request object for an inner request, with a signal of its own or none yet. */
export let fromInnerRequest;
/** What the constructor makes, with another prefix to its messages. */
export let requestFor;
/** A Request's signal if anything could abort it, or null. */
export let signalOf;

export class Request {
  #inner = null;
  #guard = "request";
  #headers = null;
  #signal = null;
  [webidl.brand] = webidl.brand;

  static {
    toInnerRequest = (request) => request.#inner;
    signalOf = (request) => request.#signal;
    requestFor = (input, init, prefix) => {
      const request = new Request(key);
      request.#initialize(input, init, prefix);
      return request;
    };
    fromInnerRequest = (inner, guard, signal = null) => {
      const request = new Request(key);
      request.#inner = inner;
      request.#guard = guard;
      request.#signal = signal;
      return request;
    };
  }

  // https://fetch.spec.whatwg.org/#dom-request
  constructor(input, init = undefined) {
    if (input === key) return;
    const prefix = "Failed to construct 'Request'";
    requireArguments(arguments.length, 1, prefix);
    this.#initialize(input, init, prefix);
  }

  #initialize(input, init, prefix) {
    const isRequest = typeof input === "object" && input !== null && #inner in input;
    const given = isRequest ? null : fromUrl(input, prefix);
    init = requestInit(init, prefix, "parameter 2");
    const inner = given ?? copyOf(input.#inner);
    if (init.window !== undefined && init.window !== null) {
      throw new TypeError(`${prefix}: 'window' member must be null`);
    }
    let hasMembers = false;
    for (const _ in init) hasMembers = true;
    if (hasMembers) initializeModes(inner, init, prefix);
    const signal = init.signal === undefined && isRequest ? input.signal : init.signal ?? null;
    if (signal !== null) this.#signal = createDependentAbortSignal([signal], prefix);
    this.#guard = initializeHeaders(inner, init, hasMembers, prefix);
    initializeBody(inner, init, isRequest ? input.#inner.body : null, prefix);
    this.#inner = inner;
  }

  // https://fetch.spec.whatwg.org/#dom-request-method
  get method() {
    webidl.assertBranded(this, Request.prototype);
    return this.#inner.method;
  }

  // https://fetch.spec.whatwg.org/#dom-request-url
  get url() {
    webidl.assertBranded(this, Request.prototype);
    return this.#inner.urlList[0];
  }

  // https://fetch.spec.whatwg.org/#dom-request-headers
  get headers() {
    webidl.assertBranded(this, Request.prototype);
    this.#headers ??= headersFrom(this.#inner.headerList, this.#guard);
    return this.#headers;
  }

  // https://fetch.spec.whatwg.org/#dom-request-destination
  get destination() {
    webidl.assertBranded(this, Request.prototype);
    return this.#inner.destination;
  }

  // https://fetch.spec.whatwg.org/#dom-request-referrer
  get referrer() {
    webidl.assertBranded(this, Request.prototype);
    const { referrer } = this.#inner;
    return referrer === "no-referrer" ? "" : referrer === "client" ? "about:client" : referrer;
  }

  // https://fetch.spec.whatwg.org/#dom-request-referrerpolicy
  get referrerPolicy() {
    webidl.assertBranded(this, Request.prototype);
    return this.#inner.referrerPolicy;
  }

  // https://fetch.spec.whatwg.org/#dom-request-mode
  get mode() {
    webidl.assertBranded(this, Request.prototype);
    return this.#inner.mode;
  }

  // https://fetch.spec.whatwg.org/#dom-request-credentials
  get credentials() {
    webidl.assertBranded(this, Request.prototype);
    return this.#inner.credentialsMode;
  }

  // https://fetch.spec.whatwg.org/#dom-request-cache
  get cache() {
    webidl.assertBranded(this, Request.prototype);
    return this.#inner.cacheMode;
  }

  // https://fetch.spec.whatwg.org/#dom-request-redirect
  get redirect() {
    webidl.assertBranded(this, Request.prototype);
    return this.#inner.redirectMode;
  }

  // https://fetch.spec.whatwg.org/#dom-request-integrity
  get integrity() {
    webidl.assertBranded(this, Request.prototype);
    return this.#inner.integrity;
  }

  // https://fetch.spec.whatwg.org/#dom-request-keepalive
  get keepalive() {
    webidl.assertBranded(this, Request.prototype);
    return this.#inner.keepalive;
  }

  // https://fetch.spec.whatwg.org/#dom-request-isreloadnavigation
  get isReloadNavigation() {
    webidl.assertBranded(this, Request.prototype);
    return this.#inner.reloadNavigation;
  }

  // https://fetch.spec.whatwg.org/#dom-request-ishistorynavigation
  get isHistoryNavigation() {
    webidl.assertBranded(this, Request.prototype);
    return this.#inner.historyNavigation;
  }

  // https://fetch.spec.whatwg.org/#dom-request-signal
  get signal() {
    webidl.assertBranded(this, Request.prototype);
    this.#signal ??= newSignal();
    return this.#signal;
  }

  // https://fetch.spec.whatwg.org/#dom-request-duplex
  get duplex() {
    webidl.assertBranded(this, Request.prototype);
    return "half";
  }

  // https://fetch.spec.whatwg.org/#dom-request-clone
  clone() {
    webidl.assertBranded(this, Request.prototype);
    const prefix = "Failed to execute 'clone' on 'Request'";
    const { body } = this.#inner;
    if (body !== null && body.unusable()) {
      throw new TypeError(`${prefix}: Request body is already used`);
    }
    const inner = copyOf(this.#inner);
    if (body !== null) inner.body = body.clone();
    return fromInnerRequest(inner, this.#guard, createDependentAbortSignal([this.signal], prefix));
  }
}

function bodyOf(request) {
  webidl.assertBranded(request, Request.prototype);
  return toInnerRequest(request).body;
}

function mimeTypeOf(request) {
  const value = getHeader(toInnerRequest(request).headerList, "content-type");
  return extractMimeType(decodeAndSplit(value));
}

mixinBody(Request, bodyOf, mimeTypeOf);
webidl.configureInterface(Request);
markNotSerializable(Request.prototype);
