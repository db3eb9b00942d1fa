// The Cookie Store API: https://wicg.github.io/cookie-store/
//
// Invariant: a promise of set(), delete(), subscribe() or unsubscribe() resolves only after the
// host has the change on disk; the host decides which cookies a script sees.

import { core, primordials } from "ext:core/mod.js";
import { defineHandler, dispatchPlatformEvent } from "ext:kittiwake/events.js";
import { ExtendableEvent } from "ext:kittiwake/extendable_event.js";
import {
  assertThis,
  dictionary,
  enumMember,
  finiteDouble,
  hostKey,
  isObject,
  requireArguments,
  requiredDictionary,
  requiredStringMember,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { Event, EventTarget } = core.loadExtScript("ext:deno_web/02_event.js");
const { getLocationHref } = core.loadExtScript("ext:deno_web/12_location.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const {
  op_cookie_list,
  op_cookie_set,
  op_cookie_subscribe,
  op_cookie_subscriptions,
  op_cookie_unsubscribe,
} = core.ops;
const {
  ArrayPrototypeMap,
  MathTrunc,
  ObjectFreeze,
  StringPrototypeEndsWith,
  StringPrototypeIncludes,
  StringPrototypeReplace,
  StringPrototypeStartsWith,
  StringPrototypeToLowerCase,
  StringPrototypeToWellFormed,
  TypeError,
} = primordials;

// https://wicg.github.io/cookie-store/#CookieStore
export class CookieStore extends EventTarget {
  constructor(key = undefined) {
    requireHostKey(key, "CookieStore");
    super();
    this[webidl.brand] = webidl.brand;
  }

  // https://wicg.github.io/cookie-store/#dom-cookiestore-get
  async get(name = undefined) {
    const prefix = "Failed to execute 'get' on 'CookieStore'";
    assertThis(this, CookieStore, prefix);
    const query = queryOf(name, prefix);
    if (query.name === null && query.url === null) {
      throw new TypeError(`${prefix}: CookieStoreGetOptions must not be empty`);
    }
    const found = op_cookie_list(query);
    return found.length === 0 ? null : listItem(found[0]);
  }

  // https://wicg.github.io/cookie-store/#dom-cookiestore-getall
  async getAll(name = undefined) {
    const prefix = "Failed to execute 'getAll' on 'CookieStore'";
    assertThis(this, CookieStore, prefix);
    return ArrayPrototypeMap(op_cookie_list(queryOf(name, prefix)), listItem);
  }

  // https://wicg.github.io/cookie-store/#dom-cookiestore-set
  async set(name, value = undefined) {
    const prefix = "Failed to execute 'set' on 'CookieStore'";
    assertThis(this, CookieStore, prefix);
    requireArguments(arguments.length, 1, prefix);
    const init = arguments.length > 1
      ? { __proto__: null, name: string(name, prefix), value: string(value, prefix) }
      : requiredDictionary(name, "CookieInit", prefix);
    const cookie = cookieOf(init, "CookieInit", prefix);
    cookie.value = usv(requiredStringMember(init, "value", "CookieInit", prefix));
    setCookie(cookie, prefix);
  }

  // https://wicg.github.io/cookie-store/#dom-cookiestore-delete
  async delete(name) {
    const prefix = "Failed to execute 'delete' on 'CookieStore'";
    assertThis(this, CookieStore, prefix);
    requireArguments(arguments.length, 1, prefix);
    const init = isObject(name) ? name : { __proto__: null, name: string(name, prefix) };
    const cookie = cookieOf(init, "CookieStoreDeleteOptions", prefix);
    // One without a name has to have a value, to be one at all.
    cookie.value = cookie.name === "" ? "deleted" : "";
    cookie.expires = 0;
    setCookie(cookie, prefix);
  }
}
webidl.configureInterface(CookieStore);
defineHandler(CookieStore.prototype, "change"); // [Exposed=Window]

function usv(text) {
  return StringPrototypeToWellFormed(text);
}

/** https://wicg.github.io/cookie-store/#normalize-a-cookie-name-or-value */
function normalize(text) {
  return StringPrototypeReplace(text, /^[\t ]+|[\t ]+$/g, "");
}

// https://wicg.github.io/cookie-store/#dictdef-cookiestoregetoptions
function queryOf(value, prefix) {
  if (value !== undefined && value !== null && !isObject(value)) {
    return { name: usv(string(value, prefix)), url: null };
  }
  const { name, url } = dictionary(value, "CookieStoreGetOptions", prefix);
  return {
    name: name === undefined ? null : normalize(usv(string(name, prefix))),
    url: url === undefined ? null : usv(string(url, prefix)),
  };
}

// https://wicg.github.io/cookie-store/#dictdef-cookieinit
function cookieOf(init, dictionaryName, prefix) {
  const reading = (member) =>
    `${prefix}: Failed to read the '${member}' property from '${dictionaryName}'`;
  const { domain, expires, path, sameSite } = init;
  const sameSites = ["strict", "lax", "none"];
  return {
    domain: domain === undefined || domain === null ? null : usv(string(domain, prefix)),
    expires: expires === undefined || expires === null
      ? null
      : MathTrunc(finiteDouble(expires, reading("expires"))),
    name: usv(requiredStringMember(init, "name", dictionaryName, prefix)),
    path: path === undefined ? "/" : usv(string(path, prefix)),
    sameSite: enumMember(
      sameSite, "strict", sameSites, "sameSite", dictionaryName, "CookieSameSite", prefix,
    ),
  };
}

// https://wicg.github.io/cookie-store/#set-a-cookie
function setCookie(cookie, prefix) {
  const refuse = (text) => {
    throw new TypeError(`${prefix}: ${text}`);
  };
  cookie.name = normalize(cookie.name);
  cookie.value = normalize(cookie.value);
  const { domain, name, path, value } = cookie;
  if (StringPrototypeIncludes(name, "=")) refuse("Cookie name cannot contain '='");
  if (name === "" && StringPrototypeIncludes(value, "=")) {
    refuse("Cookie value cannot contain '=' if the name is empty");
  }
  if (name === "" && value === "") refuse("Cookie name and value both cannot be empty");
  refusePrefix(name === "" ? value : name, cookie, refuse);
  if (domain !== null) {
    if (StringPrototypeStartsWith(domain, ".")) refuse('Cookie domain cannot start with "."');
    const host = new URL(getLocationHref()).hostname;
    const isOwn = host === domain || StringPrototypeEndsWith(host, `.${domain}`);
    if (!isOwn || domain === "") refuse("Cookie domain must domain-match current host");
  }
  if (path !== "" && !StringPrototypeStartsWith(path, "/")) {
    refuse('Cookie path must start with "/"');
  }
  if (path.length > 1024) {
    const text = "Cookie was malformed and could not be stored, due to problem(s) while parsing.";
    refuse(text);
  }
  op_cookie_set(cookie);
}

// https://httpwg.org/http-extensions/draft-ietf-httpbis-rfc6265bis.html#name-cookie-name-prefixes
function refusePrefix(name, { domain, path }, refuse) {
  const lower = StringPrototypeToLowerCase(name);
  for (const prefix of ["__Http-", "__Host-Http-"]) {
    if (StringPrototypeStartsWith(lower, StringPrototypeToLowerCase(prefix))) {
      refuse(`Cookies with "${prefix}" prefix cannot be set using the CookieStore API.`);
    }
  }
  if (!StringPrototypeStartsWith(lower, "__host-")) return;
  if (domain !== null) refuse('Cookies with "__Host-" prefix cannot have a domain');
  if (path !== "/") refuse('Cookies with "__Host-" prefix cannot have a non-"/" path');
}

// https://wicg.github.io/cookie-store/#dictdef-cookielistitem, with Chromium's members
function listItem({ domain, expires, name, path, sameSite, secure, value }) {
  return { domain, expires, name, partitioned: false, path, sameSite, secure, value };
}

function deletedItem({ domain, name, path, sameSite, secure }) {
  return { domain, name, partitioned: false, path, sameSite, secure };
}

function eventInit({ changed, deleted }) {
  return {
    changed: ArrayPrototypeMap(changed, listItem),
    deleted: ArrayPrototypeMap(deleted, deletedItem),
  };
}

// https://wicg.github.io/cookie-store/#CookieStoreManager
export class CookieStoreManager {
  #scope;

  constructor(key = undefined, scope = undefined) {
    requireHostKey(key, "CookieStoreManager");
    this[webidl.brand] = webidl.brand;
    this.#scope = scope;
  }

  // https://wicg.github.io/cookie-store/#dom-cookiestoremanager-subscribe
  async subscribe(subscriptions) {
    const prefix = "Failed to execute 'subscribe' on 'CookieStoreManager'";
    assertThis(this, CookieStoreManager, prefix);
    requireArguments(arguments.length, 1, prefix);
    op_cookie_subscribe(this.#scope, subscriptionsOf(subscriptions, prefix));
  }

  // https://wicg.github.io/cookie-store/#dom-cookiestoremanager-getsubscriptions
  async getSubscriptions() {
    const prefix = "Failed to execute 'getSubscriptions' on 'CookieStoreManager'";
    assertThis(this, CookieStoreManager, prefix);
    const found = op_cookie_subscriptions(this.#scope);
    return ArrayPrototypeMap(found, ({ name, url }) => name === null ? { url } : { name, url });
  }

  // https://wicg.github.io/cookie-store/#dom-cookiestoremanager-unsubscribe
  async unsubscribe(subscriptions) {
    const prefix = "Failed to execute 'unsubscribe' on 'CookieStoreManager'";
    assertThis(this, CookieStoreManager, prefix);
    requireArguments(arguments.length, 1, prefix);
    op_cookie_unsubscribe(this.#scope, subscriptionsOf(subscriptions, prefix));
  }
}
webidl.configureInterface(CookieStoreManager);

const sequenceOfAny = webidl.createSequenceConverter(webidl.converters.any);

function subscriptionsOf(value, prefix) {
  if (!isObject(value)) {
    throw new TypeError(`${prefix}: The provided value cannot be converted to a sequence.`);
  }
  return ArrayPrototypeMap(sequenceOfAny(value, prefix, "Argument 1"), (each) => {
    if (each !== undefined && each !== null && !isObject(each)) {
      const text = "The provided value is not of type 'CookieStoreGetOptions'.";
      throw new TypeError(`${prefix}: ${text}`);
    }
    return queryOf(each, prefix);
  });
}

/** The manager of the registration with this scope. */
export function createCookieStoreManager(scope) {
  return new CookieStoreManager(hostKey, scope);
}

/** An attribute of an event: a frozen list of cookies. */
function listMember(init, member, name, prefix) {
  const value = init[member];
  if (value === undefined) return ObjectFreeze([]);
  if (!isObject(value)) {
    const reading = `${prefix}: Failed to read the '${member}' property from '${name}'`;
    throw new TypeError(`${reading}: The provided value cannot be converted to a sequence.`);
  }
  const items = sequenceOfAny(value, prefix, member);
  return ObjectFreeze(ArrayPrototypeMap(items, (item) => ({ ...item })));
}

// https://wicg.github.io/cookie-store/#CookieChangeEvent
export class CookieChangeEvent extends Event {
  #changed;
  #deleted;

  constructor(type, eventInitDict = undefined) {
    const prefix = "Failed to construct 'CookieChangeEvent'";
    requireArguments(arguments.length, 1, prefix);
    const init = dictionary(eventInitDict, "CookieChangeEventInit", prefix);
    const { bubbles, cancelable, composed } = init;
    super(string(type, prefix), { bubbles, cancelable, composed });
    this[webidl.brand] = webidl.brand;
    this.#changed = listMember(init, "changed", "CookieChangeEventInit", prefix);
    this.#deleted = listMember(init, "deleted", "CookieChangeEventInit", prefix);
  }

  get changed() {
    return this.#changed;
  }

  get deleted() {
    return this.#deleted;
  }
}
webidl.configureInterface(CookieChangeEvent);

// https://wicg.github.io/cookie-store/#ExtendableCookieChangeEvent
export class ExtendableCookieChangeEvent extends ExtendableEvent {
  #changed;
  #deleted;

  constructor(type, eventInitDict = undefined) {
    const prefix = "Failed to construct 'ExtendableCookieChangeEvent'";
    requireArguments(arguments.length, 1, prefix);
    const name = "ExtendableCookieChangeEventInit";
    const init = dictionary(eventInitDict, name, prefix);
    super(string(type, prefix), eventInitDict);
    this.#changed = listMember(init, "changed", name, prefix);
    this.#deleted = listMember(init, "deleted", name, prefix);
  }

  get changed() {
    return this.#changed;
  }

  get deleted() {
    return this.#deleted;
  }
}
webidl.configureInterface(ExtendableCookieChangeEvent);

/** What the host dispatches at a worker. */
export function createCookieChangeEvent(changes) {
  return new ExtendableCookieChangeEvent("cookiechange", eventInit(changes));
}

let ownStore;

/** The realm's `cookieStore`. */
export function ownCookieStore() {
  ownStore ??= new CookieStore(hostKey);
  return ownStore;
}

/** Something happened to the page's cookies. */
export function changeCookies(changes) {
  if (ownStore === undefined) return; // nobody listens
  dispatchPlatformEvent(ownStore, new CookieChangeEvent("change", eventInit(changes)));
}
