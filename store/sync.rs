//! Background Sync on disk: each method loads rows, asks `next`, writes what it says, commits.
//! Invariant: what a row becomes is decided by [`next`] alone, recovery after a crash included.

mod claim;
mod transition;
mod write;

use rusqlite::{Connection, OptionalExtension, Params, Row};

use crate::error::Failure;
use crate::{RegistrationId, Store, StoreError};

pub use claim::ClaimLimits;
pub use transition::{
    IllegalTransition, Outcome, Profile, SyncEvent, SyncPolicy, SyncRecord, SyncState, next,
};
pub(crate) use write::require_active_worker;
pub use write::{SyncWrite, SyncWritten};

/// One sync registration, for listings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRegistration {
    /// Its service worker registration.
    pub registration: RegistrationId,
    /// Its tag; may be empty.
    pub tag: String,
    /// Where it stands.
    pub record: SyncRecord,
}

/// What `register(tag)` did. All of them resolve the script's promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It was not there, and is pending now.
    New,
    /// It was there, and stays as it was.
    Unchanged,
    /// It was waiting, and is pending now (only [`Profile::Spec`]).
    WaitEnded,
    /// It is firing, and will fire once more afterwards.
    Reregistered,
}

/// A sync event to dispatch now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The service worker registration.
    pub registration: RegistrationId,
    /// The event's tag.
    pub tag: String,
    /// The attempt's number, counted from 1.
    pub attempt: u32,
    /// The event's `lastChance`.
    pub last_chance: bool,
}

/// What the end of an event made of its registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It succeeded and is removed.
    Done,
    /// It failed and will be tried again.
    Waiting {
        /// When it is due, in Unix epoch ms.
        due_at_ms: i64,
        /// How long that is from now, in ms.
        delay_ms: i64,
        /// How many attempts have failed.
        failed_attempts: u32,
    },
    /// It failed for the last time and is removed.
    GaveUp,
    /// It had been registered again in mid-event, and fires again.
    PendingAgain,
    /// `unregister()` removed it in mid-event.
    Gone,
}

/// What [`Store::sync_hand_back`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandedBack {
    /// It was firing, and is pending again.
    Pending,
    /// `unregister()` removed it in mid-event.
    Gone,
}

/// A sync registration in whose event the process had died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The service worker registration.
    pub registration: RegistrationId,
    /// The tag.
    pub tag: String,
    /// What became of it.
    pub recovery: Recovery,
}

/// What became of a registration in whose event the process had died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It is pending again, and no attempt was counted.
    Pending {
        /// How often in a row the process died in this registration's event.
        interruptions: u32,
    },
    /// The process died too often, so the event was settled as [`Outcome::Terminated`].
    Settled(Settled),
}

impl Store {
    /// `SyncManager.register(tag)`: when it returns, the registration is on disk, and only then
    /// may the script's promise resolve. Whether the event may fire is for the caller.
    /// <https://wicg.github.io/background-sync/spec/#dom-syncmanager-register>
    ///
    /// # Errors
    ///
    /// [`StoreError::NoActiveWorker`], else [`StoreError::TagTooLong`], as Chromium orders them;
    /// [`StoreError::DiskFull`] and the other failures of the disk.
    pub fn sync_register(
        &self,
        registration: RegistrationId,
        tag: &str,
        policy: &SyncPolicy,
        now_ms: i64,
    ) -> Result<Registered, StoreError> {
        let key = Key { registration, tag: tag.to_owned() };
        self.write(|transaction| write::register(transaction, &key, policy, now_ms))
    }

    /// `SyncManager.getTags()`: every tag, also those that wait or fire, ordered by their bytes as
    /// in Chromium. <https://wicg.github.io/background-sync/spec/#dom-syncmanager-gettags>
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn sync_tags(&self, registration: RegistrationId) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT tag FROM sync_registrations WHERE registration_id = ?1 ORDER BY tag",
            )?;
            let rows = statement.query_map([registration], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Records how a claimed event ended at `now_ms`, from which a new wait counts. Durable when
    /// it returns. <https://wicg.github.io/background-sync/spec/#fire-a-sync-event>
    ///
    /// # Errors
    ///
    /// [`StoreError::IllegalTransition`] if the registration is there and not firing.
    pub fn sync_settle(
        &self,
        registration: RegistrationId,
        tag: &str,
        outcome: Outcome,
        policy: &SyncPolicy,
        now_ms: i64,
    ) -> Result<Settled, StoreError> {
        let key = Key { registration, tag: tag.to_owned() };
        self.write(|transaction| write::settle(transaction, &key, outcome, policy, now_ms))
    }

    /// Gives a claimed event back without counting an attempt: a graceful stop, or the network left
    /// before the dispatch. Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::IllegalTransition`] if the registration is there and not firing.
    pub fn sync_hand_back(
        &self,
        registration: RegistrationId,
        tag: &str,
    ) -> Result<HandedBack, StoreError> {
        let key = Key { registration, tag: tag.to_owned() };
        self.write(|transaction| write::hand_back(transaction, &key))
    }

    /// When the first waiting registration is due, in Unix epoch ms; `None` if none waits. In the
    /// past if its time came while nothing claimed it, such as offline.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn sync_next_due(&self) -> Result<Option<i64>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(NEXT_DUE)?;
            Ok(statement.query_row([], |row| row.get(0))?)
        })
    }

    /// Whether any registration is pending: ready, and not claimed.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn sync_has_pending(&self) -> Result<bool, StoreError> {
        self.read(|connection| {
            Ok(connection.prepare_cached(HAS_PENDING)?.query_row([], |row| row.get(0))?)
        })
    }

    /// Every sync registration, ordered by service worker registration, then by the tag's bytes.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn sync_registrations(&self) -> Result<Vec<SyncRegistration>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT state, attempts, due_at_ms, interruptions, registration_id, tag \
                 FROM sync_registrations ORDER BY registration_id, tag",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(SyncRegistration {
                    record: record_from(row)?,
                    registration: row.get(4)?,
                    tag: row.get(5)?,
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
    pub fn sync_recover(
        &self,
        policy: &SyncPolicy,
        now_ms: i64,
    ) -> Result<Vec<Recovered>, StoreError> {
        self.write(|transaction| {
            let mut recovered = Vec::new();
            for key in select_keys(transaction, FIRING_KEYS, [])? {
                let step = advance(transaction, &key, SyncEvent::Interrupted, policy, now_ms)?;
                let recovery = match step.after {
                    Some(SyncRecord { interruptions, .. }) if interruptions > 0 => {
                        Recovery::Pending { interruptions }
                    }
                    after => Recovery::Settled(settled(after, Outcome::Terminated, policy)),
                };
                let Key { registration, tag } = key;
                recovered.push(Recovered { registration, tag, recovery });
            }
            Ok(recovered)
        })
    }
}

const NEXT_DUE: &str = "SELECT min(due_at_ms) FROM sync_registrations WHERE state = 'waiting'";
const HAS_PENDING: &str =
    "SELECT EXISTS (SELECT 1 FROM sync_registrations WHERE state = 'pending')";
// Asked once per process, so that it may scan.
const FIRING_KEYS: &str = "SELECT registration_id, tag FROM sync_registrations \
     WHERE state IN ('firing', 'reregistered-while-firing') ORDER BY registration_id, tag";

/// What the scheduler asks at every wake, and the index that answers it without a scan.
#[cfg(test)]
pub(crate) const WAKE_QUERIES: [(&str, &str); 5] = [
    (NEXT_DUE, "sync_registrations_due"),
    (HAS_PENDING, "sync_registrations_pending"),
    (claim::DUE_KEYS, "sync_registrations_due"),
    (claim::NEXT_PENDING, "sync_registrations_pending"),
    (claim::PENDING_KEYS, "sync_registrations_pending"),
];

/// A registration of either kind of sync; each kind has a table of its own.
pub(crate) struct Key {
    pub(crate) registration: RegistrationId,
    pub(crate) tag: String,
}

/// What one event did to one registration.
struct Step {
    before: Option<SyncRecord>,
    after: Option<SyncRecord>,
}

/// The only writer of the table: loads the row, asks [`next`], and writes what it says.
fn advance(
    connection: &Connection,
    key: &Key,
    event: SyncEvent,
    policy: &SyncPolicy,
    now_ms: i64,
) -> Result<Step, Failure> {
    let before = load(connection, key)?;
    let after = next(before, event, policy, now_ms).map_err(|source| {
        let Key { registration, tag } = key;
        StoreError::IllegalTransition { registration: *registration, tag: tag.clone(), source }
    })?;
    // A commit that changed nothing costs no write to the disk.
    if before != after {
        match after {
            Some(record) => save(connection, key, record)?,
            None => delete(connection, key)?,
        }
    }
    Ok(Step { before, after })
}

fn settled(after: Option<SyncRecord>, outcome: Outcome, policy: &SyncPolicy) -> Settled {
    match (after, outcome) {
        (None, Outcome::Fulfilled) => Settled::Done,
        (None, Outcome::Rejected | Outcome::TimedOut | Outcome::Terminated) => Settled::GaveUp,
        (Some(SyncRecord { due_at_ms: Some(due_at_ms), attempts, .. }), _) => Settled::Waiting {
            due_at_ms,
            delay_ms: policy.retry_delay_ms(attempts),
            failed_attempts: attempts,
        },
        (Some(_), _) => Settled::PendingAgain,
    }
}

fn load(connection: &Connection, key: &Key) -> Result<Option<SyncRecord>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT state, attempts, due_at_ms, interruptions FROM sync_registrations \
         WHERE registration_id = ?1 AND tag = ?2",
    )?;
    Ok(statement.query_row((key.registration, &key.tag), record_from).optional()?)
}

fn save(connection: &Connection, key: &Key, record: SyncRecord) -> Result<(), Failure> {
    let SyncRecord { state, attempts, due_at_ms, interruptions } = record;
    connection
        .prepare_cached(
            "INSERT INTO sync_registrations \
             (registration_id, tag, state, attempts, due_at_ms, interruptions) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (registration_id, tag) DO UPDATE SET state = excluded.state, \
             attempts = excluded.attempts, due_at_ms = excluded.due_at_ms, \
             interruptions = excluded.interruptions",
        )?
        .execute((key.registration, &key.tag, state, attempts, due_at_ms, interruptions))?;
    Ok(())
}

fn delete(connection: &Connection, key: &Key) -> Result<(), Failure> {
    connection
        .prepare_cached("DELETE FROM sync_registrations WHERE registration_id = ?1 AND tag = ?2")?
        .execute((key.registration, &key.tag))?;
    Ok(())
}

/// Collected before any row is changed: a statement must not read an index that changes under it.
pub(crate) fn select_keys(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
) -> Result<Vec<Key>, Failure> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement
        .query_map(parameters, |row| Ok(Key { registration: row.get(0)?, tag: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn record_from(row: &Row<'_>) -> rusqlite::Result<SyncRecord> {
    Ok(SyncRecord {
        state: row.get(0)?,
        attempts: row.get(1)?,
        due_at_ms: row.get(2)?,
        interruptions: row.get(3)?,
    })
}
