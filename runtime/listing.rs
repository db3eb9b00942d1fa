//! What a state folder holds, read while no runtime uses it.
//!
//! Invariant: listing fires nothing, settles nothing and starts no engine.

use std::path::Path;

use kittiwake_store::{Store, SyncState};

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
    pub kind: SyncKind,
    /// Where it stands; firing if the process died in its event.
    pub state: SyncState,
    /// How many of its attempts have failed.
    pub failed_attempts: u32,
    /// For one that waits: when its next attempt is due, in Unix epoch ms.
    pub due_at_ms: Option<i64>,
}

/// Whether a sync fires once or time and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// Registered with `registration.sync`.
    OneShot,
}

impl SyncKind {
    /// The text that listings show.
    pub const fn as_str(self) -> &'static str {
        match self {
            SyncKind::OneShot => "one-shot",
        }
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
    let Some(store) = Store::open_existing(folder)? else {
        return Ok(StoredSyncs { now_ms, syncs: Vec::new() });
    };
    let registrations = store.registrations()?;
    let stored = store.sync_registrations()?.into_iter().filter_map(|sync| {
        // The store deletes syncs with their registration, so each has one.
        let registration = registrations.iter().find(|each| each.id == sync.registration)?;
        Some(StoredSync {
            origin: registration.origin.clone(),
            scope: registration.scope.clone(),
            tag: sync.tag,
            kind: SyncKind::OneShot,
            state: sync.record.state,
            failed_attempts: sync.record.attempts,
            due_at_ms: sync.record.due_at_ms,
        })
    });
    let mut syncs: Vec<StoredSync> = stored.collect();
    syncs.sort_by(|a, b| (&a.origin, &a.scope, &a.tag).cmp(&(&b.origin, &b.scope, &b.tag)));
    Ok(StoredSyncs { now_ms, syncs })
}
