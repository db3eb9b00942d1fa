// IDBRequest, IDBOpenDBRequest and IDBVersionChangeEvent.
// https://w3c.github.io/IndexedDB/#requests

import { core, primordials } from "ext:core/mod.js";
import { defineHandler } from "ext:kittiwake/events.js";
import {
  dictionary,
  hostKey,
  requireArguments,
  requireHostKey,
  string,
  unsignedLongLong,
  webidl,
} from "ext:kittiwake/webidl.js";

const { Event, EventTarget } = core.loadExtScript("ext:deno_web/02_event.js");
const { DOMException, QuotaExceededError } = core.loadExtScript(
  "ext:deno_web/01_dom_exception.js",
);
const { ObjectPrototypeIsPrototypeOf, SafeMap } = primordials;

/** The state of a request that a script cannot reach. */
export let requestState;

// https://w3c.github.io/IndexedDB/#request-api
export class IDBRequest extends EventTarget {
  #state;

  static {
    requestState = (request) => request.#state;
  }

  constructor(key = undefined, state = undefined) {
    if (key !== hostKey) requireHostKey(key, new.target.name);
    super();
    this.#state = state;
  }

  // https://w3c.github.io/IndexedDB/#dom-idbrequest-result
  get result() {
    return whenDone(this.#state, "result").result;
  }

  // https://w3c.github.io/IndexedDB/#dom-idbrequest-error
  get error() {
    return whenDone(this.#state, "error").error;
  }

  get source() {
    return this.#state.source;
  }

  get transaction() {
    return this.#state.transaction;
  }

  get readyState() {
    return this.#state.done ? "done" : "pending";
  }
}
webidl.configureInterface(IDBRequest);
defineHandler(IDBRequest.prototype, "success");
defineHandler(IDBRequest.prototype, "error");

function whenDone(state, name) {
  if (state.done) return state;
  throw new DOMException(
    `Failed to read the '${name}' property from 'IDBRequest': The request has not finished.`,
    "InvalidStateError",
  );
}

// https://w3c.github.io/IndexedDB/#idbopendbrequest
export class IDBOpenDBRequest extends IDBRequest {
  constructor(key = undefined, state = undefined) {
    requireHostKey(key, "IDBOpenDBRequest");
    super(key, state);
  }
}
webidl.configureInterface(IDBOpenDBRequest);
defineHandler(IDBOpenDBRequest.prototype, "blocked");
defineHandler(IDBOpenDBRequest.prototype, "upgradeneeded");

/** What the host says of a failure, as a script sees it. */
export function exceptionOf({ message, name }) {
  if (name === "QuotaExceededError") return new QuotaExceededError(message);
  return new DOMException(message, name);
}

/** Whether it is a script's, and not a step of our own. */
export function isRequest(object) {
  return ObjectPrototypeIsPrototypeOf(IDBRequest.prototype, object);
}

/** A request of a transaction; `finish` makes its result of the host's answer. */
export function createRequest(source, transaction, finish) {
  return new IDBRequest(hostKey, {
    source,
    transaction,
    finish,
    done: false,
    result: undefined,
    error: null,
    // From it upwards, once an event has gone there.
    path: undefined,
    // What the host has found so far, where that is much.
    parts: undefined,
  });
}

// Requests to open and delete that are not over: their numbers -> the requests.
const openRequests = new SafeMap();
let lastOpenRequest = 0;

/** A request to open or delete a database; `send` is given its number. */
export function createOpenRequest(send) {
  const request = new IDBOpenDBRequest(hostKey, {
    source: null,
    transaction: null,
    done: false,
    result: undefined,
    error: null,
  });
  const id = ++lastOpenRequest;
  openRequests.set(id, request);
  send(id);
  return request;
}

/** The request that the host means; after its last event it is forgotten. */
export function openRequest(id, isLast) {
  const request = openRequests.get(id);
  if (isLast) openRequests.delete(id);
  return request;
}

// https://w3c.github.io/IndexedDB/#idbversionchangeevent
export class IDBVersionChangeEvent extends Event {
  #oldVersion;
  #newVersion;

  constructor(type, eventInitDict = undefined) {
    const prefix = "Failed to construct 'IDBVersionChangeEvent'";
    requireArguments(arguments.length, 1, prefix);
    const init = dictionary(eventInitDict, "IDBVersionChangeEventInit", prefix);
    const { bubbles, cancelable, composed, newVersion, oldVersion } = init;
    super(string(type, prefix), { bubbles, cancelable, composed });
    this[webidl.brand] = webidl.brand;
    this.#newVersion = newVersion === undefined || newVersion === null
      ? null
      : unsignedLongLong(newVersion, prefix);
    this.#oldVersion = oldVersion === undefined ? 0 : unsignedLongLong(oldVersion, prefix);
  }

  get oldVersion() {
    return this.#oldVersion;
  }

  get newVersion() {
    return this.#newVersion;
  }
}
webidl.configureInterface(IDBVersionChangeEvent);
