// Headers: https://fetch.spec.whatwg.org/#headers-class
//
// A header list is an array of [name, value] pairs in their order; one character is one byte.
//
// Invariant: a header list changes only as its guard allows, whoever changes it.

import { core, primordials } from "ext:core/mod.js";
import {
  isForbiddenRequestHeader,
  isForbiddenResponseHeaderName,
  isNoCorsSafelistedName,
  isNoCorsSafelistedRequestHeader,
} from "ext:kittiwake/fetch/safelist.js";
import { requireArguments, webidl } from "ext:kittiwake/webidl.js";

const { byteLowerCase, HTTP_TOKEN_CODE_POINT_RE, httpTrim } = core.loadExtScript(
  "ext:deno_web/00_infra.js",
);
const { markNotSerializable } = core.loadExtScript("ext:deno_web/13_message_port.js");
const {
  ArrayIsArray,
  ArrayPrototypePush,
  ArrayPrototypeSort,
  ArrayPrototypeSplice,
  ObjectHasOwn,
  RegExpPrototypeTest,
  SafeRegExp,
  Symbol,
  SymbolIterator,
  TypeError,
} = primordials;
const { ByteString } = webidl.converters;
const toSequence = webidl.converters["sequence<sequence<ByteString>>"];
const toRecord = webidl.converters["record<ByteString, ByteString>"];

const INVALID_VALUE = new SafeRegExp("[\\0\\r\\n]");
const CONTEXT = "Argument 1";
const pairs = Symbol("pairs to iterate over");
const internalKey = Symbol("internal");

/** <https://fetch.spec.whatwg.org/#concept-header-list-get>; `name` is in lower case. */
export function getHeader(list, name) {
  let value = null;
  for (let i = 0; i < list.length; i++) {
    if (byteLowerCase(list[i][0]) !== name) continue;
    value = value === null ? list[i][1] : `${value}, ${list[i][1]}`;
  }
  return value;
}

/** <https://fetch.spec.whatwg.org/#concept-header-list-append> */
export function appendToList(list, name, value) {
  const lower = byteLowerCase(name);
  for (let i = 0; i < list.length; i++) {
    if (byteLowerCase(list[i][0]) === lower) {
      name = list[i][0];
      break;
    }
  }
  ArrayPrototypePush(list, [name, value]);
}

function deleteFromList(list, lower) {
  let kept = 0;
  for (let i = 0; i < list.length; i++) {
    if (byteLowerCase(list[i][0]) !== lower) list[kept++] = list[i];
  }
  ArrayPrototypeSplice(list, kept);
}

// https://fetch.spec.whatwg.org/#concept-header-list-set
function setInList(list, name, value) {
  const lower = byteLowerCase(name);
  let kept = 0;
  let isSet = false;
  for (let i = 0; i < list.length; i++) {
    if (byteLowerCase(list[i][0]) !== lower) {
      list[kept++] = list[i];
    } else if (!isSet) {
      isSet = true;
      list[kept++] = [list[i][0], value];
    }
  }
  ArrayPrototypeSplice(list, kept);
  if (!isSet) ArrayPrototypePush(list, [name, value]);
}

/** <https://fetch.spec.whatwg.org/#concept-header-list-sort-and-combine> */
function sortAndCombine(list) {
  const combined = [];
  const places = { __proto__: null };
  for (let i = 0; i < list.length; i++) {
    const name = byteLowerCase(list[i][0]);
    const value = list[i][1];
    const place = places[name];
    if (place === undefined || name === "set-cookie") {
      places[name] = combined.length;
      ArrayPrototypePush(combined, [name, value]);
    } else {
      combined[place][1] = `${combined[place][1]}, ${value}`;
    }
  }
  return ArrayPrototypeSort(combined, (a, b) => a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0);
}

function requireName(name, prefix) {
  if (!RegExpPrototypeTest(HTTP_TOKEN_CODE_POINT_RE, name)) {
    throw new TypeError(`${prefix}: Invalid name`);
  }
}

// https://fetch.spec.whatwg.org/#headers-validate: whether the change may be made.
function validate(guard, name, value, prefix) {
  requireName(name, prefix);
  if (RegExpPrototypeTest(INVALID_VALUE, value)) throw new TypeError(`${prefix}: Invalid value`);
  if (guard === "immutable") throw new TypeError(`${prefix}: Headers are immutable`);
  if (guard === "request") return !isForbiddenRequestHeader(byteLowerCase(name), value);
  if (guard === "response") return !isForbiddenResponseHeaderName(byteLowerCase(name));
  return true;
}

// https://fetch.spec.whatwg.org/#concept-headers-remove-privileged-no-cors-request-headers
function removePrivilegedNoCors(list) {
  deleteFromList(list, "range");
}

// https://fetch.spec.whatwg.org/#concept-headers-append
function append(list, guard, name, value, prefix) {
  value = httpTrim(value);
  if (!validate(guard, name, value, prefix)) return;
  if (guard === "request-no-cors") {
    const lower = byteLowerCase(name);
    const before = getHeader(list, lower);
    const after = before === null ? value : `${before}, ${value}`;
    if (!isNoCorsSafelistedRequestHeader(lower, after)) return;
  }
  appendToList(list, name, value);
  if (guard === "request-no-cors") removePrivilegedNoCors(list);
}

/** A HeadersInit argument, converted: https://fetch.spec.whatwg.org/#typedefdef-headersinit */
export function toHeadersInit(value, prefix, context) {
  if (typeof value !== "object" && typeof value !== "function" || value === null) {
    const union = "(sequence<sequence<ByteString>> or record<ByteString, ByteString>)";
    throw new TypeError(`${prefix}: The provided value is not of type '${union}'.`);
  }
  const method = value[SymbolIterator];
  return method === undefined || method === null
    ? toRecord(value, prefix, context)
    : toSequence(value, prefix, context);
}

/** <https://fetch.spec.whatwg.org/#concept-headers-fill>, with an init that was converted. */
export function fill(list, guard, init, prefix) {
  if (ArrayIsArray(init)) {
    for (let i = 0; i < init.length; i++) {
      if (init[i].length !== 2) throw new TypeError(`${prefix}: Invalid value`);
      append(list, guard, init[i][0], init[i][1], prefix);
    }
    return;
  }
  for (const name in init) {
    if (ObjectHasOwn(init, name)) append(list, guard, name, init[name], prefix);
  }
}

export let headersFrom;
export let headerListOf;
export let guardOf;

export class Headers {
  #list = [];
  #guard = "none";
  #combined = null;
  [webidl.brand] = webidl.brand;

  static {
    headersFrom = (list, guard) => {
      const headers = new Headers(internalKey);
      headers.#list = list;
      headers.#guard = guard;
      return headers;
    };
    headerListOf = (headers) => headers.#list;
    guardOf = (headers) => headers.#guard;
  }

  constructor(init = undefined) {
    if (init === undefined || init === internalKey) return;
    const prefix = "Failed to construct 'Headers'";
    fill(this.#list, "none", toHeadersInit(init, prefix, CONTEXT), prefix);
  }

  // https://fetch.spec.whatwg.org/#dom-headers-append
  append(name, value) {
    webidl.assertBranded(this, Headers.prototype);
    const list = this.#list;
    const prefix = "Failed to execute 'append' on 'Headers'";
    requireArguments(arguments.length, 2, prefix);
    name = ByteString(name, prefix, "parameter 1");
    value = ByteString(value, prefix, "parameter 2");
    append(list, this.#guard, name, value, prefix);
    this.#combined = null;
  }

  // https://fetch.spec.whatwg.org/#dom-headers-delete
  delete(name) {
    webidl.assertBranded(this, Headers.prototype);
    const list = this.#list;
    const prefix = "Failed to execute 'delete' on 'Headers'";
    requireArguments(arguments.length, 1, prefix);
    name = ByteString(name, prefix, "parameter 1");
    if (!validate(this.#guard, name, "", prefix)) return;
    const lower = byteLowerCase(name);
    const isNoCors = this.#guard === "request-no-cors";
    if (isNoCors && !isNoCorsSafelistedName(lower) && lower !== "range") return;
    deleteFromList(list, lower);
    if (isNoCors) removePrivilegedNoCors(list);
    this.#combined = null;
  }

  // https://fetch.spec.whatwg.org/#dom-headers-get
  get(name) {
    webidl.assertBranded(this, Headers.prototype);
    const list = this.#list;
    const prefix = "Failed to execute 'get' on 'Headers'";
    requireArguments(arguments.length, 1, prefix);
    name = ByteString(name, prefix, "parameter 1");
    requireName(name, prefix);
    return getHeader(list, byteLowerCase(name));
  }

  // https://fetch.spec.whatwg.org/#dom-headers-getsetcookie
  getSetCookie() {
    webidl.assertBranded(this, Headers.prototype);
    const list = this.#list;
    const values = [];
    for (let i = 0; i < list.length; i++) {
      if (byteLowerCase(list[i][0]) === "set-cookie") ArrayPrototypePush(values, list[i][1]);
    }
    return values;
  }

  // https://fetch.spec.whatwg.org/#dom-headers-has
  has(name) {
    webidl.assertBranded(this, Headers.prototype);
    const list = this.#list;
    const prefix = "Failed to execute 'has' on 'Headers'";
    requireArguments(arguments.length, 1, prefix);
    name = ByteString(name, prefix, "parameter 1");
    requireName(name, prefix);
    return getHeader(list, byteLowerCase(name)) !== null;
  }

  // https://fetch.spec.whatwg.org/#dom-headers-set
  set(name, value) {
    webidl.assertBranded(this, Headers.prototype);
    const list = this.#list;
    const prefix = "Failed to execute 'set' on 'Headers'";
    requireArguments(arguments.length, 2, prefix);
    name = ByteString(name, prefix, "parameter 1");
    value = httpTrim(ByteString(value, prefix, "parameter 2"));
    if (!validate(this.#guard, name, value, prefix)) return;
    const isNoCors = this.#guard === "request-no-cors";
    if (isNoCors && !isNoCorsSafelistedRequestHeader(byteLowerCase(name), value)) return;
    setInList(list, name, value);
    if (isNoCors) removePrivilegedNoCors(list);
    this.#combined = null;
  }

  get [pairs]() {
    this.#combined ??= sortAndCombine(this.#list);
    return this.#combined;
  }
}

webidl.mixinPairIterable("Headers", Headers, pairs, 0, 1);
webidl.configureInterface(Headers);
markNotSerializable(Headers.prototype);
