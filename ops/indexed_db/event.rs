//! What the host tells a realm about its databases.
//!
//! Invariant: `js/indexed_db/delivery.js` has a function for each event, with these arguments.

use std::collections::BTreeMap;
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
    /// Some of the values that a request asks for; its answer has the last of them.
    Part {
        /// The transaction.
        transaction: u32,
        /// The request.
        request: u32,
        /// The next values.
        values: IndexedDbValues,
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
    Records {
        /// Their keys in the source.
        keys: Vec<IndexedDbKey>,
        /// Their keys in the object store; none where that is the source.
        primary_keys: Vec<IndexedDbKey>,
        /// Their values; none where those were not wanted.
        values: IndexedDbValues,
    },
    /// Values of records: all, or those that are in no part of the answer.
    Values(IndexedDbValues),
}

/// Values that were found, in order.
#[derive(Default)]
pub struct IndexedDbValues {
    /// What V8's serialiser wrote of each, one behind the other.
    pub bytes: Vec<u8>,
    /// Where each ends.
    pub ends: Vec<usize>,
    /// The contents of Blob and File objects and their names, by the place of their value.
    pub blobs: BTreeMap<usize, Vec<(String, IndexedDbBlob)>>,
}

impl IndexedDbValues {
    fn slices(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[*start..*end]).collect()
    }
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
            Self::Part { transaction, request, values } => {
                let (kind, answer) = IndexedDbAnswer::Values(values).into_v8(scope);
                let (name, kind) = (to_v8(scope, &"part"), to_v8(scope, &kind));
                vec![name, to_v8(scope, &transaction), to_v8(scope, &request), kind, answer]
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
            Self::Records { keys, primary_keys, values } => {
                records_to_v8(scope, keys, primary_keys, values)
            }
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
    keys: Vec<IndexedDbKey>,
    primary_keys: Vec<IndexedDbKey>,
    values: IndexedDbValues,
) -> (i32, v8::Local<'s, v8::Value>) {
    let keys = keys_to_v8(scope, keys);
    let primary_keys = match primary_keys.is_empty() {
        true => v8::undefined(scope).into(),
        false => keys_to_v8(scope, primary_keys),
    };
    let (values, unread) = match values.ends.is_empty() {
        true => (v8::undefined(scope).into(), vec![]),
        false => {
            let (values, unread) = values_to_v8(scope, values);
            (values.into(), unread)
        }
    };
    let records = v8::Array::new_with_elements(scope, &[keys, primary_keys, values]);
    with_unread(scope, UNREAD_RECORDS, records, &unread)
}

fn keys_to_v8<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    keys: Vec<IndexedDbKey>,
) -> v8::Local<'s, v8::Value> {
    let keys: Vec<_> = keys.into_iter().map(|key| key.into_v8(scope)).collect();
    v8::Array::new_with_elements(scope, &keys).into()
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
    mut values: IndexedDbValues,
) -> (v8::Local<'s, v8::Array>, Vec<usize>) {
    let mut blobs = std::mem::take(&mut values.blobs);
    let slices = values.slices();
    let mut unread = Vec::new();
    let mut read = 0;
    // Not a handle for each value: the engine's collector looks at all there are.
    let mut parts: Vec<v8::Local<'s, v8::Array>> = Vec::new();
    while read < slices.len() {
        let mut bytes = 0;
        let part = slices[read..].iter().take(TOGETHER).take_while(|value| {
            let is_small = bytes < TOGETHER_BYTES;
            bytes += value.len();
            is_small
        });
        let part = &slices[read..read + part.count()];
        parts.push(part_to_v8(scope, part, |position| {
            unread.push(read + position);
            blobs.remove(&(read + position)).unwrap_or_default()
        }));
        read += part.len();
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

/// `leave` is told of each value that is not read, and answers with the contents of its blobs.
fn part_to_v8<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    values: &[&[u8]],
    mut leave: impl FnMut(usize) -> Vec<(String, IndexedDbBlob)>,
) -> v8::Local<'s, v8::Array> {
    v8::escapable_handle_scope!(let scope, scope);
    if let Some(array) = alike::deserialize(scope, values) {
        return scope.escape(array);
    }
    if values.len() > 1
        && let Some(array) = value::deserialize_together(scope, values)
    {
        return scope.escape(array);
    }
    let mut elements = Vec::with_capacity(values.len());
    for (position, value) in values.iter().enumerate() {
        elements.push(
            value::deserialize(scope, value)
                .unwrap_or_else(|| with_blobs(scope, value, leave(position))),
        );
    }
    let array = v8::Array::new_with_elements(scope, &elements);
    scope.escape(array)
}

/// Flat: a serialised value, name of a part, identifier and size of each of its pieces in an array,
/// ...
fn with_blobs<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: &[u8],
    parts: Vec<(String, IndexedDbBlob)>,
) -> v8::Local<'s, v8::Value> {
    let mut flat = vec![buffer_to_v8(scope, value.to_vec())];
    let blobs = blobs_of(scope);
    for (part, blob) in parts {
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
