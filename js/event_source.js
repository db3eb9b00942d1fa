// Server-sent events: https://html.spec.whatwg.org/#server-sent-events, over fetch().
//
// Invariant: an event is dispatched only when its blank line has come; after close() none is.

import { core, primordials } from "ext:core/mod.js";
import { defineHandlers, dispatchTrusted } from "ext:kittiwake/events.js";
import { fetch } from "ext:kittiwake/fetch/fetch.js";
import { streamMethods } from "ext:kittiwake/fetch/stream_methods.js";
import * as originals from "ext:kittiwake/originals.js";
import { dictionary, requireArguments, string, webidl } from "ext:kittiwake/webidl.js";

const { Event, EventTarget, MessageEvent } = core.loadExtScript("ext:deno_web/02_event.js");
const { AbortController } = core.loadExtScript("ext:deno_web/03_abort_signal.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { TextDecoder } = core.loadExtScript("ext:deno_web/08_text_encoding.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { getLocationHref } = core.loadExtScript("ext:deno_web/12_location.js");
const { setTimeout, clearTimeout } = core.loadExtScript("ext:deno_web/02_timers.js");
const {
  NumberParseInt,
  ObjectDefineProperty,
  RegExpPrototypeExec,
  RegExpPrototypeTest,
  SafeRegExp,
  StringFromCharCode,
  StringPrototypeEndsWith,
  StringPrototypeIncludes,
  StringPrototypeIndexOf,
  StringPrototypeSlice,
  StringPrototypeSplit,
  StringPrototypeToLowerCase,
  StringPrototypeTrim,
} = primordials;

const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 2;
const constants = { __proto__: null, CONNECTING, OPEN, CLOSED };
const RECONNECTION_MS = 3000; // Chromium's
const digits = new SafeRegExp(/^[0-9]+$/);
const lineEnd = new SafeRegExp(/\r\n|\n|\r/);

// https://html.spec.whatwg.org/#the-eventsource-interface
export class EventSource extends EventTarget {
  #url;
  #withCredentials;
  #readyState = CONNECTING;
  #lastEventId = "";
  #reconnectionMs = RECONNECTION_MS;
  #controller;
  #timer;

  constructor(url, eventSourceInitDict = undefined) {
    const prefix = "Failed to construct 'EventSource'";
    requireArguments(arguments.length, 1, prefix);
    const text = string(url, prefix);
    const { withCredentials } = dictionary(eventSourceInitDict, "EventSourceInit", prefix);
    super();
    this[webidl.brand] = webidl.brand;
    if (!URL.canParse(text, getLocationHref())) {
      const reason = `Cannot open an EventSource to '${text}'. The URL is invalid.`;
      throw new DOMException(`${prefix}: ${reason}`, "SyntaxError");
    }
    this.#url = new URL(text, getLocationHref()).href;
    this.#withCredentials = Boolean(withCredentials);
    this.#connect();
  }

  get url() {
    return this.#url;
  }

  get withCredentials() {
    return this.#withCredentials;
  }

  get readyState() {
    return this.#readyState;
  }

  // https://html.spec.whatwg.org/#dom-eventsource-close
  close() {
    webidl.assertBranded(this, EventSourcePrototype);
    this.#readyState = CLOSED;
    clearTimeout(this.#timer);
    if (this.#controller !== undefined) originals.abort(this.#controller);
  }

  async #connect() {
    const controller = new AbortController();
    this.#controller = controller;
    let response;
    try {
      response = await fetch(this.#url, {
        cache: "no-store",
        credentials: this.#withCredentials ? "include" : "same-origin",
        headers: this.#requestHeaders(),
        signal: controller.signal,
      });
    } catch {
      return this.#reestablish();
    }
    if (this.#readyState === CLOSED) return;
    if (!isEventStream(response)) return this.#fail();
    // https://html.spec.whatwg.org/#announce-the-connection
    this.#readyState = OPEN;
    dispatchTrusted(this, new Event("open"));
    try {
      await this.#interpret(response);
    } catch {
      // The connection broke: it is made anew as after its end.
    }
    this.#reestablish();
  }

  #requestHeaders() {
    const headers = { accept: "text/event-stream" };
    if (this.#lastEventId !== "") headers["last-event-id"] = utf8AsBytes(this.#lastEventId);
    return headers;
  }

  // https://html.spec.whatwg.org/#event-stream-interpretation
  async #interpret(response) {
    const body = originals.responseBody(response);
    if (body === null) return;
    const origin = new URL(originals.responseUrl(response)).origin;
    const { getReader, read } = streamMethods();
    const reader = getReader(body);
    const decoder = new TextDecoder();
    const event = { id: this.#lastEventId, type: "", data: "" };
    let buffer = "";
    let isHalfEnded = false;
    while (this.#readyState !== CLOSED) {
      const { done, value } = await read(reader);
      if (done) return;
      const text = originals.decode(decoder, value, { stream: true });
      buffer += text;
      // A line that does not end is not searched again with each chunk.
      if (!RegExpPrototypeTest(lineEnd, text) && !isHalfEnded) continue;
      for (;;) {
        const end = RegExpPrototypeExec(lineEnd, buffer);
        // A \r at the end of what has come may be half a line end.
        const isHalf = end?.[0] === "\r" && end.index === buffer.length - 1;
        if (end === null || isHalf) break;
        const line = StringPrototypeSlice(buffer, 0, end.index);
        buffer = StringPrototypeSlice(buffer, end.index + end[0].length);
        this.#takeLine(line, event, origin);
        if (this.#readyState === CLOSED) return;
      }
      isHalfEnded = StringPrototypeEndsWith(buffer, "\r");
    }
  }

  #takeLine(line, event, origin) {
    if (line === "") return this.#dispatch(event, origin);
    const colon = StringPrototypeIndexOf(line, ":");
    if (colon === 0) return;
    const field = colon === -1 ? line : StringPrototypeSlice(line, 0, colon);
    let value = colon === -1 ? "" : StringPrototypeSlice(line, colon + 1);
    if (value[0] === " ") value = StringPrototypeSlice(value, 1);
    if (field === "event") event.type = value;
    else if (field === "data") event.data += `${value}\n`;
    else if (field === "id" && !StringPrototypeIncludes(value, "\0")) event.id = value;
    else if (field === "retry" && RegExpPrototypeTest(digits, value)) {
      this.#reconnectionMs = NumberParseInt(value, 10);
    }
  }

  // https://html.spec.whatwg.org/#dispatchMessage
  #dispatch(event, origin) {
    this.#lastEventId = event.id;
    const { type, data } = event;
    event.type = "";
    event.data = "";
    if (data === "") return;
    const init = { data: StringPrototypeSlice(data, 0, -1), origin, lastEventId: event.id };
    dispatchTrusted(this, new MessageEvent(type === "" ? "message" : type, init));
  }

  // https://html.spec.whatwg.org/#reestablish-the-connection
  #reestablish() {
    if (this.#readyState === CLOSED) return;
    this.#readyState = CONNECTING;
    dispatchTrusted(this, new Event("error"));
    if (this.#readyState === CLOSED) return;
    this.#timer = setTimeout(() => this.#connect(), this.#reconnectionMs);
  }

  // https://html.spec.whatwg.org/#fail-the-connection
  #fail() {
    this.#readyState = CLOSED;
    originals.abort(this.#controller);
    dispatchTrusted(this, new Event("error"));
  }
}
webidl.configureInterface(EventSource);
defineHandlers(EventSource.prototype, "open", "message", "error");
for (const name in constants) {
  const constant = { __proto__: null, value: constants[name], enumerable: true };
  ObjectDefineProperty(EventSource, name, constant);
  ObjectDefineProperty(EventSource.prototype, name, constant);
}
const EventSourcePrototype = EventSource.prototype;

function isEventStream(response) {
  if (originals.responseStatus(response) !== 200) return false;
  const type = originals.getHeader(originals.responseHeaders(response), "content-type");
  const essence = StringPrototypeTrim(StringPrototypeSplit(type ?? "", ";", 1)[0]);
  return StringPrototypeToLowerCase(essence) === "text/event-stream";
}

// A header's characters are bytes: https://fetch.spec.whatwg.org/#concept-header-value
function utf8AsBytes(text) {
  const bytes = core.encode(text);
  let value = "";
  for (let i = 0; i < bytes.length; i++) value += StringFromCharCode(bytes[i]);
  return value;
}
