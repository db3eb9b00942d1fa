// WebSockets: https://websockets.spec.whatwg.org/
//
// Invariant: events come in the order in which frames came, and after `close` none comes.

import { core, primordials } from "ext:core/mod.js";
import { defineHandlers, dispatchTrusted } from "ext:kittiwake/events.js";
import { blobArrayBuffer } from "ext:kittiwake/originals.js";
import { isObject, requireArguments, string, webidl } from "ext:kittiwake/webidl.js";

const { CloseEvent, Event, EventTarget, MessageEvent } = core.loadExtScript(
  "ext:deno_web/02_event.js",
);
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { Blob } = core.loadExtScript("ext:deno_web/09_file.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { getLocationHref } = core.loadExtScript("ext:deno_web/12_location.js");
const { op_socket_close, op_socket_connect, op_socket_next, op_socket_send } = core.ops;
const {
  ArrayBufferIsView,
  ArrayBufferPrototype,
  ArrayPrototypeIncludes,
  ArrayPrototypeJoin,
  MathMax,
  MathMin,
  MathRound,
  NumberIsNaN,
  ObjectDefineProperty,
  ObjectPrototypeIsPrototypeOf,
  PromisePrototypeThen,
  PromiseResolve,
  ReflectApply,
  RegExpPrototypeTest,
  SafeArrayIterator,
  SafeRegExp,
  StringPrototypeReplace,
  StringPrototypeSlice,
  StringPrototypeToWellFormed,
  SymbolIterator,
  TypedArrayPrototypeSlice,
  Uint8Array,
} = primordials;

const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;
const constants = { __proto__: null, CONNECTING, OPEN, CLOSING, CLOSED };
const NO_STATUS = 1005;
const ABNORMAL = 1006;
const MAX_REASON_BYTES = 123;
// https://www.rfc-editor.org/rfc/rfc2616#section-2.2
const token = new SafeRegExp(/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/);

// https://w3c.github.io/webappsec-secure-contexts/#is-origin-trustworthy
const loopback = new SafeRegExp(/^(localhost|.*\.localhost|127\.[0-9.]+|\[::1\])$/);

// https://websockets.spec.whatwg.org/#the-websocket-interface
export class WebSocket extends EventTarget {
  #url;
  #readyState = CONNECTING;
  #bufferedAmount = 0;
  #protocol = "";
  #binaryType = "blob";
  #origin;
  #socket;
  #cancel = core.createCancelHandle();
  // Sends wait for the one before: a Blob has to be read first.
  #sent = PromiseResolve();

  constructor(url, protocols = undefined) {
    const prefix = "Failed to construct 'WebSocket'";
    requireArguments(arguments.length, 1, prefix);
    super();
    this[webidl.brand] = webidl.brand;
    const parsed = parseUrl(string(url, prefix), prefix);
    const wanted = convertProtocols(protocols, prefix);
    this.#url = parsed.href;
    this.#origin = parsed.origin;
    this.#connect(wanted);
  }

  get url() {
    return this.#url;
  }

  get readyState() {
    return this.#readyState;
  }

  get bufferedAmount() {
    return this.#bufferedAmount;
  }

  get extensions() {
    webidl.assertBranded(this, WebSocketPrototype);
    return "";
  }

  get protocol() {
    return this.#protocol;
  }

  get binaryType() {
    return this.#binaryType;
  }

  set binaryType(value) {
    webidl.assertBranded(this, WebSocketPrototype);
    const type = `${value}`;
    if (type === "blob" || type === "arraybuffer") this.#binaryType = type;
  }

  // https://websockets.spec.whatwg.org/#dom-websocket-send
  send(data) {
    webidl.assertBranded(this, WebSocketPrototype);
    const prefix = "Failed to execute 'send' on 'WebSocket'";
    requireArguments(arguments.length, 1, prefix);
    const { size, text, bytes } = convertData(data, prefix);
    if (this.#readyState === CONNECTING) {
      throw new DOMException(`${prefix}: Still in CONNECTING state.`, "InvalidStateError");
    }
    this.#bufferedAmount += size;
    if (this.#readyState !== OPEN) return;
    this.#sent = this.#sendAfter(this.#sent, text, bytes, size);
  }

  // https://websockets.spec.whatwg.org/#dom-websocket-close
  close(code = undefined, reason = undefined) {
    webidl.assertBranded(this, WebSocketPrototype);
    const prefix = "Failed to execute 'close' on 'WebSocket'";
    const number = code === undefined ? undefined : clampShort(code);
    const text = reason === undefined ? "" : StringPrototypeToWellFormed(string(reason, prefix));
    if (number !== undefined && number !== 1000 && !(number >= 3000 && number <= 4999)) {
      throw new DOMException(
        `${prefix}: The close code must be either 1000, or between 3000 and 4999. ${number} is ` +
          "neither.",
        "InvalidAccessError",
      );
    }
    if (core.encode(text).byteLength > MAX_REASON_BYTES) {
      throw new DOMException(
        `${prefix}: The close reason must not be greater than 123 UTF-8 bytes.`,
        "SyntaxError",
      );
    }
    if (this.#readyState === CLOSING || this.#readyState === CLOSED) return;
    const wasConnecting = this.#readyState === CONNECTING;
    this.#readyState = CLOSING;
    if (wasConnecting) return core.tryClose(this.#cancel);
    const close = () => op_socket_close(this.#socket, number ?? NO_STATUS, text);
    PromisePrototypeThen(this.#sent, close);
  }

  // https://websockets.spec.whatwg.org/#concept-websocket-establish
  async #connect(protocols) {
    try {
      const request = { url: this.#url, protocols };
      const { socket, protocol } = await op_socket_connect(request, this.#cancel);
      core.tryClose(this.#cancel);
      this.#socket = socket;
      if (this.#readyState !== CONNECTING) return this.#fail();
      this.#readyState = OPEN;
      this.#protocol = protocol;
    } catch {
      core.tryClose(this.#cancel);
      return this.#fail();
    }
    dispatchTrusted(this, new Event("open"));
    await this.#receive();
  }

  async #receive() {
    for (;;) {
      const { text, binary, close } = await op_socket_next(this.#socket);
      if (close !== null) return this.#finish(close);
      if (this.#readyState !== OPEN) continue;
      const data = text ?? this.#binaryData(binary);
      dispatchTrusted(this, new MessageEvent("message", { data, origin: this.#origin }));
    }
  }

  #binaryData(bytes) {
    return this.#binaryType === "blob" ? new Blob([bytes]) : bytes.buffer;
  }

  // https://websockets.spec.whatwg.org/#closeWebSocket
  #finish({ code, reason, wasClean }) {
    if (this.#socket !== undefined) core.tryClose(this.#socket);
    this.#readyState = CLOSED;
    if (!wasClean) dispatchTrusted(this, new Event("error"));
    dispatchTrusted(this, new CloseEvent("close", { wasClean, code, reason }));
  }

  // https://websockets.spec.whatwg.org/#fail-the-websocket-connection
  #fail() {
    this.#finish({ code: ABNORMAL, reason: "", wasClean: false });
  }

  async #sendAfter(before, text, bytes, size) {
    await before;
    const raw = ObjectPrototypeIsPrototypeOf(Blob.prototype, bytes)
      ? new Uint8Array(await blobArrayBuffer(bytes))
      : bytes;
    try {
      await op_socket_send(this.#socket, text ?? null, raw ?? null);
      this.#bufferedAmount -= size;
    } catch {
      // The connection is gone; `close` tells, and what was not sent stays buffered.
    }
  }
}
webidl.configureInterface(WebSocket);
defineHandlers(WebSocket.prototype, "open", "error", "close", "message");
for (const name in constants) {
  const constant = { __proto__: null, value: constants[name], enumerable: true };
  ObjectDefineProperty(WebSocket, name, constant);
  ObjectDefineProperty(WebSocket.prototype, name, constant);
}
const WebSocketPrototype = WebSocket.prototype;

// https://websockets.spec.whatwg.org/#get-a-url-record
function parseUrl(text, prefix) {
  const refuse = (reason, name = "SyntaxError") => {
    throw new DOMException(`${prefix}: ${reason}`, name);
  };
  if (!URL.canParse(text, getLocationHref())) refuse(`The URL '${text}' is invalid.`);
  const url = new URL(text, getLocationHref());
  if (url.protocol === "http:" || url.protocol === "https:") {
    url.protocol = StringPrototypeReplace(url.protocol, "http", "ws");
  }
  if (url.protocol !== "ws:" && url.protocol !== "wss:") {
    const scheme = StringPrototypeSlice(url.protocol, 0, -1);
    const allowed = "'http', 'https', 'ws', or 'wss'";
    refuse(`The URL's scheme must be either ${allowed}. '${scheme}' is not allowed.`);
  }
  if (url.hash !== "" || url.href.endsWith("#")) {
    const fragment = StringPrototypeSlice(url.hash, 1);
    const what = `The URL contains a fragment identifier ('${fragment}').`;
    refuse(`${what} Fragment identifiers are not allowed in WebSocket URLs.`);
  }
  if (isInsecure(url)) {
    const from = "a page loaded over HTTPS";
    refuse(`An insecure WebSocket connection may not be initiated from ${from}.`, "SecurityError");
  }
  return url;
}

// https://w3c.github.io/webappsec-mixed-content/#should-block-fetch
function isInsecure(url) {
  const isSecurePage = new URL(getLocationHref()).protocol === "https:";
  return isSecurePage && url.protocol === "ws:" && !RegExpPrototypeTest(loopback, url.hostname);
}

function convertProtocols(protocols, prefix) {
  const isSequence = isObject(protocols) && protocols[SymbolIterator] !== undefined;
  const given = protocols === undefined ? [] : isSequence ? [...protocols] : [protocols];
  const seen = [];
  for (const each of new SafeArrayIterator(given)) {
    const protocol = string(each, prefix);
    if (!RegExpPrototypeTest(token, protocol)) {
      const text = `${prefix}: The subprotocol '${protocol}' is invalid.`;
      throw new DOMException(text, "SyntaxError");
    }
    if (ArrayPrototypeIncludes(seen, protocol)) {
      const text = `${prefix}: The subprotocol '${protocol}' is duplicated.`;
      throw new DOMException(text, "SyntaxError");
    }
    seen[seen.length] = protocol;
  }
  return ArrayPrototypeJoin(seen, ", ");
}

function convertData(data, prefix) {
  if (isObject(data)) {
    if (ObjectPrototypeIsPrototypeOf(Blob.prototype, data)) return { size: data.size, bytes: data };
    let bytes;
    if (ArrayBufferIsView(data)) {
      bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    } else if (ObjectPrototypeIsPrototypeOf(ArrayBufferPrototype, data)) {
      bytes = new Uint8Array(data);
    }
    // A copy: the script may write to it before it is sent.
    if (bytes !== undefined) {
      return { size: bytes.byteLength, bytes: TypedArrayPrototypeSlice(bytes) };
    }
  }
  const text = StringPrototypeToWellFormed(string(data, prefix));
  return { size: core.encode(text).byteLength, text };
}

// `[Clamp] unsigned short`: https://webidl.spec.whatwg.org/#js-unsigned-short
function clampShort(value) {
  const number = +value;
  return NumberIsNaN(number) ? 0 : MathRound(MathMin(MathMax(number, 0), 65535));
}
