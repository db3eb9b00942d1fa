//! The requests of a transaction, as they cross the border.
//!
//! Invariant: every array in here was made by `js/indexed_db`, and has the shape that is said.

use std::sync::Arc;

use deno_core::futures::FutureExt;
use deno_core::{OpState, v8};
use deno_web::BlobStoreTrait;
use uuid::Uuid;

use super::key_path::{self, FoundKeys};
use super::{IndexedDbChange, IndexedDbKey};

/// One step of a transaction.
pub enum IndexedDbOperation {
    /// Sets the database's version: the host's own first step of an upgrade.
    SetVersion(u64),
    /// Changes the schema.
    Change(IndexedDbChange),
    /// Stores a record.
    Put {
        /// Where.
        object_store: u32,
        /// `None` lets the key generator give one.
        key: Option<IndexedDbKey>,
        /// What V8's serialiser wrote.
        value: Vec<u8>,
        /// The contents of its Blob and File objects: names and bytes.
        blobs: Vec<(String, Vec<u8>)>,
        /// One for each index of the object store.
        indexes: Vec<IndexedDbIndexKeys>,
        /// Whether a record with this key may be there already.
        overwrite: bool,
    },
    /// Adds entries of a new index for records that are there.
    AddIndexEntries {
        /// Whose index it is.
        object_store: u32,
        /// The records' keys, and what the index has for each.
        records: Vec<(IndexedDbKey, IndexedDbIndexKeys)>,
    },
    /// Reads records: their keys, or their values too.
    Retrieve {
        /// Which.
        query: IndexedDbQuery,
        /// Whether values are wanted.
        values: bool,
    },
    /// Counts records.
    Count(IndexedDbQuery),
    /// Deletes records.
    Delete(IndexedDbQuery),
    /// Deletes every record.
    Clear {
        /// Of which object store.
        object_store: u32,
    },
}

/// A record's keys in one index.
pub struct IndexedDbIndexKeys {
    /// The index.
    pub index: u32,
    /// Whether a key belongs to one record only.
    pub unique: bool,
    /// Without duplicates.
    pub keys: Vec<IndexedDbKey>,
}

/// Which records are meant.
pub struct IndexedDbQuery {
    /// The object store.
    pub object_store: u32,
    /// Its index, if that is meant.
    pub index: Option<u32>,
    /// The lower bound.
    pub lower: Option<IndexedDbKey>,
    /// The upper bound.
    pub upper: Option<IndexedDbKey>,
    /// Whether the lower bound is outside.
    pub lower_open: bool,
    /// Whether the upper bound is outside.
    pub upper_open: bool,
    /// Whether they are wanted in descending order.
    pub descending: bool,
    /// Whether only the first record of each key is wanted.
    pub unique: bool,
    /// Where a cursor stands.
    pub from: Option<IndexedDbFrom>,
    /// How many to leave out at first.
    pub skip: u32,
    /// How many at most.
    pub limit: Option<u32>,
    /// Whether fewer will do if they are large, but for the first.
    pub is_page: bool,
}

/// Where a cursor goes on, in its direction.
pub struct IndexedDbFrom {
    /// The key.
    pub key: IndexedDbKey,
    /// The key in the object store, if that is asked for too.
    pub primary_key: Option<IndexedDbKey>,
    /// Whether it goes on behind the place, or at it.
    pub past: bool,
}

impl IndexedDbOperation {
    /// From `[kind, object store, index or 0, lower, upper, lower open, upper open, descending,
    /// unique, past, from key, from primary key, skip, limit or 0, is page]`, where kind is 0 for
    /// keys, 1 for values, 2 for a count, 3 for deleting, 4 for clearing.
    pub(super) fn from_v8<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        array: v8::Local<'s, v8::Array>,
    ) -> Self {
        let mut at = |index| at(scope, array, index);
        let kind = number(at(0));
        let object_store = number(at(1));
        let index = Some(number(at(2))).filter(|index| *index > 0);
        let flags = [5, 6, 7, 8, 9].map(|index| at(index).is_true());
        let [lower_open, upper_open, descending, unique, past] = flags;
        let (skip, limit) = (number(at(12)), Some(number(at(13))).filter(|limit| *limit > 0));
        let [lower, upper, key, primary_key] =
            [3, 4, 10, 11].map(|index| self::at(scope, array, index));
        let query = IndexedDbQuery {
            object_store,
            index,
            lower: IndexedDbKey::from_v8(scope, lower),
            upper: IndexedDbKey::from_v8(scope, upper),
            lower_open,
            upper_open,
            descending,
            unique,
            from: IndexedDbKey::from_v8(scope, key).map(|key| IndexedDbFrom {
                key,
                primary_key: IndexedDbKey::from_v8(scope, primary_key),
                past,
            }),
            skip,
            limit,
            is_page: self::at(scope, array, 14).is_true(),
        };
        match kind {
            0 => Self::Retrieve { query, values: false },
            1 => Self::Retrieve { query, values: true },
            2 => Self::Count(query),
            3 => Self::Delete(query),
            _ => Self::Clear { object_store },
        }
    }
}

/// The keys of a serialised value, if they are certain and `recipe` is one.
pub(super) fn found_keys(recipe: v8::Local<'_, v8::Value>, value: &[u8]) -> Option<FoundKeys> {
    let recipe = v8::Local::<v8::Uint8Array>::try_from(recipe).ok()?;
    let mut bytes = vec![0; recipe.byte_length()];
    recipe.copy_contents(&mut bytes);
    key_path::find(&bytes, value)
}

/// The contents of parts of blobs. A part that is gone has none.
pub(super) fn blob_parts<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    state: &OpState,
    names: v8::Local<'s, v8::Array>,
) -> Vec<(String, Vec<u8>)> {
    let mut parts = Vec::new();
    for index in 0..names.length() {
        let name = at(scope, names, index).to_rust_string_lossy(scope);
        let store = state.borrow::<Arc<dyn BlobStoreTrait>>();
        let part = Uuid::parse_str(&name).ok().and_then(|id| store.get_part(&id));
        // Parts are in memory: reading them never waits.
        let bytes = part.and_then(|part| part.read().now_or_never().map(<[u8]>::to_vec));
        parts.extend(bytes.map(|bytes| (name, bytes)));
    }
    parts
}

/// From `[index, whether it is unique, keys, ...]`.
pub(super) fn index_keys<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    array: v8::Local<'s, v8::Array>,
) -> Vec<IndexedDbIndexKeys> {
    let mut indexes = Vec::with_capacity(array.length() as usize / 3);
    for first in (0..array.length()).step_by(3) {
        let index = number(at(scope, array, first));
        let unique = at(scope, array, first + 1).is_true();
        let keys = at(scope, array, first + 2);
        indexes.push(IndexedDbIndexKeys { index, unique, keys: keys_of(scope, keys) });
    }
    indexes
}

/// From `[primary key, keys, ...]`.
pub(super) fn indexed_records<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    index: u32,
    unique: bool,
    array: v8::Local<'s, v8::Array>,
) -> Vec<(IndexedDbKey, IndexedDbIndexKeys)> {
    let mut records = Vec::with_capacity(array.length() as usize / 2);
    for first in (0..array.length()).step_by(2) {
        let primary = at(scope, array, first);
        let Some(primary) = IndexedDbKey::from_v8(scope, primary) else { continue };
        let keys = at(scope, array, first + 1);
        let keys = keys_of(scope, keys);
        records.push((primary, IndexedDbIndexKeys { index, unique, keys }));
    }
    records
}

fn keys_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    keys: v8::Local<'s, v8::Value>,
) -> Vec<IndexedDbKey> {
    match IndexedDbKey::from_v8(scope, keys) {
        Some(IndexedDbKey::Array(keys)) => keys,
        _ => vec![],
    }
}

fn at<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    array: v8::Local<'s, v8::Array>,
    index: u32,
) -> v8::Local<'s, v8::Value> {
    array.get_index(scope, index).unwrap_or_else(|| v8::undefined(scope).into())
}

fn number(value: v8::Local<'_, v8::Value>) -> u32 {
    v8::Local::<v8::Number>::try_from(value).map_or(0, |number| number.value() as u32)
}
