// Background Fetch: https://wicg.github.io/background-fetch/
//
// Invariant: a promise of fetch() or abort() resolves only after the host has the change on disk;
// one object per background fetch in a realm, whose state changes only when the host says so.

import { core, primordials } from "ext:core/mod.js";
import { queryOf, queryOptions, requestInfo, responseFrom } from "ext:kittiwake/cache.js";
import { defineHandler, dispatchPlatformEvent } from "ext:kittiwake/events.js";
import { ExtendableEvent, isActive } from "ext:kittiwake/extendable_event.js";
import { InnerBody } from "ext:kittiwake/fetch/body.js";
import { HostBody } from "ext:kittiwake/fetch/host_body.js";
import {
  fromInnerRequest,
  newInnerRequest,
  Request,
  requestFor,
  toInnerRequest,
} from "ext:kittiwake/fetch/request.js";
import { imageResources } from "ext:kittiwake/image_resource.js";
import {
  assertThis,
  dictionary,
  hostKey,
  isObject,
  requireArguments,
  requiredDictionary,
  requiredMember,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { Event, EventTarget } = core.loadExtScript("ext:deno_web/02_event.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const {
  op_background_fetch_abort,
  op_background_fetch_begin,
  op_background_fetch_get,
  op_background_fetch_ids,
  op_background_fetch_match,
  op_background_fetch_response,
  op_background_fetch_update_ui,
  op_background_fetch_watch,
} = core.ops;
const {
  ArrayPrototypeMap,
  ArrayPrototypePush,
  ObjectPrototypeIsPrototypeOf,
  PromiseReject,
  SafeArrayIterator,
  SafeMap,
  StringPrototypeIsWellFormed,
  SymbolIterator,
  TypeError,
} = primordials;

// https://wicg.github.io/background-fetch/#background-fetch-manager
export class BackgroundFetchManager {
  #scope;

  constructor(key = undefined, scope = undefined) {
    requireHostKey(key, "BackgroundFetchManager");
    this[webidl.brand] = webidl.brand;
    this.#scope = scope;
  }

  // https://wicg.github.io/background-fetch/#dom-backgroundfetchmanager-fetch
  async fetch(id, requests, options = undefined) {
    const prefix = "Failed to execute 'fetch' on 'BackgroundFetchManager'";
    assertThis(this, BackgroundFetchManager, prefix);
    requireArguments(arguments.length, 2, prefix);
    const name = string(id, prefix);
    const infos = requestInfos(requests, prefix);
    const { title, downloadTotal } = fetchOptions(options, prefix);
    requireId(name, prefix);
    if (infos.length === 0) {
      throw new TypeError(`${prefix}: At least one request must be given.`);
    }
    const inners = ArrayPrototypeMap(infos, (info) => fetchable(info, prefix));
    const bodies = [];
    for (const inner of new SafeArrayIterator(inners)) {
      ArrayPrototypePush(bodies, inner.body === null ? null : await bytesOf(inner.body));
    }
    const kept = ArrayPrototypeMap(inners, keptRequest);
    const begun = await op_background_fetch_begin(this.#scope, {
      id: name,
      requests: kept,
      bodies,
      title,
      downloadTotal,
    });
    return registrationOf(op_background_fetch_watch(begun.number) ?? begun);
  }

  // https://wicg.github.io/background-fetch/#dom-backgroundfetchmanager-get
  async get(id) {
    const prefix = "Failed to execute 'get' on 'BackgroundFetchManager'";
    assertThis(this, BackgroundFetchManager, prefix);
    requireArguments(arguments.length, 1, prefix);
    const name = string(id, prefix);
    requireId(name, prefix);
    const found = op_background_fetch_get(this.#scope, name);
    return found === null ? undefined : registrationOf(found);
  }

  // https://wicg.github.io/background-fetch/#dom-backgroundfetchmanager-getids
  async getIds() {
    const prefix = "Failed to execute 'getIds' on 'BackgroundFetchManager'";
    assertThis(this, BackgroundFetchManager, prefix);
    return op_background_fetch_ids(this.#scope);
  }
}
webidl.configureInterface(BackgroundFetchManager);

/** The manager of the registration with this scope. */
export function createBackgroundFetchManager(scope) {
  return new BackgroundFetchManager(hostKey, scope);
}

/** As Chromium's, which takes no empty one; and it has to be text that a disk can keep. */
function requireId(id, prefix) {
  if (id !== "" && StringPrototypeIsWellFormed(id)) return;
  throw new TypeError(`${prefix}: The provided id is invalid.`);
}

// `(RequestInfo or sequence<RequestInfo>)`: https://webidl.spec.whatwg.org/#js-union
function requestInfos(value, prefix) {
  const isRequest = ObjectPrototypeIsPrototypeOf(Request.prototype, value);
  if (isRequest || !isObject(value) || value[SymbolIterator] === undefined) {
    return [requestInfo(value, prefix)];
  }
  const sequence = webidl.createSequenceConverter(webidl.converters.any);
  return ArrayPrototypeMap(sequence(value, prefix), (each) => requestInfo(each, prefix));
}

// https://wicg.github.io/background-fetch/#dictdef-backgroundfetchoptions
function fetchOptions(options, prefix) {
  const init = dictionary(options, "BackgroundFetchOptions", prefix);
  const title = uiOptions(init, prefix) ?? "";
  const { downloadTotal } = init;
  if (downloadTotal === undefined) return { title, downloadTotal: 0 };
  const reading = `${prefix}: Failed to read the 'downloadTotal' property from ` +
    "'BackgroundFetchOptions'";
  if (typeof downloadTotal === "symbol") {
    throw new TypeError(`${reading}: Cannot convert a Symbol value to a number`);
  }
  return { title, downloadTotal: webidl.converters["unsigned long long"](downloadTotal) };
}

// The title, or undefined; icons are nobody's to see.
// https://wicg.github.io/background-fetch/#dictdef-backgroundfetchuioptions
function uiOptions(init, prefix) {
  const name = "BackgroundFetchUIOptions";
  imageResources(init.icons, name, prefix);
  const { title } = init;
  if (title === undefined) return undefined;
  return string(title, `${prefix}: Failed to read the 'title' property from '${name}'`);
}

function fetchable(info, prefix) {
  if (typeof info !== "string" && info.bodyUsed) {
    throw new TypeError(`${prefix}: Request body is already used`);
  }
  const inner = toInnerRequest(requestFor(info, undefined, prefix));
  const url = inner.url();
  if (inner.mode === "no-cors") {
    const text = `Refused to fetch '${url}' because the request mode must not be no-cors.`;
    throw new TypeError(`${prefix}: ${text}`);
  }
  const { protocol } = new URL(url);
  // Chromium's words, though it takes every http: URL.
  if (protocol === "https:" || protocol === "http:") return inner;
  throw new TypeError(
    `${prefix}: Refused to fetch '${url}' because only the https: scheme is allowed, or http: ` +
      "for loopback IPs.",
  );
}

async function bytesOf(body) {
  const content = await body.consume((all) => all);
  return typeof content === "string" ? core.encode(content) : content;
}

function keptRequest(inner) {
  return {
    method: inner.method,
    url: inner.url(),
    headers: inner.headerList,
    mode: inner.mode,
    credentials: inner.credentialsMode,
    cache: inner.cacheMode,
    redirect: inner.redirectMode,
    referrer: inner.referrer,
    referrerPolicy: inner.referrerPolicy,
    integrity: inner.integrity,
  };
}

function requestFrom(kept, { bytes, body }) {
  const inner = newInnerRequest(kept.method, kept.url);
  inner.headerList = kept.headers;
  inner.mode = kept.mode;
  inner.credentialsMode = kept.credentials;
  inner.cacheMode = kept.cache;
  inner.redirectMode = kept.redirect;
  inner.referrer = kept.referrer;
  inner.referrerPolicy = kept.referrerPolicy;
  inner.integrity = kept.integrity;
  if (bytes !== null) inner.body = InnerBody.own(bytes);
  else if (body !== null) inner.body = new InnerBody(new HostBody(body, null, null));
  return fromInnerRequest(inner, "request");
}

let change;
let numberOf;

// The host's number of each background fetch that a script of this realm has -> its object.
const known = new SafeMap();

// https://wicg.github.io/background-fetch/#background-fetch-registration
export class BackgroundFetchRegistration extends EventTarget {
  #snapshot;

  static {
    change = (registration, snapshot) => {
      const before = registration.#snapshot;
      registration.#snapshot = snapshot;
      return before;
    };
    numberOf = (registration) => registration.#snapshot.number;
  }

  constructor(key = undefined, snapshot = undefined) {
    requireHostKey(key, "BackgroundFetchRegistration");
    super();
    this[webidl.brand] = webidl.brand;
    this.#snapshot = snapshot;
  }

  get id() {
    return this.#snapshot.id;
  }

  get uploadTotal() {
    return this.#snapshot.uploadTotal;
  }

  get uploaded() {
    return this.#snapshot.uploaded;
  }

  get downloadTotal() {
    return this.#snapshot.downloadTotal;
  }

  get downloaded() {
    return this.#snapshot.downloaded;
  }

  get result() {
    return this.#snapshot.result;
  }

  get failureReason() {
    return this.#snapshot.failureReason;
  }

  get recordsAvailable() {
    return this.#snapshot.recordsAvailable;
  }

  // https://wicg.github.io/background-fetch/#dom-backgroundfetchregistration-abort
  async abort() {
    const prefix = "Failed to execute 'abort' on 'BackgroundFetchRegistration'";
    assertThis(this, BackgroundFetchRegistration, prefix);
    return op_background_fetch_abort(this.#snapshot.number);
  }

  // https://wicg.github.io/background-fetch/#dom-backgroundfetchregistration-match
  async match(request, options = undefined) {
    const prefix = "Failed to execute 'match' on 'BackgroundFetchRegistration'";
    assertThis(this, BackgroundFetchRegistration, prefix);
    requireArguments(arguments.length, 1, prefix);
    return this.#records(requestInfo(request, prefix), options, true, prefix)[0];
  }

  // https://wicg.github.io/background-fetch/#dom-backgroundfetchregistration-matchall
  async matchAll(request = undefined, options = undefined) {
    const prefix = "Failed to execute 'matchAll' on 'BackgroundFetchRegistration'";
    assertThis(this, BackgroundFetchRegistration, prefix);
    const info = request === undefined ? undefined : requestInfo(request, prefix);
    return this.#records(info, options, false, prefix);
  }

  #records(info, options, onlyFirst, prefix) {
    const read = queryOptions(options, prefix);
    // Which requests a method leaves out, is said of the records' here, not of the query's.
    const anyMethod = { ...read, ignoreMethod: true };
    const query = info === undefined ? undefined : queryOf(info, anyMethod, prefix);
    if (!this.#snapshot.recordsAvailable) {
      const text = "The records associated with this background fetch are no longer available.";
      throw new DOMException(`${prefix}: ${text}`, "InvalidStateError");
    }
    const { number } = this.#snapshot;
    const ignoresMethod = read.ignoreMethod || info === undefined;
    const found = op_background_fetch_match(number, query, ignoresMethod, onlyFirst);
    return ArrayPrototypeMap(found, (each) => new BackgroundFetchRecord(hostKey, number, each));
  }
}
webidl.configureInterface(BackgroundFetchRegistration);
defineHandler(BackgroundFetchRegistration.prototype, "progress");

// https://wicg.github.io/background-fetch/#get-a-backgroundfetchregistration-instance
function registrationOf(snapshot) {
  let registration = known.get(snapshot.number);
  if (registration === undefined) {
    registration = new BackgroundFetchRegistration(hostKey, snapshot);
    known.set(snapshot.number, registration);
  } else {
    change(registration, snapshot);
  }
  return registration;
}

// https://wicg.github.io/background-fetch/#update-background-fetch-instances
export function changeBackgroundFetch(snapshot) {
  const registration = known.get(snapshot.number);
  if (registration === undefined) return;
  // Nothing more will be heard of it.
  if (!snapshot.recordsAvailable) known.delete(snapshot.number);
  const before = change(registration, snapshot);
  const isProgress = before.uploaded !== snapshot.uploaded ||
    before.downloaded !== snapshot.downloaded || before.result !== snapshot.result;
  if (isProgress) dispatchPlatformEvent(registration, new Event("progress"));
}

// https://wicg.github.io/background-fetch/#background-fetch-record-interface
export class BackgroundFetchRecord {
  #number;
  #position;
  #request;
  #responseReady;

  constructor(key = undefined, number = undefined, matched = undefined) {
    requireHostKey(key, "BackgroundFetchRecord");
    this[webidl.brand] = webidl.brand;
    this.#number = number;
    this.#position = matched.position;
    this.#request = requestFrom(matched.request, matched.upload);
  }

  get request() {
    return this.#request;
  }

  // https://wicg.github.io/background-fetch/#dom-backgroundfetchrecord-responseready
  get responseReady() {
    // https://webidl.spec.whatwg.org/#dfn-attribute-getter, of a promise type
    if (!(#position in this)) return PromiseReject(new TypeError("Illegal invocation"));
    this.#responseReady ??= responseOf(this.#number, this.#position);
    return this.#responseReady;
  }
}
webidl.configureInterface(BackgroundFetchRecord);

async function responseOf(number, position) {
  const answer = op_background_fetch_response(number, position);
  core.unrefOpPromise(answer); // waiting is no work: the host has it
  return responseFrom(await answer);
}

// https://wicg.github.io/background-fetch/#background-fetch-event
export class BackgroundFetchEvent extends ExtendableEvent {
  #registration;

  constructor(type, init) {
    const name = new.target === BackgroundFetchUpdateUIEvent
      ? "BackgroundFetchUpdateUIEvent"
      : "BackgroundFetchEvent";
    const prefix = `Failed to construct '${name}'`;
    requireArguments(arguments.length, 2, prefix);
    super(string(type, prefix), requiredDictionary(init, "BackgroundFetchEventInit", prefix));
    const reading = `${prefix}: Failed to read the 'registration' property from ` +
      "'BackgroundFetchEventInit'";
    const registration = requiredMember(init.registration, reading);
    if (!ObjectPrototypeIsPrototypeOf(BackgroundFetchRegistration.prototype, registration)) {
      const text = "Failed to convert value to 'BackgroundFetchRegistration'.";
      throw new TypeError(`${reading}: ${text}`);
    }
    this.#registration = registration;
  }

  get registration() {
    return this.#registration;
  }
}
webidl.configureInterface(BackgroundFetchEvent);

// https://wicg.github.io/background-fetch/#background-fetch-update-ui-event
export class BackgroundFetchUpdateUIEvent extends BackgroundFetchEvent {
  #isUpdated = false;

  constructor(type, init) {
    requireArguments(arguments.length, 2, "Failed to construct 'BackgroundFetchUpdateUIEvent'");
    super(type, init);
  }

  // https://wicg.github.io/background-fetch/#dom-backgroundfetchupdateuievent-updateui
  async updateUI(options = undefined) {
    const prefix = "Failed to execute 'updateUI' on 'BackgroundFetchUpdateUIEvent'";
    assertThis(this, BackgroundFetchUpdateUIEvent, prefix);
    const title = uiOptions(dictionary(options, "BackgroundFetchUIOptions", prefix), prefix);
    const refuse = (text) => {
      throw new DOMException(`${prefix}: ${text}`, "InvalidStateError");
    };
    if (!this.isTrusted || !isActive(this)) refuse("ExtendableEvent is no longer active.");
    if (this.#isUpdated) refuse("updateUI may only be called once.");
    this.#isUpdated = true;
    if (title === undefined) return;
    op_background_fetch_update_ui(numberOf(this.registration), title);
  }
}
webidl.configureInterface(BackgroundFetchUpdateUIEvent);

/** The event of a background fetch that has come so far, or that was clicked at. */
export function createBackgroundFetchEvent(type, snapshot) {
  const registration = registrationOf(snapshot);
  const hasUI = type === "backgroundfetchsuccess" || type === "backgroundfetchfail";
  const Interface = hasUI ? BackgroundFetchUpdateUIEvent : BackgroundFetchEvent;
  return new Interface(type, { registration });
}
