// Push API: https://w3c.github.io/push-api/. There is no push service: nobody can subscribe, and the
// events are there for whoever constructs them.
//
// Invariant: subscribe() never resolves, so that no script waits for messages that cannot come.

import { core, primordials } from "ext:core/mod.js";
import { ExtendableEvent } from "ext:kittiwake/extendable_event.js";
import {
  assertThis,
  dictionary,
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
const { op_permission_query } = core.ops;
const {
  ArrayBufferIsView,
  ArrayBufferPrototype,
  JSONParse,
  ObjectFreeze,
  ObjectPrototypeIsPrototypeOf,
  RegExpPrototypeTest,
  SafeRegExp,
  TypedArrayPrototypeGetBuffer,
  TypedArrayPrototypeSlice,
  Uint8Array,
} = primordials;

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const { decode } = TextDecoder.prototype;
const { encode } = TextEncoder.prototype;
const { ReflectApply } = primordials;
const contentEncodings = ObjectFreeze(["aes128gcm", "aesgcm"]);
const base64Url = new SafeRegExp(/^[A-Za-z0-9_-]+$/);

// https://w3c.github.io/push-api/#pushmanager-interface
export class PushManager {
  constructor(key = undefined) {
    requireHostKey(key, "PushManager");
    this[webidl.brand] = webidl.brand;
  }

  static get supportedContentEncodings() {
    return contentEncodings;
  }

  // https://w3c.github.io/push-api/#subscribe-method
  async subscribe(options = undefined) {
    const prefix = "Failed to execute 'subscribe' on 'PushManager'";
    assertThis(this, PushManager, prefix);
    const { applicationServerKey } = dictionary(options, "PushSubscriptionOptionsInit", prefix);
    if (typeof applicationServerKey === "string" && !isBase64Url(applicationServerKey)) {
      const text = "The provided applicationServerKey is not encoded as base64url without padding.";
      throw new DOMException(`${prefix}: ${text}`, "InvalidCharacterError");
    }
    const reason = applicationServerKey === undefined || applicationServerKey === null
      ? "missing applicationServerKey, and gcm_sender_id not found in manifest"
      : "push service not available";
    throw new DOMException(`Registration failed - ${reason}`, "AbortError");
  }

  // https://w3c.github.io/push-api/#getsubscription-method
  async getSubscription() {
    assertThis(this, PushManager, "Failed to execute 'getSubscription' on 'PushManager'");
    return null;
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

export function createPushManager() {
  return new PushManager(hostKey);
}

// https://w3c.github.io/push-api/#pushsubscriptionoptions-interface
export class PushSubscriptionOptions {
  constructor(key = undefined) {
    requireHostKey(key, "PushSubscriptionOptions");
    this[webidl.brand] = webidl.brand;
  }

  get userVisibleOnly() {
    webidl.assertBranded(this, PushSubscriptionOptions.prototype);
    return true;
  }

  get applicationServerKey() {
    webidl.assertBranded(this, PushSubscriptionOptions.prototype);
    return null;
  }
}
webidl.configureInterface(PushSubscriptionOptions);

// https://w3c.github.io/push-api/#pushsubscription-interface. Nobody has one: subscribe() rejects.
export class PushSubscription {
  #endpoint;
  #options;

  constructor(key = undefined, endpoint = undefined) {
    requireHostKey(key, "PushSubscription");
    this[webidl.brand] = webidl.brand;
    this.#endpoint = endpoint;
    this.#options = new PushSubscriptionOptions(hostKey);
  }

  get endpoint() {
    return this.#endpoint;
  }

  get expirationTime() {
    webidl.assertBranded(this, PushSubscription.prototype);
    return null;
  }

  get options() {
    return this.#options;
  }

  getKey(_name) {
    const prefix = "Failed to execute 'getKey' on 'PushSubscription'";
    webidl.assertBranded(this, PushSubscription.prototype);
    requireArguments(arguments.length, 1, prefix);
    return null;
  }

  async unsubscribe() {
    assertThis(this, PushSubscription, "Failed to execute 'unsubscribe' on 'PushSubscription'");
    return false;
  }

  toJSON() {
    return { endpoint: this.#endpoint, expirationTime: null, keys: {} };
  }
}
webidl.configureInterface(PushSubscription);

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
    const text = ReflectApply(decode, decoder, [this.#bytes]);
    try {
      return JSONParse(text);
    } catch (error) {
      error.message = `${prefix}: ${error.message}`;
      throw error;
    }
  }

  text() {
    return ReflectApply(decode, decoder, [this.#bytes]);
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
  return ReflectApply(encode, encoder, [string(data, prefix)]);
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
