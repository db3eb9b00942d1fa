// IDBTransaction: https://w3c.github.io/IndexedDB/#transactions
//
// Invariant: a transaction is active only in the turn that made it, up to the end of its
// microtasks, and while an event of one of its requests is dispatched; when it is not active and
// has no request left, it commits.

import { core, primordials } from "ext:core/mod.js";
import { afterCheckpoint, defineHandler } from "ext:kittiwake/events.js";
import { addPart, failed, finishWith, succeeded } from "ext:kittiwake/indexed_db/answer.js";
import {
  ancestry,
  dispatchSuccess,
  dispatchUp,
  isHeard,
  pathBelow,
} from "ext:kittiwake/indexed_db/dispatch.js";
import { createObjectStore } from "ext:kittiwake/indexed_db/object_store.js";
import {
  createRequest,
  exceptionOf,
  isRequest,
  requestState,
} from "ext:kittiwake/indexed_db/request.js";
import { sortedList } from "ext:kittiwake/indexed_db/string_list.js";
import {
  hostKey,
  requireArguments,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { Event, EventTarget } = core.loadExtScript("ext:deno_web/02_event.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { op_indexed_db_end, op_indexed_db_serve } = core.ops;
const { ArrayPrototypePush, SafeMap } = primordials;

/** The state of a transaction that a script cannot reach. */
export let transactionState;

// https://w3c.github.io/IndexedDB/#idbtransaction
export class IDBTransaction extends EventTarget {
  #state;

  static {
    transactionState = (transaction) => transaction.#state;
  }

  constructor(key = undefined, state = undefined) {
    requireHostKey(key, "IDBTransaction");
    super();
    this.#state = state;
  }

  // https://w3c.github.io/IndexedDB/#dom-idbtransaction-objectstorenames
  get objectStoreNames() {
    const { upgrade, scope, connection } = this.#state;
    const stores = upgrade === null ? scope : connection.objectStores;
    return sortedList(stores.keys());
  }

  get mode() {
    return this.#state.mode;
  }

  get durability() {
    return this.#state.durability;
  }

  get db() {
    return this.#state.db;
  }

  get error() {
    return this.#state.error;
  }

  // https://w3c.github.io/IndexedDB/#dom-idbtransaction-objectstore
  objectStore(name) {
    const prefix = "Failed to execute 'objectStore' on 'IDBTransaction'";
    const state = this.#state;
    requireArguments(arguments.length, 1, prefix);
    const text = string(name, prefix);
    if (state.phase === "finished") {
      throw new DOMException(`${prefix}: The transaction has finished.`, "InvalidStateError");
    }
    const stores = state.upgrade === null ? state.scope : state.connection.objectStores;
    const metadata = stores.get(text);
    if (metadata === undefined) {
      const reason = "The specified object store was not found.";
      throw new DOMException(`${prefix}: ${reason}`, "NotFoundError");
    }
    return objectStoreHandle(this, metadata);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbtransaction-commit
  commit() {
    const prefix = "Failed to execute 'commit' on 'IDBTransaction'";
    requireActive(this.#state, prefix, "InvalidStateError");
    commit(this.#state);
  }

  // https://w3c.github.io/IndexedDB/#dom-idbtransaction-abort
  abort() {
    const { phase } = this.#state;
    if (phase === "committing" || phase === "finished") {
      const reason = phase === "finished" ? "has finished" : "is already committing";
      const text = `Failed to execute 'abort' on 'IDBTransaction': The transaction ${reason}.`;
      throw new DOMException(text, "InvalidStateError");
    }
    abort(this, null);
  }
}
webidl.configureInterface(IDBTransaction);
defineHandler(IDBTransaction.prototype, "abort");
defineHandler(IDBTransaction.prototype, "complete");
defineHandler(IDBTransaction.prototype, "error");

// Transactions that have not finished: their numbers -> the transactions.
const live = new SafeMap();
// Those that were made since the last microtask checkpoint.
let fresh = [];

/** A transaction that is active until the end of this turn's microtasks. */
export function createTransaction(id, db, connection, mode, scope, durability, upgrade = null) {
  const transaction = new IDBTransaction(hostKey, {
    id,
    db,
    connection,
    mode,
    scope,
    durability,
    upgrade,
    phase: upgrade === null ? "active" : "inactive",
    error: null,
    // From it upwards, once an event of a request has gone there.
    ancestors: undefined,
    handles: new SafeMap(),
    // Numbers of requests that have no answer yet -> the requests, in their order.
    requests: new SafeMap(),
    // Requests whose results are here already, with the number of the request before each: the
    // first, which knows the next, and the last.
    known: null,
    lastKnown: null,
    lastAnswered: 0,
    lastRequest: 0,
    // How many changes of records it has asked for.
    changes: 0,
    // Whether events of its requests are being dispatched, and how often the host has given the
    // turn more answers.
    delivering: false,
    round: 0,
    // What waits for an index to be filled.
    held: null,
    aborted: null,
  });
  live.set(id, transaction);
  if (upgrade === null) ArrayPrototypePush(fresh, transaction);
  return transaction;
}

export function liveTransaction(id) {
  return live.get(id);
}

/** https://w3c.github.io/IndexedDB/#cleanup-indexed-database-transactions */
export function deactivateFresh() {
  if (fresh.length === 0) return;
  const transactions = fresh;
  fresh = [];
  for (let i = 0; i < transactions.length; i++) {
    const state = transactionState(transactions[i]);
    if (state.phase !== "active") continue;
    state.phase = "inactive";
    commitIfIdle(state);
  }
}
afterCheckpoint(deactivateFresh);

/** One object per object store in a transaction. */
export function objectStoreHandle(transaction, metadata) {
  const { handles } = transactionState(transaction);
  let handle = handles.get(metadata);
  if (handle === undefined) {
    handle = createObjectStore(transaction, metadata);
    handles.set(metadata, handle);
  }
  return handle;
}

export function requireActive(state, prefix, name = "TransactionInactiveError") {
  if (state.phase === "active") return;
  const reason = state.phase === "finished" ? "has finished" : "is not active";
  throw new DOMException(`${prefix}: The transaction ${reason}.`, name);
}

export function requireWritable(state, prefix) {
  if (state.mode !== "readonly") return;
  throw new DOMException(`${prefix}: The transaction is read-only.`, "ReadOnlyError");
}

/** The state of a transaction that is about to ask for a change of records. */
export function changing(transaction) {
  const state = transactionState(transaction);
  state.changes += 1;
  return state;
}

/**
 * https://w3c.github.io/IndexedDB/#asynchronously-execute-a-request: `send` is given its number.
 * `reused` is a cursor's request.
 */
export function execute(transaction, source, send, finish, reused = undefined) {
  const state = transactionState(transaction);
  const request = reused ?? createRequest(source, transaction, finish);
  if (reused !== undefined) {
    const requested = requestState(reused);
    requested.done = false;
    requested.result = undefined;
    requested.finish = finish;
  }
  const id = ++state.lastRequest;
  state.requests.set(id, request);
  if (state.held === null) send(id);
  else ArrayPrototypePush(state.held, () => send(id));
  return request;
}

/**
 * As `execute` with a request to be used again, where its result is here already. It does nothing
 * and says so where nobody would dispatch the event: outside of events of the transaction.
 */
export function executeKnown(transaction, request, finish) {
  const state = transactionState(transaction);
  if (!state.delivering) return false;
  const requested = requestState(request);
  requested.done = false;
  requested.result = undefined;
  requested.finish = finish;
  const known = { request, behind: state.lastRequest, next: null };
  if (state.known === null) state.known = known;
  else state.lastKnown.next = known;
  state.lastKnown = known;
  return true;
}

/** A step that no script asked for: it fires no event, and its failure aborts the transaction. */
export function executeSilently(transaction, send, finish) {
  const state = transactionState(transaction);
  const id = ++state.lastRequest;
  state.requests.set(id, { finish, result: undefined, parts: undefined });
  if (state.held === null) send(id);
  else ArrayPrototypePush(state.held, () => send(id));
}

/** As `executeSilently`, before whatever is held. */
export function executeAhead(transaction, send, finish) {
  const state = transactionState(transaction);
  const id = ++state.lastRequest;
  state.requests.set(id, { finish, result: undefined, parts: undefined });
  send(id);
}

/** Requests that follow wait until `release` is called. */
export function hold(state) {
  if (state.held !== null) return false;
  state.held = [];
  return true;
}

export function release(state) {
  const { held } = state;
  state.held = null;
  // One of them may hold again.
  for (let i = 0; i < held.length; i++) {
    if (state.held === null) held[i]();
    else ArrayPrototypePush(state.held, held[i]);
  }
}

/** https://w3c.github.io/IndexedDB/#commit-a-transaction */
export function commit(state) {
  state.phase = "committing";
  if (!hasRequests(state)) op_indexed_db_end(state.id, true);
}

function hasRequests({ requests, known }) {
  return requests.size > 0 || known !== null;
}

export function commitIfIdle(state) {
  if (hasRequests(state)) return;
  if (state.phase === "inactive") commit(state);
  else if (state.phase === "committing") op_indexed_db_end(state.id, true);
}

/** https://w3c.github.io/IndexedDB/#abort-a-transaction; the events follow in another task. */
export function abort(transaction, error) {
  const state = transactionState(transaction);
  if (state.phase === "finished") return;
  state.phase = "finished";
  state.error = error;
  state.aborted = unanswered(state);
  state.requests.clear();
  state.known = null;
  state.held = null;
  state.upgrade?.revert(transaction);
  op_indexed_db_end(state.id, false);
}

/** The script's requests that are not over, in their order. */
function unanswered({ known, requests }) {
  const list = [];
  let next = known;
  for (const [id, request] of requests) {
    for (; next !== null && next.behind < id; next = next.next) {
      ArrayPrototypePush(list, next.request);
    }
    if (isRequest(request)) ArrayPrototypePush(list, request);
  }
  for (; next !== null; next = next.next) ArrayPrototypePush(list, next.request);
  return list;
}

/** The host has answered requests; what their events ask for, it may answer in this turn. */
export function answered(id, answers) {
  const transaction = live.get(id);
  if (transaction === undefined) return;
  const state = transactionState(transaction);
  state.delivering = true;
  for (state.round = 0; answers !== undefined; state.round++) {
    deliverAnswers(transaction, state, answers);
    const waiting = state.requests.size;
    answers = waiting === 0 ? undefined : op_indexed_db_serve(id, waiting, state.round);
  }
  state.delivering = false;
}

/** Some of the values that a request asks for; its answer has the last of them. */
export function part(id, number, kind, values) {
  const transaction = live.get(id);
  const request = transaction && transactionState(transaction).requests.get(number);
  if (request === undefined) return; // aborted meanwhile
  addPart(isRequest(request) ? requestState(request) : request, kind, values);
}

function deliverAnswers(transaction, state, answers) {
  for (let i = 0; i < answers.length; i += 3) {
    const request = state.requests.get(answers[i]);
    if (request === undefined) continue; // aborted meanwhile, or the host's own
    state.requests.delete(answers[i]);
    state.lastAnswered = answers[i];
    const kind = answers[i + 1];
    if (isRequest(request)) settle(transaction, state, request, kind, answers[i + 2]);
    else settleSilently(transaction, state, request, kind, answers[i + 2]);
    settleKnown(transaction, state);
  }
}

/** Those that come next and need no answer; each may be followed by another. */
function settleKnown(transaction, state) {
  while (state.known !== null && state.known.behind <= state.lastAnswered) {
    const { next, request } = state.known;
    state.known = next;
    settle(transaction, state, request, succeeded, undefined);
  }
}

function settleSilently(transaction, state, request, kind, answer) {
  const error = kind === failed ? answer : finishWith(request, kind, answer);
  if (error !== null) abort(transaction, exceptionOf(error));
  commitIfIdle(state);
}

function settle(transaction, state, request, kind, answer) {
  const requested = requestState(request);
  const error = kind === failed ? answer : finishWith(requested, kind, answer);
  requested.done = true;
  if (error === null) {
    requested.error = null;
    fireSuccess(transaction, state, request, requested);
  } else {
    requested.result = undefined;
    requested.error = exceptionOf(error);
    fireError(transaction, state, request);
  }
  commitIfIdle(state);
}

/** https://w3c.github.io/IndexedDB/#fire-a-success-event */
function fireSuccess(transaction, state, request, requested) {
  if (requested.path === undefined) {
    const { db } = state;
    // Most of many requests are of no interest, and an event costs more than they do.
    if (!isHeard(request, "success") && !isHeard(transaction, "success") &&
      !isHeard(db, "success")) return;
    state.ancestors ??= ancestry(transaction, db);
    requested.path = pathBelow(request, state.ancestors);
  }
  if (state.phase === "inactive") state.phase = "active";
  const threw = dispatchSuccess(requested.path);
  if (state.phase === "active") state.phase = "inactive";
  abortIfThrown(transaction, state, threw);
}

/** https://w3c.github.io/IndexedDB/#fire-an-error-event */
function fireError(transaction, state, request) {
  const event = new Event("error", { bubbles: true, cancelable: true });
  if (state.phase === "inactive") state.phase = "active";
  const threw = dispatchUp([request, transaction, state.db], event);
  if (state.phase === "active") state.phase = "inactive";
  if (abortIfThrown(transaction, state, threw)) return;
  if (!event.defaultPrevented && state.phase !== "finished") {
    abort(transaction, requestState(request).error);
  }
}

function abortIfThrown(transaction, state, threw) {
  if (!threw || state.phase !== "inactive") return false;
  abort(transaction, new DOMException("Uncaught exception in event handler.", "AbortError"));
  return true;
}

/** The first event of an upgrade: https://w3c.github.io/IndexedDB/#upgrade-a-database */
export function fireUpgradeNeeded(transaction, request, event) {
  const state = transactionState(transaction);
  state.phase = "active";
  const threw = dispatchUp([request], event);
  if (state.phase === "active") state.phase = "inactive";
  abortIfThrown(transaction, state, threw);
  commitIfIdle(state);
}

/** The host has committed it. */
export function completed(id) {
  const transaction = live.get(id);
  if (transaction === undefined) return;
  live.delete(id);
  const state = transactionState(transaction);
  state.phase = "finished";
  state.upgrade?.finish();
  dispatchUp([transaction, state.db], new Event("complete"));
  state.upgrade?.forget();
}

/** The host has rolled it back: at the script's wish, or because of an error of the disk's. */
export function aborted(id, failure) {
  const transaction = live.get(id);
  if (transaction === undefined) return;
  const state = transactionState(transaction);
  if (state.phase !== "finished") {
    abort(transaction, failure === null ? null : exceptionOf(failure));
  }
  live.delete(id);
  for (let i = 0; i < state.aborted.length; i++) {
    const requested = requestState(state.aborted[i]);
    requested.done = true;
    requested.result = undefined;
    requested.error = new DOMException("The transaction was aborted.", "AbortError");
    const event = new Event("error", { bubbles: true, cancelable: true });
    dispatchUp([state.aborted[i], transaction, state.db], event);
  }
  state.upgrade?.finish();
  dispatchUp([transaction, state.db], new Event("abort", { bubbles: true }));
  state.upgrade?.forget(true);
}
