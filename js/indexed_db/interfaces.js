// The interfaces of IndexedDB, by their names: https://w3c.github.io/IndexedDB/

import { IDBCursor, IDBCursorWithValue } from "ext:kittiwake/indexed_db/cursor.js";
import { IDBDatabase } from "ext:kittiwake/indexed_db/database.js";
import { IDBFactory } from "ext:kittiwake/indexed_db/factory.js";
import { IDBIndex } from "ext:kittiwake/indexed_db/index.js";
import { IDBKeyRange } from "ext:kittiwake/indexed_db/key_range.js";
import { IDBObjectStore } from "ext:kittiwake/indexed_db/object_store.js";
import {
  IDBOpenDBRequest,
  IDBRequest,
  IDBVersionChangeEvent,
} from "ext:kittiwake/indexed_db/request.js";
import { IDBRecord } from "ext:kittiwake/indexed_db/retrieval.js";
import { DOMStringList } from "ext:kittiwake/indexed_db/string_list.js";
import { IDBTransaction } from "ext:kittiwake/indexed_db/transaction.js";

export const indexedDbInterfaces = {
  DOMStringList,
  IDBCursor,
  IDBCursorWithValue,
  IDBDatabase,
  IDBFactory,
  IDBIndex,
  IDBKeyRange,
  IDBObjectStore,
  IDBOpenDBRequest,
  IDBRecord,
  IDBRequest,
  IDBTransaction,
  IDBVersionChangeEvent,
};
