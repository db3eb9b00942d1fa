// Registrations, workers and their container: https://w3c.github.io/ServiceWorker/
//
// Invariant: one object per registration and per worker in a realm ([SameObject]); their state
// changes only when the host says so, in the host's order.

import { core, primordials } from "ext:core/mod.js";
import { createSyncManager } from "ext:kittiwake/background_sync.js";
import { describe } from "ext:kittiwake/console.js";
import { afterSetting, defineHandler, dispatchPlatformEvent } from "ext:kittiwake/events.js";
import { acceptAsSource } from "ext:kittiwake/extendable_event.js";
import {
  BACKGROUND_FETCH,
  COOKIES,
  load,
  NOTIFICATIONS,
  PERIODIC_SYNC,
  PUSH,
} from "ext:kittiwake/lazy.js";
import { messageEvent } from "ext:kittiwake/message_port.js";
import { serializeWithTransfer, transferList } from "ext:kittiwake/structured_transfer.js";
import {
  assertThis,
  dictionary,
  enumMember,
  hostKey,
  requireArguments,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { Event, EventTarget } = core.loadExtScript(
  "ext:deno_web/02_event.js",
);
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { getLocationHref } = core.loadExtScript("ext:deno_web/12_location.js");
const {
  op_client_messages_start,
  op_message_post,
  op_worker_controller,
  op_worker_register,
  op_worker_registrations,
  op_worker_unregister,
  op_worker_update,
} = core.ops;
const {
  Promise,
  PromiseReject,
  SafeMap,
  Symbol,
  TypeError,
} = primordials;

const registrations = new SafeMap(); // Kittiwake's number -> ServiceWorkerRegistration
const workers = new SafeMap(); // Kittiwake's id -> ServiceWorker

/** Serialises `message` and hands it to the host for `to`. */
export function postMessage(to, message, options, prefix) {
  const transferred = transferList(options, prefix);
  const text = describe(message);
  const { data, transfer } = serializeWithTransfer(message, transferred, prefix);
  op_message_post(to, data, transfer, text);
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
    requireHostKey(key, "ServiceWorker");
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
    requireArguments(arguments.length, 1, prefix);
    postMessage({ worker: this.#state.id }, message, options, prefix);
  }
}
webidl.configureInterface(ServiceWorker);
acceptAsSource(ServiceWorker);
defineHandler(ServiceWorker.prototype, "statechange");
defineHandler(ServiceWorker.prototype, "error");

// https://w3c.github.io/ServiceWorker/#serviceworkerregistration-interface
export class ServiceWorkerRegistration extends EventTarget {
  #state;
  #sync;
  #periodicSync;
  #backgroundFetch;
  #cookies;
  #index;
  #navigationPreload;
  #pushManager;

  static {
    registrationInternals = (registration) => registration.#state;
  }

  constructor(key = undefined, state = undefined) {
    requireHostKey(key, "ServiceWorkerRegistration");
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
    webidl.assertBranded(this, ServiceWorkerRegistrationPrototype);
    return this.#sync;
  }

  // https://wicg.github.io/background-fetch/#dom-serviceworkerregistration-backgroundfetch
  get backgroundFetch() {
    return this.#backgroundFetch ??=
      load(BACKGROUND_FETCH).createBackgroundFetchManager(this.#state.scope);
  }

  // https://wicg.github.io/content-index/spec/#dom-serviceworkerregistration-index
  get index() {
    const { createContentIndex } = load("ext:kittiwake/content_index.js");
    return this.#index ??= createContentIndex(this.#state.scope);
  }

  // https://wicg.github.io/cookie-store/#ServiceWorkerRegistration
  get cookies() {
    return this.#cookies ??= load(COOKIES).createCookieStoreManager(this.#state.scope);
  }

  // https://wicg.github.io/periodic-background-sync/#serviceworkerregistration-interface
  get periodicSync() {
    webidl.assertBranded(this, ServiceWorkerRegistrationPrototype);
    return this.#periodicSync ??=
      load(PERIODIC_SYNC).createPeriodicSyncManager(this.#state.scope);
  }

  // https://w3c.github.io/ServiceWorker/#service-worker-registration-navigationpreload
  get navigationPreload() {
    const { createNavigationPreload } = load("ext:kittiwake/navigation_preload.js");
    return this.#navigationPreload ??= createNavigationPreload(this);
  }

  // https://w3c.github.io/push-api/#extensions-to-the-serviceworkerregistration-interface
  get pushManager() {
    return this.#pushManager ??= load(PUSH).createPushManager(this.#state.scope);
  }

  // https://notifications.spec.whatwg.org/#dom-serviceworkerregistration-shownotification
  async showNotification(title, options = undefined) {
    const prefix = "Failed to execute 'showNotification' on 'ServiceWorkerRegistration'";
    assertThis(this, ServiceWorkerRegistration, prefix);
    requireArguments(arguments.length, 1, prefix);
    load(NOTIFICATIONS).showNotification(this.#state, title, options);
  }

  // https://notifications.spec.whatwg.org/#dom-serviceworkerregistration-getnotifications
  async getNotifications(filter = undefined) {
    const prefix = "Failed to execute 'getNotifications' on 'ServiceWorkerRegistration'";
    assertThis(this, ServiceWorkerRegistration, prefix);
    return load(NOTIFICATIONS).getNotifications(this.#state, filter);
  }

  // https://w3c.github.io/ServiceWorker/#dom-serviceworkerregistration-update
  async update() {
    const prefix = "Failed to execute 'update' on 'ServiceWorkerRegistration'";
    assertThis(this, ServiceWorkerRegistration, prefix);
    return registrationFor(await op_worker_update(this.#state.scope, this.#state.number));
  }

  // https://w3c.github.io/ServiceWorker/#dom-serviceworkerregistration-unregister
  async unregister() {
    const prefix = "Failed to execute 'unregister' on 'ServiceWorkerRegistration'";
    assertThis(this, ServiceWorkerRegistration, prefix);
    return op_worker_unregister(this.#state.scope);
  }
}
webidl.configureInterface(ServiceWorkerRegistration);
defineHandler(ServiceWorkerRegistration.prototype, "updatefound");
const ServiceWorkerRegistrationPrototype = ServiceWorkerRegistration.prototype;

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
  let registration = registrations.get(state.number);
  if (registration === undefined) {
    registration = new ServiceWorkerRegistration(hostKey, state);
    registrations.set(state.number, registration);
  }
  const internals = registrationInternals(registration);
  internals.updateViaCache = state.updateViaCache;
  internals.installing = workerFor(state.installing);
  internals.waiting = workerFor(state.waiting);
  internals.active = workerFor(state.active);
  return registration;
}

/** `registration` changed; a new installing worker was found if `updateFound`. */
export function changeRegistration(state, updateFound) {
  const known = registrations.get(state.number);
  const registration = registrationFor(state);
  if (known !== undefined && updateFound) {
    dispatchPlatformEvent(registration, new Event("updatefound"));
  }
}

// https://w3c.github.io/ServiceWorker/#update-state
export function changeWorkerState(id, state) {
  const worker = workers.get(id);
  if (worker === undefined || worker.state === state) return;
  workerInternals(worker).state = state;
  dispatchPlatformEvent(worker, new Event("statechange"));
  // Only now: Chromium resolves `ready` after the statechange event of the worker that is active.
  const registration = registrationOf(worker);
  if (registration !== undefined) container?.[registrationChanged](registration);
}

function registrationOf(worker) {
  for (const registration of registrations.values()) {
    if (registration.active === worker) return registration;
  }
  return undefined;
}

// https://w3c.github.io/ServiceWorker/#notify-controller-change
export function changeController() {
  if (container !== undefined) dispatchPlatformEvent(container, new Event("controllerchange"));
}

/** A message of a worker to this client. */
export function receiveClientMessage(message, source) {
  const init = { origin: new URL(getLocationHref()).origin, source: workerFor(source) };
  dispatchPlatformEvent(ownContainer(), messageEvent(message, init));
}

const registrationChanged = Symbol("registrationChanged");
let container;

// https://w3c.github.io/ServiceWorker/#serviceworkercontainer-interface
export class ServiceWorkerContainer extends EventTarget {
  #ready;
  #resolveReady;

  constructor(key = undefined) {
    requireHostKey(key, "ServiceWorkerContainer");
    super();
    this[webidl.brand] = webidl.brand;
  }

  get controller() {
    webidl.assertBranded(this, ServiceWorkerContainer.prototype);
    return workerFor(op_worker_controller());
  }

  // https://w3c.github.io/ServiceWorker/#dom-serviceworkercontainer-ready
  get ready() {
    // It answers a promise, also of why there is none.
    if (!(#ready in this)) return PromiseReject(new TypeError("Illegal invocation"));
    if (this.#ready === undefined) {
      this.#ready = new Promise((resolve) => this.#resolveReady = resolve);
      const state = matchRegistration(getLocationHref());
      if (state !== undefined) this[registrationChanged](registrationFor(state));
    }
    return this.#ready;
  }

  // https://w3c.github.io/ServiceWorker/#dom-serviceworkercontainer-register
  async register(scriptURL, options = undefined) {
    const prefix = "Failed to execute 'register' on 'ServiceWorkerContainer'";
    assertThis(this, ServiceWorkerContainer, prefix);
    requireArguments(arguments.length, 1, prefix);
    return registrationFor(await op_worker_register(convertRegister(scriptURL, options, prefix)));
  }

  // https://w3c.github.io/ServiceWorker/#navigator-service-worker-getRegistration
  async getRegistration(clientURL = "") {
    const prefix = "Failed to execute 'getRegistration' on 'ServiceWorkerContainer'";
    assertThis(this, ServiceWorkerContainer, prefix);
    const state = matchRegistration(new URL(clientURL, getLocationHref()).href);
    return state === undefined ? undefined : registrationFor(state);
  }

  // https://w3c.github.io/ServiceWorker/#navigator-service-worker-getRegistrations
  async getRegistrations() {
    const prefix = "Failed to execute 'getRegistrations' on 'ServiceWorkerContainer'";
    assertThis(this, ServiceWorkerContainer, prefix);
    return op_worker_registrations().map(registrationFor);
  }

  // https://w3c.github.io/ServiceWorker/#dom-serviceworkercontainer-startmessages
  startMessages() {
    webidl.assertBranded(this, ServiceWorkerContainer.prototype);
    op_client_messages_start();
  }

  [registrationChanged](registration) {
    const here = matchRegistration(getLocationHref());
    if (here?.number !== registrationInternals(registration).number) return;
    if (registration.active !== null) this.#resolveReady?.(registration);
  }
}
webidl.configureInterface(ServiceWorkerContainer);
for (const name of ["controllerchange", "message", "messageerror"]) {
  defineHandler(ServiceWorkerContainer.prototype, name);
}
// https://w3c.github.io/ServiceWorker/#dom-serviceworkercontainer-onmessage: it starts the messages
afterSetting(ServiceWorkerContainer.prototype, "message", op_client_messages_start);

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
  const script = string(scriptURL, prefix);
  const name = "RegistrationOptions";
  const { scope, type, updateViaCache } = dictionary(options, name, prefix);
  const types = ["classic", "module"];
  const modes = ["imports", "all", "none"];
  return {
    scriptUrl: parse(script, "script"),
    scopeUrl: scope === undefined ? null : parse(string(scope, prefix), "scope"),
    scriptType: enumMember(type, "classic", types, "type", name, "WorkerType", prefix),
    updateViaCache: enumMember(
      updateViaCache,
      "imports",
      modes,
      "updateViaCache",
      name,
      "ServiceWorkerUpdateViaCache",
      prefix,
    ),
  };
}

function parse(text, what) {
  try {
    const url = new URL(text, getLocationHref());
    url.hash = "";
    return url.href;
  } catch {
    const prefix = "Failed to register a ServiceWorker";
    throw new TypeError(`${prefix}: The URL protocol of the ${what} ('${text}') is not supported.`);
  }
}

/** The realm's `navigator.serviceWorker`. */
export function ownContainer() {
  return container ??= new ServiceWorkerContainer(hostKey);
}
