// The global scope of a realm, and the functions by which the host drives it.
//
// The module body runs while the snapshot is made and installs what both scopes share; `start` runs
// in each realm and adds the service worker's scope or the page's.
//
// Invariant: this is the only file that writes to globalThis, and nothing of the engine (`Deno`,
// `__bootstrap`, an op) stays reachable from it.

import { core, primordials } from "ext:core/mod.js";
import * as backgroundSync from "ext:kittiwake/background_sync.js";
import * as cache from "ext:kittiwake/cache.js";
import * as clients from "ext:kittiwake/clients.js";
import { setBufferLimit } from "ext:kittiwake/array_buffer.js";
import { createConsole } from "ext:kittiwake/console.js";
import { Crypto, ownCrypto } from "ext:kittiwake/crypto.js";
import {
  defineHandler,
  dispatchPlatformEvent,
  hasListener,
  installErrorReporting,
} from "ext:kittiwake/events.js";
import * as extendable from "ext:kittiwake/extendable_event.js";
import { dispatchFunctionalEvent } from "ext:kittiwake/functional_events.js";
import { fetch } from "ext:kittiwake/fetch/fetch.js";
import * as history from "ext:kittiwake/history.js";
import { importScripts, setImporter } from "ext:kittiwake/import_scripts.js";
import * as pageLocation from "ext:kittiwake/location.js";
import { interfaces, workerInterfaces } from "ext:kittiwake/interfaces.js";
import {
  allowImports,
  answerLazily,
  BACKGROUND_FETCH,
  COOKIES,
  defineLazily,
  ifLoaded,
  INDEXED_DB,
  load,
  NETWORK_INFORMATION,
  NOTIFICATIONS,
  PERFORMANCE,
  PERIODIC_SYNC,
  prepare,
  PUSH,
  SCHEDULER,
  STORAGE,
  STORAGE_BUCKETS,
} from "ext:kittiwake/lazy.js";
import { imports } from "ext:kittiwake/lazy_imports.js";
import * as messagePort from "ext:kittiwake/message_port.js";
import * as navigator from "ext:kittiwake/navigator.js";
import { refuseToClone } from "ext:kittiwake/platform_object.js";
import * as serviceWorker from "ext:kittiwake/service_worker.js";
import { installHostClock, installHostEntropy } from "ext:kittiwake/simulation.js";
import * as structuredTransfer from "ext:kittiwake/structured_transfer.js";
import { rejectSync, resolveSyncs } from "ext:kittiwake/sync_writes.js";
import { testDoor, testMessage } from "ext:kittiwake/test/door.js";
import * as timers from "ext:kittiwake/timers.js";
import { boundWebAssembly, installWasmStreaming } from "ext:kittiwake/webassembly.js";
import {
  assertThis,
  attributeOwner,
  nameGetters,
  requireArguments,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const web = (file) => core.loadExtScript(`ext:deno_web/${file}`);
const event = web("02_event.js");
const {
  ObjectDefineProperty,
  ObjectGetOwnPropertyDescriptor,
  ObjectSetPrototypeOf,
  PromisePrototypeThen,
  PromiseResolve,
  ReflectApply,
  SafeMap,
  TypeError,
} = primordials;

const base64 = web("05_base64.js");
const dom = web("01_dom_exception.js");
const location = web("12_location.js");
const url = web("00_url.js");
const { WorkerGlobalScope, Window } = web("04_global_interfaces.js");
const { getRandomValues } = Crypto.prototype;
prepare(PUSH, ({ setRandomSource }) => {
  setRandomSource((array) => ReflectApply(getRandomValues, ownCrypto(), [array]));
});
prepare(PERFORMANCE, (performance) => performance.setTimeOrigin());

// https://w3c.github.io/ServiceWorker/#serviceworkerglobalscope-interface
class ServiceWorkerGlobalScope extends WorkerGlobalScope {
  constructor(key = undefined) {
    requireHostKey(key, "ServiceWorkerGlobalScope");
    super();
  }
}
webidl.configureInterface(ServiceWorkerGlobalScope);
// deno_web's tags are accessors on the prototype, which instances would see instead of this one.
webidl.configureInterface(WorkerGlobalScope);
webidl.configureInterface(Window);
// deno_web leaves these out of enumerations.
for (const name of [
  "composedPath", "preventDefault", "stopImmediatePropagation", "stopPropagation",
]) {
  ObjectDefineProperty(event.Event.prototype, name, { __proto__: null, enumerable: true });
}

for (
  const name of [
    "AbortError", "DataCloneError", "DataError", "InUseAttributeError", "InvalidAccessError",
    "InvalidCharacterError", "InvalidStateError", "NetworkError", "NotAllowedError",
    "NotFoundError", "NotSupportedError", "OperationError", "SecurityError", "SyntaxError",
    "TimeoutError", "TypeMismatchError", "UnknownError",
  ]
) {
  core.registerErrorBuilder(`DOMException${name}`, (text) => new dom.DOMException(text, name));
}
core.registerErrorBuilder(
  "DOMExceptionQuotaExceededError",
  (text) => new dom.QuotaExceededError(text),
);

webidl.configureInterface(event.CloseEvent);
nameGetters(location.workerLocationConstructorDescriptor.value.prototype);

allowImports(imports);
for (const name in interfaces) defineInterface(name, interfaces[name]);
for (const name in workerInterfaces) defineInterface(name, workerInterfaces[name]);

// https://w3c.github.io/ServiceWorker/#navigator-serviceworker
for (const { prototype } of [navigator.Navigator, navigator.WorkerNavigator]) {
  defineGetter(prototype, "serviceWorker", () => serviceWorker.ownContainer());
}

// WindowOrWorkerGlobalScope: https://html.spec.whatwg.org/#windoworworkerglobalscope-mixin
// A worker has these on WorkerGlobalScope.prototype, a page on its global object ([Global]).
function defineSharedScope(target) {
  defineOperations(target, {
    atob: base64.atob,
    btoa: base64.btoa,
    clearInterval: timers.clearInterval,
    clearTimeout: timers.clearTimeout,
    fetch,
    queueMicrotask,
    reportError,
    setInterval: timers.setInterval,
    setTimeout: timers.setTimeout,
    structuredClone: structuredTransfer.structuredClone,
  });
  defineGetter(target, "caches", () => ownCaches);
  defineGetter(target, "crossOriginIsolated", () => false);
  defineGetter(target, "crypto", ownCrypto);
  defineGetter(target, "indexedDB", () => load(INDEXED_DB).indexedDB);
  defineGetter(target, "isSecureContext", () => true);
  defineGetter(target, "self", () => globalThis);
  defineReplaceable(target, "origin", () => startedAs.origin);
  defineReplaceable(target, "performance", () => load(PERFORMANCE).performance);
  defineReplaceable(target, "scheduler", () => ownScheduler ??= load(SCHEDULER).createScheduler());
}

// https://html.spec.whatwg.org/#workerglobalscope
defineSharedScope(WorkerGlobalScope.prototype);
defineOperations(WorkerGlobalScope.prototype, { importScripts });
defineGetter(WorkerGlobalScope.prototype, "location", location.workerLocationDescriptor.get);
defineGetter(WorkerGlobalScope.prototype, "navigator", () => ownNavigator);
defineHandlers(WorkerGlobalScope.prototype, [
  "languagechange", "rejectionhandled", "unhandledrejection",
]);
ObjectDefineProperty(globalThis, "console", core.propNonEnumerable(createConsole()));

let startedAs;
let ownCaches;
let ownNavigator;
let ownScheduler;
event.saveGlobalThisReference(globalThis);
event.setEventTargetData(globalThis);
delete Intl.v8BreakIterator;

function defineInterface(name, value) {
  if (typeof value === "string") return defineLazily(globalThis, name, value);
  refuseToClone(value);
  ObjectDefineProperty(globalThis, name, core.propNonEnumerable(value));
}

function defineOperations(target, operations) {
  for (const name in operations) {
    ObjectDefineProperty(target, name, core.propWritable(operations[name]));
  }
}

function defineGetter(target, name, get) {
  const attribute = {
    get [name]() {
      return ReflectApply(get, attributeOwner(this, target), []);
    },
  };
  ObjectDefineProperty(target, name, ObjectGetOwnPropertyDescriptor(attribute, name));
}

// https://webidl.spec.whatwg.org/#LegacyUnforgeable and #PutForwards
function defineUnforgeable(target, name, value, forwards) {
  const attribute = {
    get [name]() {
      attributeOwner(this, target);
      return value;
    },
    set [name](given) {
      attributeOwner(this, target);
      value[forwards] = given;
    },
  };
  const descriptor = ObjectGetOwnPropertyDescriptor(attribute, name);
  ObjectDefineProperty(target, name, { ...descriptor, configurable: false });
}

// https://webidl.spec.whatwg.org/#Replaceable
function defineReplaceable(target, name, get) {
  const attribute = {
    get [name]() {
      return ReflectApply(get, attributeOwner(this, target), []);
    },
    set [name](value) {
      ObjectDefineProperty(attributeOwner(this, target), name, core.propWritable(value));
    },
  };
  ObjectDefineProperty(target, name, ObjectGetOwnPropertyDescriptor(attribute, name));
}

function defineHandlers(target, names) {
  for (const name of names) defineHandler(target, name);
  if (target !== globalThis || startedAs.kind === "page") {
    defineHandler(target, "error", true);
  }
}

// https://html.spec.whatwg.org/#microtask-queuing
function queueMicrotask(callback) {
  const prefix = `Failed to execute 'queueMicrotask' on '${scopeName()}'`;
  requireArguments(arguments.length, 1, prefix);
  if (typeof callback !== "function") {
    throw new TypeError(`${prefix}: parameter 1 is not of type 'Function'.`);
  }
  PromisePrototypeThen(PromiseResolve(), () => {
    try {
      ReflectApply(callback, undefined, []);
    } catch (error) {
      event.reportException(error);
    }
  });
}

// https://html.spec.whatwg.org/#dom-reporterror
function reportError(error) {
  const prefix = `Failed to execute 'reportError' on '${scopeName()}'`;
  requireArguments(arguments.length, 1, prefix);
  attributeOwner(this, globalThis);
  event.reportException(error);
}

structuredTransfer.setScopeName(scopeName);
function scopeName() {
  return startedAs.kind === "page" ? "Window" : "WorkerGlobalScope";
}

/** Makes this realm a service worker's or a page's. Called once, before any user script. */
function start(options) {
  startedAs = options;
  setImporter(options);
  ownCaches = cache.createCacheStorage();
  defineGetter(globalThis, "cookieStore", () => load(COOKIES).ownCookieStore());
  delete globalThis.Deno;
  delete globalThis.__bootstrap;
  // deno_core's own keeps the engine's when it is first called, and finds it now alone.
  if (!options.rehearsal) globalThis.queueMicrotask(() => {});
  for (let i = 0; i < 2; i++) delete globalThis.queueMicrotask; // deno_core's; the engine's
  setBufferLimit(options.bufferLimit);
  globalThis[webidl.brand] = webidl.brand;
  location.setLocationHref(options.url);
  timers.setTimerLimit(options.timerLimit);
  if (options.hostClock) installHostClock();
  if (options.hostEntropy) installHostEntropy();
  if (!options.rehearsal) { // the engine keeps these of realms alone
    answerLazily();
    installErrorReporting();
    installWasmStreaming();
    boundWebAssembly();
  }
  if (options.kind === "service-worker") startServiceWorker(options);
  else startPage(options);
}

// https://w3c.github.io/ServiceWorker/#serviceworkerglobalscope
function startServiceWorker(options) {
  ObjectSetPrototypeOf(globalThis, ServiceWorkerGlobalScope.prototype);
  // https://w3c.github.io/FileAPI/#creating-revoking: not exposed to service workers
  delete url.URL.createObjectURL;
  delete url.URL.revokeObjectURL;
  // [Exposed=Window]
  prepare(COOKIES, ({ CookieStore }) => delete CookieStore.prototype.onchange);
  prepare(STORAGE, ({ StorageManager }) => delete StorageManager.prototype.persist);
  prepare(STORAGE_BUCKETS, ({ StorageBucket }) => delete StorageBucket.prototype.persist);
  defineInterface("ServiceWorkerGlobalScope", ServiceWorkerGlobalScope);
  defineInterface("WorkerGlobalScope", WorkerGlobalScope);
  defineInterface("Client", clients.Client);
  defineInterface("Clients", clients.Clients);
  defineInterface("ExtendableEvent", extendable.ExtendableEvent);
  defineInterface("ExtendableMessageEvent", extendable.ExtendableMessageEvent);
  defineInterface("InstallEvent", extendable.InstallEvent);
  defineInterface("PeriodicSyncEvent", PERIODIC_SYNC);
  defineInterface("SyncEvent", backgroundSync.SyncEvent);
  defineInterface("WindowClient", clients.WindowClient);
  defineInterface("WorkerNavigator", navigator.WorkerNavigator);
  ObjectDefineProperty(globalThis, "WorkerLocation", location.workerLocationConstructorDescriptor);

  ownNavigator = navigator.createNavigator(navigator.WorkerNavigator, options);
  const ownClients = clients.createClients();
  const registration = serviceWorker.registrationFor(options.registration);
  const ownWorker = serviceWorker.workerFor(options.worker);
  defineGetter(globalThis, "clients", () => ownClients);
  defineGetter(globalThis, "registration", () => registration);
  defineGetter(globalThis, "serviceWorker", () => ownWorker);
  defineOperations(globalThis, { skipWaiting });
  defineHandlers(globalThis, [
    "activate", "backgroundfetchabort", "backgroundfetchclick", "backgroundfetchfail",
    "backgroundfetchsuccess", "contentdelete", "cookiechange", "fetch", "install", "message",
    "messageerror", "notificationclick", "notificationclose", "periodicsync", "push",
    "pushsubscriptionchange", "sync",
  ]);
}

// A window client without a DOM: https://html.spec.whatwg.org/#window
function startPage(options) {
  for (const name in workerInterfaces) delete globalThis[name];
  ObjectSetPrototypeOf(globalThis, Window.prototype);
  defineInterface("CookieChangeEvent", COOKIES);
  defineInterface("Window", Window);
  defineInterface("Navigator", navigator.Navigator);
  defineInterface("HashChangeEvent", history.HashChangeEvent);
  defineInterface("History", history.History);
  defineInterface("Location", pageLocation.Location);
  defineInterface("PopStateEvent", history.PopStateEvent);
  const [ownHistory, ownLocation] = [history.createHistory(), pageLocation.createLocation()];
  defineGetter(globalThis, "history", () => ownHistory);
  defineUnforgeable(globalThis, "location", ownLocation, "href");
  defineSharedScope(globalThis);
  defineGetter(globalThis, "window", () => globalThis);
  ownNavigator = navigator.createNavigator(navigator.Navigator, options);
  defineGetter(globalThis, "navigator", () => ownNavigator);
  defineHandlers(globalThis, [
    "blur", "focus", "hashchange", "languagechange", "load", "message", "messageerror", "offline",
    "online", "pagehide", "pageshow", "popstate", "rejectionhandled", "unhandledrejection",
  ]);
}

// https://w3c.github.io/ServiceWorker/#service-worker-global-scope-skipwaiting
async function skipWaiting() {
  const prefix = "Failed to execute 'skipWaiting' on 'ServiceWorkerGlobalScope'";
  if (this !== undefined) assertThis(this, ServiceWorkerGlobalScope, prefix);
  core.ops.op_worker_skip_waiting();
}

/** What the host tells objects of a part; nobody has any before the part is loaded. */
function ofPart(specifier, name) {
  return (...args) => ifLoaded(specifier)?.[name](...args);
}

const hostCalls = new SafeMap(Object.entries({
  start,
  dispatchExtendable: dispatchFunctionalEvent,
  tellListeners: () => core.ops.op_worker_fetch_listeners(hasListener(globalThis, "fetch")),
  timeOutEvent: extendable.timeOutEvent,
  dispatchSimple: (type) => dispatchPlatformEvent(globalThis, new event.Event(type)),
  changeBackgroundFetch: ofPart(BACKGROUND_FETCH, "changeBackgroundFetch"),
  changeCookies: ofPart(COOKIES, "changeCookies"),
  changeConnection: ofPart(NETWORK_INFORMATION, "changeConnection"),
  changeRegistration: serviceWorker.changeRegistration,
  changeWorkerState: serviceWorker.changeWorkerState,
  changeController: serviceWorker.changeController,
  clientMessage: serviceWorker.receiveClientMessage,
  resolveSyncs,
  rejectSync,
  indexedDb: ofPart(INDEXED_DB, "deliver"),
  traverse: history.traverse,
  notificationEvent: ofPart(NOTIFICATIONS, "dispatchAtNotification"),
  portMessage: messagePort.receivePortMessage,
  portEnded: messagePort.endPort,
  lendTestDoor: (wanted) => defineInterface("__kittiwakeTest", { __proto__: testDoor, wanted }),
  testMessage,
}));

// Rust takes this function off the global before the first user script runs.
globalThis.__kittiwake = (call, ...args) => ReflectApply(hostCalls.get(call), undefined, args);
