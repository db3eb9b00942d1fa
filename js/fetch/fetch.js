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
import { requireArguments } from "ext:kittiwake/webidl.js";

const { resourceForReadableStream } = core.loadExtScript(
  "ext:deno_web/06_streams.js",
);
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

function start(self, input, init, given) {
  const scope = globalThis.constructor.name === "Window" ? "Window" : "WorkerGlobalScope";
  const prefix = `Failed to execute 'fetch' on '${scope}'`;
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
  #cancel = core.createCancelHandle();
  #responseBody = null;
  signal;

  constructor(signal) {
    this.signal = signal;
  }

  get cancelHandle() {
    return this.#cancel;
  }

  abort(request) {
    core.tryClose(this.#cancel);
    if (request.body !== null) request.body.cancel(this.signal.reason);
    if (this.#responseBody !== null) this.#responseBody.abort();
  }

  /** The response is here, and its body may be on its way: `rid` is a resource or null. */
  received(rid) {
    core.tryClose(this.#cancel); // or each request would leave its handle behind
    if (rid === null) return null;
    this.#responseBody = new HostBody(rid, this.signal);
    return new InnerBody(this.#responseBody);
  }

  failed() {
    core.tryClose(this.#cancel);
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
    exchange.failed();
    return fromInnerResponse(fetchBlob(inner), "immutable");
  }
  try {
    let bytes = null;
    let stream = null;
    if (inner.body !== null) {
      const { source } = inner.body;
      if (source === null) {
        stream = resourceForReadableStream(inner.body.stream);
      } else {
        bytes = await sourceOf(inner.body);
        if (typeof bytes === "string") bytes = core.encode(bytes);
        inner.body.cancel();
      }
    }
    const request = hostRequest(inner, stream);
    const head = await op_http_fetch(request, bytes, exchange.cancelHandle);
    return responseFrom(head, exchange.received(head.body));
  } catch (error) {
    exchange.failed();
    inner.body?.cancel(error);
    throw error;
  }
}

function hostRequest(inner, bodyStream) {
  return {
    method: inner.method,
    url: inner.urlList[0],
    headers: inner.headerList,
    mode: inner.mode,
    credentials: inner.credentialsMode,
    cache: inner.cacheMode,
    redirect: inner.redirectMode,
    referrer: inner.referrer,
    referrerPolicy: inner.referrerPolicy,
    integrity: inner.integrity,
    keepalive: inner.keepalive,
    destination: inner.destination,
    bodyStream,
  };
}

/** The response whose head and body the host gave. */
export function responseFrom(head, body) {
  const inner = newInnerResponse(head.status, head.statusText);
  inner.headerList = head.headers;
  inner.urlList = head.urlList;
  inner.body = body;
  const isHidden = head.type === "opaque" || head.type === "opaqueredirect";
  if (isHidden) return fromInnerResponse(filteredResponse(head.type, inner), "immutable");
  inner.type = head.type;
  return fromInnerResponse(inner, "immutable");
}
