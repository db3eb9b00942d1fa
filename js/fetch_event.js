// FetchEvent: https://w3c.github.io/ServiceWorker/#fetchevent-interface
//
// Invariant: the host hears of each fetch event once what became of it: a response, the network's
// business, or a network error with its reason.

import { core, primordials } from "ext:core/mod.js";
import {
  addLifetimePromise,
  ExtendableEvent,
  isDispatching,
} from "ext:kittiwake/extendable_event.js";
import { InnerBody } from "ext:kittiwake/fetch/body.js";
import { responseFrom } from "ext:kittiwake/fetch/fetch.js";
import { HostBody } from "ext:kittiwake/fetch/host_body.js";
import {
  fromInnerRequest,
  newInnerRequest,
  Request,
  toInnerRequest,
} from "ext:kittiwake/fetch/request.js";
import { Response, toInnerResponse } from "ext:kittiwake/fetch/response.js";
import { streams } from "ext:kittiwake/lazy.js";
import {
  isObject,
  requireArguments,
  requiredDictionary,
  requiredMember,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const {
  op_fetch_event_body,
  op_fetch_event_preload,
  op_fetch_event_respond,
  op_fetch_event_unanswered,
} = core.ops;
const {
  ObjectPrototypeIsPrototypeOf,
  Promise,
  PromisePrototypeThen,
  PromiseReject,
  PromiseResolve,
  TypeError,
} = primordials;

let stateOf;

// https://w3c.github.io/ServiceWorker/#fetchevent-interface
export class FetchEvent extends ExtendableEvent {
  #state;

  static {
    stateOf = (event) => event.#state;
  }

  constructor(type, eventInitDict) {
    const prefix = "Failed to construct 'FetchEvent'";
    requireArguments(arguments.length, 2, prefix);
    requiredDictionary(eventInitDict, "FetchEventInit", prefix);
    super(type, eventInitDict);
    const text = (member) => {
      const value = eventInitDict[member];
      return value === undefined ? "" : string(value, prefix);
    };
    const reading = `${prefix}: Failed to read the 'request' property from 'FetchEventInit'`;
    const clientId = text("clientId");
    const isReload = Boolean(eventInitDict.isReload);
    const { handled, preloadResponse } = eventInitDict;
    const request = requiredMember(eventInitDict.request, reading);
    if (!isObject(request) || !ObjectPrototypeIsPrototypeOf(Request.prototype, request)) {
      throw new TypeError(`${reading}: Failed to convert value to 'Request'.`);
    }
    this.#state = {
      id: 0,
      clientId,
      isReload,
      preloadResponse: PromiseResolve(preloadResponse),
      request,
      replacesClientId: text("replacesClientId"),
      resultingClientId: text("resultingClientId"),
      isRespondedTo: false,
      handled: handled === undefined ? handledPromise() : { promise: PromiseResolve(handled) },
    };
  }

  // https://w3c.github.io/ServiceWorker/#fetch-event-request
  get request() {
    return this.#state.request;
  }

  // https://w3c.github.io/ServiceWorker/#fetch-event-preloadresponse
  get preloadResponse() {
    return promiseAttribute(() => this.#state.preloadResponse);
  }

  // https://w3c.github.io/ServiceWorker/#fetch-event-clientid
  get clientId() {
    return this.#state.clientId;
  }

  // https://w3c.github.io/ServiceWorker/#fetch-event-resultingclientid
  get resultingClientId() {
    return this.#state.resultingClientId;
  }

  // https://w3c.github.io/ServiceWorker/#fetch-event-replacesclientid
  get replacesClientId() {
    return this.#state.replacesClientId;
  }

  // Of an earlier draft; Chromium still has it.
  get isReload() {
    return this.#state.isReload;
  }

  // https://w3c.github.io/ServiceWorker/#fetch-event-handled
  get handled() {
    return promiseAttribute(() => this.#state.handled.promise);
  }

  // https://w3c.github.io/ServiceWorker/#fetch-event-respondwith
  respondWith(r) {
    webidl.assertBranded(this, FetchEvent.prototype);
    const prefix = "Failed to execute 'respondWith' on 'FetchEvent'";
    requireArguments(arguments.length, 1, prefix);
    this.stopImmediatePropagation();
    if (!this.isTrusted) return; // as in Chromium
    const state = this.#state;
    if (state.isRespondedTo) {
      const text = `${prefix}: respondWith() was already called.`;
      throw new DOMException(text, "InvalidStateError");
    }
    if (!isDispatching(this)) {
      const text = `${prefix}: The event handler is already finished.`;
      throw new DOMException(text, "InvalidStateError");
    }
    const response = PromisePrototypeThen(PromiseResolve(r), toResponse);
    addLifetimePromise(this, response);
    state.isRespondedTo = true;
    PromisePrototypeThen(
      response,
      (value) => respond(state, value),
      () => fail(state, "the promise was rejected."),
    );
  }
}
webidl.configureInterface(FetchEvent);

// An attribute whose type is a promise rejects where another would throw.
// https://webidl.spec.whatwg.org/#dfn-attribute-getter
function promiseAttribute(read) {
  try {
    return read();
  } catch (error) {
    return PromiseReject(error);
  }
}

/** A promise whose rejection is nobody's business. */
function handledPromise() {
  const handled = {};
  handled.promise = new Promise((resolve, reject) => {
    handled.resolve = resolve;
    handled.reject = reject;
  });
  PromisePrototypeThen(handled.promise, undefined, () => {});
  return handled;
}

function toResponse(value) {
  if (isObject(value) && ObjectPrototypeIsPrototypeOf(Response.prototype, value)) return value;
  throw new TypeError("Failed to convert value to 'Response'.");
}

// The steps of respondWith() once its promise is fulfilled; the refusals are Chromium's.
function respond(state, response) {
  const inner = toInnerResponse(response);
  const refusal = refusalOf(inner, toInnerRequest(state.request));
  if (refusal !== null) return fail(state, refusal);
  const shown = inner.internal ?? inner;
  const { bytes, resource } = takeBody(shown.body);
  const head = {
    type: inner.type,
    status: shown.status,
    statusText: shown.statusMessage,
    headers: shown.headerList,
    urlList: shown.urlList,
  };
  op_fetch_event_respond(state.id, head, bytes, resource);
  state.handled.resolve();
}

/** What the host reads: bytes, or a resource; one of its own passes through no script. */
function takeBody(body) {
  if (body === null) return { bytes: null, resource: null };
  const content = body.takeContent();
  if (content === null) {
    return { bytes: null, resource: streams().resourceForReadableStream(body.stream) };
  }
  if (ObjectPrototypeIsPrototypeOf(HostBody.prototype, content)) {
    return { bytes: null, resource: content.take() };
  }
  return { bytes: typeof content === "string" ? core.encode(content) : content, resource: null };
}

function refusalOf({ type, urlList, body, internal }, request) {
  const { mode, redirectMode } = request;
  if (type === "error") return "the promise was resolved with an error response object.";
  if (type === "cors" && mode === "same-origin") {
    return 'a "cors" type response was used for a request whose mode is "same-origin".';
  }
  if (type === "opaque" && mode !== "no-cors") {
    return 'an "opaque" response was used for a request whose type is not no-cors';
  }
  if (type === "opaqueredirect" && redirectMode !== "manual") {
    return 'an "opaqueredirect" type response was used for a request whose redirect mode is not ' +
      '"manual".';
  }
  if (type !== "opaqueredirect" && urlList.length > 1 && redirectMode !== "follow") {
    return 'a redirected response was used for a request whose redirect mode is not "follow".';
  }
  const used = internal === null ? body : internal.body;
  if (used?.isLocked()) {
    return 'a Response whose "body" is locked cannot be used to respond to a request.';
  }
  if (used?.consumed()) {
    return 'a Response whose "bodyUsed" is "true" cannot be used to respond to a request.';
  }
  return null;
}

function fail(state, reason) {
  const url = toInnerRequest(state.request).urlList[0];
  const text = `The FetchEvent for "${url}" resulted in a network error response: ${reason}`;
  op_fetch_event_unanswered(state.id, text);
  state.handled.reject(new DOMException(text, "NetworkError"));
}

/** The event of a request that the host has from a client. */
export function createFetchEvent({ id, request, clientId, resultingClientId, preload }) {
  const event = new FetchEvent("fetch", {
    cancelable: true,
    clientId,
    resultingClientId,
    isReload: request.reload,
    preloadResponse: preload ? preloadedResponse(id) : undefined,
    request: fromInnerRequest(innerRequest(id, request), "immutable"),
  });
  stateOf(event).id = id;
  return event;
}

// https://w3c.github.io/ServiceWorker/#on-fetch-request-algorithm, where it starts a preload
function preloadedResponse(id) {
  const response = PromisePrototypeThen(op_fetch_event_preload(id), ({ parts }) => {
    return responseFrom(parts, bodyOf(parts[5], parts[6]));
  });
  // Its failure is nobody's business who does not ask for it.
  PromisePrototypeThen(response, undefined, () => {});
  return response;
}

function bodyOf(bytes, rid) {
  if (bytes !== null) return InnerBody.own(bytes);
  return rid === null ? null : new InnerBody(new HostBody(rid, null, null));
}

function innerRequest(id, request) {
  const inner = newInnerRequest(request.method, request.url);
  inner.headerList = request.headers;
  inner.mode = request.mode;
  inner.credentialsMode = request.credentials;
  inner.cacheMode = request.cache;
  inner.redirectMode = request.redirect;
  inner.referrer = request.referrer;
  inner.referrerPolicy = request.referrerPolicy;
  inner.integrity = request.integrity;
  inner.keepalive = request.keepalive;
  inner.destination = request.destination;
  inner.reloadNavigation = request.reload;
  if (request.hasBody) {
    const { bytes, rid } = op_fetch_event_body(id);
    inner.body = new InnerBody(bytes ?? streams().readableStreamForRid(rid));
  }
  return inner;
}

/** What follows the dispatch when nobody called respondWith(). */
export function afterFetchEvent(event) {
  const state = stateOf(event);
  if (state.isRespondedTo) return;
  if (event.defaultPrevented) {
    return fail(state, "preventDefault() was called without calling respondWith().");
  }
  op_fetch_event_unanswered(state.id, null);
  state.handled.resolve();
}
