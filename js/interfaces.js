// The interfaces of the global object: those that the snapshot has by themselves, those of parts by
// their part's specifier (lazy.js).

import { core } from "ext:core/mod.js";
import { BoundedArrayBuffer } from "ext:kittiwake/array_buffer.js";
import * as backgroundSync from "ext:kittiwake/background_sync.js";
import * as cache from "ext:kittiwake/cache.js";
import * as crypto from "ext:kittiwake/crypto.js";
import { FetchEvent } from "ext:kittiwake/fetch_event.js";
import { Headers } from "ext:kittiwake/fetch/headers.js";
import { Request } from "ext:kittiwake/fetch/request.js";
import { Response } from "ext:kittiwake/fetch/response.js";
import { DOMStringList } from "ext:kittiwake/indexed_db/string_list.js";
import {
  BACKGROUND_FETCH,
  COOKIES,
  FORM_DATA,
  INDEXED_DB,
  NETWORK_INFORMATION,
  NOTIFICATIONS,
  PERFORMANCE,
  PERIODIC_SYNC,
  PUSH,
  SCHEDULER,
  STORAGE,
  STORAGE_BUCKETS,
  STREAMS,
} from "ext:kittiwake/lazy.js";
import * as messagePort from "ext:kittiwake/message_port.js";
import * as serviceWorker from "ext:kittiwake/service_worker.js";

const web = (file) => core.loadExtScript(`ext:deno_web/${file}`);
const abort = web("03_abort_signal.js");
const dom = web("01_dom_exception.js");
const encoding = web("08_text_encoding.js");
const event = web("02_event.js");
const file = web("09_file.js");
const url = web("00_url.js");

const COMPRESSION = "ext:deno_web/14_compression.js";
const CONTENT_INDEX = "ext:kittiwake/content_index.js";
const LOCKS = "ext:kittiwake/locks.js";
const PERMISSIONS = "ext:kittiwake/permissions.js";

/** In service workers and pages. */
export const interfaces = {
  BackgroundFetchManager: BACKGROUND_FETCH,
  BackgroundFetchRecord: BACKGROUND_FETCH,
  BackgroundFetchRegistration: BACKGROUND_FETCH,
  AbortController: abort.AbortController,
  AbortSignal: abort.AbortSignal,
  ArrayBuffer: BoundedArrayBuffer,
  Blob: file.Blob,
  BroadcastChannel: "ext:kittiwake/broadcast_channel.js",
  ByteLengthQueuingStrategy: STREAMS,
  Cache: cache.Cache,
  CacheStorage: cache.CacheStorage,
  CloseEvent: event.CloseEvent,
  CompressionStream: COMPRESSION,
  ContentIndex: CONTENT_INDEX,
  CookieStore: COOKIES,
  CookieStoreManager: COOKIES,
  CountQueuingStrategy: STREAMS,
  Crypto: crypto.Crypto,
  CryptoKey: crypto.CryptoKey,
  CustomEvent: event.CustomEvent,
  DecompressionStream: COMPRESSION,
  DOMException: dom.DOMException,
  ErrorEvent: event.ErrorEvent,
  Event: event.Event,
  EventSource: "ext:kittiwake/event_source.js",
  EventTarget: event.EventTarget,
  File: file.File,
  FileReader: "ext:deno_web/10_filereader.js",
  FormData: FORM_DATA,
  Headers,
  DOMStringList,
  IDBCursor: INDEXED_DB,
  IDBCursorWithValue: INDEXED_DB,
  IDBDatabase: INDEXED_DB,
  IDBFactory: INDEXED_DB,
  IDBIndex: INDEXED_DB,
  IDBKeyRange: INDEXED_DB,
  IDBObjectStore: INDEXED_DB,
  IDBOpenDBRequest: INDEXED_DB,
  IDBRecord: INDEXED_DB,
  IDBRequest: INDEXED_DB,
  IDBTransaction: INDEXED_DB,
  IDBVersionChangeEvent: INDEXED_DB,
  Lock: LOCKS,
  LockManager: LOCKS,
  MessageChannel: messagePort.MessageChannel,
  MessageEvent: event.MessageEvent,
  MessagePort: messagePort.MessagePort,
  NavigationPreloadManager: "ext:kittiwake/navigation_preload.js",
  NavigatorUAData: "ext:kittiwake/user_agent_data.js",
  NetworkInformation: NETWORK_INFORMATION,
  Notification: NOTIFICATIONS,
  Performance: PERFORMANCE,
  PerformanceEntry: PERFORMANCE,
  PerformanceMark: PERFORMANCE,
  PerformanceMeasure: PERFORMANCE,
  PerformanceObserver: PERFORMANCE,
  PerformanceObserverEntryList: PERFORMANCE,
  PeriodicSyncManager: PERIODIC_SYNC,
  Permissions: PERMISSIONS,
  PermissionStatus: PERMISSIONS,
  ProgressEvent: event.ProgressEvent,
  PromiseRejectionEvent: event.PromiseRejectionEvent,
  PushManager: PUSH,
  PushSubscription: PUSH,
  PushSubscriptionOptions: PUSH,
  QuotaExceededError: dom.QuotaExceededError,
  ReadableByteStreamController: STREAMS,
  ReadableStream: STREAMS,
  ReadableStreamBYOBReader: STREAMS,
  ReadableStreamBYOBRequest: STREAMS,
  ReadableStreamDefaultController: STREAMS,
  ReadableStreamDefaultReader: STREAMS,
  Request,
  Response,
  Scheduler: SCHEDULER,
  ServiceWorker: serviceWorker.ServiceWorker,
  ServiceWorkerContainer: serviceWorker.ServiceWorkerContainer,
  ServiceWorkerRegistration: serviceWorker.ServiceWorkerRegistration,
  StorageBucket: STORAGE_BUCKETS,
  StorageBucketManager: STORAGE_BUCKETS,
  StorageManager: STORAGE,
  SubtleCrypto: crypto.SubtleCrypto,
  SyncManager: backgroundSync.SyncManager,
  TaskController: SCHEDULER,
  TaskPriorityChangeEvent: SCHEDULER,
  TaskSignal: SCHEDULER,
  TextDecoder: encoding.TextDecoder,
  TextDecoderStream: encoding.TextDecoderStream,
  TextEncoder: encoding.TextEncoder,
  TextEncoderStream: encoding.TextEncoderStream,
  TransformStream: STREAMS,
  TransformStreamDefaultController: STREAMS,
  URL: url.URL,
  URLPattern: "ext:deno_web/01_urlpattern.js",
  URLSearchParams: url.URLSearchParams,
  WebSocket: "ext:kittiwake/web_socket.js",
  WritableStream: STREAMS,
  WritableStreamDefaultController: STREAMS,
  WritableStreamDefaultWriter: STREAMS,
};

/** In service workers alone. They are in the snapshot for the sake of their quick start, and are
 * taken from pages. */
export const workerInterfaces = {
  BackgroundFetchEvent: BACKGROUND_FETCH,
  BackgroundFetchUpdateUIEvent: BACKGROUND_FETCH,
  ContentIndexEvent: CONTENT_INDEX,
  ExtendableCookieChangeEvent: COOKIES,
  FetchEvent,
  NotificationEvent: NOTIFICATIONS,
  PushEvent: PUSH,
  PushMessageData: PUSH,
  PushSubscriptionChangeEvent: PUSH,
};
