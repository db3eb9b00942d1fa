// The Cache API: https://w3c.github.io/ServiceWorker/#cache-objects
//
// Invariant: the promise of whatever changes a cache resolves only after the host has the change on
// disk. No body is held in memory whole unless the script made it so.

import { core, primordials } from "ext:core/mod.js";
import { InnerBody } from "ext:kittiwake/fetch/body.js";
import { fetch } from "ext:kittiwake/fetch/fetch.js";
import { HostBody } from "ext:kittiwake/fetch/host_body.js";
import {
  fromInnerRequest,
  newInnerRequest,
  Request,
  requestFor,
  signalOf,
  toInnerRequest,
} from "ext:kittiwake/fetch/request.js";
import {
  filteredResponse,
  fromInnerResponse,
  newInnerResponse,
  Response,
  toInnerResponse,
} from "ext:kittiwake/fetch/response.js";
import { streams } from "ext:kittiwake/lazy.js";
import {
  assertThis,
  dictionary,
  hostKey,
  isObject,
  requireArguments,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { AbortController, AbortSignal } = core.loadExtScript("ext:deno_web/03_abort_signal.js");
const {
  op_cache_body,
  op_cache_body_pipe,
  op_cache_body_write,
  op_cache_delete,
  op_cache_delete_entries,
  op_cache_has,
  op_cache_match,
  op_cache_match_all,
  op_cache_match_any,
  op_cache_names,
  op_cache_open,
  op_cache_put,
  op_cache_requests,
} = core.ops;
const {
  ArrayPrototypeMap,
  ArrayPrototypePush,
  JSONStringify,
  ObjectPrototypeIsPrototypeOf,
  ReflectApply,
  SafeArrayIterator,
  SafePromiseAll,
  SafeSet,
  SetPrototypeAdd,
  SetPrototypeHas,
  StringPrototypeSplit,
  StringPrototypeToLowerCase,
  StringPrototypeTrim,
  TypedArrayPrototypeGetSymbolToStringTag,
  TypeError,
} = primordials;
const AbortSignalAny = AbortSignal.any;

// https://w3c.github.io/ServiceWorker/#cache-interface
export class Cache {
  #id;

  constructor(key = undefined, id = undefined) {
    requireHostKey(key, "Cache");
    this[webidl.brand] = webidl.brand;
    this.#id = id;
  }

  // https://w3c.github.io/ServiceWorker/#cache-match
  async match(request, options = undefined) {
    const prefix = "Failed to execute 'match' on 'Cache'";
    assertThis(this, Cache, prefix);
    requireArguments(arguments.length, 1, prefix);
    const query = queryOf(requestInfo(request, prefix), queryOptions(options, prefix), prefix);
    if (query === null) return undefined;
    return responseFrom(op_cache_match(this.#id, query));
  }

  // https://w3c.github.io/ServiceWorker/#cache-matchall
  async matchAll(request = undefined, options = undefined) {
    const prefix = "Failed to execute 'matchAll' on 'Cache'";
    assertThis(this, Cache, prefix);
    const query = optionalQuery(request, options, prefix);
    const found = query === null ? [] : op_cache_match_all(this.#id, query);
    return ArrayPrototypeMap(found, responseFrom); // not frozen, as in Chromium
  }

  // https://w3c.github.io/ServiceWorker/#cache-add
  async add(request) {
    const prefix = "Failed to execute 'add' on 'Cache'";
    assertThis(this, Cache, prefix);
    requireArguments(arguments.length, 1, prefix);
    await addAll(this.#id, [requestInfo(request, prefix)], prefix);
  }

  // https://w3c.github.io/ServiceWorker/#cache-addAll
  async addAll(requests) {
    const prefix = "Failed to execute 'addAll' on 'Cache'";
    assertThis(this, Cache, prefix);
    requireArguments(arguments.length, 1, prefix);
    await addAll(this.#id, sequenceOfRequestInfo(requests, prefix, "Argument 1"), prefix);
  }

  // https://w3c.github.io/ServiceWorker/#cache-put
  async put(request, response) {
    const prefix = "Failed to execute 'put' on 'Cache'";
    assertThis(this, Cache, prefix);
    requireArguments(arguments.length, 2, prefix);
    const info = requestInfo(request, prefix);
    if (!ObjectPrototypeIsPrototypeOf(Response.prototype, response)) {
      throw new TypeError(`${prefix}: parameter 2 is not of type 'Response'.`);
    }
    const innerRequest = storableRequest(info, prefix);
    const innerResponse = toInnerResponse(response);
    if (innerResponse.status === 206) {
      throw new TypeError(`${prefix}: Partial response (status code 206) is unsupported`);
    }
    const vary = storableVary(innerResponse, prefix);
    await op_cache_put(this.#id, [await entry(innerRequest, innerResponse, vary, prefix)]);
  }

  // https://w3c.github.io/ServiceWorker/#cache-delete
  async delete(request, options = undefined) {
    const prefix = "Failed to execute 'delete' on 'Cache'";
    assertThis(this, Cache, prefix);
    requireArguments(arguments.length, 1, prefix);
    const query = queryOf(requestInfo(request, prefix), queryOptions(options, prefix), prefix);
    return query !== null && op_cache_delete_entries(this.#id, query);
  }

  // https://w3c.github.io/ServiceWorker/#cache-keys
  async keys(request = undefined, options = undefined) {
    const prefix = "Failed to execute 'keys' on 'Cache'";
    assertThis(this, Cache, prefix);
    const query = optionalQuery(request, options, prefix);
    const found = query === null ? [] : op_cache_requests(this.#id, query);
    return ArrayPrototypeMap(found, requestFrom); // not frozen, as in Chromium
  }
}
webidl.configureInterface(Cache);

// https://w3c.github.io/ServiceWorker/#cachestorage-interface
export class CacheStorage {
  #bucket;

  constructor(key = undefined, bucket = undefined) {
    requireHostKey(key, "CacheStorage");
    this[webidl.brand] = webidl.brand;
    this.#bucket = bucket;
  }

  // https://w3c.github.io/ServiceWorker/#cache-storage-match
  async match(request, options = undefined) {
    const prefix = "Failed to execute 'match' on 'CacheStorage'";
    assertThis(this, CacheStorage, prefix);
    requireArguments(arguments.length, 1, prefix);
    const info = requestInfo(request, prefix);
    const init = dictionary(options, "MultiCacheQueryOptions", prefix);
    const read = readQueryOptions(init);
    const { cacheName } = init;
    const name = cacheName === undefined ? null : string(cacheName, prefix);
    const query = queryOf(info, read, prefix);
    if (query === null) return undefined;
    return responseFrom(op_cache_match_any(this.#bucket, query, name));
  }

  // https://w3c.github.io/ServiceWorker/#cache-storage-has
  async has(cacheName) {
    const name = nameFor(this, "has", arguments.length, cacheName);
    return op_cache_has(this.#bucket, name);
  }

  // https://w3c.github.io/ServiceWorker/#cache-storage-open
  async open(cacheName) {
    const name = nameFor(this, "open", arguments.length, cacheName);
    return new Cache(hostKey, op_cache_open(this.#bucket, name));
  }

  // https://w3c.github.io/ServiceWorker/#cache-storage-delete
  async delete(cacheName) {
    const name = nameFor(this, "delete", arguments.length, cacheName);
    return op_cache_delete(this.#bucket, name);
  }

  // https://w3c.github.io/ServiceWorker/#cache-storage-keys
  async keys() {
    assertThis(this, CacheStorage, "Failed to execute 'keys' on 'CacheStorage'");
    return op_cache_names(this.#bucket);
  }
}
webidl.configureInterface(CacheStorage);

/** The caches of a bucket of the realm's origin; bucket 0 is the one that every origin has. */
export function createCacheStorage(bucket = 0) {
  return new CacheStorage(hostKey, bucket);
}

function nameFor(self, operation, given, cacheName) {
  const prefix = `Failed to execute '${operation}' on 'CacheStorage'`;
  assertThis(self, CacheStorage, prefix);
  requireArguments(given, 1, prefix);
  return string(cacheName, prefix);
}

// --- requests ---

/** https://fetch.spec.whatwg.org/#requestinfo */
export function requestInfo(value, prefix) {
  return ObjectPrototypeIsPrototypeOf(Request.prototype, value) ? value : string(value, prefix);
}

const sequenceOfAny = webidl.createSequenceConverter(webidl.converters.any);

function sequenceOfRequestInfo(value, prefix, context) {
  if (!isObject(value)) {
    throw new TypeError(`${prefix}: The provided value cannot be converted to a sequence.`);
  }
  const sequence = sequenceOfAny(value, prefix, context);
  return ArrayPrototypeMap(sequence, (each) => requestInfo(each, prefix));
}

function innerRequestOf(info, prefix) {
  return toInnerRequest(typeof info === "string" ? requestFor(info, undefined, prefix) : info);
}

/** The request, which a cache may be asked to keep. */
function storableRequest(info, prefix) {
  const inner = innerRequestOf(info, prefix);
  const { protocol } = new URL(inner.url());
  if (protocol !== "http:" && protocol !== "https:") {
    const scheme = StringPrototypeSplit(protocol, ":", 1)[0];
    throw new TypeError(`${prefix}: Request scheme '${scheme}' is unsupported`);
  }
  if (inner.method !== "GET") {
    throw new TypeError(`${prefix}: Request method '${inner.method}' is unsupported`);
  }
  return inner;
}

// https://w3c.github.io/ServiceWorker/#dictdef-cachequeryoptions
export function queryOptions(options, prefix) {
  return readQueryOptions(dictionary(options, "CacheQueryOptions", prefix));
}

function readQueryOptions({ ignoreMethod, ignoreSearch, ignoreVary }) {
  return {
    ignoreMethod: Boolean(ignoreMethod),
    ignoreSearch: Boolean(ignoreSearch),
    ignoreVary: Boolean(ignoreVary),
  };
}

/** What entries are looked for; null if none can match. */
export function queryOf(info, { ignoreMethod, ignoreSearch, ignoreVary }, prefix) {
  const inner = innerRequestOf(info, prefix);
  // What a cache holds was all asked for with GET.
  if (inner.method !== "GET" && !ignoreMethod) return null;
  return {
    request: { url: inner.url(), headers: inner.headerList },
    ignoreSearch,
    ignoreVary,
  };
}

/** As queryOf; undefined if every entry matches. */
function optionalQuery(request, options, prefix) {
  const info = request === undefined ? undefined : requestInfo(request, prefix);
  const read = queryOptions(options, prefix);
  return info === undefined ? undefined : queryOf(info, read, prefix);
}

function requestFrom({ url, headers }) {
  const inner = newInnerRequest("GET", url);
  inner.headerList = headers;
  return fromInnerRequest(inner, "request"); // not immutable, as in Chromium
}

// --- responses ---

/** https://httpwg.org/specs/rfc9110.html#field.vary, in lower case */
function varyOf(inner) {
  const names = [];
  for (const header of new SafeArrayIterator(inner.headerList)) {
    if (StringPrototypeToLowerCase(header[0]) !== "vary") continue;
    for (const value of new SafeArrayIterator(StringPrototypeSplit(header[1], ","))) {
      const name = StringPrototypeToLowerCase(StringPrototypeTrim(value));
      if (name !== "") ArrayPrototypePush(names, name);
    }
  }
  return names;
}

function storableVary(inner, prefix) {
  const vary = varyOf(inner);
  if (vary.includes("*")) throw new TypeError(`${prefix}: Vary header contains *`);
  return vary;
}

/** The response that the host found; undefined if it found none. */
export function responseFrom(found) {
  if (found === null) return undefined;
  const { response, bytes, body } = found;
  const inner = newInnerResponse(response.status, response.statusText);
  inner.headerList = response.headers;
  inner.urlList = response.urlList;
  if (bytes !== null) inner.body = InnerBody.own(bytes);
  else if (body !== null) inner.body = new InnerBody(new HostBody(body, null, null));
  const type = response.responseType;
  const isHidden = type === "opaque" || type === "opaqueredirect";
  if (!isHidden) inner.type = type;
  // Not immutable, as in Chromium.
  return fromInnerResponse(isHidden ? filteredResponse(type, inner) : inner, "response");
}

/** What the host puts. The response's body is locked and read from now on. What a filter hides is
 * kept too. */
async function entry(request, response, vary, prefix) {
  const kept = response.internal ?? response;
  if (kept.body !== null && kept.body.unusable()) {
    throw new TypeError(`${prefix}: Response body is already used`);
  }
  const { bytes, body } = await readBody(kept.body, prefix);
  return {
    request: { url: request.url(), headers: request.headerList },
    vary,
    response: {
      responseType: response.type,
      urlList: kept.urlList,
      status: kept.status,
      statusText: kept.statusMessage,
      headers: kept.headerList,
    },
    bytes,
    body,
  };
}

/** A body as the host takes it: all its bytes, or a resource that they were written to. */
async function readBody(inner, prefix) {
  if (inner === null) return { bytes: null, body: null };
  const content = inner.takeContent();
  if (ObjectPrototypeIsPrototypeOf(HostBody.prototype, content)) return await pipeHostBody(content);
  if (content !== null) {
    return { bytes: typeof content === "string" ? core.encode(content) : content, body: null };
  }
  const { stream } = inner;
  const { acquireReadableStreamDefaultReader, readableStreamPipeTo, WritableStream } = streams();
  const body = op_cache_body();
  // No chunk is the value of a promise, which a script could see by Object.prototype.then.
  const write = (chunk) => {
    if (TypedArrayPrototypeGetSymbolToStringTag(chunk) !== "Uint8Array") {
      throw new TypeError(`${prefix}: Received a chunk that is not a Uint8Array`);
    }
    return op_cache_body_write(body, chunk);
  };
  const sink = new WritableStream({ __proto__: null, write }, { __proto__: null });
  try {
    await readableStreamPipeTo(stream, sink, false, false, false);
  } catch (error) {
    core.tryClose(body);
    throw error;
  }
  acquireReadableStreamDefaultReader(stream); // nobody else can any more
  return { bytes: null, body };
}

/** What nobody has asked for as a stream goes from the server to the disk without passing here. */
async function pipeHostBody(content) {
  const body = op_cache_body();
  try {
    await content.give((resource) => op_cache_body_pipe(body, resource));
  } catch (error) {
    core.tryClose(body);
    throw error;
  }
  return { bytes: null, body };
}

// --- add() and addAll() ---

/** Fetches and puts; all requests or none. */
async function addAll(cache, infos, prefix) {
  const requests = ArrayPrototypeMap(infos, (info) => {
    const request = typeof info === "string" ? requestFor(info, undefined, prefix) : info;
    storableRequest(request, prefix);
    return request;
  });
  refuseTwins(requests, prefix);
  const controller = new AbortController();
  const entries = [];
  try {
    const fetched = ArrayPrototypeMap(requests, async (request) => {
      const { inner, vary } = await fetchToAdd(request, controller.signal, prefix);
      const added = await entry(toInnerRequest(request), inner, vary, prefix);
      ArrayPrototypePush(entries, added);
      if (controller.signal.aborted) closeBody(added);
      return added;
    });
    const inOrder = await SafePromiseAll(fetched);
    if (inOrder.length > 0) await op_cache_put(cache, inOrder);
  } catch (error) {
    // The other requests are of no use any more.
    controller.abort();
    for (const added of new SafeArrayIterator(entries)) closeBody(added);
    throw error;
  }
}

/** Requests that are alike in URL and headers cannot both be put, whatever their responses vary
 * with. That needs no answer of a server. */
function refuseTwins(requests, prefix) {
  const seen = new SafeSet();
  for (const request of new SafeArrayIterator(requests)) {
    const inner = toInnerRequest(request);
    const url = StringPrototypeSplit(inner.url(), "#", 1)[0];
    const twin = JSONStringify([url, inner.headerList]);
    if (SetPrototypeHas(seen, twin)) {
      const text = `${prefix}: Cache.addAll(): duplicate requests (${url})`;
      throw new DOMException(text, "InvalidStateError");
    }
    SetPrototypeAdd(seen, twin);
  }
}

async function fetchToAdd(request, signal, prefix) {
  const own = signalOf(request);
  const either = own === null
    ? signal
    : ReflectApply(AbortSignalAny, AbortSignal, [[own, signal]]);
  const inner = toInnerResponse(await fetch(request, { __proto__: null, signal: either }));
  if (inner.status < 200 || inner.status > 299 || inner.status === 206) {
    throw new TypeError(`${prefix}: Request failed`);
  }
  return { inner, vary: storableVary(inner, prefix) };
}

function closeBody({ body }) {
  if (body !== null) core.tryClose(body);
}
