// Registrations, workers and their container: https://w3c.github.io/ServiceWorker/
//
// Invariant: one object per registration and per worker in a realm ([SameObject]); their state
// changes only when the host says so, in the host's order.

import { core, primordials } from "ext:core/mod.js";
import { createSyncManager } from "ext:kittiwake/background_sync.js";
import { describe } from "ext:kittiwake/console.js";
import { dispatchTrusted } from "ext:kittiwake/events.js";

const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const { Event, EventTarget, MessageEvent, defineEventHandler } = core.loadExtScript(
  "ext:deno_web/02_event.js",
);
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { getLocationHref } = core.loadExtScript("ext:deno_web/12_location.js");
const messagePort = core.loadExtScript("ext:deno_web/13_message_port.js");
const {
  op_message_post,
  op_worker_controller,
  op_worker_register,
  op_worker_registrations,
  op_worker_unregister,
} = core.ops;
const { Promise, PromiseReject, SafeMap, Symbol } = primordials;

const hostKey = Symbol("host");
const registrations = new SafeMap(); // scope -> ServiceWorkerRegistration
const workers = new SafeMap(); // Kittiwake's id -> ServiceWorker

/** Serialises `message` and hands it to the host for `to`. */
export function postMessage(to, message, transferOrOptions) {
  const transfer = transferOrOptions?.transfer ?? transferOrOptions ?? [];
  const { data, transferables } = messagePort.serializeJsMessageData(message, [...transfer]);
  if (transferables.some((each) => each.kind !== "arrayBuffer")) {
    const text = "Kittiwake cannot transfer this object to another realm yet.";
    throw new DOMException(text, "DataCloneError");
  }
  op_message_post(to, data, describe(message));
}

/** The message that `postMessage` serialised in another realm. */
export function receiveMessage(data) {
  return messagePort.deserializeJsMessageData({ data, transferables: [] })[0];
}

let workerInternals;
let registrationInternals;

// https://w3c.github.io/ServiceWorker/#serviceworker-interface
export class ServiceWorker extends EventTarget {
  #state;

  static {
    workerInternals = (worker) => worker.#state;
  }

  constructor(key = undefined, state = undefined) {
    if (key !== hostKey) webidl.illegalConstructor();
    super();
    this[webidl.brand] = webidl.brand;
    this.#state = { ...state };
  }

  get scriptURL() {
    return this.#state.scriptUrl;
  }

  get state() {
    return this.#state.state;
  }

  // https://w3c.github.io/ServiceWorker/#dom-serviceworker-postmessage
  postMessage(message, options = undefined) {
    const prefix = "Failed to execute 'postMessage' on 'ServiceWorker'";
    webidl.requiredArguments(arguments.length, 1, prefix);
    postMessage({ worker: this.#state.id }, message, options);
  }
}
webidl.configureInterface(ServiceWorker);
defineEventHandler(ServiceWorker.prototype, "statechange");
defineEventHandler(ServiceWorker.prototype, "error");

// https://w3c.github.io/ServiceWorker/#serviceworkerregistration-interface
export class ServiceWorkerRegistration extends EventTarget {
  #state;
  #sync;

  static {
    registrationInternals = (registration) => registration.#state;
  }

  constructor(key = undefined, state = undefined) {
    if (key !== hostKey) webidl.illegalConstructor();
    super();
    this[webidl.brand] = webidl.brand;
    this.#state = { ...state, installing: null, waiting: null, active: null };
    this.#sync = createSyncManager(state.scope);
  }

  get installing() {
    return this.#state.installing;
  }

  get waiting() {
    return this.#state.waiting;
  }

  get active() {
    return this.#state.active;
  }

  get scope() {
    return this.#state.scope;
  }

  get updateViaCache() {
    return this.#state.updateViaCache;
  }

  // https://wicg.github.io/background-sync/spec/#service-worker-registration-extensions
  get sync() {
    return this.#sync;
  }

  // https://w3c.github.io/ServiceWorker/#dom-serviceworkerregistration-update
  async update() {
    const { installing, waiting, active, scope, updateViaCache } = this.#state;
    const newest = installing ?? waiting ?? active;
    if (newest === null) {
      const text = "Failed to update a ServiceWorker: The registration has no worker.";
      throw new DOMException(text, "InvalidStateError");
    }
    await op_worker_register({
      scriptUrl: newest.scriptURL,
      scopeUrl: scope,
      scriptType: "classic",
      updateViaCache,
    });
    return this;
  }

  // https://w3c.github.io/ServiceWorker/#dom-serviceworkerregistration-unregister
  async unregister() {
    return op_worker_unregister(this.#state.scope);
  }
}
webidl.configureInterface(ServiceWorkerRegistration);
defineEventHandler(ServiceWorkerRegistration.prototype, "updatefound");

// https://w3c.github.io/ServiceWorker/#get-the-service-worker-object
export function workerFor(state) {
  if (state === null) return null;
  let worker = workers.get(state.id);
  if (worker === undefined) {
    worker = new ServiceWorker(hostKey, state);
    workers.set(state.id, worker);
  }
  return worker;
}

/** This realm's object of a registration, brought up to date without any event. */
export function registrationFor(state) {
  let registration = registrations.get(state.scope);
  if (registration === undefined) {
    registration = new ServiceWorkerRegistration(hostKey, state);
    registrations.set(state.scope, registration);
  }
  const internals = registrationInternals(registration);
  internals.installing = workerFor(state.installing);
  internals.waiting = workerFor(state.waiting);
  internals.active = workerFor(state.active);
  return registration;
}

/** `registration` changed; a new installing worker was found if `updateFound`. */
export function changeRegistration(state, updateFound) {
  const known = registrations.get(state.scope);
  const registration = registrationFor(state);
  if (known !== undefined && updateFound) dispatchTrusted(registration, new Event("updatefound"));
  container?.[registrationChanged](registration);
}

// https://w3c.github.io/ServiceWorker/#update-state
export function changeWorkerState(id, state) {
  const worker = workers.get(id);
  if (worker === undefined || worker.state === state) return;
  workerInternals(worker).state = state;
  dispatchTrusted(worker, new Event("statechange"));
  const scope = registrationOf(worker);
  if (scope !== undefined) container?.[registrationChanged](scope);
}

function registrationOf(worker) {
  for (const registration of registrations.values()) {
    if (registration.active === worker) return registration;
  }
  return undefined;
}

// https://w3c.github.io/ServiceWorker/#notify-controller-change
export function changeController() {
  if (container !== undefined) dispatchTrusted(container, new Event("controllerchange"));
}

/** A message of a worker to this client. */
export function receiveClientMessage(data, source) {
  const init = {
    data: receiveMessage(data),
    origin: new URL(getLocationHref()).origin,
    source: workerFor(source),
  };
  dispatchTrusted(container, new MessageEvent("message", init));
}

const registrationChanged = Symbol("registrationChanged");
let container;

// https://w3c.github.io/ServiceWorker/#serviceworkercontainer-interface
export class ServiceWorkerContainer extends EventTarget {
  #ready;
  #resolveReady;

  constructor(key = undefined) {
    if (key !== hostKey) webidl.illegalConstructor();
    super();
    this[webidl.brand] = webidl.brand;
  }

  get controller() {
    return workerFor(op_worker_controller());
  }

  // https://w3c.github.io/ServiceWorker/#dom-serviceworkercontainer-ready
  get ready() {
    if (this.#ready === undefined) {
      this.#ready = new Promise((resolve) => this.#resolveReady = resolve);
      const state = matchRegistration(getLocationHref());
      if (state !== undefined) this[registrationChanged](registrationFor(state));
    }
    return this.#ready;
  }

  // https://w3c.github.io/ServiceWorker/#dom-serviceworkercontainer-register
  register(scriptURL, options = undefined) {
    const prefix = "Failed to execute 'register' on 'ServiceWorkerContainer'";
    try {
      webidl.requiredArguments(arguments.length, 1, prefix);
      return register(convertRegister(scriptURL, options, prefix));
    } catch (error) {
      return PromiseReject(error);
    }
  }

  // https://w3c.github.io/ServiceWorker/#navigator-service-worker-getRegistration
  async getRegistration(clientURL = "") {
    const state = matchRegistration(new URL(clientURL, getLocationHref()).href);
    return state === undefined ? undefined : registrationFor(state);
  }

  // https://w3c.github.io/ServiceWorker/#navigator-service-worker-getRegistrations
  async getRegistrations() {
    return op_worker_registrations().map(registrationFor);
  }

  // Messages are never held back here: a page's script has run before the first can arrive.
  startMessages() {}

  [registrationChanged](registration) {
    const here = matchRegistration(getLocationHref());
    if (here === undefined || here.scope !== registration.scope) return;
    if (registration.active !== null) this.#resolveReady?.(registration);
  }
}
webidl.configureInterface(ServiceWorkerContainer);
for (const name of ["controllerchange", "message", "messageerror"]) {
  defineEventHandler(ServiceWorkerContainer.prototype, name);
}

// https://w3c.github.io/ServiceWorker/#match-service-worker-registration
function matchRegistration(url) {
  let longest;
  for (const state of op_worker_registrations()) {
    const longer = longest === undefined || state.scope.length > longest.scope.length;
    if (url.startsWith(state.scope) && longer) longest = state;
  }
  return longest;
}

function convertRegister(scriptURL, options, prefix) {
  const base = getLocationHref();
  const script = parse(scriptURL, base, "script URL", prefix);
  const scope = options?.scope === undefined
    ? null
    : parse(options.scope, base, "scope URL", prefix);
  return {
    scriptUrl: script,
    scopeUrl: scope,
    scriptType: `${options?.type ?? "classic"}`,
    updateViaCache: `${options?.updateViaCache ?? "imports"}`,
  };
}

function parse(text, base, what, prefix) {
  let url;
  try {
    url = new URL(`${text}`, base);
  } catch {
    throw new TypeError(`${prefix}: The ${what} provided ('${text}') is not a valid URL.`);
  }
  url.hash = "";
  return url.href;
}

async function register(options) {
  return registrationFor(await op_worker_register(options));
}

/** The page's `navigator.serviceWorker`. */
export function createContainer() {
  container = new ServiceWorkerContainer(hostKey);
  return container;
}
