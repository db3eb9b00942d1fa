//! The requests of a transaction, as they cross the border.
//!
//! Invariant: every array in here was made by `js/indexed_db`, and has the shape that is said.

use std::sync::Arc;

use deno_core::v8;
use deno_web::{BlobPart, BlobStoreTrait};
use uuid::Uuid;

use super::key_path::{self, FoundKeys};
use super::{IndexedDbChange, IndexedDbKey};
use crate::Blobs;

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
        /// The contents of its Blob and File objects.
        blobs: Vec<IndexedDbNewBlob>,
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
    /// Reads records.
    Retrieve {
        /// Which.
        query: IndexedDbQuery,
        /// What of them.
        retrieved: IndexedDbRetrieved,
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

/// A part of a Blob or File object that is to be stored.
pub struct IndexedDbNewBlob {
    /// By which the value names it.
    pub name: String,
    /// Its identifier.
    pub id: Uuid,
    /// What it holds.
    pub part: Arc<dyn BlobPart + Send + Sync>,
    /// Who had it. Parts from there take less memory, as long as they are there.
    pub blobs: Arc<Blobs>,
}

/// What is wanted of each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexedDbRetrieved {
    /// Its keys.
    Keys,
    /// Its keys and its value.
    Records,
    /// Its value.
    Values,
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
    /// `what` has a kind in its lowest four bits: 0 for keys, 1 for records, 2 for a count, 3 for
    /// deleting, 4 for clearing, 5 for values. Above it are flags: lower open, upper open,
    /// descending, unique, past, is page. The source is an object store and its index, or 0; the
    /// keys are lower, upper, and those where a cursor stands; the numbers how many to leave out,
    /// and a limit or 0.
    pub(super) fn from_v8<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        what: u32,
        (object_store, index): (u32, u32),
        keys: [v8::Local<'s, v8::Value>; 4],
        (skip, limit): (u32, u32),
    ) -> Self {
        let is = |flag: u32| what & (16 << flag) != 0;
        let [lower, upper, key, primary_key] = keys.map(|key| IndexedDbKey::from_v8(scope, key));
        let past = is(4);
        let query = IndexedDbQuery {
            object_store,
            index: (index > 0).then_some(index),
            lower,
            upper,
            lower_open: is(0),
            upper_open: is(1),
            descending: is(2),
            unique: is(3),
            from: key.map(|key| IndexedDbFrom { key, primary_key, past }),
            skip,
            limit: (limit > 0).then_some(limit),
            is_page: is(5),
        };
        match what & 15 {
            0 => Self::Retrieve { query, retrieved: IndexedDbRetrieved::Keys },
            1 => Self::Retrieve { query, retrieved: IndexedDbRetrieved::Records },
            2 => Self::Count(query),
            3 => Self::Delete(query),
            4 => Self::Clear { object_store },
            _ => Self::Retrieve { query, retrieved: IndexedDbRetrieved::Values },
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

/// Parts of blobs by their names. A part that is gone has none.
pub(super) fn blob_parts<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    blobs: &Arc<Blobs>,
    names: v8::Local<'s, v8::Array>,
) -> Vec<IndexedDbNewBlob> {
    let mut parts = Vec::new();
    for index in 0..names.length() {
        let name = at(scope, names, index).to_rust_string_lossy(scope);
        let Ok(id) = Uuid::parse_str(&name) else { continue };
        let part = blobs.get_part(&id);
        parts.extend(part.map(|part| IndexedDbNewBlob { name, id, part, blobs: blobs.clone() }));
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
