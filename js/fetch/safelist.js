// Which headers a script may set: https://fetch.spec.whatwg.org/#terminology-headers
//
// Names are given in lower case.
//
// Invariant: pure; the guards of `headers.js` decide by these lists alone.

import { core, primordials } from "ext:core/mod.js";
import { decodeAndSplit } from "ext:kittiwake/fetch/header_values.js";

const { essence, parseMimeType } = core.loadExtScript("ext:deno_web/01_mimesniff.js");
const {
  RegExpPrototypeTest,
  SafeRegExp,
  SafeSet,
  SetPrototypeHas,
  StringPrototypeStartsWith,
  StringPrototypeToUpperCase,
} = primordials;

const FORBIDDEN_REQUEST_HEADERS = new SafeSet([
  "accept-charset", "accept-encoding", "access-control-request-headers",
  "access-control-request-method", "access-control-request-private-network", "connection",
  "content-length", "cookie", "cookie2", "date", "dnt", "expect", "host", "keep-alive", "origin",
  "referer", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade", "via",
]);
const METHOD_OVERRIDES = new SafeSet([
  "x-http-method", "x-http-method-override", "x-method-override",
]);
const FORBIDDEN_METHODS = new SafeSet(["CONNECT", "TRACE", "TRACK"]);
const NO_CORS_SAFELISTED = new SafeSet([
  "accept", "accept-language", "content-language", "content-type",
]);
const SAFE_CONTENT_TYPES = new SafeSet([
  "application/x-www-form-urlencoded", "multipart/form-data", "text/plain",
]);

// https://fetch.spec.whatwg.org/#cors-unsafe-request-header-byte
const UNSAFE_BYTES = new SafeRegExp('[\\0-\\x08\\x0a-\\x1f"():<>?@[\\\\\\]{}\\x7f]');
const LANGUAGE = new SafeRegExp("^[0-9A-Za-z *,\\-.;=]*$");

/** <https://fetch.spec.whatwg.org/#forbidden-method> */
export function isForbiddenMethod(method) {
  return SetPrototypeHas(FORBIDDEN_METHODS, StringPrototypeToUpperCase(method));
}

/** <https://fetch.spec.whatwg.org/#forbidden-request-header> */
export function isForbiddenRequestHeader(name, value) {
  if (SetPrototypeHas(FORBIDDEN_REQUEST_HEADERS, name)) return true;
  if (StringPrototypeStartsWith(name, "proxy-") || StringPrototypeStartsWith(name, "sec-")) {
    return true;
  }
  if (!SetPrototypeHas(METHOD_OVERRIDES, name)) return false;
  const methods = decodeAndSplit(value);
  for (let i = 0; i < methods.length; i++) {
    if (isForbiddenMethod(methods[i])) return true;
  }
  return false;
}

/** <https://fetch.spec.whatwg.org/#forbidden-response-header-name> */
export function isForbiddenResponseHeaderName(name) {
  return name === "set-cookie" || name === "set-cookie2";
}

/** <https://fetch.spec.whatwg.org/#no-cors-safelisted-request-header-name> */
export function isNoCorsSafelistedName(name) {
  return SetPrototypeHas(NO_CORS_SAFELISTED, name);
}

/** <https://fetch.spec.whatwg.org/#no-cors-safelisted-request-header> */
export function isNoCorsSafelistedRequestHeader(name, value) {
  if (!isNoCorsSafelistedName(name) || value.length > 128) return false;
  if (name === "accept-language" || name === "content-language") {
    return RegExpPrototypeTest(LANGUAGE, value);
  }
  if (RegExpPrototypeTest(UNSAFE_BYTES, value)) return false;
  if (name === "accept") return true;
  const type = parseMimeType(value);
  return type !== null && SetPrototypeHas(SAFE_CONTENT_TYPES, essence(type));
}
