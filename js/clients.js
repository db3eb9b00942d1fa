// Clients, as a worker sees them: https://w3c.github.io/ServiceWorker/#clients-interface

import { core, primordials } from "ext:core/mod.js";
import { postMessage } from "ext:kittiwake/service_worker.js";

const webidl = core.loadExtScript("ext:deno_webidl/00_webidl.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { op_clients_claim, op_clients_match } = core.ops;
const { Symbol } = primordials;

const hostKey = Symbol("host");

// https://w3c.github.io/ServiceWorker/#client-interface
export class Client {
  #state;

  constructor(key = undefined, state = undefined) {
    if (key !== hostKey) webidl.illegalConstructor();
    this[webidl.brand] = webidl.brand;
    this.#state = state;
  }

  get url() {
    return this.#state.url;
  }

  get frameType() {
    return "top-level";
  }

  get id() {
    return this.#state.id;
  }

  get type() {
    return "window";
  }

  // https://w3c.github.io/ServiceWorker/#dom-client-postmessage
  postMessage(message, options = undefined) {
    const prefix = "Failed to execute 'postMessage' on 'Client'";
    webidl.requiredArguments(arguments.length, 1, prefix);
    postMessage({ client: this.#state.id }, message, options);
  }
}
webidl.configureInterface(Client);

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
}
webidl.configureInterface(WindowClient);

/** The object of a client; a new one each time, as its state is a snapshot. */
export function createClient(state) {
  return new WindowClient(hostKey, state);
}

// https://w3c.github.io/ServiceWorker/#clients-interface
export class Clients {
  constructor(key = undefined) {
    if (key !== hostKey) webidl.illegalConstructor();
    this[webidl.brand] = webidl.brand;
  }

  // https://w3c.github.io/ServiceWorker/#dom-clients-get
  async get(id) {
    const prefix = "Failed to execute 'get' on 'Clients'";
    webidl.requiredArguments(arguments.length, 1, prefix);
    const found = op_clients_match(true).find((state) => state.id === `${id}`);
    return found === undefined ? undefined : createClient(found);
  }

  // https://w3c.github.io/ServiceWorker/#dom-clients-matchall
  async matchAll(options = undefined) {
    const type = options?.type ?? "window";
    if (type !== "window" && type !== "all") return [];
    return op_clients_match(Boolean(options?.includeUncontrolled)).map(createClient);
  }

  // https://w3c.github.io/ServiceWorker/#dom-clients-openwindow
  async openWindow(_url) {
    throw new DOMException("Not allowed to open a window.", "InvalidAccessError");
  }

  // https://w3c.github.io/ServiceWorker/#dom-clients-claim
  async claim() {
    op_clients_claim();
  }
}
webidl.configureInterface(Clients);

export function createClients() {
  return new Clients(hostKey);
}
