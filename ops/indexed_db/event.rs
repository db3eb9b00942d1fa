//! What the host tells a realm about its databases.
//!
//! Invariant: `js/indexed_db/delivery.js` has a function for each event, with these arguments.

use std::sync::Arc;

use deno_core::{JsRuntime, serde_v8, v8};
use serde::Serialize;

use super::{IndexedDbKey, alike, buffer_to_v8, to_v8, value};
use crate::{Blobs, Host, StoredBlob};

/// One event.
pub enum IndexedDbEvent {
    /// An upgrade may begin, in this transaction.
    UpgradeNeeded {
        /// Who asked.
        request: u32,
        /// The new connection.
        connection: u32,
        /// The upgrade transaction.
        transaction: u32,
        /// The version before.
        old_version: u64,
        /// The database before the upgrade, with its new version.
        metadata: IndexedDbMetadata,
    },
    /// The connection is open.
    Opened {
        /// Who asked.
        request: u32,
        /// The new connection.
        connection: u32,
        /// `None` after an upgrade, in which the realm has seen it all.
        metadata: Option<IndexedDbMetadata>,
    },
    /// A request to open or delete failed.
    Failed {
        /// Who asked.
        request: u32,
        /// Why.
        error: IndexedDbError,
    },
    /// A request waits for other connections to close.
    Blocked {
        /// Who asked.
        request: u32,
        /// The version.
        old_version: u64,
        /// `None` if the database is to be deleted.
        new_version: Option<u64>,
    },
    /// Another connection wants this one to close.
    VersionChange {
        /// The connection.
        connection: u32,
        /// The version.
        old_version: u64,
        /// `None` if the database is to be deleted.
        new_version: Option<u64>,
    },
    /// A connection was closed, because its storage is deleted.
    Closed {
        /// The connection.
        connection: u32,
    },
    /// A database is deleted.
    Deleted {
        /// Who asked.
        request: u32,
        /// The version that it had.
        old_version: u64,
    },
    /// The bucket's databases.
    Listed {
        /// Who asked.
        request: u32,
        /// Names and versions; `None` if their bucket is gone.
        databases: Option<Vec<(Vec<u16>, u64)>>,
    },
    /// What steps of a transaction answered, in their order.
    Answered {
        /// The transaction.
        transaction: u32,
        /// The requests and their answers.
        answers: Vec<(u32, IndexedDbAnswer)>,
    },
    /// A transaction is committed.
    Completed {
        /// The transaction.
        transaction: u32,
    },
    /// A transaction is rolled back.
    Aborted {
        /// The transaction.
        transaction: u32,
        /// What the disk said, unless the script wanted it.
        error: Option<IndexedDbError>,
    },
    /// The turn that made transactions is over.
    TurnOver,
}

/// What a script may learn of a failure.
#[derive(Clone, Debug, Serialize)]
pub struct IndexedDbError {
    /// The name of the exception.
    pub name: &'static str,
    /// Its text.
    pub message: String,
}

/// What a step answered.
pub enum IndexedDbAnswer {
    /// It failed; the transaction may go on.
    Failed(IndexedDbError),
    /// It is done.
    Done,
    /// The key of the record.
    Key(IndexedDbKey),
    /// A number of records.
    Count(u64),
    /// Records.
    Records(Vec<IndexedDbRecord>),
    /// Values of records.
    Values(Vec<IndexedDbValue>),
}

/// A record that was found.
pub struct IndexedDbRecord {
    /// Its key in the source.
    pub key: IndexedDbKey,
    /// Its key in the object store, where the source is an index.
    pub primary_key: Option<IndexedDbKey>,
    /// Its value, if it was wanted.
    pub value: Option<IndexedDbValue>,
}

/// A value that was found.
pub struct IndexedDbValue {
    /// What V8's serialiser wrote.
    pub bytes: Vec<u8>,
    /// The contents of its Blob and File objects, by their names.
    pub blobs: Vec<(String, IndexedDbBlob)>,
}

/// What a part of a Blob or File object holds.
pub enum IndexedDbBlob {
    /// These bytes.
    Bytes(Vec<u8>),
    /// What is in storage.
    Stored(Arc<dyn StoredBlob>),
}

/// What a connection is told of its database.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexedDbMetadata {
    /// The database's name.
    pub name: serde_v8::U16String,
    /// Its version.
    pub version: u64,
    /// The identifier that the next object store gets.
    pub next_object_store: u32,
    /// The identifier that the next index gets.
    pub next_index: u32,
    /// Its object stores.
    pub object_stores: Vec<IndexedDbObjectStore>,
}

/// What a connection is told of an object store.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexedDbObjectStore {
    /// Given once only.
    pub id: u32,
    /// Its name.
    pub name: serde_v8::U16String,
    /// As JSON.
    pub key_path: String,
    /// Whether it has a key generator.
    pub auto_increment: bool,
    /// Its indexes.
    pub indexes: Vec<IndexedDbIndex>,
}

/// What a connection is told of an index.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexedDbIndex {
    /// Given once only.
    pub id: u32,
    /// Its name.
    pub name: serde_v8::U16String,
    /// As JSON.
    pub key_path: String,
    /// Whether a key belongs to one record only.
    pub unique: bool,
    /// Whether a key that is an array is an entry for each element.
    pub multi_entry: bool,
}

impl IndexedDbEvent {
    /// The name of the event's function, and its arguments.
    pub fn into_v8<'s>(self, scope: &mut v8::PinScope<'s, '_>) -> Vec<v8::Local<'s, v8::Value>> {
        match self {
            Self::UpgradeNeeded { request, connection, transaction, old_version, metadata } => {
                let numbers = (request, connection, transaction, old_version);
                vec![
                    to_v8(scope, &"upgradeNeeded"),
                    to_v8(scope, &numbers.0),
                    to_v8(scope, &numbers.1),
                    to_v8(scope, &numbers.2),
                    to_v8(scope, &(numbers.3 as f64)),
                    to_v8(scope, &metadata),
                ]
            }
            Self::Opened { request, connection, metadata } => vec![
                to_v8(scope, &"opened"),
                to_v8(scope, &request),
                to_v8(scope, &connection),
                to_v8(scope, &metadata),
            ],
            Self::Failed { request, error } => {
                vec![to_v8(scope, &"failed"), to_v8(scope, &request), to_v8(scope, &error)]
            }
            Self::Blocked { request, old_version, new_version } => {
                versions(scope, "blocked", request, old_version, new_version)
            }
            Self::VersionChange { connection, old_version, new_version } => {
                versions(scope, "versionChange", connection, old_version, new_version)
            }
            Self::Closed { connection } => {
                vec![to_v8(scope, &"closed"), to_v8(scope, &connection)]
            }
            Self::Deleted { request, old_version } => {
                versions(scope, "deleted", request, old_version, None)
            }
            Self::Listed { request, databases } => {
                let databases: Option<Vec<(serde_v8::U16String, u64)>> = databases
                    .map(|all| all.into_iter().map(|(name, version)| (name.into(), version)))
                    .map(Iterator::collect);
                vec![to_v8(scope, &"listed"), to_v8(scope, &request), to_v8(scope, &databases)]
            }
            Self::Answered { transaction, answers } => {
                let answers = answers_to_v8(scope, answers);
                vec![to_v8(scope, &"answered"), to_v8(scope, &transaction), answers]
            }
            Self::Completed { transaction } => {
                vec![to_v8(scope, &"completed"), to_v8(scope, &transaction)]
            }
            Self::Aborted { transaction, error } => {
                vec![to_v8(scope, &"aborted"), to_v8(scope, &transaction), to_v8(scope, &error)]
            }
            Self::TurnOver => vec![to_v8(scope, &"turnOver")],
        }
    }
}

fn versions<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    name: &str,
    subject: u32,
    old_version: u64,
    new_version: Option<u64>,
) -> Vec<v8::Local<'s, v8::Value>> {
    let (old, new) = (old_version as f64, new_version.map(|version| version as f64));
    vec![to_v8(scope, &name), to_v8(scope, &subject), to_v8(scope, &old), to_v8(scope, &new)]
}

/// Flat: request, kind of answer, answer, ...
pub(super) fn answers_to_v8<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    answers: Vec<(u32, IndexedDbAnswer)>,
) -> v8::Local<'s, v8::Value> {
    let mut flat = Vec::with_capacity(answers.len() * 3);
    for (request, answer) in answers {
        flat.push(v8::Integer::new_from_unsigned(scope, request).into());
        let (kind, answer) = answer.into_v8(scope);
        flat.push(v8::Integer::new(scope, kind).into());
        flat.push(answer);
    }
    v8::Array::new_with_elements(scope, &flat).into()
}

// The kinds of answers, as `js/indexed_db/transaction.js` knows them.
const FAILED: i32 = 0;
const SUCCEEDED: i32 = 1;
/// Values, and which of them are to be read by `js/indexed_db/values.js`.
const UNREAD_VALUES: i32 = 2;
/// Records, and which of their values are to be read by it.
const UNREAD_RECORDS: i32 = 3;

impl IndexedDbAnswer {
    fn into_v8<'s>(self, scope: &mut v8::PinScope<'s, '_>) -> (i32, v8::Local<'s, v8::Value>) {
        match self {
            Self::Failed(error) => (FAILED, to_v8(scope, &error)),
            Self::Done => (SUCCEEDED, v8::undefined(scope).into()),
            Self::Key(key) => (SUCCEEDED, key.into_v8(scope)),
            Self::Count(count) => (SUCCEEDED, v8::Number::new(scope, count as f64).into()),
            Self::Records(records) => records_to_v8(scope, records),
            Self::Values(values) => {
                let (values, unread) = values_to_v8(scope, values);
                with_unread(scope, UNREAD_VALUES, values, &unread)
            }
        }
    }
}

/// So many values are read together, unless they are large.
const TOGETHER: usize = 1024;
const TOGETHER_BYTES: usize = 256 << 10;

/// Lists of keys, of primary keys or undefined, and of values or undefined.
fn records_to_v8<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    records: Vec<IndexedDbRecord>,
) -> (i32, v8::Local<'s, v8::Value>) {
    let undefined: v8::Local<'_, v8::Value> = v8::undefined(scope).into();
    let mut keys = Vec::with_capacity(records.len());
    let (mut primary_keys, mut values) = (Vec::new(), Vec::with_capacity(records.len()));
    for record in records {
        keys.push(record.key.into_v8(scope));
        primary_keys.extend(record.primary_key.map(|key| key.into_v8(scope)));
        values.extend(record.value);
    }
    let keys = v8::Array::new_with_elements(scope, &keys).into();
    let primary_keys = match &primary_keys[..] {
        [] => undefined,
        all => v8::Array::new_with_elements(scope, all).into(),
    };
    let (values, unread) = match values.is_empty() {
        true => (undefined, vec![]),
        false => {
            let (values, unread) = values_to_v8(scope, values);
            (values.into(), unread)
        }
    };
    let records = v8::Array::new_with_elements(scope, &[keys, primary_keys, values]);
    with_unread(scope, UNREAD_RECORDS, records, &unread)
}

fn with_unread<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    kind: i32,
    answer: v8::Local<'s, v8::Array>,
    unread: &[usize],
) -> (i32, v8::Local<'s, v8::Value>) {
    if unread.is_empty() {
        return (SUCCEEDED, answer.into());
    }
    let unread: Vec<_> =
        unread.iter().map(|position| v8::Integer::new(scope, *position as i32).into()).collect();
    let unread = v8::Array::new_with_elements(scope, &unread).into();
    (kind, v8::Array::new_with_elements(scope, &[answer.into(), unread]).into())
}

/// An array of the values, and the positions of those that are not read, but as `with_blobs`.
fn values_to_v8<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    values: Vec<IndexedDbValue>,
) -> (v8::Local<'s, v8::Array>, Vec<usize>) {
    let mut unread = Vec::new();
    let mut read = 0;
    // Not a handle for each value: the engine's collector looks at all there are.
    let mut parts: Vec<v8::Local<'s, v8::Array>> = Vec::new();
    let mut values = values.into_iter().peekable();
    while values.peek().is_some() {
        let mut bytes = 0;
        let part = std::iter::from_fn(|| {
            let value = values.next_if(|_| bytes < TOGETHER_BYTES)?;
            bytes += value.bytes.len();
            Some(value)
        });
        let part: Vec<IndexedDbValue> = part.take(TOGETHER).collect();
        let count = part.len();
        parts.push(part_to_v8(scope, part, |position| unread.push(read + position)));
        read += count;
    }
    if let [only] = parts[..] {
        return (only, unread);
    }
    let mut all = Vec::with_capacity(read);
    for part in parts {
        let elements = (0..part.length()).filter_map(|index| part.get_index(scope, index));
        all.extend(elements);
    }
    (v8::Array::new_with_elements(scope, &all), unread)
}

fn part_to_v8<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    values: Vec<IndexedDbValue>,
    mut leave: impl FnMut(usize),
) -> v8::Local<'s, v8::Array> {
    v8::escapable_handle_scope!(let scope, scope);
    if values.len() > 1 {
        let bytes: Vec<&[u8]> = values.iter().map(|value| &value.bytes[..]).collect();
        let array = alike::deserialize(scope, &bytes);
        if let Some(array) = array.or_else(|| value::deserialize_together(scope, &bytes)) {
            return scope.escape(array);
        }
    }
    let mut elements = Vec::with_capacity(values.len());
    for (position, value) in values.into_iter().enumerate() {
        elements.push(value::deserialize(scope, &value.bytes).unwrap_or_else(|| {
            leave(position);
            with_blobs(scope, value)
        }));
    }
    let array = v8::Array::new_with_elements(scope, &elements);
    scope.escape(array)
}

/// Flat: a serialised value, name of a part, identifier and size of each of its pieces in an array,
/// ...
fn with_blobs<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: IndexedDbValue,
) -> v8::Local<'s, v8::Value> {
    let mut flat = vec![buffer_to_v8(scope, value.bytes)];
    let blobs = blobs_of(scope);
    for (part, blob) in value.blobs {
        flat.push(to_v8(scope, &part));
        let pieces = match blob {
            IndexedDbBlob::Bytes(bytes) => {
                let size = bytes.len();
                vec![(blobs.insert_bytes(bytes), size)]
            }
            IndexedDbBlob::Stored(blob) => blobs.insert_stored(&blob),
        };
        let mut numbered = Vec::with_capacity(pieces.len() * 2);
        for (id, size) in pieces {
            numbered.push(to_v8(scope, &id.to_string()));
            numbered.push(v8::Number::new(scope, size as f64).into());
        }
        flat.push(v8::Array::new_with_elements(scope, &numbered).into());
    }
    v8::Array::new_with_elements(scope, &flat).into()
}

/// Where the realm's Blob and File objects have what they hold.
fn blobs_of(scope: &mut v8::PinScope<'_, '_>) -> Arc<Blobs> {
    JsRuntime::op_state_from(scope).borrow().borrow::<Host>().blobs.clone()
}
