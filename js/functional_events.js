// The events that the host dispatches at a worker, made of what it gives along.
// https://w3c.github.io/ServiceWorker/#activation-algorithm and the other functional events

import { core } from "ext:core/mod.js";
import { createBackgroundFetchEvent } from "ext:kittiwake/background_fetch.js";
import { SyncEvent } from "ext:kittiwake/background_sync.js";
import { createClient } from "ext:kittiwake/clients.js";
import { ContentIndexEvent } from "ext:kittiwake/content_index.js";
import { createCookieChangeEvent } from "ext:kittiwake/cookie_store.js";
import {
  dispatchExtendableEvent,
  ExtendableEvent,
  ExtendableMessageEvent,
  InstallEvent,
} from "ext:kittiwake/extendable_event.js";
import { afterFetchEvent, createFetchEvent } from "ext:kittiwake/fetch_event.js";
import { createNotificationEvent } from "ext:kittiwake/notifications.js";
import { PeriodicSyncEvent } from "ext:kittiwake/periodic_sync.js";
import { createPushEvent, createPushSubscriptionChangeEvent } from "ext:kittiwake/push.js";
import { workerFor } from "ext:kittiwake/service_worker.js";
import { deserializeWithTransfer } from "ext:kittiwake/structured_transfer.js";

const { getLocationHref } = core.loadExtScript("ext:deno_web/12_location.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");

const makeEvent = {
  __proto__: null,
  install: () => new InstallEvent("install"),
  activate: () => new ExtendableEvent("activate"),
  backgroundfetchabort: (init) => createBackgroundFetchEvent("backgroundfetchabort", init),
  backgroundfetchclick: (init) => createBackgroundFetchEvent("backgroundfetchclick", init),
  backgroundfetchfail: (init) => createBackgroundFetchEvent("backgroundfetchfail", init),
  backgroundfetchsuccess: (init) => createBackgroundFetchEvent("backgroundfetchsuccess", init),
  contentdelete: (init) => new ContentIndexEvent("contentdelete", init),
  cookiechange: createCookieChangeEvent,
  fetch: createFetchEvent,
  message: createMessageEvent,
  notificationclick: (init) => createNotificationEvent("notificationclick", init),
  notificationclose: (init) => createNotificationEvent("notificationclose", init),
  periodicsync: (init) => new PeriodicSyncEvent("periodicsync", init),
  push: createPushEvent,
  pushsubscriptionchange: createPushSubscriptionChangeEvent,
  sync: (init) => new SyncEvent("sync", init),
};

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
