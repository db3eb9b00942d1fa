//! Both types of sync for people who look: page by page, counted, and made due at their wish.
//! Invariant: a page costs what it answers where an index has its order; nothing is changed but by
//! [`Store::sync_make_due`], and what a row becomes there is decided as everywhere.

use rusqlite::Connection;

use super::{SyncEvent, SyncPolicy, SyncState, SyncType, advance, load};
use crate::error::Failure;
use crate::write::Key;
use crate::{PeriodicSyncState, RegistrationId, Store, StoreError, periodic};

/// Where a sync stands in the order of listings: by type, then by registration, then by the tag's
/// bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncPlace {
    /// Its type.
    pub kind: SyncType,
    /// Its service worker registration.
    pub registration: RegistrationId,
    /// Its tag; may be empty.
    pub tag: String,
}

impl SyncPlace {
    /// A place that was told before, from its parts.
    pub fn new(kind: SyncType, registration: i64, tag: String) -> Self {
        SyncPlace { kind, registration: RegistrationId(registration), tag }
    }
}

/// A sync of either type, with where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSync {
    /// Its place, which names it.
    pub place: SyncPlace,
    /// The origin of its service worker.
    pub origin: String,
    /// The scope of its service worker.
    pub scope: String,
    /// Where it stands. A periodic sync is waiting until it is due, and pending from then on.
    pub state: SyncState,
    /// Attempts that failed; of a periodic sync, in its period.
    pub attempts: u32,
    /// While it waits: when it is due, in Unix epoch ms.
    pub due_at_ms: Option<i64>,
}

/// What [`Store::sync_make_due`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueNow {
    /// It is due, and fires as soon as the network is there.
    Due,
    /// Its event is under way already.
    UnderWay,
    /// There is none.
    NotFound,
}

impl Store {
    /// At most `limit` syncs of one type that come after a place, of one registration if one is
    /// given, and in one state if one is given, which is told with the time `now_ms`.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn sync_page(
        &self,
        kind: SyncType,
        registration: Option<RegistrationId>,
        state: Option<SyncState>,
        after: Option<(RegistrationId, &str)>,
        limit: usize,
        now_ms: i64,
    ) -> Result<Vec<ListedSync>, StoreError> {
        // No tag comes before the empty one, and no registration before the first.
        let (first, equal) = match (after, registration) {
            (Some((id, tag)), _) => ((id.0, tag), false),
            (None, Some(id)) => ((id.0, ""), true),
            (None, None) => ((0, ""), true),
        };
        let last = registration.map_or(i64::MAX, |id| id.0);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = page_sql(kind, state, equal);
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let values = (first.0, first.1, last, limit, now_ms);
            let rows = statement.query_map(values, |row| {
                Ok(ListedSync {
                    place: SyncPlace { kind, registration: row.get(0)?, tag: row.get(1)? },
                    state: row.get(2)?,
                    attempts: row.get(3)?,
                    due_at_ms: row.get(4)?,
                    origin: row.get(5)?,
                    scope: row.get(6)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// How many syncs of a type are in a state, which is told with the time `now_ms`. Reads an
    /// index of those that are in it, where there is one: a million take some hundredths of a
    /// second.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn sync_count(
        &self,
        kind: SyncType,
        state: SyncState,
        now_ms: i64,
    ) -> Result<u64, StoreError> {
        let (table, condition) = (table_of(kind), condition_of(kind, state, "?1"));
        let sql = format!("SELECT count(*) FROM {table} AS sync WHERE ?1 = ?1 AND {condition}");
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let count: i64 = statement.query_row([now_ms], |row| row.get(0))?;
            Ok(count.unsigned_abs())
        })
    }

    /// Makes a sync due now that waits for its time: for its next attempt, or its next period. No
    /// attempt is counted by it. Durable when it returns.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn sync_make_due(
        &self,
        kind: SyncType,
        registration: RegistrationId,
        tag: &str,
        now_ms: i64,
    ) -> Result<DueNow, StoreError> {
        let key = Key { registration, tag };
        self.write(|transaction| match kind {
            SyncType::OneShot => make_due(transaction, key, now_ms),
            SyncType::Periodic => periodic::make_due(transaction, key, now_ms),
        })
    }
}

fn make_due(connection: &Connection, key: Key<'_>, now_ms: i64) -> Result<DueNow, Failure> {
    Ok(match load(connection, key)?.map(|record| record.state) {
        None => DueNow::NotFound,
        Some(SyncState::Firing | SyncState::ReregisteredWhileFiring) => DueNow::UnderWay,
        Some(SyncState::Pending) => DueNow::Due,
        Some(SyncState::Waiting) => {
            advance(connection, key, SyncEvent::DelayElapsed, &SyncPolicy::default(), now_ms)?;
            DueNow::Due
        }
    })
}

/// Parameters: registration and tag of the first row (`?1`, `?2`), the last registration (`?3`),
/// the limit (`?4`), the time (`?5`). Made of this file's own words only.
fn page_sql(kind: SyncType, state: Option<SyncState>, equal: bool) -> String {
    let (table, state_of) = (table_of(kind), state_of(kind));
    let comparison = if equal { ">=" } else { ">" };
    // A parameter that is not named could not be bound.
    let mut condition = "?5 = ?5".to_owned();
    if let Some(state) = state {
        condition = format!("{condition} AND {}", condition_of(kind, state, "?5"));
    }
    format!(
        "SELECT registration_id, tag, {state_of} AS told, attempts, \
         iif({state_of} = 'waiting', due_at_ms, NULL), registrations.origin, registrations.scope \
         FROM {table} AS sync JOIN registrations ON registrations.id = registration_id \
         WHERE (registration_id, tag) {comparison} (?1, ?2) AND registration_id <= ?3 \
         AND {condition} ORDER BY registration_id, tag LIMIT ?4"
    )
}

fn table_of(kind: SyncType) -> &'static str {
    match kind {
        SyncType::OneShot => "sync_registrations",
        SyncType::Periodic => "periodic_sync_registrations",
    }
}

/// The state as listings tell it: a periodic sync is `pending` on disk also before it is due.
fn state_of(kind: SyncType) -> &'static str {
    match kind {
        SyncType::OneShot => "sync.state",
        SyncType::Periodic => {
            "iif(sync.state = 'pending' AND due_at_ms > ?5, 'waiting', sync.state)"
        }
    }
}

/// In the words of the partial indexes, so that these are used; `now` is the time's parameter.
fn condition_of(kind: SyncType, state: SyncState, now: &str) -> String {
    let pending = PeriodicSyncState::Pending;
    match (kind, state) {
        (SyncType::Periodic, SyncState::Pending) => {
            format!("sync.state = '{pending}' AND due_at_ms <= {now}")
        }
        (SyncType::Periodic, SyncState::Waiting) => {
            format!("sync.state = '{pending}' AND due_at_ms > {now}")
        }
        (_, SyncState::Firing | SyncState::ReregisteredWhileFiring) => format!(
            "sync.state IN ('firing', 'reregistered-while-firing') AND sync.state = '{state}'"
        ),
        (SyncType::OneShot, SyncState::Pending | SyncState::Waiting) => {
            format!("sync.state = '{state}'")
        }
    }
}
