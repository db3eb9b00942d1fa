// Notifications: https://notifications.spec.whatwg.org/. Nothing is shown on a screen: the trace
// tells what a person would see.
//
// Invariant: the host has the list of what is shown; an object here is a copy of one entry.

import { core, primordials } from "ext:core/mod.js";
import { defineHandlers, dispatchPlatformEvent } from "ext:kittiwake/events.js";
import { ExtendableEvent } from "ext:kittiwake/extendable_event.js";
import { deserialize, serialize } from "ext:kittiwake/structured_storage.js";
import {
  dictionary,
  enumMember,
  hostKey,
  requireArguments,
  requiredDictionary,
  requiredMember,
  string,
  unsignedLongLong,
  webidl,
} from "ext:kittiwake/webidl.js";

const { Event, EventTarget } = core.loadExtScript("ext:deno_web/02_event.js");
const { getLocationHref } = core.loadExtScript("ext:deno_web/12_location.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const {
  op_clock_now,
  op_notification_close,
  op_notification_list,
  op_notification_show,
  op_permission_query,
} = core.ops;
const {
  ArrayPrototypeMap,
  ArrayPrototypePush,
  MathMin,
  ObjectFreeze,
  ObjectPrototypeIsPrototypeOf,
  SafeArrayIterator,
  SafeMap,
  TypeError,
  Uint8Array,
} = primordials;

const MAX_ACTIONS = 2;
const MAX_VIBRATIONS = 99;
const MAX_VIBRATION_MS = 10_000;

// https://notifications.spec.whatwg.org/#notification
export class Notification extends EventTarget {
  #entry;
  #id;

  constructor(title, options = undefined) {
    const prefix = "Failed to construct 'Notification'";
    // The host makes one of what is shown already.
    if (title === hostKey) {
      super();
      this.#id = options.id;
      this.#entry = options.entry;
    } else {
      requireArguments(arguments.length, 1, prefix);
      const isPage = globalThis.ServiceWorkerGlobalScope === undefined;
      if (!isPage) throw new TypeError(`${prefix}: Illegal constructor.`);
      super();
      const { data, ...entry } = convertNotification(title, options, prefix);
      this.#entry = { ...entry, data: dataOf(data) };
      if (Notification.permission === "granted") {
        this.#id = op_notification_show("", entry, data);
        ownNotifications.set(this.#id, this);
      }
    }
    this[webidl.brand] = webidl.brand;
  }

  // https://notifications.spec.whatwg.org/#dom-notification-permission
  static get permission() {
    return op_permission_query("notifications");
  }

  // https://notifications.spec.whatwg.org/#dom-notification-maxactions
  static get maxActions() {
    return MAX_ACTIONS;
  }

  get title() {
    return this.#entry.title;
  }

  get dir() {
    return this.#entry.dir;
  }

  get lang() {
    return this.#entry.lang;
  }

  get body() {
    return this.#entry.body;
  }

  get tag() {
    return this.#entry.tag;
  }

  get image() {
    return this.#entry.image;
  }

  get icon() {
    return this.#entry.icon;
  }

  get badge() {
    return this.#entry.badge;
  }

  get vibrate() {
    return this.#entry.vibrate;
  }

  get timestamp() {
    return this.#entry.timestamp;
  }

  get renotify() {
    return this.#entry.renotify;
  }

  get silent() {
    return this.#entry.silent;
  }

  get requireInteraction() {
    return this.#entry.requireInteraction;
  }

  get data() {
    return this.#entry.data;
  }

  get actions() {
    return this.#entry.actions;
  }

  // https://notifications.spec.whatwg.org/#dom-notification-close
  close() {
    webidl.assertBranded(this, NotificationPrototype);
    if (this.#id !== undefined) op_notification_close(this.#id);
  }
}
webidl.configureInterface(Notification);
defineHandlers(Notification.prototype, "click", "show", "error", "close");
const NotificationPrototype = Notification.prototype;

// What this page has shown itself, until it is closed.
const ownNotifications = new SafeMap();

/** Something happened to a notification that this page made. */
export function dispatchAtNotification(id, type) {
  const notification = ownNotifications.get(id);
  if (type === "close") ownNotifications.delete(id);
  if (notification !== undefined) dispatchPlatformEvent(notification, new Event(type));
}

// https://notifications.spec.whatwg.org/#create-a-notification-with-a-settings-object
function convertNotification(title, options, prefix) {
  const name = "NotificationOptions";
  const init = dictionary(options, name, prefix);
  const text = (member) => init[member] === undefined ? "" : string(init[member], prefix);
  const directions = ["auto", "ltr", "rtl"];
  const entry = {
    title: string(title, prefix),
    actions: convertActions(init.actions, prefix),
    badge: url(init.badge, prefix),
    body: text("body"),
    data: serialize(init.data === undefined ? null : init.data, prefix),
    dir: enumMember(init.dir, "auto", directions, "dir", name, "NotificationDirection", prefix),
    icon: url(init.icon, prefix),
    image: url(init.image, prefix),
    lang: text("lang"),
    renotify: Boolean(init.renotify),
    requireInteraction: Boolean(init.requireInteraction),
    silent: init.silent === undefined || init.silent === null ? false : Boolean(init.silent),
    tag: text("tag"),
    timestamp: init.timestamp === undefined
      ? op_clock_now()
      : unsignedLongLong(init.timestamp, prefix),
    vibrate: convertVibration(init.vibrate),
  };
  if (entry.silent && init.vibrate !== undefined) {
    throw new TypeError(`${prefix}: Silent notifications must not specify vibration patterns.`);
  }
  if (entry.renotify && entry.tag === "") {
    const reason = "Notifications which set the renotify flag must specify a non-empty tag.";
    throw new TypeError(`${prefix}: ${reason}`);
  }
  return entry;
}

function convertActions(actions, prefix) {
  const converted = [];
  for (const action of new SafeArrayIterator(actions === undefined ? [] : [...actions])) {
    const reading = `${prefix}: Failed to read the 'actions' property from 'NotificationOptions'`;
    ArrayPrototypePush(converted, ObjectFreeze({
      action: string(requiredMember(action?.action, reading), reading),
      icon: url(action.icon, reading),
      title: string(requiredMember(action.title, reading), reading),
    }));
  }
  converted.length = MathMin(converted.length, MAX_ACTIONS);
  return ObjectFreeze(converted);
}

// A URL that does not parse is none: https://notifications.spec.whatwg.org/#create-a-notification
function url(value, prefix) {
  if (value === undefined) return "";
  const text = string(value, prefix);
  return URL.canParse(text, getLocationHref()) ? new URL(text, getLocationHref()).href : "";
}

// https://w3c.github.io/vibration/#dfn-validate-and-normalize
function convertVibration(pattern) {
  const given = pattern === undefined ? [] : typeof pattern === "number" ? [pattern] : [...pattern];
  given.length = MathMin(given.length, MAX_VIBRATIONS);
  // A pattern ends with a vibration.
  if (given.length % 2 === 0 && given.length > 0) given.length -= 1;
  return ObjectFreeze(ArrayPrototypeMap(given, (each) => MathMin(each >>> 0, MAX_VIBRATION_MS)));
}

/** `registration.showNotification()`: https://notifications.spec.whatwg.org/#dom-serviceworkerregistration-shownotification */
export function showNotification(registration, title, options) {
  const prefix = "Failed to execute 'showNotification' on 'ServiceWorkerRegistration'";
  const { data, ...entry } = convertNotification(title, options, prefix);
  if (registration.active === null) {
    const reason = "No active registration available on the ServiceWorkerRegistration.";
    throw new TypeError(`${prefix}: ${reason}`);
  }
  if (Notification.permission !== "granted") {
    const reason = "No notification permission has been granted for this origin.";
    throw new TypeError(`${prefix}: ${reason}`);
  }
  op_notification_show(registration.scope, entry, data);
}

/** The data of a notification; as in Chromium, none with a Blob in it. */
function dataOf(bytes) {
  const refuse = () => {
    throw new TypeError();
  };
  try {
    return deserialize(bytes, { ...core.getCloneableDeserializers(), Blob: refuse, File: refuse });
  } catch {
    return null;
  }
}

/** `registration.getNotifications()`: https://notifications.spec.whatwg.org/#dom-serviceworkerregistration-getnotifications */
export function getNotifications(registration, filter) {
  const prefix = "Failed to execute 'getNotifications' on 'ServiceWorkerRegistration'";
  const { tag } = dictionary(filter, "GetNotificationOptions", prefix);
  const wanted = tag === undefined ? "" : string(tag, prefix);
  return ArrayPrototypeMap(
    op_notification_list(registration.scope, wanted),
    ({ id, entry, data }) => notificationOf(id, entry, data),
  );
}

function notificationOf(id, entry, data) {
  const shown = { ...thawed(entry), data: dataOf(new Uint8Array(data)) };
  return new Notification(hostKey, { id, entry: shown });
}

/** What a person did at a notification of this worker's registration. */
export function createNotificationEvent(type, { id, entry, data, action, reply }) {
  const notification = notificationOf(id, entry, data);
  return new NotificationEvent(type, { notification, action, reply: reply ?? undefined });
}

function thawed(entry) {
  ObjectFreeze(entry.actions);
  ObjectFreeze(entry.vibrate);
  return entry;
}

// https://notifications.spec.whatwg.org/#notificationevent
export class NotificationEvent extends ExtendableEvent {
  #notification;
  #action;
  #reply;

  constructor(type, eventInitDict) {
    const prefix = "Failed to construct 'NotificationEvent'";
    requireArguments(arguments.length, 2, prefix);
    const name = "NotificationEventInit";
    super(string(type, prefix), requiredDictionary(eventInitDict, name, prefix));
    const { action, notification, reply } = eventInitDict;
    this.#reply = reply === undefined || reply === null ? null : string(reply, prefix);
    this.#action = action === undefined ? "" : string(action, prefix);
    const reading = `${prefix}: Failed to read the 'notification' property from '${name}'`;
    this.#notification = requiredMember(notification, reading);
    if (!ObjectPrototypeIsPrototypeOf(NotificationPrototype, notification)) {
      throw new TypeError(`${reading}: Failed to convert value to 'Notification'.`);
    }
  }

  get notification() {
    return this.#notification;
  }

  get action() {
    return this.#action;
  }

  // Of Chromium: the text that was typed
  get reply() {
    return this.#reply;
  }
}
webidl.configureInterface(NotificationEvent);
