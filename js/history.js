// A page's session history: https://html.spec.whatwg.org/#the-history-interface
//
// Invariant: the host has the entries; the document's URL here is that of the current one.

import { core, primordials } from "ext:core/mod.js";
import { dispatchPlatformEvent } from "ext:kittiwake/events.js";
import { deserialize, serialize } from "ext:kittiwake/structured_storage.js";
import {
  dictionary,
  hostKey,
  requireArguments,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { Event } = core.loadExtScript("ext:deno_web/02_event.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { getLocationHref, setLocationHref } = core.loadExtScript("ext:deno_web/12_location.js");
const { setTimeout } = core.loadExtScript("ext:deno_web/02_timers.js");
const { op_history_entry, op_history_go, op_history_update } = core.ops;

let ownState; // what `state` says, once it was asked for or changed

// https://html.spec.whatwg.org/#the-history-interface
export class History {
  #scrollRestoration = "auto";

  constructor(key = undefined) {
    requireHostKey(key, "History");
    this[webidl.brand] = webidl.brand;
  }

  get length() {
    webidl.assertBranded(this, History.prototype);
    return op_history_entry().length;
  }

  get scrollRestoration() {
    return this.#scrollRestoration;
  }

  set scrollRestoration(value) {
    const text = `${value}`;
    if (text === "auto" || text === "manual") this.#scrollRestoration = text;
  }

  get state() {
    webidl.assertBranded(this, History.prototype);
    ownState ??= { value: stateOf(op_history_entry().state) };
    return ownState.value;
  }

  go(delta = 0) {
    webidl.assertBranded(this, History.prototype);
    op_history_go(delta | 0);
  }

  back() {
    webidl.assertBranded(this, History.prototype);
    op_history_go(-1);
  }

  forward() {
    webidl.assertBranded(this, History.prototype);
    op_history_go(1);
  }

  pushState(data, unused, url = undefined) {
    webidl.assertBranded(this, History.prototype);
    const prefix = "Failed to execute 'pushState' on 'History'";
    requireArguments(arguments.length, 2, prefix);
    string(unused, prefix);
    update(data, url, "push", prefix);
  }

  replaceState(data, unused, url = undefined) {
    webidl.assertBranded(this, History.prototype);
    const prefix = "Failed to execute 'replaceState' on 'History'";
    requireArguments(arguments.length, 2, prefix);
    string(unused, prefix);
    update(data, url, "replace", prefix);
  }
}
webidl.configureInterface(History);

export function createHistory() {
  return new History(hostKey);
}

// https://html.spec.whatwg.org/#shared-history-push/replace-state-steps
function update(data, url, handling, prefix) {
  const state = serialize(data, prefix);
  const here = new URL(getLocationHref());
  const to = url === undefined || url === null ? here : parse(string(url, prefix), here, prefix);
  if (to.origin !== here.origin || to.username !== "" || to.password !== "") {
    const text = `${prefix}: A history state object with URL '${to.href}' cannot be created in a ` +
      `document with origin '${here.origin}' and URL '${here.href}'.`;
    throw new DOMException(text, "SecurityError");
  }
  op_history_update(to.href, state, handling);
  setLocationHref(to.href);
  ownState = { value: stateOf(state) };
}

function parse(text, base, prefix) {
  try {
    return new URL(text, base);
  } catch {
    const reason = `A history state object with URL '${text}' cannot be created`;
    throw new DOMException(`${prefix}: ${reason} in a document with origin '${base.origin}' and ` +
      `URL '${base.href}'.`, "SecurityError");
  }
}

function stateOf(bytes) {
  return bytes === null ? null : deserialize(bytes);
}

/** https://html.spec.whatwg.org/#navigate-fragid */
export function navigateToFragment(url, handling) {
  const oldURL = getLocationHref();
  op_history_update(url, null, handling);
  setLocationHref(url);
  ownState = { value: null };
  setTimeout(() => dispatchMove(oldURL, url, null), 0);
}

/** The host has gone to another entry of this document. */
export function traverse(url, state) {
  const oldURL = getLocationHref();
  setLocationHref(url);
  ownState = { value: stateOf(state) };
  dispatchMove(oldURL, url, ownState.value);
}

// https://html.spec.whatwg.org/#update-document-for-history-step-application
function dispatchMove(oldURL, newURL, state) {
  dispatchPlatformEvent(globalThis, new PopStateEvent("popstate", { state }));
  if (new URL(oldURL).hash === new URL(newURL).hash) return;
  dispatchPlatformEvent(globalThis, new HashChangeEvent("hashchange", { oldURL, newURL }));
}

// https://html.spec.whatwg.org/#the-popstateevent-interface
export class PopStateEvent extends Event {
  #state;

  constructor(type, eventInitDict = undefined) {
    const prefix = "Failed to construct 'PopStateEvent'";
    requireArguments(arguments.length, 1, prefix);
    const init = dictionary(eventInitDict, "PopStateEventInit", prefix);
    super(string(type, prefix), init);
    this[webidl.brand] = webidl.brand;
    this.#state = init.state ?? null;
  }

  get state() {
    return this.#state;
  }

  get hasUAVisualTransition() {
    webidl.assertBranded(this, PopStateEvent.prototype);
    return false;
  }
}
webidl.configureInterface(PopStateEvent);

// https://html.spec.whatwg.org/#the-hashchangeevent-interface
export class HashChangeEvent extends Event {
  #oldURL;
  #newURL;

  constructor(type, eventInitDict = undefined) {
    const prefix = "Failed to construct 'HashChangeEvent'";
    requireArguments(arguments.length, 1, prefix);
    const init = dictionary(eventInitDict, "HashChangeEventInit", prefix);
    super(string(type, prefix), init);
    this[webidl.brand] = webidl.brand;
    this.#oldURL = init.oldURL === undefined ? "" : string(init.oldURL, prefix);
    this.#newURL = init.newURL === undefined ? "" : string(init.newURL, prefix);
  }

  get oldURL() {
    return this.#oldURL;
  }

  get newURL() {
    return this.#newURL;
  }
}
webidl.configureInterface(HashChangeEvent);
