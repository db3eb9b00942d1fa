//! What a state folder holds, read while no runtime uses it.
//!
//! Invariant: listing fires nothing, settles nothing and starts no engine.

use std::path::{Path, PathBuf};

use kittiwake_store::indexed_db::{IndexedDbError, IndexedDbFile, IndexedDbFolder};
use kittiwake_store::{
    PeriodicSyncRegistration, PeriodicSyncState, Registration, Store, SyncRecord, SyncRegistration,
    SyncState, SyncType, parse_storage_key, shard_folder,
};

use crate::doors::{Clock, SystemClock};
use crate::runtime::Error;

/// The background syncs of a state folder, and when they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSyncs {
    /// The time of day, in Unix epoch ms, with which due times compare.
    pub now_ms: i64,
    /// Ordered by origin, scope and tag.
    pub syncs: Vec<StoredSync>,
}

/// A background sync as it stands on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSync {
    /// The origin of its service worker.
    pub origin: String,
    /// The scope of its service worker.
    pub scope: String,
    /// Its tag; may be empty.
    pub tag: String,
    /// Whether it fires once or time and again.
    pub kind: SyncType,
    /// Where it stands; firing if its event is under way, or the process died in it.
    pub state: SyncState,
    /// How many of its attempts have failed.
    pub failed_attempts: u32,
    /// For one that waits: when its next attempt is due, in Unix epoch ms.
    pub due_at_ms: Option<i64>,
}

/// A database of IndexedDB as it stands on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDatabase {
    /// Whose it is.
    pub origin: String,
    /// The name of its storage bucket, if it is not in the one that every origin has.
    pub bucket: Option<String>,
    /// Its name; a lone surrogate shows as U+FFFD.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// By identifier.
    pub object_stores: Vec<StoredObjectStore>,
    /// Bytes on disk, with the files of its blobs.
    pub bytes: u64,
    /// Its file.
    pub path: PathBuf,
}

/// An object store as it stands on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObjectStore {
    /// Its name; a lone surrogate shows as U+FFFD.
    pub name: String,
    /// How many records it has.
    pub records: u64,
    /// The names of its indexes.
    pub indexes: Vec<String>,
}

/// The databases of a state folder that no runtime uses, ordered by origin and name. A folder
/// without state has none, and stays as it is.
///
/// # Errors
///
/// [`Error::Store`], if the folder is not there, in use, or unreadable, or a database is damaged.
pub fn stored_databases(folder: &Path) -> Result<Vec<StoredDatabase>, Error> {
    let databases = databases_in(&stores_in(folder)?)?;
    Ok(databases.into_iter().map(|(database, _)| database).collect())
}

/// The stores of a state folder's shards, each with its folder; none if it has no state. To be held
/// to the end: they have the locks.
pub(crate) fn stores_in(folder: &Path) -> Result<Vec<(Store, PathBuf)>, Error> {
    let Some(first) = Store::open_existing(folder)? else { return Ok(Vec::new()) };
    let shards = first.shards()?.unwrap_or(1);
    let mut stores = vec![(first, folder.to_owned())];
    for shard in 1..shards {
        let folder = shard_folder(folder, shard);
        // One that was never started has nothing yet.
        if folder.exists()
            && let Some(store) = Store::open_existing(&folder)?
        {
            stores.push((store, folder));
        }
    }
    Ok(stores)
}

/// The databases of open stores, with their files.
pub(crate) fn databases_in(
    stores: &[(Store, PathBuf)],
) -> Result<Vec<(StoredDatabase, IndexedDbFile)>, Error> {
    let mut databases = Vec::new();
    for (store, folder) in stores {
        add_databases(store, folder, &mut databases)?;
    }
    let key = |each: &StoredDatabase| (each.origin.clone(), each.bucket.clone(), each.name.clone());
    databases.sort_by_key(|(database, _)| key(database));
    Ok(databases)
}

fn add_databases(
    store: &Store,
    folder: &Path,
    databases: &mut Vec<(StoredDatabase, IndexedDbFile)>,
) -> Result<(), Error> {
    let buckets = store.buckets()?;
    for file in IndexedDbFolder::list_all(folder) {
        let file = file?;
        let (origin, id) = parse_storage_key(&file.origin);
        let bucket = buckets.iter().find(|bucket| Some(bucket.id) == id);
        // The next start of a runtime removes what is left of a bucket.
        if id.is_some() && bucket.is_none() {
            continue;
        }
        let object_stores = file.object_stores().map_err(store_error)?.into_iter();
        let object_stores = object_stores.map(|(object_store, records)| StoredObjectStore {
            name: String::from_utf16_lossy(&object_store.name),
            records,
            indexes: object_store
                .indexes
                .iter()
                .map(|index| String::from_utf16_lossy(&index.name))
                .collect(),
        });
        let database = StoredDatabase {
            origin: origin.to_owned(),
            bucket: bucket.map(|bucket| bucket.name.clone()),
            name: String::from_utf16_lossy(&file.name),
            version: file.version,
            object_stores: object_stores.collect(),
            bytes: file.bytes()?,
            path: file.path.clone(),
        };
        databases.push((database, file));
    }
    Ok(())
}

pub(crate) fn store_error(error: IndexedDbError) -> Error {
    match error {
        IndexedDbError::Store(error) => error.into(),
        refused => unreachable!("counting breaks no constraint: {refused}"),
    }
}

/// The background syncs of a state folder that no runtime uses. A folder without state has none,
/// and stays as it is.
///
/// # Errors
///
/// [`Error::Store`], if the folder is not there, in use, or unreadable.
pub fn stored_syncs(folder: &Path) -> Result<StoredSyncs, Error> {
    let now_ms = SystemClock.now_ms() as i64;
    let mut syncs = Vec::new();
    for (store, _) in &stores_in(folder)? {
        add_syncs(store, now_ms, &mut syncs)?;
    }
    let key =
        |sync: &StoredSync| (sync.origin.clone(), sync.scope.clone(), sync.tag.clone(), sync.kind);
    syncs.sort_by_key(key);
    Ok(StoredSyncs { now_ms, syncs })
}

fn add_syncs(store: &Store, now_ms: i64, syncs: &mut Vec<StoredSync>) -> Result<(), Error> {
    let registrations = store.registrations()?;
    // The store deletes syncs with their registration, so each has one.
    let of = |id| {
        let found = registrations.binary_search_by_key(&id, |registration| registration.id);
        found.ok().map(|index| &registrations[index])
    };
    for SyncRegistration { registration, tag, record } in store.sync_registrations()? {
        let kind = SyncType::OneShot;
        let SyncRecord { state, attempts, due_at_ms, .. } = record;
        syncs.extend(of(registration).map(|of| stored(of, tag, kind, state, attempts, due_at_ms)));
    }
    for PeriodicSyncRegistration { registration, tag, record } in store.periodic_registrations()? {
        let kind = SyncType::Periodic;
        let due = Some(record.due_at_ms);
        let (state, due_at_ms) = match record.state {
            PeriodicSyncState::Pending if record.due_at_ms > now_ms => (SyncState::Waiting, due),
            PeriodicSyncState::Pending => (SyncState::Pending, None),
            PeriodicSyncState::Firing => (SyncState::Firing, None),
            PeriodicSyncState::ReregisteredWhileFiring => {
                (SyncState::ReregisteredWhileFiring, None)
            }
        };
        let attempts = record.attempts;
        syncs.extend(of(registration).map(|of| stored(of, tag, kind, state, attempts, due_at_ms)));
    }
    Ok(())
}

fn stored(
    registration: &Registration,
    tag: String,
    kind: SyncType,
    state: SyncState,
    failed_attempts: u32,
    due_at_ms: Option<i64>,
) -> StoredSync {
    let (origin, scope) = (registration.origin.clone(), registration.scope.clone());
    StoredSync { origin, scope, tag, kind, state, failed_attempts, due_at_ms }
}
