//! IndexedDB: <https://w3c.github.io/IndexedDB/>. Answers come back as [`IndexedDbEvent`]s, because
//! events are dispatched from the host.
//!
//! Invariant: a realm reaches connections and transactions of its own only; the host ignores
//! numbers that are not.

#![allow(clippy::too_many_arguments, reason = "op2 knows no attribute of a function")]

mod alike;
mod event;
mod key;
mod key_path;
mod operation;
mod shape;
mod value;

use std::cell::RefCell;
use std::rc::Rc;

use deno_core::{OpState, ToJsBuffer, op2, serde_v8, v8};
use deno_error::JsErrorBox;
use serde::{Deserialize, Serialize};

use self::value::Marks;
use crate::structured_clone::has_host_objects;
use crate::{BucketNumber, Host, RealmId};

pub use event::{
    IndexedDbAnswer, IndexedDbBlob, IndexedDbError, IndexedDbEvent, IndexedDbIndex,
    IndexedDbMetadata, IndexedDbObjectStore, IndexedDbValues,
};
pub use key::IndexedDbKey;
pub use operation::{
    IndexedDbFrom, IndexedDbIndexKeys, IndexedDbNewBlob, IndexedDbOperation, IndexedDbQuery,
    IndexedDbRetrieved,
};

/// The part of the runtime that has databases.
pub trait IndexedDb {
    /// Opens a database; events tell how it went.
    fn indexed_db_open(
        &self,
        realm: RealmId,
        bucket: BucketNumber,
        request: u32,
        name: Vec<u16>,
        version: Option<u64>,
    );
    /// Deletes a database; events tell how it went.
    fn indexed_db_delete(&self, realm: RealmId, bucket: BucketNumber, request: u32, name: Vec<u16>);
    /// Lists the databases of a bucket of the realm's origin; an event has the answer.
    fn indexed_db_list(&self, realm: RealmId, bucket: BucketNumber, request: u32);
    /// A connection begins no transaction any more.
    fn indexed_db_close(&self, realm: RealmId, connection: u32);
    /// A connection's `versionchange` event has been dispatched.
    fn indexed_db_acknowledge(&self, realm: RealmId, connection: u32);
    /// Makes a transaction, which starts when its scope is free. The answer names it.
    fn indexed_db_begin(&self, realm: RealmId, connection: u32, options: IndexedDbBegin) -> u32;
    /// Asks for one step of a transaction; an event has the answer.
    fn indexed_db_request(
        &self,
        realm: RealmId,
        transaction: u32,
        request: u32,
        operation: IndexedDbOperation,
    );
    /// Serves at once what a transaction has asked for in this turn, if that is all that it waits
    /// for, `waiting` requests, and is certain to be short. Else nothing, and an event follows.
    /// `round` counts the calls of one turn, from 0.
    fn indexed_db_serve(
        &self,
        realm: RealmId,
        transaction: u32,
        waiting: usize,
        round: u32,
    ) -> Vec<(u32, IndexedDbAnswer)>;
    /// Commits or aborts a transaction; an event tells how it went.
    fn indexed_db_end(&self, realm: RealmId, transaction: u32, end: IndexedDbEnd);
}

/// What a transaction is made of.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexedDbBegin {
    /// Identifiers of object stores.
    pub scope: Vec<u32>,
    /// Whether it may write.
    pub writes: bool,
    /// Whether it may be told as complete before it is on disk.
    pub relaxed: bool,
}

/// How a script ends a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexedDbEnd {
    /// What it did is to last.
    Commit,
    /// What it did is taken back.
    Abort,
}

/// A change of the schema, in an upgrade.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum IndexedDbChange {
    /// `createObjectStore()`
    CreateObjectStore {
        /// Given once only.
        id: u32,
        /// UTF-16.
        name: serde_v8::U16String,
        /// As JSON.
        key_path: String,
        /// Whether it has a key generator.
        auto_increment: bool,
    },
    /// `IDBObjectStore.name = ...`
    RenameObjectStore {
        /// The object store.
        id: u32,
        /// UTF-16.
        name: serde_v8::U16String,
    },
    /// `deleteObjectStore()`
    DeleteObjectStore {
        /// The object store.
        id: u32,
    },
    /// `createIndex()`
    CreateIndex {
        /// The object store.
        object_store: u32,
        /// Given once only.
        id: u32,
        /// UTF-16.
        name: serde_v8::U16String,
        /// As JSON.
        key_path: String,
        /// Whether a key belongs to one record only.
        unique: bool,
        /// Whether a key that is an array is an entry for each element.
        multi_entry: bool,
    },
    /// `IDBIndex.name = ...`
    RenameIndex {
        /// The index.
        id: u32,
        /// UTF-16.
        name: serde_v8::U16String,
    },
    /// `deleteIndex()`
    DeleteIndex {
        /// The index.
        id: u32,
    },
}

/// `indexedDB.open()`; version 0 leaves the choice to the database.
#[op2]
pub fn op_indexed_db_open(
    state: &mut OpState,
    #[number] bucket: i64,
    #[smi] request: u32,
    #[serde] name: serde_v8::U16String,
    #[number] version: u64,
) {
    let (services, realm) = Host::of(state);
    let version = (version > 0).then_some(version);
    services.indexed_db_open(realm, bucket, request, name.to_vec(), version);
}

/// `indexedDB.deleteDatabase()`
#[op2]
pub fn op_indexed_db_delete(
    state: &mut OpState,
    #[number] bucket: i64,
    #[smi] request: u32,
    #[serde] name: serde_v8::U16String,
) {
    let (services, realm) = Host::of(state);
    services.indexed_db_delete(realm, bucket, request, name.to_vec());
}

/// `indexedDB.databases()`
#[op2(fast)]
pub fn op_indexed_db_list(state: &mut OpState, #[number] bucket: i64, #[smi] request: u32) {
    let (services, realm) = Host::of(state);
    services.indexed_db_list(realm, bucket, request);
}

/// `IDBDatabase.close()`
#[op2(fast)]
pub fn op_indexed_db_close(state: &mut OpState, #[smi] connection: u32) {
    let (services, realm) = Host::of(state);
    services.indexed_db_close(realm, connection);
}

/// The end of a `versionchange` event's dispatch.
#[op2(fast)]
pub fn op_indexed_db_acknowledge(state: &mut OpState, #[smi] connection: u32) {
    let (services, realm) = Host::of(state);
    services.indexed_db_acknowledge(realm, connection);
}

/// `IDBDatabase.transaction()`
#[op2]
#[smi]
pub fn op_indexed_db_begin(
    state: &mut OpState,
    #[smi] connection: u32,
    #[serde] options: IndexedDbBegin,
) -> u32 {
    let (services, realm) = Host::of(state);
    services.indexed_db_begin(realm, connection, options)
}

/// A change of the schema.
#[op2]
pub fn op_indexed_db_change(
    state: &mut OpState,
    #[smi] transaction: u32,
    #[smi] request: u32,
    #[serde] change: IndexedDbChange,
) {
    let (services, realm) = Host::of(state);
    let operation = IndexedDbOperation::Change(change);
    services.indexed_db_request(realm, transaction, request, operation);
}

/// `put()` and `add()`: serialises a value and finds its keys by `recipe`, which
/// `js/indexed_db/key_path.js` makes. Without one, or where keys are not certain, it answers the
/// bytes, and nothing has been asked for. The last three are `value.rs`'s marks.
#[op2(reentrant)]
pub fn op_indexed_db_put<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: Rc<RefCell<OpState>>,
    #[smi] transaction: u32,
    #[smi] request: u32,
    #[smi] object_store: u32,
    recipe: v8::Local<'s, v8::Value>,
    value: v8::Local<'s, v8::Value>,
    key: v8::Local<'s, v8::Value>,
    overwrite: bool,
    cloneable: v8::Local<'s, v8::Value>,
    plain: v8::Local<'s, v8::Value>,
    refuse: v8::Local<'s, v8::Function>,
) -> Result<v8::Local<'s, v8::Value>, JsErrorBox> {
    let undefined = v8::undefined(scope).into();
    let marks = Marks { cloneable, plain, refuse };
    let Some(value) = value::serialize(scope, value, marks)? else { return Ok(undefined) };
    // What blobs hold is found by the script.
    let found = if has_host_objects(&value) { None } else { operation::found_keys(recipe, &value) };
    let Some(found) = found else { return Ok(buffer_to_v8(scope, value)) };
    let key = IndexedDbKey::from_v8(scope, key).or(found.key);
    let (indexes, blobs) = (found.indexes, vec![]);
    let operation = IndexedDbOperation::Put { object_store, key, value, blobs, indexes, overwrite };
    let (services, realm) = Host::of(&state.borrow());
    services.indexed_db_request(realm, transaction, request, operation);
    Ok(undefined)
}

/// As [`op_indexed_db_put`], and `update()`, of bytes that it has answered. `indexes` is flat:
/// index, whether it is unique, keys, ...; `blobs` names parts of blobs.
#[op2(fast)]
pub fn op_indexed_db_put_bytes<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &mut OpState,
    #[smi] transaction: u32,
    #[smi] request: u32,
    #[smi] object_store: u32,
    key: v8::Local<'s, v8::Value>,
    #[buffer(copy)] value: Vec<u8>,
    indexes: v8::Local<'s, v8::Array>,
    blobs: v8::Local<'s, v8::Array>,
    overwrite: bool,
) {
    let blobs = operation::blob_parts(scope, &state.borrow::<Host>().blobs.clone(), blobs);
    let key = IndexedDbKey::from_v8(scope, key);
    let indexes = operation::index_keys(scope, indexes);
    let operation = IndexedDbOperation::Put { object_store, key, value, blobs, indexes, overwrite };
    let (services, realm) = Host::of(state);
    services.indexed_db_request(realm, transaction, request, operation);
}

/// Whether a value that V8's serialiser wrote has an object of the host's, such as a Blob. It may
/// be wrong in saying so.
#[op2(fast)]
pub fn op_indexed_db_has_blobs(#[buffer] value: &[u8]) -> bool {
    has_host_objects(value)
}

/// Every other request: see [`IndexedDbOperation::from_v8`].
#[op2(fast)]
pub fn op_indexed_db_query<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &mut OpState,
    #[smi] transaction: u32,
    #[smi] request: u32,
    #[smi] what: u32,
    #[smi] object_store: u32,
    #[smi] index: u32,
    lower: v8::Local<'s, v8::Value>,
    upper: v8::Local<'s, v8::Value>,
    from_key: v8::Local<'s, v8::Value>,
    from_primary_key: v8::Local<'s, v8::Value>,
    #[number] skip: u64,
    #[number] limit: u64,
) {
    let keys = [lower, upper, from_key, from_primary_key];
    let numbers = (skip as u32, limit as u32);
    let operation = IndexedDbOperation::from_v8(scope, what, (object_store, index), keys, numbers);
    let (services, realm) = Host::of(state);
    services.indexed_db_request(realm, transaction, request, operation);
}

/// Entries of a new index. `records` is flat: primary key, keys, ...
#[op2(fast)]
pub fn op_indexed_db_index<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &mut OpState,
    #[smi] transaction: u32,
    #[smi] request: u32,
    #[smi] object_store: u32,
    #[smi] index: u32,
    unique: bool,
    records: v8::Local<'s, v8::Array>,
) {
    let records = operation::indexed_records(scope, index, unique, records);
    let operation = IndexedDbOperation::AddIndexEntries { object_store, records };
    let (services, realm) = Host::of(state);
    services.indexed_db_request(realm, transaction, request, operation);
}

/// Answers to what a transaction has asked for in this turn, flat as in an event; undefined if
/// they follow in one.
#[op2]
pub fn op_indexed_db_serve<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: Rc<RefCell<OpState>>,
    #[smi] transaction: u32,
    #[smi] waiting: u32,
    #[smi] round: u32,
) -> v8::Local<'s, v8::Value> {
    let (services, realm) = Host::of(&state.borrow());
    let answers = services.indexed_db_serve(realm, transaction, waiting as usize, round);
    if answers.is_empty() {
        return v8::undefined(scope).into();
    }
    event::answers_to_v8(scope, answers)
}

/// `IDBTransaction.commit()` and `abort()`, and what a transaction does on its own.
#[op2(fast)]
pub fn op_indexed_db_end(state: &mut OpState, #[smi] transaction: u32, commit: bool) {
    let (services, realm) = Host::of(state);
    let end = if commit { IndexedDbEnd::Commit } else { IndexedDbEnd::Abort };
    services.indexed_db_end(realm, transaction, end);
}

/// What scripts get of bytes that nobody else holds.
pub(crate) fn buffer_to_v8<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    bytes: Vec<u8>,
) -> v8::Local<'s, v8::Value> {
    to_v8(scope, &ToJsBuffer::from(bytes))
}

fn to_v8<'s>(scope: &mut v8::PinScope<'s, '_>, value: &impl Serialize) -> v8::Local<'s, v8::Value> {
    serde_v8::to_v8(scope, value).expect("our own types serialise")
}
