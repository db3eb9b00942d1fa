// IDBCursor: https://w3c.github.io/IndexedDB/#cursor-interface
//
// Invariant: a cursor holds nothing on the host: it is where it stands. What it has read ahead is
// of use only until its transaction asks for a change of records.

import { core, primordials } from "ext:core/mod.js";
import { only, validKey } from "ext:kittiwake/indexed_db/key_range.js";
import { compareKeys, toKey } from "ext:kittiwake/indexed_db/keys.js";
import { storeValue } from "ext:kittiwake/indexed_db/put.js";
import * as retrieval from "ext:kittiwake/indexed_db/retrieval.js";
import {
  changing,
  execute,
  executeKnown,
  requireActive,
  requireWritable,
  transactionState,
} from "ext:kittiwake/indexed_db/transaction.js";
import { hostKey, requireArguments, requireHostKey, webidl } from "ext:kittiwake/webidl.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { MathMin, TypeError } = primordials;

/**
 * So many records are read at once, and so many events dispatched in one turn. More of them while
 * the script is quick: the host gives a turn more answers only for a few milliseconds.
 */
const maxPage = 64;
const maxQuickPage = 256;

const nothing = [[], undefined, undefined];

const on = (name) => `Failed to execute '${name}' on 'IDBCursor'`;
const onContinue = on("continue");

let cursorState;

// https://w3c.github.io/IndexedDB/#idbcursor
export class IDBCursor {
  #state;

  static {
    cursorState = (cursor) => cursor.#state;
  }

  constructor(key = undefined, state = undefined) {
    requireHostKey(key, new.target.name);
    this[webidl.brand] = webidl.brand;
    this.#state = state;
  }

  get source() {
    return this.#state.source;
  }

  get direction() {
    return this.#state.direction;
  }

  get key() {
    return this.#state.key;
  }

  get primaryKey() {
    return this.#state.primaryKey;
  }

  get request() {
    return this.#state.request;
  }

  // https://w3c.github.io/IndexedDB/#dom-idbcursor-advance
  advance(count) {
    const prefix = on("advance");
    const state = this.#state;
    requireArguments(arguments.length, 1, prefix);
    const steps = retrieval.unsignedLong(count, prefix);
    if (steps === 0) throw new TypeError(`${prefix}: A count argument with value 0 (zero) was ` +
      "supplied, must be greater than 0.");
    requireUsable(state, prefix);
    requireValue(state, prefix);
    iterate(this, state, { ...behind(state), skip: steps - 1 });
  }

  // https://w3c.github.io/IndexedDB/#dom-idbcursor-continue
  continue(key = undefined) {
    const prefix = onContinue;
    const state = this.#state;
    requireUsable(state, prefix);
    requireValue(state, prefix);
    if (key === undefined) {
      step(this, state);
      return;
    }
    const wanted = validKey(key, prefix);
    const order = compareKeys(wanted, state.position);
    const descending = state.direction === "prev" || state.direction === "prevunique";
    if (descending ? order >= 0 : order <= 0) {
      const reason = `The parameter is ${descending ? "greater" : "less"} than or equal to this ` +
        "cursor's position.";
      throw new DOMException(`${prefix}: ${reason}`, "DataError");
    }
    iterate(this, state, { past: false, key: wanted, primaryKey: undefined, skip: 0 });
  }

  // https://w3c.github.io/IndexedDB/#dom-idbcursor-continueprimarykey
  continuePrimaryKey(key, primaryKey) {
    const prefix = on("continuePrimaryKey");
    const state = this.#state;
    requireArguments(arguments.length, 2, prefix);
    requireUsable(state, prefix);
    if (state.index === null) {
      const reason = "The cursor's source is not an index.";
      throw new DOMException(`${prefix}: ${reason}`, "InvalidAccessError");
    }
    if (state.direction !== "next" && state.direction !== "prev") {
      const reason = "The cursor's direction is not 'next' or 'prev'.";
      throw new DOMException(`${prefix}: ${reason}`, "InvalidAccessError");
    }
    requireValue(state, prefix);
    const wanted = validKey(key, prefix);
    const wantedPrimary = validKey(primaryKey, prefix);
    const order = compareKeys(wanted, state.position) ||
      compareKeys(wantedPrimary, state.primaryPosition);
    if (state.direction === "next" ? order <= 0 : order >= 0) {
      const than = state.direction === "next" ? "less" : "greater";
      const reason = `The parameter is ${than} than or equal to this cursor's position.`;
      throw new DOMException(`${prefix}: ${reason}`, "DataError");
    }
    iterate(this, state, { past: false, key: wanted, primaryKey: wantedPrimary, skip: 0 });
  }

  // https://w3c.github.io/IndexedDB/#dom-idbcursor-update
  update(value) {
    const prefix = on("update");
    const state = this.#state;
    requireArguments(arguments.length, 1, prefix);
    requireRecord(state, prefix, "update");
    return storeValue(state.transaction, state.store, value, undefined, {
      mustKeep: state.primaryPosition,
      overwrite: true,
      source: this,
      prefix,
    });
  }

  // https://w3c.github.io/IndexedDB/#dom-idbcursor-delete
  delete() {
    const state = this.#state;
    requireRecord(state, on("delete"), "delete");
    const { id } = changing(state.transaction);
    const source = { store: state.store, index: null };
    const range = only(state.primaryPosition);
    const send = (request) => retrieval.query(id, request, retrieval.deleting, source, range);
    return execute(state.transaction, this, send, () => undefined);
  }
}
webidl.configureInterface(IDBCursor);

// https://w3c.github.io/IndexedDB/#idbcursorwithvalue
export class IDBCursorWithValue extends IDBCursor {
  constructor(key = undefined, state = undefined) {
    requireHostKey(key, "IDBCursorWithValue");
    super(key, state);
  }

  get value() {
    return cursorState(this).value;
  }
}
webidl.configureInterface(IDBCursorWithValue);

/** `openCursor()` and `openKeyCursor()` of an object store, or of its index. */
export function openCursor(source, transaction, store, index, range, direction, keyOnly) {
  const state = {
    source,
    transaction,
    store,
    index,
    range,
    direction,
    keyOnly,
    request: null,
    gotValue: false,
    key: undefined,
    primaryKey: undefined,
    value: undefined,
    // Keys of our own: a script may change those that it sees.
    position: undefined,
    primaryPosition: undefined,
    // Records that were read ahead, as `recordsTo` has them, and which of them is the next, to
    // which `moveAhead` moves.
    ahead: nothing,
    next: 0,
    moveAhead: undefined,
    page: 1,
    // How many changes its transaction had asked for when it read ahead.
    changes: 0,
  };
  const Interface = keyOnly ? IDBCursor : IDBCursorWithValue;
  const cursor = new Interface(hostKey, state);
  state.moveAhead = () => moveTo(cursor, state, state.ahead, state.next);
  state.request = ask(cursor, state, undefined, 1);
  return state.request;
}

// https://w3c.github.io/IndexedDB/#iterate-a-cursor
function iterate(cursor, state, from) {
  state.gotValue = false;
  state.page = 1;
  ask(cursor, state, from, 1);
}

/** To the next record. A script that goes on and on is given more and more of them at once. */
function step(cursor, state) {
  state.gotValue = false;
  const { ahead, next, request, transaction } = state;
  if (state.changes !== transactionState(transaction).changes) {
    state.page = 1;
  } else if (next < ahead[0].length) {
    if (executeKnown(transaction, request, state.moveAhead)) return;
    state.page = 1;
  } else {
    const { round } = transactionState(transaction);
    state.page = MathMin(state.page * 2, round === 0 ? maxPage : maxQuickPage);
  }
  ask(cursor, state, behind(state), state.page);
}

function ask(cursor, state, from, limit) {
  const { direction, index, keyOnly, range, source, store, transaction } = state;
  const { changes, id } = transactionState(transaction);
  state.changes = changes;
  const kind = keyOnly ? retrieval.keysOnly : retrieval.withValues;
  const options = { direction, limit, from, isPage: true };
  const send = (request) =>
    retrieval.query(id, request, kind, { store, index }, range, options);
  const finish = (found) => moveTo(cursor, state, found, 0);
  return execute(transaction, source, send, finish, state.request ?? undefined);
}

function moveTo(cursor, state, found, at) {
  state.ahead = found;
  state.next = at + 1;
  const keys = found[0];
  if (keys.length === 0) {
    state.key = state.primaryKey = state.value = undefined;
    return null;
  }
  const primaryKeys = found[1];
  state.key = keys[at];
  state.position = ownKey(state.key);
  if (primaryKeys === undefined) {
    state.primaryKey = state.key;
    state.primaryPosition = state.position;
  } else {
    state.primaryKey = primaryKeys[at];
    state.primaryPosition = ownKey(state.primaryKey);
  }
  if (!state.keyOnly) {
    state.value = retrieval.completed(state.store, state.primaryKey, found[2][at]);
  }
  state.gotValue = true;
  return cursor;
}

/** A key that no script can change: numbers and strings nobody can. */
function ownKey(key) {
  return typeof key === "object" ? toKey(key) : key;
}

/** Where the next record is looked for. */
function behind({ direction, index, position, primaryPosition }) {
  const each = index !== null && (direction === "next" || direction === "prev");
  return { past: true, key: position, primaryKey: each ? primaryPosition : undefined, skip: 0 };
}

function requireUsable({ index, store, transaction }, prefix) {
  requireActive(transactionState(transaction), prefix);
  if (!store.deleted && !index?.deleted) return;
  const reason = "The cursor's source or effective object store has been deleted.";
  throw new DOMException(`${prefix}: ${reason}`, "InvalidStateError");
}

function requireValue({ gotValue }, prefix) {
  if (gotValue) return;
  const reason = "The cursor is being iterated or has iterated past its end.";
  throw new DOMException(`${prefix}: ${reason}`, "InvalidStateError");
}

/** What update() and delete() ask first. */
function requireRecord(state, prefix) {
  requireActive(transactionState(state.transaction), prefix);
  requireWritable(transactionState(state.transaction), prefix);
  requireUsable(state, prefix);
  requireValue(state, prefix);
  if (!state.keyOnly) return;
  throw new DOMException(`${prefix}: The cursor is a key cursor.`, "InvalidStateError");
}
