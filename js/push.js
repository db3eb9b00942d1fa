// Push API: https://w3c.github.io/push-api/. The push service is Kittiwake's own.
//
// Invariant: what subscribe() resolved with is on disk.

import { core, primordials } from "ext:core/mod.js";
import { ExtendableEvent } from "ext:kittiwake/extendable_event.js";
import { decode, encode } from "ext:kittiwake/originals.js";
import {
  assertThis,
  dictionary,
  enumValue,
  hostKey,
  isObject,
  requireArguments,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { Blob } = core.loadExtScript("ext:deno_web/09_file.js");
const { TextDecoder, TextEncoder } = core.loadExtScript("ext:deno_web/08_text_encoding.js");
const { atob, btoa } = core.loadExtScript("ext:deno_web/05_base64.js");
const {
  op_permission_query,
  op_push_subscribe,
  op_push_subscription,
  op_push_unsubscribe,
} = core.ops;
const {
  ArrayBufferIsView,
  ArrayBufferPrototype,
  JSONParse,
  ObjectFreeze,
  ObjectPrototypeIsPrototypeOf,
  RegExpPrototypeTest,
  SafeRegExp,
  StringFromCharCode,
  StringPrototypeCharCodeAt,
  StringPrototypeReplaceAll,
  TypedArrayPrototypeGetBuffer,
  TypedArrayPrototypeSlice,
  Uint8Array,
} = primordials;

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const SECRET_BYTES = 64;
const contentEncodings = ObjectFreeze(["aes128gcm", "aesgcm"]);
const base64Url = new SafeRegExp(/^[A-Za-z0-9_-]+$/);

// https://w3c.github.io/push-api/#pushmanager-interface
export class PushManager {
  #scope;

  constructor(key = undefined, scope = undefined) {
    requireHostKey(key, "PushManager");
    this[webidl.brand] = webidl.brand;
    this.#scope = scope;
  }

  static get supportedContentEncodings() {
    return contentEncodings;
  }

  // https://w3c.github.io/push-api/#subscribe-method
  async subscribe(options = undefined) {
    const prefix = "Failed to execute 'subscribe' on 'PushManager'";
    assertThis(this, PushManager, prefix);
    const { applicationServerKey, userVisibleOnly } = dictionary(
      options,
      "PushSubscriptionOptionsInit",
      prefix,
    );
    if (applicationServerKey === undefined || applicationServerKey === null) {
      const isPage = globalThis.ServiceWorkerGlobalScope === undefined;
      const missing = isPage ? "manifest empty or missing" : "gcm_sender_id not found in manifest";
      const reason = `missing applicationServerKey, and ${missing}`;
      throw new DOMException(`Registration failed - ${reason}`, "AbortError");
    }
    const subscription = op_push_subscribe(this.#scope, {
      applicationServerKey: keyOf(applicationServerKey, prefix),
      userVisibleOnly: Boolean(userVisibleOnly),
      secret: fillRandomly(new Uint8Array(SECRET_BYTES)),
    });
    return new PushSubscription(hostKey, this.#scope, subscription);
  }

  // https://w3c.github.io/push-api/#getsubscription-method
  async getSubscription() {
    assertThis(this, PushManager, "Failed to execute 'getSubscription' on 'PushManager'");
    const subscription = op_push_subscription(this.#scope);
    return subscription === null
      ? null
      : new PushSubscription(hostKey, this.#scope, subscription);
  }

  // https://w3c.github.io/push-api/#permissionstate-method
  async permissionState(options = undefined) {
    const prefix = "Failed to execute 'permissionState' on 'PushManager'";
    assertThis(this, PushManager, prefix);
    const { userVisibleOnly } = dictionary(options, "PushSubscriptionOptionsInit", prefix);
    if (!userVisibleOnly) {
      const text = "Push subscriptions that don't enable userVisibleOnly are not supported.";
      throw new DOMException(text, "NotSupportedError");
    }
    return op_permission_query("notifications");
  }
}
webidl.configureInterface(PushManager);

function isBase64Url(text) {
  return RegExpPrototypeTest(base64Url, text) && text.length % 4 !== 1;
}

/** The bytes of an `applicationServerKey`, of which a string is base64url. */
function keyOf(key, prefix) {
  if (isObject(key)) return bytesOf(key, prefix);
  const text = string(key, prefix);
  if (text !== "" && (typeof key !== "string" || !isBase64Url(text))) {
    const reason = "The provided applicationServerKey is not encoded as base64url without padding.";
    throw new DOMException(`${prefix}: ${reason}`, "InvalidCharacterError");
  }
  const plain = StringPrototypeReplaceAll(StringPrototypeReplaceAll(text, "-", "+"), "_", "/");
  const decoded = atob(plain);
  const bytes = new Uint8Array(decoded.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = StringPrototypeCharCodeAt(decoded, i);
  return bytes;
}

/** https://www.rfc-editor.org/rfc/rfc4648#section-5, without padding */
function base64UrlOf(buffer) {
  let binary = "";
  const bytes = new Uint8Array(buffer);
  for (let i = 0; i < bytes.length; i++) binary += StringFromCharCode(bytes[i]);
  const plain = StringPrototypeReplaceAll(btoa(binary), "=", "");
  return StringPrototypeReplaceAll(StringPrototypeReplaceAll(plain, "+", "-"), "/", "_");
}

let fillRandomly;

/** Where keys come from: the crypto library is loaded later than this file. */
export function setRandomSource(fill) {
  fillRandomly = fill;
}

export function createPushManager(scope) {
  return new PushManager(hostKey, scope);
}

// https://w3c.github.io/push-api/#pushsubscriptionoptions-interface
export class PushSubscriptionOptions {
  #applicationServerKey;

  constructor(key = undefined, applicationServerKey = undefined) {
    requireHostKey(key, "PushSubscriptionOptions");
    this[webidl.brand] = webidl.brand;
    this.#applicationServerKey = bufferOf(applicationServerKey);
  }

  get userVisibleOnly() {
    webidl.assertBranded(this, PushSubscriptionOptions.prototype);
    return true;
  }

  get applicationServerKey() {
    return this.#applicationServerKey;
  }
}
webidl.configureInterface(PushSubscriptionOptions);

// https://w3c.github.io/push-api/#pushsubscription-interface
export class PushSubscription {
  #scope;
  #state;
  #options;

  constructor(key = undefined, scope = undefined, state = undefined) {
    requireHostKey(key, "PushSubscription");
    this[webidl.brand] = webidl.brand;
    this.#scope = scope;
    this.#state = state;
    this.#options = new PushSubscriptionOptions(hostKey, state.applicationServerKey);
  }

  get endpoint() {
    return this.#state.endpoint;
  }

  get expirationTime() {
    webidl.assertBranded(this, PushSubscription.prototype);
    return null;
  }

  get options() {
    return this.#options;
  }

  // https://w3c.github.io/push-api/#dom-pushsubscription-getkey
  getKey(name) {
    const prefix = "Failed to execute 'getKey' on 'PushSubscription'";
    webidl.assertBranded(this, PushSubscription.prototype);
    requireArguments(arguments.length, 1, prefix);
    const wanted = enumValue(name, ["p256dh", "auth"], "PushEncryptionKeyName", prefix);
    return bufferOf(this.#state[wanted]);
  }

  // https://w3c.github.io/push-api/#dom-pushsubscription-unsubscribe
  async unsubscribe() {
    assertThis(this, PushSubscription, "Failed to execute 'unsubscribe' on 'PushSubscription'");
    return op_push_unsubscribe(this.#scope, this.#state.endpoint);
  }

  // https://w3c.github.io/push-api/#dom-pushsubscription-tojson
  toJSON() {
    const { endpoint, auth, p256dh } = this.#state;
    const keys = { p256dh: base64UrlOf(p256dh), auth: base64UrlOf(auth) };
    return { endpoint, expirationTime: null, keys };
  }
}
webidl.configureInterface(PushSubscription);

function bufferOf(bytes) {
  return TypedArrayPrototypeGetBuffer(TypedArrayPrototypeSlice(new Uint8Array(bytes)));
}

/** The host has a message: its bytes, or null. */
export function createPushEvent(data) {
  return new PushEvent("push", { data });
}

/** The push service has ended a subscription. */
export function createPushSubscriptionChangeEvent(old) {
  const oldSubscription = new PushSubscription(hostKey, old.scope, old);
  return new PushSubscriptionChangeEvent("pushsubscriptionchange", { oldSubscription });
}

// https://w3c.github.io/push-api/#pushmessagedata-interface
export class PushMessageData {
  #bytes;

  constructor(key = undefined, bytes = undefined) {
    requireHostKey(key, "PushMessageData");
    this[webidl.brand] = webidl.brand;
    this.#bytes = bytes;
  }

  arrayBuffer() {
    return TypedArrayPrototypeGetBuffer(TypedArrayPrototypeSlice(this.#bytes));
  }

  blob() {
    return new Blob([this.#bytes]);
  }

  bytes() {
    return TypedArrayPrototypeSlice(this.#bytes);
  }

  json() {
    const prefix = "Failed to execute 'json' on 'PushMessageData'";
    const text = decode(decoder, this.#bytes);
    try {
      return JSONParse(text);
    } catch (error) {
      error.message = `${prefix}: ${error.message}`;
      throw error;
    }
  }

  text() {
    return decode(decoder, this.#bytes);
  }
}
webidl.configureInterface(PushMessageData);

// https://w3c.github.io/push-api/#pushevent-interface
export class PushEvent extends ExtendableEvent {
  #data;

  constructor(type, eventInitDict = undefined) {
    const prefix = "Failed to construct 'PushEvent'";
    requireArguments(arguments.length, 1, prefix);
    super(string(type, prefix), dictionary(eventInitDict, "PushEventInit", prefix));
    const data = eventInitDict?.data;
    this.#data = data === undefined || data === null
      ? null
      : new PushMessageData(hostKey, bytesOf(data, prefix));
  }

  get data() {
    return this.#data;
  }
}
webidl.configureInterface(PushEvent);

// https://w3c.github.io/push-api/#dfn-extract-a-byte-sequence
function bytesOf(data, prefix) {
  if (ArrayBufferIsView(data)) {
    return TypedArrayPrototypeSlice(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  if (isObject(data) && ObjectPrototypeIsPrototypeOf(ArrayBufferPrototype, data)) {
    return TypedArrayPrototypeSlice(new Uint8Array(data));
  }
  return encode(encoder, string(data, prefix));
}

// https://w3c.github.io/push-api/#pushsubscriptionchangeevent-interface
export class PushSubscriptionChangeEvent extends ExtendableEvent {
  #newSubscription;
  #oldSubscription;

  constructor(type, eventInitDict = undefined) {
    const prefix = "Failed to construct 'PushSubscriptionChangeEvent'";
    requireArguments(arguments.length, 1, prefix);
    const name = "PushSubscriptionChangeEventInit";
    super(string(type, prefix), dictionary(eventInitDict, name, prefix));
    this.#newSubscription = eventInitDict?.newSubscription ?? null;
    this.#oldSubscription = eventInitDict?.oldSubscription ?? null;
  }

  get newSubscription() {
    return this.#newSubscription;
  }

  get oldSubscription() {
    return this.#oldSubscription;
  }
}
webidl.configureInterface(PushSubscriptionChangeEvent);
