//! Between the words of the ops and those of the store.
//!
//! Invariant: nothing is decided here, but what of an error a script may read.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use deno_web::BlobStoreTrait;
use futures::FutureExt;
use kittiwake_ops::{
    IndexedDbAnswer, IndexedDbBlob, IndexedDbChange, IndexedDbError as ScriptError, IndexedDbFrom,
    IndexedDbIndex, IndexedDbIndexKeys, IndexedDbKey, IndexedDbMetadata, IndexedDbNewBlob,
    IndexedDbObjectStore, IndexedDbOperation, IndexedDbQuery, IndexedDbRetrieved, IndexedDbValues,
    StoredBlob,
};
use kittiwake_store::StoreError;
use kittiwake_store::indexed_db::{
    BlobContents, BlobFile, BlobPart, BlobSource, CursorFrom, Direction, IndexKeys, IndexMetadata,
    IndexedDbError, Key, Metadata, NewBlobPart, Operation, Outcome, Put, Query, Range, Records,
    Retrieved, Source, Values,
};

use crate::host::Shard;

/// A cursor reads no further ahead; `js/indexed_db/cursor.js` asks for no more records.
const PAGE_RECORDS: u32 = 256;
const PAGE_BYTES: usize = 64 << 10;

impl Shard {
    /// What a script may learn; the rest is in the trace.
    pub(super) fn script_error(&self, error: IndexedDbError) -> ScriptError {
        let IndexedDbError::Store(error) = error else { return refusal(error) };
        if let StoreError::QuotaExceeded { origin, .. } = &error {
            self.strike_storage(origin);
            // The script's own doing, and no business of the operator's.
            let message = "Encountered full disk while committing transaction.".to_owned();
            return ScriptError { name: "QuotaExceededError", message };
        }
        self.trace_store_error(&error);
        match error {
            StoreError::DiskFull { .. } => ScriptError {
                name: "QuotaExceededError",
                message: "Encountered full disk while committing transaction.".to_owned(),
            },
            _ => ScriptError { name: "UnknownError", message: "Internal error.".to_owned() },
        }
    }
}

fn refusal(error: IndexedDbError) -> ScriptError {
    let name = match error {
        IndexedDbError::Constraint(_) => "ConstraintError",
        IndexedDbError::BlobGone => "NotReadableError",
        IndexedDbError::TooLarge(_) | IndexedDbError::Store(_) => "UnknownError",
    };
    ScriptError { name, message: error.to_string() }
}

/// Whether a request is certain to be served soon.
pub(super) fn is_light(operation: &IndexedDbOperation, bytes: usize) -> bool {
    match operation {
        IndexedDbOperation::Put { value, blobs, .. } => value.len() <= bytes && blobs.is_empty(),
        IndexedDbOperation::Retrieve { query, .. } => {
            let limit = if query.is_page { PAGE_RECORDS } else { 16 };
            query.skip <= 16 && query.limit.is_some_and(|wanted| wanted <= limit)
        }
        IndexedDbOperation::SetVersion(_) | IndexedDbOperation::Change(_) => true,
        IndexedDbOperation::AddIndexEntries { .. }
        | IndexedDbOperation::Count(_)
        | IndexedDbOperation::Clear { .. } => false,
        IndexedDbOperation::Delete(query) => query.lower == query.upper && query.lower.is_some(),
    }
}

pub(super) fn operation(operation: IndexedDbOperation) -> Operation {
    match operation {
        IndexedDbOperation::SetVersion(version) => Operation::SetVersion(version),
        IndexedDbOperation::Change(change) => schema_change(change),
        IndexedDbOperation::Put { object_store, key, value, blobs, indexes, overwrite } => {
            let blobs = blobs.into_iter().map(|blob| NewBlobPart {
                part: blob.name.clone(),
                source: Arc::new(FromScript(blob)),
            });
            Operation::Put(Put {
                object_store,
                key: key.map(to_store),
                value,
                blobs: blobs.collect(),
                indexes: indexes.into_iter().map(index_keys).collect(),
                overwrite,
            })
        }
        IndexedDbOperation::AddIndexEntries { object_store, records } => {
            let records = records.into_iter();
            let records = records.map(|(key, keys)| (to_store(key), index_keys(keys)));
            Operation::AddIndexEntries { object_store, records: records.collect() }
        }
        IndexedDbOperation::Retrieve { query, retrieved } => {
            let retrieved = match retrieved {
                IndexedDbRetrieved::Keys => Retrieved::Keys,
                IndexedDbRetrieved::Records => Retrieved::Records,
                IndexedDbRetrieved::Values => Retrieved::Values,
            };
            Operation::Retrieve(to_query(query, retrieved))
        }
        IndexedDbOperation::Count(query) => {
            let Query { source, range, .. } = to_query(query, Retrieved::Keys);
            Operation::Count { source, range }
        }
        IndexedDbOperation::Delete(query) => {
            let Query { source, range, .. } = to_query(query, Retrieved::Keys);
            Operation::Delete { object_store: source.object_store, range }
        }
        IndexedDbOperation::Clear { object_store } => Operation::Clear(object_store),
    }
}

fn schema_change(change: IndexedDbChange) -> Operation {
    match change {
        IndexedDbChange::CreateObjectStore { id, name, key_path, auto_increment } => {
            Operation::CreateObjectStore { id, name: name.to_vec(), key_path, auto_increment }
        }
        IndexedDbChange::RenameObjectStore { id, name } => {
            Operation::RenameObjectStore { id, name: name.to_vec() }
        }
        IndexedDbChange::DeleteObjectStore { id } => Operation::DeleteObjectStore(id),
        IndexedDbChange::CreateIndex { object_store, id, name, key_path, unique, multi_entry } => {
            let name = name.to_vec();
            let index = IndexMetadata { id, name, key_path, unique, multi_entry };
            Operation::CreateIndex { object_store, index }
        }
        IndexedDbChange::RenameIndex { id, name } => {
            Operation::RenameIndex { id, name: name.to_vec() }
        }
        IndexedDbChange::DeleteIndex { id } => Operation::DeleteIndex(id),
    }
}

fn index_keys(keys: IndexedDbIndexKeys) -> IndexKeys {
    let IndexedDbIndexKeys { index, unique, keys } = keys;
    IndexKeys { index, unique, keys: keys.into_iter().map(to_store).collect() }
}

fn to_query(query: IndexedDbQuery, retrieved: Retrieved) -> Query {
    Query {
        source: Source { object_store: query.object_store, index: query.index },
        range: Range {
            lower: query.lower.map(to_store),
            upper: query.upper.map(to_store),
            lower_open: query.lower_open,
            upper_open: query.upper_open,
        },
        direction: match (query.descending, query.unique) {
            (false, false) => Direction::Next,
            (false, true) => Direction::NextUnique,
            (true, false) => Direction::Prev,
            (true, true) => Direction::PrevUnique,
        },
        from: query.from.map(|IndexedDbFrom { key, primary_key, past }| {
            let key = to_store(key);
            match (primary_key.map(to_store), past) {
                (None, false) => CursorFrom::Key(key),
                (None, true) => CursorFrom::PastKey(key),
                (Some(primary), false) => CursorFrom::Entry(key, primary),
                (Some(primary), true) => CursorFrom::PastEntry(key, primary),
            }
        }),
        skip: query.skip,
        limit: query.limit,
        enough: query.is_page.then_some(PAGE_BYTES),
        retrieved,
    }
}

fn to_store(key: IndexedDbKey) -> Key {
    match key {
        IndexedDbKey::Number(number) => Key::Number(number),
        IndexedDbKey::Date(time) => Key::Date(time),
        IndexedDbKey::String(units) => Key::String(units),
        IndexedDbKey::Binary(bytes) => Key::Binary(bytes),
        IndexedDbKey::Array(keys) => Key::Array(keys.into_iter().map(to_store).collect()),
        IndexedDbKey::Generated => Key::Generated,
    }
}

fn to_script(key: Key) -> IndexedDbKey {
    match key {
        Key::Number(number) => IndexedDbKey::Number(number),
        Key::Date(time) => IndexedDbKey::Date(time),
        Key::String(units) => IndexedDbKey::String(units),
        Key::Binary(bytes) => IndexedDbKey::Binary(bytes),
        Key::Array(keys) => IndexedDbKey::Array(keys.into_iter().map(to_script).collect()),
        Key::Generated => IndexedDbKey::Generated,
    }
}

pub(super) fn answer(result: Result<Outcome, IndexedDbError>) -> IndexedDbAnswer {
    match result {
        Ok(Outcome::Done) => IndexedDbAnswer::Done,
        Ok(Outcome::Stored(key)) => IndexedDbAnswer::Key(to_script(key)),
        Ok(Outcome::Counted(count)) => IndexedDbAnswer::Count(count),
        Ok(Outcome::Found(Records { keys, primary_keys, values: found })) => {
            IndexedDbAnswer::Records {
                keys: keys.into_iter().map(to_script).collect(),
                primary_keys: primary_keys.into_iter().map(to_script).collect(),
                values: values(found),
            }
        }
        Ok(Outcome::FoundValues(found)) => IndexedDbAnswer::Values(values(found)),
        Err(error) => IndexedDbAnswer::Failed(refusal(error)),
    }
}

pub(super) fn values(Values { bytes, ends, blobs }: Values) -> IndexedDbValues {
    let blobs = blobs.into_iter().map(|(place, parts)| {
        let parts = parts.into_iter().map(|BlobPart { part, contents }| match contents {
            BlobContents::Bytes(bytes) => (part, IndexedDbBlob::Bytes(bytes)),
            BlobContents::File(file) => (part, IndexedDbBlob::Stored(Arc::new(OnDisk(file)))),
        });
        (place, parts.collect())
    });
    IndexedDbValues { bytes, ends, blobs: blobs.collect() }
}

/// What a blob of a script's holds, for the store.
struct FromScript(IndexedDbNewBlob);

impl fmt::Debug for FromScript {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("FromScript").field(&self.0.name).finish()
    }
}

impl BlobSource for FromScript {
    fn bytes(&self) -> u64 {
        self.0.part.size() as u64
    }

    fn write_to(&self, writer: &mut dyn Write) -> io::Result<()> {
        // What is read of it goes with it, where the script still has it.
        let part = self.0.blobs.get_part(&self.0.id).unwrap_or_else(|| self.0.part.clone());
        let bytes = part.read().now_or_never();
        writer.write_all(bytes.ok_or_else(|| io::Error::other("a part that has to be waited for"))?)
    }
}

/// What a blob of a script's holds, from the store.
#[derive(Debug)]
struct OnDisk(Arc<BlobFile>);

impl StoredBlob for OnDisk {
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn is_whole(&self) -> bool {
        self.0.is_whole()
    }

    fn read(&self, from: u64, length: usize) -> Option<Vec<u8>> {
        self.0.read(from, length).ok()
    }
}

pub(super) fn metadata(name: &[u16], metadata: Metadata) -> IndexedDbMetadata {
    let object_stores = metadata.object_stores.into_iter().map(|object_store| {
        let indexes = object_store.indexes.into_iter().map(|index| IndexedDbIndex {
            id: index.id,
            name: index.name.into(),
            key_path: index.key_path,
            unique: index.unique,
            multi_entry: index.multi_entry,
        });
        IndexedDbObjectStore {
            id: object_store.id,
            name: object_store.name.into(),
            key_path: object_store.key_path,
            auto_increment: object_store.auto_increment,
            indexes: indexes.collect(),
        }
    });
    IndexedDbMetadata {
        name: name.into(),
        version: metadata.version,
        next_object_store: metadata.next_object_store,
        next_index: metadata.next_index,
        object_stores: object_stores.collect(),
    }
}
