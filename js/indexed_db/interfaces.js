// All of IndexedDB: what a realm loads together (../lazy.js).

export { IDBCursor, IDBCursorWithValue } from "ext:kittiwake/indexed_db/cursor.js";
export { IDBDatabase } from "ext:kittiwake/indexed_db/database.js";
export { deliver } from "ext:kittiwake/indexed_db/delivery.js";
export { createIndexedDb, IDBFactory, indexedDB } from "ext:kittiwake/indexed_db/factory.js";
export { IDBIndex } from "ext:kittiwake/indexed_db/index.js";
export { IDBKeyRange } from "ext:kittiwake/indexed_db/key_range.js";
export { IDBObjectStore } from "ext:kittiwake/indexed_db/object_store.js";
export {
  IDBOpenDBRequest,
  IDBRequest,
  IDBVersionChangeEvent,
} from "ext:kittiwake/indexed_db/request.js";
export { IDBRecord } from "ext:kittiwake/indexed_db/retrieval.js";
export { IDBTransaction } from "ext:kittiwake/indexed_db/transaction.js";
