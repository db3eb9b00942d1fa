// The modules of the snapshot that parts import (lazy.js), by their specifiers.

import * as coreModule from "ext:core/mod.js";
import * as cache from "ext:kittiwake/cache.js";
import * as events from "ext:kittiwake/events.js";
import * as extendableEvent from "ext:kittiwake/extendable_event.js";
import * as fetchBody from "ext:kittiwake/fetch/body.js";
import * as fetchFetch from "ext:kittiwake/fetch/fetch.js";
import * as fetchHostBody from "ext:kittiwake/fetch/host_body.js";
import * as fetchRequest from "ext:kittiwake/fetch/request.js";
import * as fetchStreamMethods from "ext:kittiwake/fetch/stream_methods.js";
import * as indexedDbStringList from "ext:kittiwake/indexed_db/string_list.js";
import * as lazy from "ext:kittiwake/lazy.js";
import * as messagePort from "ext:kittiwake/message_port.js";
import * as originals from "ext:kittiwake/originals.js";
import * as platformObject from "ext:kittiwake/platform_object.js";
import * as structuredStorage from "ext:kittiwake/structured_storage.js";
import * as structuredTransfer from "ext:kittiwake/structured_transfer.js";
import * as syncWrites from "ext:kittiwake/sync_writes.js";
import * as webidl from "ext:kittiwake/webidl.js";

export const imports = {
  "ext:core/mod.js": coreModule,
  "ext:kittiwake/cache.js": cache,
  "ext:kittiwake/events.js": events,
  "ext:kittiwake/extendable_event.js": extendableEvent,
  "ext:kittiwake/fetch/body.js": fetchBody,
  "ext:kittiwake/fetch/fetch.js": fetchFetch,
  "ext:kittiwake/fetch/host_body.js": fetchHostBody,
  "ext:kittiwake/fetch/request.js": fetchRequest,
  "ext:kittiwake/fetch/stream_methods.js": fetchStreamMethods,
  "ext:kittiwake/indexed_db/string_list.js": indexedDbStringList,
  "ext:kittiwake/lazy.js": lazy,
  "ext:kittiwake/message_port.js": messagePort,
  "ext:kittiwake/originals.js": originals,
  "ext:kittiwake/platform_object.js": platformObject,
  "ext:kittiwake/structured_storage.js": structuredStorage,
  "ext:kittiwake/structured_transfer.js": structuredTransfer,
  "ext:kittiwake/sync_writes.js": syncWrites,
  "ext:kittiwake/webidl.js": webidl,
};
