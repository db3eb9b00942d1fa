// The global scope of a realm, and the functions by which the host drives it.
//
// The module body runs while the snapshot is made and installs what both scopes share; `start` runs
// in each realm and adds the service worker's scope or the page's.
//
// Invariant: this is the only file that writes to globalThis, and nothing of the engine (`Deno`,
// `__bootstrap`, an op) stays reachable from it.

import { core, internals, primordials } from "ext:core/mod.js";
import * as backgroundSync from "ext:kittiwake/background_sync.js";
import * as clients from "ext:kittiwake/clients.js";
import { createConsole } from "ext:kittiwake/console.js";
import {
  dispatchPlatformEvent,
  installErrorReporting,
} from "ext:kittiwake/events.js";
import * as extendable from "ext:kittiwake/extendable_event.js";
import { fetch } from "ext:kittiwake/fetch.js";
import * as navigator from "ext:kittiwake/navigator.js";
import * as serviceWorker from "ext:kittiwake/service_worker.js";
import { installSimulatedClock } from "ext:kittiwake/simulation.js";

const web = (file) => core.loadExtScript(`ext:deno_web/${file}`);
const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const event = web("02_event.js");
const { ObjectDefineProperty, ObjectSetPrototypeOf, SafeMap, Symbol } = primordials;

// Every source is loaded now: what is left over would be read from a registry's folder at each start.
const base64 = web("05_base64.js");
const dom = web("01_dom_exception.js");
const abort = web("03_abort_signal.js");
const encoding = web("08_text_encoding.js");
const file = web("09_file.js");
const location = web("12_location.js");
const performance = web("15_performance.js");
const streams = web("06_streams.js");
const timers = web("02_timers.js");
const url = web("00_url.js");
const { CompressionStream, DecompressionStream } = web("14_compression.js");
const { FileReader } = web("10_filereader.js");
const { MessageChannel, MessagePort, structuredClone } = web("13_message_port.js");
const { BroadcastChannel } = web("01_broadcast_channel.js");
const { URLPattern } = web("01_urlpattern.js");
const { WorkerGlobalScope, Window } = web("04_global_interfaces.js");
const { FormData } = core.loadExtScript("ext:deno_fetch/21_formdata.js");
const { Headers } = core.loadExtScript("ext:deno_fetch/20_headers.js");
const { Request } = core.loadExtScript("ext:deno_fetch/23_request.js");
const { Response } = core.loadExtScript("ext:deno_fetch/23_response.js");
internals.kKeyObject = Symbol("kKeyObject"); // before deno_crypto, or its keys lose their brand
const crypto = core.loadExtScript("ext:deno_crypto/00_crypto.js");

const hostKey = Symbol("host");

// https://w3c.github.io/ServiceWorker/#serviceworkerglobalscope-interface
class ServiceWorkerGlobalScope extends WorkerGlobalScope {
  constructor(key = undefined) {
    if (key !== hostKey) webidl.illegalConstructor();
    super();
  }
}
// WorkerGlobalScope's own tag is an accessor without a setter, which configureInterface replaces.
webidl.configureInterface(ServiceWorkerGlobalScope);

for (
  const name of [
    "AbortError", "DataCloneError", "DataError", "InUseAttributeError", "InvalidAccessError",
    "InvalidCharacterError", "InvalidStateError", "NetworkError", "NotAllowedError",
    "NotFoundError", "NotSupportedError", "OperationError", "QuotaExceededError", "SecurityError",
    "SyntaxError", "TimeoutError", "TypeMismatchError", "UnknownError",
  ]
) {
  core.registerErrorBuilder(`DOMException${name}`, (text) => new dom.DOMException(text, name));
}

const interfaces = {
  AbortController: abort.AbortController,
  AbortSignal: abort.AbortSignal,
  Blob: file.Blob,
  BroadcastChannel,
  ByteLengthQueuingStrategy: streams.ByteLengthQueuingStrategy,
  CloseEvent: event.CloseEvent,
  CompressionStream,
  CountQueuingStrategy: streams.CountQueuingStrategy,
  Crypto: crypto.Crypto,
  CryptoKey: crypto.CryptoKey,
  CustomEvent: event.CustomEvent,
  DecompressionStream,
  DOMException: dom.DOMException,
  ErrorEvent: event.ErrorEvent,
  Event: event.Event,
  EventTarget: event.EventTarget,
  File: file.File,
  FileReader,
  FormData,
  Headers,
  MessageChannel,
  MessageEvent: event.MessageEvent,
  MessagePort,
  Performance: performance.Performance,
  PerformanceEntry: performance.PerformanceEntry,
  PerformanceMark: performance.PerformanceMark,
  PerformanceMeasure: performance.PerformanceMeasure,
  PerformanceObserver: performance.PerformanceObserver,
  PerformanceObserverEntryList: performance.PerformanceObserverEntryList,
  ProgressEvent: event.ProgressEvent,
  PromiseRejectionEvent: event.PromiseRejectionEvent,
  QuotaExceededError: dom.QuotaExceededError,
  ReadableByteStreamController: streams.ReadableByteStreamController,
  ReadableStream: streams.ReadableStream,
  ReadableStreamBYOBReader: streams.ReadableStreamBYOBReader,
  ReadableStreamBYOBRequest: streams.ReadableStreamBYOBRequest,
  ReadableStreamDefaultController: streams.ReadableStreamDefaultController,
  ReadableStreamDefaultReader: streams.ReadableStreamDefaultReader,
  Request,
  Response,
  ServiceWorker: serviceWorker.ServiceWorker,
  ServiceWorkerContainer: serviceWorker.ServiceWorkerContainer,
  ServiceWorkerRegistration: serviceWorker.ServiceWorkerRegistration,
  SubtleCrypto: crypto.SubtleCrypto,
  SyncManager: backgroundSync.SyncManager,
  TextDecoder: encoding.TextDecoder,
  TextDecoderStream: encoding.TextDecoderStream,
  TextEncoder: encoding.TextEncoder,
  TextEncoderStream: encoding.TextEncoderStream,
  TransformStream: streams.TransformStream,
  TransformStreamDefaultController: streams.TransformStreamDefaultController,
  URL: url.URL,
  URLPattern,
  URLSearchParams: url.URLSearchParams,
  WritableStream: streams.WritableStream,
  WritableStreamDefaultController: streams.WritableStreamDefaultController,
  WritableStreamDefaultWriter: streams.WritableStreamDefaultWriter,
};
for (const name in interfaces) defineInterface(name, interfaces[name]);

// WindowOrWorkerGlobalScope: https://html.spec.whatwg.org/#windoworworkerglobalscope-mixin
const operations = {
  atob: base64.atob,
  btoa: base64.btoa,
  clearInterval: timers.clearInterval,
  clearTimeout: timers.clearTimeout,
  fetch,
  reportError: event.reportError,
  setInterval: timers.setInterval,
  setTimeout: timers.setTimeout,
  structuredClone,
};
for (const name in operations) {
  ObjectDefineProperty(globalThis, name, core.propWritable(operations[name]));
}
ObjectDefineProperty(globalThis, "console", core.propNonEnumerable(createConsole()));
// The instance cannot be made while a snapshot is: a getter reaches it later.
defineGetter("crypto", () => crypto.crypto);
defineGetter("performance", () => performance.performance);
defineGetter("self", () => globalThis);

let startedAs;
event.saveGlobalThisReference(globalThis);
event.setEventTargetData(globalThis);
delete Intl.v8BreakIterator;

function defineInterface(name, value) {
  ObjectDefineProperty(globalThis, name, core.propNonEnumerable(value));
}

function defineGetter(name, get) {
  ObjectDefineProperty(globalThis, name, core.propGetterOnly(get));
}

function defineHandlers(names) {
  for (const name of names) event.defineEventHandler(globalThis, name);
  event.defineEventHandler(globalThis, "error", undefined, true);
}

/** Makes this realm a service worker's or a page's. Called once, before any user script. */
function start(options) {
  startedAs = options;
  delete globalThis.Deno;
  delete globalThis.__bootstrap;
  delete globalThis.SharedArrayBuffer; // only where the origin is cross-origin isolated
  globalThis[webidl.brand] = webidl.brand;
  location.setLocationHref(options.url);
  if (options.simulated) installSimulatedClock();
  performance.setTimeOrigin();
  installErrorReporting();
  defineGetter("origin", () => options.origin);
  defineGetter("isSecureContext", () => true);
  defineGetter("crossOriginIsolated", () => false);
  if (options.kind === "service-worker") startServiceWorker(options);
  else startPage(options);
}

// https://w3c.github.io/ServiceWorker/#serviceworkerglobalscope
function startServiceWorker(options) {
  ObjectSetPrototypeOf(globalThis, ServiceWorkerGlobalScope.prototype);
  defineInterface("ServiceWorkerGlobalScope", ServiceWorkerGlobalScope);
  defineInterface("WorkerGlobalScope", WorkerGlobalScope);
  defineInterface("Client", clients.Client);
  defineInterface("Clients", clients.Clients);
  defineInterface("ExtendableEvent", extendable.ExtendableEvent);
  defineInterface("ExtendableMessageEvent", extendable.ExtendableMessageEvent);
  defineInterface("InstallEvent", extendable.InstallEvent);
  defineInterface("SyncEvent", backgroundSync.SyncEvent);
  defineInterface("WindowClient", clients.WindowClient);
  defineInterface("WorkerNavigator", navigator.WorkerNavigator);
  ObjectDefineProperty(globalThis, "WorkerLocation", location.workerLocationConstructorDescriptor);
  ObjectDefineProperty(globalThis, "location", location.workerLocationDescriptor);

  navigator.setNavigatorIdentity(options);
  const ownNavigator = navigator.createNavigator(navigator.WorkerNavigator);
  const ownClients = clients.createClients();
  const registration = serviceWorker.registrationFor(options.registration);
  const ownWorker = serviceWorker.workerFor(options.worker);
  defineGetter("navigator", () => ownNavigator);
  defineGetter("clients", () => ownClients);
  defineGetter("registration", () => registration);
  defineGetter("serviceWorker", () => ownWorker);
  ObjectDefineProperty(globalThis, "importScripts", core.propWritable(importScripts));
  ObjectDefineProperty(globalThis, "skipWaiting", core.propWritable(skipWaiting));
  defineHandlers([
    "activate", "fetch", "install", "languagechange", "message", "messageerror", "offline",
    "online", "rejectionhandled", "sync", "unhandledrejection",
  ]);
}

// A window client without a DOM: https://html.spec.whatwg.org/#window
function startPage(options) {
  ObjectSetPrototypeOf(globalThis, Window.prototype);
  defineInterface("Window", Window);
  defineInterface("Navigator", navigator.Navigator);
  ObjectDefineProperty(globalThis, "Location", location.locationConstructorDescriptor);
  ObjectDefineProperty(globalThis, "location", location.locationDescriptor);
  defineGetter("window", () => globalThis);
  const container = serviceWorker.createContainer();
  navigator.setNavigatorIdentity({ ...options, serviceWorker: container });
  const ownNavigator = navigator.createNavigator(navigator.Navigator);
  defineGetter("navigator", () => ownNavigator);
  defineHandlers([
    "languagechange", "load", "message", "messageerror", "offline", "online", "pagehide",
    "pageshow", "rejectionhandled", "unhandledrejection",
  ]);
}

// https://html.spec.whatwg.org/#import-scripts-into-worker-global-scope
function importScripts(...urls) {
  const prefix = "Failed to execute 'importScripts' on 'WorkerGlobalScope'";
  const resolved = urls.map((each) => {
    try {
      return new url.URL(`${each}`, startedAs.url).href;
    } catch {
      const text = `${prefix}: The URL '${each}' is invalid.`;
      throw new dom.DOMException(text, "SyntaxError");
    }
  });
  for (const each of resolved) {
    const [, failure] = core.evalContext(core.ops.op_worker_import(each), each);
    if (failure !== null) throw failure.thrown;
  }
}

// https://w3c.github.io/ServiceWorker/#service-worker-global-scope-skipwaiting
async function skipWaiting() {
  core.ops.op_worker_skip_waiting();
}

// https://w3c.github.io/ServiceWorker/#activation-algorithm and the other functional events
const makeEvent = {
  install: () => new extendable.InstallEvent("install"),
  activate: () => new extendable.ExtendableEvent("activate"),
  sync: (init) => new backgroundSync.SyncEvent("sync", init),
  message: (init) =>
    new extendable.ExtendableMessageEvent("message", {
      data: init.data === null ? init.json : serviceWorker.receiveMessage(init.data),
      origin: startedAs.origin,
      source: init.source === null ? null : clients.createClient(init.source),
    }),
};

const hostCalls = new SafeMap(Object.entries({
  start,
  dispatchExtendable: (type, id, init) => extendable.dispatchExtendableEvent(id, makeEvent[type](init)),
  timeOutEvent: extendable.timeOutEvent,
  dispatchSimple: (type) => dispatchPlatformEvent(globalThis, new event.Event(type)),
  changeRegistration: serviceWorker.changeRegistration,
  changeWorkerState: serviceWorker.changeWorkerState,
  changeController: serviceWorker.changeController,
  clientMessage: serviceWorker.receiveClientMessage,
}));

// Rust takes this function off the global before the first user script runs.
globalThis.__kittiwake = (call, ...args) => hostCalls.get(call)(...args);
