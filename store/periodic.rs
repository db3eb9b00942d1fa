//! Periodic Background Sync on disk: each method loads rows, asks `next_periodic`, writes what it
//! says, commits. <https://wicg.github.io/periodic-background-sync/>
//! Invariant: what a row becomes is decided by [`next_periodic`] alone, recovery after a crash
//! included.

mod transition;

use rusqlite::{Connection, OptionalExtension, Row};

use crate::error::Failure;
use crate::write::{Key, require_active_worker, select_keys};
use crate::{
    Claimed, DueNow, HandedBack, Outcome, Recovered, Recovery, RegistrationId, Settled, Store,
    StoreError, SyncPolicy,
};

pub use transition::{
    IllegalPeriodicTransition, Moment, PeriodicSyncEvent, PeriodicSyncRecord, PeriodicSyncState,
    next_periodic,
};

/// One periodic sync registration, for listings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodicSyncRegistration {
    /// Its service worker registration.
    pub registration: RegistrationId,
    /// Its tag; may be empty.
    pub tag: String,
    /// Where it stands.
    pub record: PeriodicSyncRecord,
}

/// What `register(tag, options)` did. All of them resolve the script's promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeriodicRegistered {
    /// It was not there, or had another interval: its period begins now.
    Begun {
        /// How long it is until its event is due, in ms.
        delay_ms: i64,
    },
    /// It was there with this interval, and stays as it was.
    Unchanged,
    /// It is firing, and will fire once more afterwards.
    Reregistered,
    /// It is firing, and has another interval from the end of its event on.
    IntervalChanged,
}

/// What `unregister(tag)` found. Both resolve the script's promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeriodicUnregistered {
    /// It was there and is gone; the event under way settles as [`Settled::Gone`].
    Removed,
    /// There was none.
    NotFound,
}

impl Store {
    /// `PeriodicSyncManager.register(tag, { minInterval })`: when it returns, the registration is
    /// on disk. Nothing fires at once: the first period begins now.
    /// <https://wicg.github.io/periodic-background-sync/#dom-periodicsyncmanager-register>
    ///
    /// # Errors
    ///
    /// [`StoreError::NoActiveWorker`], else [`StoreError::TagTooLong`], as Chromium orders them;
    /// [`StoreError::DiskFull`] and the other failures of the disk.
    pub fn periodic_register(
        &self,
        registration: RegistrationId,
        tag: &str,
        min_interval_ms: i64,
        policy: &SyncPolicy,
        now_ms: i64,
    ) -> Result<PeriodicRegistered, StoreError> {
        let key = Key { registration, tag };
        self.write(|transaction| register(transaction, key, min_interval_ms, policy, now_ms))
    }

    /// `PeriodicSyncManager.unregister(tag)`. Durable when it returns.
    /// <https://wicg.github.io/periodic-background-sync/#dom-periodicsyncmanager-unregister>
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn periodic_unregister(
        &self,
        registration: RegistrationId,
        tag: &str,
    ) -> Result<PeriodicUnregistered, StoreError> {
        self.write(|transaction| unregister(transaction, Key { registration, tag }))
    }

    /// `PeriodicSyncManager.getTags()`: every tag, ordered by their bytes as in Chromium.
    /// <https://wicg.github.io/periodic-background-sync/#dom-periodicsyncmanager-gettags>
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn periodic_tags(&self, registration: RegistrationId) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT tag FROM periodic_sync_registrations WHERE registration_id = ?1 \
                 ORDER BY tag",
            )?;
            let rows = statement.query_map([registration], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Takes at most `limit` events that are due, longest due first: they are firing on disk before
    /// they are returned, and each must be settled or handed back. Costs what is claimed, not what
    /// is stored.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn periodic_claim_due(
        &self,
        now_ms: i64,
        limit: usize,
    ) -> Result<Vec<Claimed>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.write(|transaction| {
            let claim = |(registration, tag): (RegistrationId, String)| {
                let key = Key { registration, tag: &tag };
                let step = advance_untimed(transaction, key, PeriodicSyncEvent::Fired)?;
                let attempt = step.after.expect("invariant: firing never removes").attempt();
                Ok(Claimed { registration, tag, attempt, last_chance: false })
            };
            select_keys(transaction, DUE_KEYS, (now_ms, limit))?.into_iter().map(claim).collect()
        })
    }

    /// Records how a claimed event ended at `now_ms`, from which the next period counts. Durable
    /// when it returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::IllegalPeriodicTransition`] if the registration is there and not firing.
    pub fn periodic_settle(
        &self,
        registration: RegistrationId,
        tag: &str,
        outcome: Outcome,
        policy: &SyncPolicy,
        now_ms: i64,
    ) -> Result<Settled, StoreError> {
        let key = Key { registration, tag };
        self.write(|transaction| settle(transaction, key, outcome, policy, now_ms))
    }

    /// Gives a claimed event back without counting an attempt. Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::IllegalPeriodicTransition`] if the registration is there and not firing.
    pub fn periodic_hand_back(
        &self,
        registration: RegistrationId,
        tag: &str,
    ) -> Result<HandedBack, StoreError> {
        self.write(|transaction| hand_back(transaction, Key { registration, tag }))
    }

    /// When the first pending registration is due, in Unix epoch ms; `None` if there is none. In
    /// the past if its time came while nothing claimed it, such as offline.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn periodic_next_due(&self) -> Result<Option<i64>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(NEXT_DUE)?;
            Ok(statement.query_row([], |row| row.get(0))?)
        })
    }

    /// Every periodic sync registration, ordered by service worker registration, then by the tag's
    /// bytes.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn periodic_registrations(&self) -> Result<Vec<PeriodicSyncRegistration>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT state, min_interval_ms, attempts, due_at_ms, interruptions, \
                 registration_id, tag FROM periodic_sync_registrations \
                 ORDER BY registration_id, tag",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(PeriodicSyncRegistration {
                    record: record_from(row)?,
                    registration: row.get(5)?,
                    tag: row.get(6)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Ends every event that the last process left firing. To be called once after
    /// [`Store::open`], before anything is claimed: it cannot tell events of this process apart.
    /// Ordered by registration, then by the tag's bytes. Durable when it returns.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn periodic_recover(
        &self,
        policy: &SyncPolicy,
        now_ms: i64,
    ) -> Result<Vec<Recovered>, StoreError> {
        self.write(|transaction| {
            let recover = |(registration, tag): (RegistrationId, String)| {
                let key = Key { registration, tag: &tag };
                let event = PeriodicSyncEvent::Interrupted;
                let step = advance(transaction, key, event, policy, now_ms)?;
                let after = step.after.expect("invariant: an interruption never removes");
                let recovery = match after.interruptions {
                    0 => Recovery::Settled(settled(after, Outcome::Terminated, now_ms)),
                    interruptions => Recovery::Pending { interruptions },
                };
                Ok(Recovered { registration, tag, recovery })
            };
            select_keys(transaction, FIRING_KEYS, [])?.into_iter().map(recover).collect()
        })
    }
}

const NEXT_DUE: &str =
    "SELECT min(due_at_ms) FROM periodic_sync_registrations WHERE state = 'pending'";
const DUE_KEYS: &str = "SELECT registration_id, tag FROM periodic_sync_registrations \
     WHERE state = 'pending' AND due_at_ms <= ?1 \
     ORDER BY due_at_ms, registration_id, tag LIMIT ?2";
// All but the one that asks, so that at most one row is skipped.
const OTHERS_DUE: &str = "SELECT due_at_ms FROM periodic_sync_registrations \
     WHERE origin = (SELECT origin FROM registrations WHERE id = ?1) \
     AND NOT (registration_id = ?1 AND tag = ?2) ORDER BY due_at_ms LIMIT 1";
const FIRING_KEYS: &str = "SELECT registration_id, tag FROM periodic_sync_registrations \
     WHERE state IN ('firing', 'reregistered-while-firing') ORDER BY registration_id, tag";

/// What is asked at a start, a wake or a settlement, and the index that answers it without a scan.
#[cfg(test)]
pub(crate) const QUERIES: [(&str, &str); 4] = [
    (FIRING_KEYS, "periodic_sync_registrations_firing"),
    (NEXT_DUE, "periodic_sync_registrations_due"),
    (DUE_KEYS, "periodic_sync_registrations_due"),
    (OTHERS_DUE, "periodic_sync_registrations_of_origin"),
];

pub(crate) fn register(
    connection: &Connection,
    key: Key<'_>,
    min_interval_ms: i64,
    policy: &SyncPolicy,
    now_ms: i64,
) -> Result<PeriodicRegistered, Failure> {
    require_active_worker(connection, key.registration)?;
    policy.require_short_tag(key.tag)?;
    let event = PeriodicSyncEvent::Registered { min_interval_ms };
    let step = advance(connection, key, event, policy, now_ms)?;
    let after = step.after.expect("invariant: registering never removes");
    let was_firing = matches!(step.before, Some(before) if before.is_firing());
    let same_interval =
        matches!(step.before, Some(before) if before.min_interval_ms == min_interval_ms);
    Ok(match (was_firing, same_interval) {
        (true, true) if step.before == step.after => PeriodicRegistered::Unchanged,
        (true, true) => PeriodicRegistered::Reregistered,
        (true, false) => PeriodicRegistered::IntervalChanged,
        (false, true) => PeriodicRegistered::Unchanged,
        (false, false) => PeriodicRegistered::Begun { delay_ms: after.due_at_ms - now_ms },
    })
}

pub(crate) fn unregister(
    connection: &Connection,
    key: Key<'_>,
) -> Result<PeriodicUnregistered, Failure> {
    let step = advance_untimed(connection, key, PeriodicSyncEvent::Unregistered)?;
    Ok(match step.before {
        Some(_) => PeriodicUnregistered::Removed,
        None => PeriodicUnregistered::NotFound,
    })
}

pub(crate) fn settle(
    connection: &Connection,
    key: Key<'_>,
    outcome: Outcome,
    policy: &SyncPolicy,
    now_ms: i64,
) -> Result<Settled, Failure> {
    let step = advance(connection, key, PeriodicSyncEvent::Settled(outcome), policy, now_ms)?;
    Ok(match (step.before, step.after) {
        (Some(before), Some(after)) if !before.is_reregistered() => settled(after, outcome, now_ms),
        (Some(_), Some(_)) => Settled::PendingAgain,
        _ => Settled::Gone,
    })
}

pub(crate) fn hand_back(connection: &Connection, key: Key<'_>) -> Result<HandedBack, Failure> {
    let step = advance_untimed(connection, key, PeriodicSyncEvent::HandedBack)?;
    Ok(if step.after.is_some() { HandedBack::Pending } else { HandedBack::Gone })
}

fn settled(after: PeriodicSyncRecord, outcome: Outcome, now_ms: i64) -> Settled {
    let delay_ms = after.due_at_ms.saturating_sub(now_ms);
    match (outcome, after.attempts) {
        (Outcome::Fulfilled, _) => Settled::Done { next_period_ms: Some(delay_ms) },
        (_, 0) => Settled::GaveUp { next_period_ms: Some(delay_ms) },
        (_, failed_attempts) => Settled::Waiting { delay_ms, failed_attempts },
    }
}

/// Whether it was there, and waiting for its time.
pub(crate) fn make_due(
    connection: &Connection,
    key: Key<'_>,
    now_ms: i64,
) -> Result<DueNow, Failure> {
    match load(connection, key)? {
        None => Ok(DueNow::NotFound),
        Some(record) if record.is_firing() => Ok(DueNow::UnderWay),
        Some(_) => {
            let policy = SyncPolicy::default();
            advance(connection, key, PeriodicSyncEvent::MadeDue, &policy, now_ms)?;
            Ok(DueNow::Due)
        }
    }
}

/// What one event did to one registration.
struct Step {
    before: Option<PeriodicSyncRecord>,
    after: Option<PeriodicSyncRecord>,
}

/// The only writer of the table: loads the row, asks [`next_periodic`], and writes what it says.
fn advance(
    connection: &Connection,
    key: Key<'_>,
    event: PeriodicSyncEvent,
    policy: &SyncPolicy,
    now_ms: i64,
) -> Result<Step, Failure> {
    let before = load(connection, key)?;
    let moment = Moment { now_ms, others_due_at_ms: others_due(connection, key)? };
    let after = next_periodic(before, event, policy, moment).map_err(|source| {
        let (registration, tag) = (key.registration, key.tag.to_owned());
        StoreError::IllegalPeriodicTransition { registration, tag, source }
    })?;
    if before != after {
        match after {
            Some(record) => save(connection, key, record)?,
            None => delete(connection, key)?,
        }
    }
    Ok(Step { before, after })
}

/// For events whose effect depends on neither the policy nor the time.
fn advance_untimed(
    connection: &Connection,
    key: Key<'_>,
    event: PeriodicSyncEvent,
) -> Result<Step, Failure> {
    advance(connection, key, event, &SyncPolicy::default(), 0)
}

fn load(connection: &Connection, key: Key<'_>) -> Result<Option<PeriodicSyncRecord>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT state, min_interval_ms, attempts, due_at_ms, interruptions \
         FROM periodic_sync_registrations WHERE registration_id = ?1 AND tag = ?2",
    )?;
    Ok(statement.query_row((key.registration, key.tag), record_from).optional()?)
}

fn others_due(connection: &Connection, key: Key<'_>) -> Result<Option<i64>, Failure> {
    let mut statement = connection.prepare_cached(OTHERS_DUE)?;
    Ok(statement.query_row((key.registration, key.tag), |row| row.get(0)).optional()?)
}

fn save(connection: &Connection, key: Key<'_>, record: PeriodicSyncRecord) -> Result<(), Failure> {
    let PeriodicSyncRecord { state, min_interval_ms, attempts, due_at_ms, interruptions } = record;
    connection
        .prepare_cached(
            "INSERT INTO periodic_sync_registrations (registration_id, tag, origin, state, \
             min_interval_ms, attempts, due_at_ms, interruptions) VALUES (?1, ?2, \
             (SELECT origin FROM registrations WHERE id = ?1), ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (registration_id, tag) DO UPDATE SET state = excluded.state, \
             min_interval_ms = excluded.min_interval_ms, attempts = excluded.attempts, \
             due_at_ms = excluded.due_at_ms, interruptions = excluded.interruptions",
        )?
        .execute((
            key.registration,
            key.tag,
            state,
            min_interval_ms,
            attempts,
            due_at_ms,
            interruptions,
        ))?;
    Ok(())
}

fn delete(connection: &Connection, key: Key<'_>) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "DELETE FROM periodic_sync_registrations WHERE registration_id = ?1 AND tag = ?2",
        )?
        .execute((key.registration, key.tag))?;
    Ok(())
}

pub(crate) fn record_from(row: &Row<'_>) -> rusqlite::Result<PeriodicSyncRecord> {
    Ok(PeriodicSyncRecord {
        state: row.get(0)?,
        min_interval_ms: row.get(1)?,
        attempts: row.get(2)?,
        due_at_ms: row.get(3)?,
        interruptions: row.get(4)?,
    })
}
