// The global scope of a realm, and the functions by which the host drives it.
//
// The module body runs while the snapshot is made and installs what both scopes share; `start` runs
// in each realm and adds the service worker's scope or the page's.
//
// Invariant: this is the only file that writes to globalThis, and nothing of the engine (`Deno`,
// `__bootstrap`, an op) stays reachable from it.

import { core, internals, primordials } from "ext:core/mod.js";
import { BoundedArrayBuffer, setBufferLimit } from "ext:kittiwake/array_buffer.js";
import * as backgroundFetch from "ext:kittiwake/background_fetch.js";
import * as backgroundSync from "ext:kittiwake/background_sync.js";
import { BroadcastChannel } from "ext:kittiwake/broadcast_channel.js";
import * as cache from "ext:kittiwake/cache.js";
import * as clients from "ext:kittiwake/clients.js";
import { createConsole } from "ext:kittiwake/console.js";
import * as contentIndex from "ext:kittiwake/content_index.js";
import * as cookies from "ext:kittiwake/cookie_store.js";
import {
  defineHandler,
  dispatchPlatformEvent,
  installErrorReporting,
} from "ext:kittiwake/events.js";
import { EventSource } from "ext:kittiwake/event_source.js";
import * as extendable from "ext:kittiwake/extendable_event.js";
import { FetchEvent } from "ext:kittiwake/fetch_event.js";
import { dispatchFunctionalEvent } from "ext:kittiwake/functional_events.js";
import { fetch } from "ext:kittiwake/fetch/fetch.js";
import { Headers } from "ext:kittiwake/fetch/headers.js";
import { Request } from "ext:kittiwake/fetch/request.js";
import { Response } from "ext:kittiwake/fetch/response.js";
import * as history from "ext:kittiwake/history.js";
import { importScripts, setImporter } from "ext:kittiwake/import_scripts.js";
import { indexedDbInterfaces } from "ext:kittiwake/indexed_db/interfaces.js";
import { indexedDB } from "ext:kittiwake/indexed_db/factory.js";
import { deliver } from "ext:kittiwake/indexed_db/delivery.js";
import * as pageLocation from "ext:kittiwake/location.js";
import { Lock, LockManager } from "ext:kittiwake/locks.js";
import * as messagePort from "ext:kittiwake/message_port.js";
import { NavigationPreloadManager } from "ext:kittiwake/navigation_preload.js";
import * as navigator from "ext:kittiwake/navigator.js";
import * as networkInformation from "ext:kittiwake/network_information.js";
import * as notifications from "ext:kittiwake/notifications.js";
import * as periodicSync from "ext:kittiwake/periodic_sync.js";
import { Permissions, PermissionStatus } from "ext:kittiwake/permissions.js";
import { refuseToClone } from "ext:kittiwake/platform_object.js";
import * as push from "ext:kittiwake/push.js";
import * as scheduling from "ext:kittiwake/scheduler.js";
import * as serviceWorker from "ext:kittiwake/service_worker.js";
import { installHostClock, installHostEntropy } from "ext:kittiwake/simulation.js";
import { StorageBucket, StorageBucketManager } from "ext:kittiwake/storage_buckets.js";
import { StorageManager } from "ext:kittiwake/storage_manager.js";
import * as structuredTransfer from "ext:kittiwake/structured_transfer.js";
import { rejectSync, resolveSyncs } from "ext:kittiwake/sync_writes.js";
import { testDoor, testMessage } from "ext:kittiwake/test/door.js";
import * as timers from "ext:kittiwake/timers.js";
import { NavigatorUAData } from "ext:kittiwake/user_agent_data.js";
import { WebSocket } from "ext:kittiwake/web_socket.js";
import { installWasmStreaming } from "ext:kittiwake/webassembly.js";
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
  Symbol,
  TypeError,
} = primordials;

// Every source is loaded now: what is left over would be read from a registry's folder at each
// start.
const base64 = web("05_base64.js");
const dom = web("01_dom_exception.js");
const abort = web("03_abort_signal.js");
const encoding = web("08_text_encoding.js");
const file = web("09_file.js");
const location = web("12_location.js");
const performance = web("15_performance.js");
const streams = web("06_streams.js");
const url = web("00_url.js");
const { CompressionStream, DecompressionStream } = web("14_compression.js");
const { FileReader } = web("10_filereader.js");
const { URLPattern } = web("01_urlpattern.js");
const { WorkerGlobalScope, Window } = web("04_global_interfaces.js");
const { FormData } = core.loadExtScript("ext:deno_fetch/21_formdata.js");
internals.kKeyObject = Symbol("kKeyObject"); // before deno_crypto, or its keys lose their brand
const crypto = core.loadExtScript("ext:deno_crypto/00_crypto.js");
const { getRandomValues } = crypto.Crypto.prototype;
push.setRandomSource((array) => ReflectApply(getRandomValues, crypto.crypto, [array]));

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

const interfaces = {
  ...backgroundFetch.interfaces,
  AbortController: abort.AbortController,
  AbortSignal: abort.AbortSignal,
  ArrayBuffer: BoundedArrayBuffer,
  Blob: file.Blob,
  BroadcastChannel,
  ByteLengthQueuingStrategy: streams.ByteLengthQueuingStrategy,
  Cache: cache.Cache,
  CacheStorage: cache.CacheStorage,
  CloseEvent: event.CloseEvent,
  CompressionStream,
  ContentIndex: contentIndex.ContentIndex,
  CookieStore: cookies.CookieStore,
  CookieStoreManager: cookies.CookieStoreManager,
  CountQueuingStrategy: streams.CountQueuingStrategy,
  Crypto: crypto.Crypto,
  CryptoKey: crypto.CryptoKey,
  CustomEvent: event.CustomEvent,
  DecompressionStream,
  DOMException: dom.DOMException,
  ErrorEvent: event.ErrorEvent,
  Event: event.Event,
  EventSource,
  EventTarget: event.EventTarget,
  File: file.File,
  FileReader,
  FormData,
  Headers,
  ...indexedDbInterfaces,
  Lock,
  LockManager,
  MessageChannel: messagePort.MessageChannel,
  MessageEvent: event.MessageEvent,
  MessagePort: messagePort.MessagePort,
  NavigationPreloadManager,
  NavigatorUAData,
  NetworkInformation: networkInformation.NetworkInformation,
  Notification: notifications.Notification,
  Performance: performance.Performance,
  PerformanceEntry: performance.PerformanceEntry,
  PerformanceMark: performance.PerformanceMark,
  PerformanceMeasure: performance.PerformanceMeasure,
  PerformanceObserver: performance.PerformanceObserver,
  PerformanceObserverEntryList: performance.PerformanceObserverEntryList,
  PeriodicSyncManager: periodicSync.PeriodicSyncManager,
  Permissions,
  PermissionStatus,
  ProgressEvent: event.ProgressEvent,
  PromiseRejectionEvent: event.PromiseRejectionEvent,
  PushManager: push.PushManager,
  PushSubscription: push.PushSubscription,
  PushSubscriptionOptions: push.PushSubscriptionOptions,
  QuotaExceededError: dom.QuotaExceededError,
  ReadableByteStreamController: streams.ReadableByteStreamController,
  ReadableStream: streams.ReadableStream,
  ReadableStreamBYOBReader: streams.ReadableStreamBYOBReader,
  ReadableStreamBYOBRequest: streams.ReadableStreamBYOBRequest,
  ReadableStreamDefaultController: streams.ReadableStreamDefaultController,
  ReadableStreamDefaultReader: streams.ReadableStreamDefaultReader,
  Request,
  Response,
  Scheduler: scheduling.Scheduler,
  ServiceWorker: serviceWorker.ServiceWorker,
  ServiceWorkerContainer: serviceWorker.ServiceWorkerContainer,
  ServiceWorkerRegistration: serviceWorker.ServiceWorkerRegistration,
  StorageBucket,
  StorageBucketManager,
  StorageManager,
  SubtleCrypto: crypto.SubtleCrypto,
  SyncManager: backgroundSync.SyncManager,
  TaskController: scheduling.TaskController,
  TaskPriorityChangeEvent: scheduling.TaskPriorityChangeEvent,
  TaskSignal: scheduling.TaskSignal,
  TextDecoder: encoding.TextDecoder,
  TextDecoderStream: encoding.TextDecoderStream,
  TextEncoder: encoding.TextEncoder,
  TextEncoderStream: encoding.TextEncoderStream,
  TransformStream: streams.TransformStream,
  TransformStreamDefaultController: streams.TransformStreamDefaultController,
  URL: url.URL,
  URLPattern,
  URLSearchParams: url.URLSearchParams,
  WebSocket,
  WritableStream: streams.WritableStream,
  WritableStreamDefaultController: streams.WritableStreamDefaultController,
  WritableStreamDefaultWriter: streams.WritableStreamDefaultWriter,
};
for (const name in interfaces) defineInterface(name, interfaces[name]);

// Exposed in service workers only: in the snapshot for the sake of their quick start, and taken
// from pages.
const workerInterfaces = {
  ...backgroundFetch.workerInterfaces,
  ContentIndexEvent: contentIndex.ContentIndexEvent,
  ExtendableCookieChangeEvent: cookies.ExtendableCookieChangeEvent,
  FetchEvent,
  NotificationEvent: notifications.NotificationEvent,
  PushEvent: push.PushEvent,
  PushMessageData: push.PushMessageData,
  PushSubscriptionChangeEvent: push.PushSubscriptionChangeEvent,
};
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
  // The instance cannot be made while a snapshot is: a getter reaches it later.
  defineGetter(target, "crypto", () => crypto.crypto);
  defineGetter(target, "indexedDB", () => indexedDB);
  defineGetter(target, "isSecureContext", () => true);
  defineGetter(target, "self", () => globalThis);
  defineReplaceable(target, "origin", () => startedAs.origin);
  defineReplaceable(target, "performance", () => performance.performance);
  defineReplaceable(target, "scheduler", () => ownScheduler ??= scheduling.createScheduler());
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
  defineGetter(globalThis, "cookieStore", cookies.ownCookieStore);
  delete globalThis.Deno;
  delete globalThis.__bootstrap;
  // deno_core's own keeps the engine's when it is first called, and finds it now alone.
  if (!options.rehearsal) globalThis.queueMicrotask(() => {});
  for (let i = 0; i < 2; i++) delete globalThis.queueMicrotask; // deno_core's; the engine's
  setBufferLimit(options.bufferLimit);
  delete globalThis.SharedArrayBuffer; // only where the origin is cross-origin isolated
  globalThis[webidl.brand] = webidl.brand;
  location.setLocationHref(options.url);
  timers.setTimerLimit(options.timerLimit);
  if (options.hostClock) installHostClock();
  if (options.hostEntropy) installHostEntropy();
  performance.setTimeOrigin();
  if (!options.rehearsal) { // the engine keeps these of realms alone
    installErrorReporting();
    installWasmStreaming();
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
  delete cookies.CookieStore.prototype.onchange; // [Exposed=Window]
  delete StorageManager.prototype.persist; // [Exposed=Window]
  delete StorageBucket.prototype.persist; // [Exposed=Window]
  defineInterface("ServiceWorkerGlobalScope", ServiceWorkerGlobalScope);
  defineInterface("WorkerGlobalScope", WorkerGlobalScope);
  defineInterface("Client", clients.Client);
  defineInterface("Clients", clients.Clients);
  defineInterface("ExtendableEvent", extendable.ExtendableEvent);
  defineInterface("ExtendableMessageEvent", extendable.ExtendableMessageEvent);
  defineInterface("InstallEvent", extendable.InstallEvent);
  defineInterface("PeriodicSyncEvent", periodicSync.PeriodicSyncEvent);
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
  defineInterface("CookieChangeEvent", cookies.CookieChangeEvent);
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

const hostCalls = new SafeMap(Object.entries({
  start,
  dispatchExtendable: dispatchFunctionalEvent,
  timeOutEvent: extendable.timeOutEvent,
  dispatchSimple: (type) => dispatchPlatformEvent(globalThis, new event.Event(type)),
  changeBackgroundFetch: backgroundFetch.changeBackgroundFetch,
  changeCookies: cookies.changeCookies,
  changeConnection: networkInformation.changeConnection,
  changeRegistration: serviceWorker.changeRegistration,
  changeWorkerState: serviceWorker.changeWorkerState,
  changeController: serviceWorker.changeController,
  clientMessage: serviceWorker.receiveClientMessage,
  resolveSyncs,
  rejectSync,
  indexedDb: deliver,
  traverse: history.traverse,
  notificationEvent: notifications.dispatchAtNotification,
  portMessage: messagePort.receivePortMessage,
  portEnded: messagePort.endPort,
  lendTestDoor: (wanted) => defineInterface("__kittiwakeTest", { __proto__: testDoor, wanted }),
  testMessage,
}));

// Rust takes this function off the global before the first user script runs.
globalThis.__kittiwake = (call, ...args) => ReflectApply(hostCalls.get(call), undefined, args);
