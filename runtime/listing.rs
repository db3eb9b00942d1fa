//! What a state folder holds, read while no runtime uses it.
//!
//! Invariant: listing fires nothing, settles nothing and starts no engine.

use std::path::Path;

use kittiwake_store::{
    PeriodicSyncRegistration, PeriodicSyncState, Registration, Store, SyncRecord, SyncRegistration,
    SyncState, SyncType,
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
    /// Where it stands; firing if the process died in its event.
    pub state: SyncState,
    /// How many of its attempts have failed.
    pub failed_attempts: u32,
    /// For one that waits: when its next attempt is due, in Unix epoch ms.
    pub due_at_ms: Option<i64>,
}

/// The background syncs of a state folder that no runtime uses. A folder without state has none,
/// and stays as it is.
///
/// # Errors
///
/// [`Error::Store`], if the folder is not there, in use, or unreadable.
pub fn stored_syncs(folder: &Path) -> Result<StoredSyncs, Error> {
    let now_ms = SystemClock.now_ms() as i64;
    let Some(store) = Store::open_existing(folder)? else {
        return Ok(StoredSyncs { now_ms, syncs: Vec::new() });
    };
    let registrations = store.registrations()?;
    // The store deletes syncs with their registration, so each has one.
    let of = |id| registrations.iter().find(|registration| registration.id == id);
    let mut syncs = Vec::new();
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
    let key =
        |sync: &StoredSync| (sync.origin.clone(), sync.scope.clone(), sync.tag.clone(), sync.kind);
    syncs.sort_by_key(key);
    Ok(StoredSyncs { now_ms, syncs })
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
