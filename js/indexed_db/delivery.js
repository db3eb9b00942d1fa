// What the host tells a realm about its databases; ops/indexed_db/event.rs has the calls.
//
// Invariant: each event is dispatched in a call of the host.

import { core, primordials } from "ext:core/mod.js";
import {
  beginUpgrade,
  closeByForce,
  connection,
  createDatabase,
} from "ext:kittiwake/indexed_db/database.js";
import { dispatchUp } from "ext:kittiwake/indexed_db/dispatch.js";
import { listed } from "ext:kittiwake/indexed_db/factory.js";
import {
  exceptionOf,
  IDBVersionChangeEvent,
  openRequest,
  requestState,
} from "ext:kittiwake/indexed_db/request.js";
import * as transactions from "ext:kittiwake/indexed_db/transaction.js";

const { Event } = core.loadExtScript("ext:deno_web/02_event.js");
const { op_indexed_db_acknowledge } = core.ops;
const { ReflectApply } = primordials;

const deliveries = {
  __proto__: null,
  answered: transactions.answered,
  part: transactions.part,
  aborted: transactions.aborted,
  completed: transactions.completed,
  listed,
  turnOver: transactions.deactivateFresh,

  // https://w3c.github.io/IndexedDB/#upgrade-a-database
  upgradeNeeded(id, connectionId, transactionId, oldVersion, metadata) {
    const request = openRequest(id, false);
    const database = createDatabase(connectionId, metadata);
    const transaction = beginUpgrade(transactionId, database, oldVersion, request);
    const requested = requestState(request);
    requested.result = database;
    requested.transaction = transaction;
    requested.done = true;
    const event = new IDBVersionChangeEvent("upgradeneeded", {
      oldVersion,
      newVersion: metadata.version,
    });
    transactions.fireUpgradeNeeded(transaction, request, event);
  },

  // https://w3c.github.io/IndexedDB/#dom-idbfactory-open
  opened(id, connectionId, metadata) {
    const request = openRequest(id, true);
    const requested = requestState(request);
    requested.done = true;
    requested.error = null;
    if (metadata !== null) requested.result = createDatabase(connectionId, metadata);
    dispatchUp([request], new Event("success"));
  },

  failed(id, failure) {
    const request = openRequest(id, true);
    const requested = requestState(request);
    requested.done = true;
    requested.result = undefined;
    requested.error = exceptionOf(failure);
    dispatchUp([request], new Event("error", { bubbles: true, cancelable: true }));
  },

  blocked(id, oldVersion, newVersion) {
    const event = new IDBVersionChangeEvent("blocked", { oldVersion, newVersion });
    dispatchUp([openRequest(id, false)], event);
  },

  // https://w3c.github.io/IndexedDB/#close-a-database-connection, forced
  closed(connectionId) {
    const database = connection(connectionId);
    if (database === undefined) return;
    closeByForce(database);
    dispatchUp([database], new Event("close"));
  },

  // https://w3c.github.io/IndexedDB/#dom-idbfactory-deletedatabase
  deleted(id, oldVersion) {
    const request = openRequest(id, true);
    const requested = requestState(request);
    requested.done = true;
    requested.result = undefined;
    requested.error = null;
    dispatchUp([request], new IDBVersionChangeEvent("success", { oldVersion, newVersion: null }));
  },

  versionChange(connectionId, oldVersion, newVersion) {
    const database = connection(connectionId);
    if (database !== undefined) {
      const event = new IDBVersionChangeEvent("versionchange", { oldVersion, newVersion });
      dispatchUp([database], event);
    }
    op_indexed_db_acknowledge(connectionId);
  },
};

/** One event of the host's. */
export function deliver(name, ...args) {
  ReflectApply(deliveries[name], undefined, args);
}
