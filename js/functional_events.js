// The events that the host dispatches at a worker, made of what it gives along.
// https://w3c.github.io/ServiceWorker/#activation-algorithm and the other functional events

import { core, primordials } from "ext:core/mod.js";
import { SyncEvent } from "ext:kittiwake/background_sync.js";
import { createClient } from "ext:kittiwake/clients.js";
import {
  dispatchExtendableEvent,
  ExtendableEvent,
  ExtendableMessageEvent,
  InstallEvent,
} from "ext:kittiwake/extendable_event.js";
import { afterFetchEvent, createFetchEvent } from "ext:kittiwake/fetch_event.js";
import {
  BACKGROUND_FETCH,
  COOKIES,
  load,
  NOTIFICATIONS,
  PERIODIC_SYNC,
  PUSH,
} from "ext:kittiwake/lazy.js";
import { workerFor } from "ext:kittiwake/service_worker.js";
import { deserializeWithTransfer } from "ext:kittiwake/structured_transfer.js";

const { ObjectSetPrototypeOf } = primordials;
const { getLocationHref } = core.loadExtScript("ext:deno_web/12_location.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");

const backgroundFetchEvent = (type) => (init) =>
  load(BACKGROUND_FETCH).createBackgroundFetchEvent(type, init);
const notificationEvent = (type) => (init) =>
  load(NOTIFICATIONS).createNotificationEvent(type, init);

const makeEvent = {
  __proto__: null,
  install: () => new InstallEvent("install"),
  activate: () => new ExtendableEvent("activate"),
  backgroundfetchabort: backgroundFetchEvent("backgroundfetchabort"),
  backgroundfetchclick: backgroundFetchEvent("backgroundfetchclick"),
  backgroundfetchfail: backgroundFetchEvent("backgroundfetchfail"),
  backgroundfetchsuccess: backgroundFetchEvent("backgroundfetchsuccess"),
  contentdelete: (init) => {
    const { ContentIndexEvent } = load("ext:kittiwake/content_index.js");
    return new ContentIndexEvent("contentdelete", init);
  },
  cookiechange: (init) => load(COOKIES).createCookieChangeEvent(init),
  fetch: createFetchEvent,
  message: createMessageEvent,
  notificationclick: notificationEvent("notificationclick"),
  notificationclose: notificationEvent("notificationclose"),
  periodicsync: (init) => {
    const { PeriodicSyncEvent } = load(PERIODIC_SYNC);
    return new PeriodicSyncEvent("periodicsync", init);
  },
  push: (init) => load(PUSH).createPushEvent(init),
  pushsubscriptionchange: (init) =>
    load(PUSH).createPushSubscriptionChangeEvent(init),
  sync: (init) => new SyncEvent("sync", new SyncEventInit(init[0], init[1])),
};

/** What scripts cannot add to, as it inherits nothing: V8 is slow with literals of that kind. */
class SyncEventInit {
  constructor(tag, lastChance) {
    this.tag = tag;
    this.lastChance = lastChance;
  }
}
ObjectSetPrototypeOf(SyncEventInit.prototype, null);

const afterDispatch = { __proto__: null, fetch: afterFetchEvent };

/** Makes the event of a type, and dispatches it; the host hears of its end by its `id`. */
export function dispatchFunctionalEvent(type, id, init) {
  dispatchExtendableEvent(id, makeEvent[type](init), afterDispatch[type]);
}

// https://w3c.github.io/ServiceWorker/#dom-serviceworker-postmessage-message-options
function createMessageEvent({ message, json, source: { client, worker } }) {
  const source = client === null ? workerFor(worker) : createClient(client);
  const init = { origin: new URL(getLocationHref()).origin, source };
  if (message === null) return new ExtendableMessageEvent("message", { ...init, data: json });
  try {
    const { value, ports } = deserializeWithTransfer(message);
    return new ExtendableMessageEvent("message", { ...init, data: value, ports });
  } catch {
    return new ExtendableMessageEvent("messageerror", init);
  }
}
