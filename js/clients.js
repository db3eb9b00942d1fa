// Clients, as a worker sees them: https://w3c.github.io/ServiceWorker/#clients-interface

import { core, primordials } from "ext:core/mod.js";
import { acceptAsSource } from "ext:kittiwake/extendable_event.js";
import { postMessage } from "ext:kittiwake/service_worker.js";
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

const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { getLocationHref } = core.loadExtScript("ext:deno_web/12_location.js");
const {
  op_client_focus,
  op_client_navigate,
  op_clients_claim,
  op_clients_match,
  op_window_open,
} = core.ops;

const { ObjectFreeze, TypeError } = primordials;

const clientTypes = ["window", "worker", "sharedworker", "all"];

// https://w3c.github.io/ServiceWorker/#client-interface
export class Client {
  #state;

  constructor(key = undefined, state = undefined) {
    requireHostKey(key, new.target.name);
    this[webidl.brand] = webidl.brand;
    this.#state = state;
  }

  get url() {
    return this.#state.url;
  }

  get frameType() {
    webidl.assertBranded(this, Client.prototype);
    return "top-level";
  }

  get id() {
    return this.#state.id;
  }

  get type() {
    webidl.assertBranded(this, Client.prototype);
    return "window";
  }

  // https://w3c.github.io/ServiceWorker/#dom-client-postmessage
  postMessage(message, options = undefined) {
    const prefix = "Failed to execute 'postMessage' on 'Client'";
    requireArguments(arguments.length, 1, prefix);
    postMessage({ client: this.#state.id }, message, options, prefix);
  }
}
webidl.configureInterface(Client);
acceptAsSource(Client);

// https://w3c.github.io/ServiceWorker/#windowclient-interface
export class WindowClient extends Client {
  #state;

  constructor(key = undefined, state = undefined) {
    super(key, state);
    this.#state = state;
  }

  get visibilityState() {
    return this.#state.visibilityState;
  }

  get focused() {
    return this.#state.focused;
  }

  // https://w3c.github.io/ServiceWorker/#client-ancestororigins: pages here have no parents
  get ancestorOrigins() {
    return this.#state.ancestorOrigins ??= ObjectFreeze([]);
  }

  // https://w3c.github.io/ServiceWorker/#dom-windowclient-focus
  async focus() {
    assertThis(this, WindowClient, "Failed to execute 'focus' on 'WindowClient'");
    return createClient(op_client_focus(this.id));
  }

  // https://w3c.github.io/ServiceWorker/#dom-windowclient-navigate
  async navigate(url) {
    const prefix = "Failed to execute 'navigate' on 'WindowClient'";
    assertThis(this, WindowClient, prefix);
    requireArguments(arguments.length, 1, prefix);
    const { href, protocol } = parse(string(url, prefix));
    if (protocol === "javascript:") {
      throw new TypeError(`The service worker is not allowed to access URL: ${href}`);
    }
    if (protocol === "data:") throw new TypeError(`Cannot navigate to URL: ${href}`);
    if (!isHttp(protocol)) throw new TypeError(`'${href}' cannot navigate.`);
    const state = await op_client_navigate(this.id, href);
    return state === null ? null : createClient(state);
  }
}
webidl.configureInterface(WindowClient);

/** The object of a client; a new one each time, as its state is a snapshot. */
export function createClient(state) {
  return new WindowClient(hostKey, state);
}

// https://w3c.github.io/ServiceWorker/#clients-interface
export class Clients {
  constructor(key = undefined) {
    requireHostKey(key, "Clients");
    this[webidl.brand] = webidl.brand;
  }

  // https://w3c.github.io/ServiceWorker/#dom-clients-get
  async get(id) {
    const prefix = "Failed to execute 'get' on 'Clients'";
    assertThis(this, Clients, prefix);
    requireArguments(arguments.length, 1, prefix);
    const wanted = string(id, prefix);
    const found = op_clients_match(true).find((state) => state.id === wanted);
    return found === undefined ? undefined : createClient(found);
  }

  // https://w3c.github.io/ServiceWorker/#dom-clients-matchall
  async matchAll(options = undefined) {
    const prefix = "Failed to execute 'matchAll' on 'Clients'";
    assertThis(this, Clients, prefix);
    const name = "ClientQueryOptions";
    const { includeUncontrolled, type } = dictionary(options, name, prefix);
    const wanted = enumMember(type, "window", clientTypes, "type", name, "ClientType", prefix);
    if (wanted !== "window" && wanted !== "all") return [];
    return op_clients_match(Boolean(includeUncontrolled)).map(createClient);
  }

  // https://w3c.github.io/ServiceWorker/#dom-clients-openwindow
  async openWindow(url) {
    const prefix = "Failed to execute 'openWindow' on 'Clients'";
    assertThis(this, Clients, prefix);
    requireArguments(arguments.length, 1, prefix);
    const { href, protocol } = parse(string(url, prefix), true);
    if (!isHttp(protocol) && href !== "about:blank") {
      throw new TypeError(`'${href}' cannot be opened.`);
    }
    const state = await op_window_open(href);
    return state === null ? null : createClient(state);
  }

  // https://w3c.github.io/ServiceWorker/#dom-clients-claim
  async claim() {
    assertThis(this, Clients, "Failed to execute 'claim' on 'Clients'");
    op_clients_claim();
  }
}
webidl.configureInterface(Clients);

function parse(text, mayBeBlank = false) {
  const url = URL.canParse(text, getLocationHref()) ? new URL(text, getLocationHref()) : null;
  if (url === null || (url.href === "about:blank" && !mayBeBlank)) {
    throw new TypeError(`'${text}' is not a valid URL.`);
  }
  return url;
}

function isHttp(protocol) {
  return protocol === "http:" || protocol === "https:";
}

export function createClients() {
  return new Clients(hostKey);
}
