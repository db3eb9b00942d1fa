// fetch(): https://fetch.spec.whatwg.org/#fetch-method
//
// The host fetches; here are what only this side has: streams, signals and blobs.
//
// Invariant: whatever stops a request is "Failed to fetch" to the script; the trace has the cause.
// An abort is its signal's reason, at every stage.

import { core, primordials } from "ext:core/mod.js";
import { fetchBlob } from "ext:kittiwake/fetch/blob.js";
import { InnerBody, sourceOf } from "ext:kittiwake/fetch/body.js";
import { HostBody } from "ext:kittiwake/fetch/host_body.js";
import { requestFor, signalOf, toInnerRequest } from "ext:kittiwake/fetch/request.js";
import {
  filteredResponse,
  fromInnerResponse,
  newInnerResponse,
} from "ext:kittiwake/fetch/response.js";
import { streams } from "ext:kittiwake/lazy.js";
import { requireArguments } from "ext:kittiwake/webidl.js";

const abortSignal = core.loadExtScript("ext:deno_web/03_abort_signal.js");
const { op_http_fetch } = core.ops;
const { Promise, PromisePrototypeThen, PromiseReject, TypeError } = primordials;

// https://fetch.spec.whatwg.org/#fetch-method
export function fetch(input, init = undefined) {
  try {
    return start(this, input, init, arguments.length);
  } catch (error) {
    return PromiseReject(error);
  }
}

/** How errors begin; made by the first call, because no scope is there when this file runs. */
let prefix = null;

function prefixOf(name) {
  return `Failed to execute 'fetch' on '${name === "Window" ? name : "WorkerGlobalScope"}'`;
}

function start(self, input, init, given) {
  prefix ??= prefixOf(globalThis.constructor.name);
  if (self !== undefined && self !== globalThis) {
    throw new TypeError(`${prefix}: Illegal invocation`);
  }
  requireArguments(given, 1, prefix);
  const request = requestFor(input, init, prefix);
  const inner = toInnerRequest(request);
  const signal = signalOf(request);
  return signal === null ? send(inner, new Exchange(null)) : abortable(inner, signal);
}

/** One fetch under way: what an abort has to end. */
class Exchange {
  #cancel;
  #responseBody = null;
  signal;

  /** Of a signal, or of null: then nothing aborts it. */
  constructor(signal) {
    this.signal = signal;
    this.#cancel = signal === null ? null : core.createCancelHandle();
  }

  get cancelHandle() {
    return this.#cancel;
  }

  abort(request) {
    this.over();
    if (request.body !== null) request.body.cancel(this.signal.reason);
    if (this.#responseBody !== null) this.#responseBody.abort();
  }

  /** The response is here, and so is all of its body, `bytes`, or a resource for it, `body`. */
  received(bytes, body) {
    this.over();
    if (bytes === null && body === null) return null;
    if (bytes !== null && this.signal === null) return InnerBody.own(bytes);
    this.#responseBody = new HostBody(body, bytes, this.signal);
    return new InnerBody(this.#responseBody);
  }

  /** Each request would leave its handle behind otherwise. */
  over() {
    if (this.#cancel !== null) core.tryClose(this.#cancel);
  }
}

// https://fetch.spec.whatwg.org/#fetch-method, with its steps for an abort
function abortable(inner, signal) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      inner.body?.cancel(signal.reason);
      return reject(signal.reason);
    }
    const exchange = new Exchange(signal);
    signal[abortSignal.add](() => {
      reject(signal.reason);
      exchange.abort(inner);
    });
    PromisePrototypeThen(send(inner, exchange), resolve, reject);
  });
}

async function send(inner, exchange) {
  if (inner.blob !== null && inner.method === "GET") {
    exchange.over();
    return fromInnerResponse(fetchBlob(inner), "immutable");
  }
  try {
    let bytes = null;
    let stream = null;
    if (inner.body !== null) {
      const { source } = inner.body;
      if (source === null) {
        stream = streams().resourceForReadableStream(inner.body.stream);
      } else {
        bytes = await sourceOf(inner.body);
        if (typeof bytes === "string") bytes = core.encode(bytes);
        inner.body.cancel();
      }
    }
    const { parts } = await op_http_fetch(hostRequest(inner, stream, exchange.cancelHandle), bytes);
    return responseFrom(parts, exchange.received(parts[5], parts[6]));
  } catch (error) {
    exchange.over();
    inner.body?.cancel(error);
    throw error;
  }
}

/** In the order of `FetchRequestParts` in ops/fetch.rs. */
function hostRequest(inner, bodyStream, cancel) {
  return [
    inner.method,
    inner.urlList[0],
    inner.headerList,
    inner.mode,
    inner.credentialsMode,
    inner.cacheMode,
    inner.redirectMode,
    inner.referrer,
    inner.referrerPolicy,
    inner.integrity,
    inner.keepalive,
    inner.destination,
    bodyStream,
    cancel,
  ];
}

/**
 * The response of the host's answer, `parts`, which begins with type, status, status message,
 * header list and URL list.
 */
export function responseFrom(parts, body) {
  const type = parts[0];
  const inner = newInnerResponse(parts[1], parts[2]);
  inner.headerList = parts[3];
  inner.urlList = parts[4];
  inner.body = body;
  const isHidden = type === "opaque" || type === "opaqueredirect";
  if (isHidden) return fromInnerResponse(filteredResponse(type, inner), "immutable");
  inner.type = type;
  return fromInnerResponse(inner, "immutable");
}
