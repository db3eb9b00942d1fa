//! Background Sync on disk: each method loads rows, asks `next`, writes what it says, commits.
//! Invariant: what a row becomes is decided by [`next`] alone, recovery after a crash included.

mod claim;
mod listing;
mod transition;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row};

use crate::columns::text_enum;
use crate::error::Failure;
use crate::write::{Key, require_active_worker, select_keys};
use crate::{RegistrationId, Store, StoreError};

pub use claim::{ClaimLimits, ClaimTurns};
pub use listing::{DueNow, ListedSync, SyncPlace};
pub use transition::{
    IllegalTransition, Outcome, Profile, SyncEvent, SyncPolicy, SyncRecord, SyncState, next,
};

text_enum! {
    /// The types of background sync, as Chromium names them.
    SyncType {
        /// Fires once: <https://wicg.github.io/background-sync/spec/>
        OneShot = "one-shot",
        /// Fires time and again: <https://wicg.github.io/periodic-background-sync/>
        Periodic = "periodic",
    }
}

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

/// A sync event of either type to dispatch now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The service worker registration.
    pub registration: RegistrationId,
    /// The event's tag.
    pub tag: String,
    /// The attempt's number, counted from 1; of a periodic sync, in its period.
    pub attempt: u32,
    /// The event's `lastChance`. Never of a periodic sync, which goes on with its next period.
    pub last_chance: bool,
}

/// What the end of an event made of its registration, of either type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It succeeded. A one-shot sync is removed; a periodic one waits for its next period.
    Done {
        /// How long that is from now, in ms.
        next_period_ms: Option<i64>,
    },
    /// It failed and will be tried again.
    Waiting {
        /// How long that is from now, in ms.
        delay_ms: i64,
        /// How many attempts have failed.
        failed_attempts: u32,
    },
    /// It failed for the last time. A one-shot sync is removed; a periodic one waits for its next
    /// period.
    GaveUp {
        /// How long that is from now, in ms.
        next_period_ms: Option<i64>,
    },
    /// It had been registered again in mid-event, and fires again.
    PendingAgain,
    /// It was removed in mid-event: the worker was unregistered, or the periodic sync.
    Gone,
}

/// What [`Store::sync_hand_back`] or [`Store::periodic_hand_back`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandedBack {
    /// It was firing, and is pending again.
    Pending,
    /// It was removed in mid-event.
    Gone,
}

/// A sync registration of either type in whose event the process had died.
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
        let key = Key { registration, tag };
        self.write(|transaction| Registering::prepare(transaction)?.register(key, policy, now_ms))
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

    /// How many syncs of both types an origin has that are not settled.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn syncs_of_origin(&self, origin: &str) -> Result<u64, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT (SELECT COUNT(*) FROM registrations JOIN sync_registrations \
                 ON registration_id = id WHERE origin = ?1) + \
                 (SELECT COUNT(*) FROM periodic_sync_registrations WHERE origin = ?1)",
            )?;
            let count: i64 = statement.query_row([origin], |row| row.get(0))?;
            Ok(count.unsigned_abs())
        })
    }

    /// Whether a sync of this type and tag is not settled.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn has_sync(
        &self,
        registration: RegistrationId,
        tag: &str,
        sync_type: SyncType,
    ) -> Result<bool, StoreError> {
        let table = match sync_type {
            SyncType::OneShot => "sync_registrations",
            SyncType::Periodic => "periodic_sync_registrations",
        };
        self.read(|connection| {
            let query = format!("SELECT 1 FROM {table} WHERE registration_id = ?1 AND tag = ?2");
            Ok(connection.prepare_cached(&query)?.exists((registration, tag))?)
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
        let key = Key { registration, tag };
        self.write(|transaction| settle(transaction, key, outcome, policy, now_ms))
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
        self.write(|transaction| hand_back(transaction, Key { registration, tag }))
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
            for (registration, tag) in select_keys(transaction, FIRING_KEYS, [])? {
                let key = Key { registration, tag: &tag };
                let step = advance(transaction, key, SyncEvent::Interrupted, policy, now_ms)?;
                let recovery = match step.after {
                    Some(SyncRecord { interruptions, .. }) if interruptions > 0 => {
                        Recovery::Pending { interruptions }
                    }
                    after => Recovery::Settled(settled(after, Outcome::Terminated, policy)),
                };
                recovered.push(Recovered { registration, tag, recovery });
            }
            Ok(recovered)
        })
    }
}

const NEXT_DUE: &str = "SELECT min(due_at_ms) FROM sync_registrations WHERE state = 'waiting'";
const HAS_PENDING: &str =
    "SELECT EXISTS (SELECT 1 FROM sync_registrations WHERE state = 'pending')";
const FIRING_KEYS: &str = "SELECT registration_id, tag FROM sync_registrations \
     WHERE state IN ('firing', 'reregistered-while-firing') ORDER BY registration_id, tag";

// Nothing if the tag is known, or without an active worker.
const INSERT_NEW: &str = "INSERT INTO sync_registrations \
     (registration_id, tag, state, attempts, due_at_ms, interruptions, origin_id) \
     SELECT ?1, ?2, ?3, ?4, ?5, ?6, origin_id FROM registrations WHERE id = ?1 AND EXISTS \
     (SELECT 1 FROM versions WHERE registration_id = ?1 AND (state = 'installed') = 0) \
     ON CONFLICT (registration_id, tag) DO NOTHING";

/// What is asked at a start or at every wake, and the index that answers it without a scan.
#[cfg(test)]
pub(crate) const QUERIES: [(&str, &str); 7] = [
    (FIRING_KEYS, "sync_registrations_firing"),
    (NEXT_DUE, "sync_registrations_due"),
    (HAS_PENDING, "sync_registrations_pending"),
    (claim::DUE_KEYS, "sync_registrations_due"),
    (claim::NEXT_ORIGIN, "sync_registrations_pending"),
    (claim::NEXT_REGISTRATION, "sync_registrations_pending"),
    (claim::PENDING_KEYS, "sync_registrations_pending"),
];

/// `register()`, prepared once for the many of one commit.
pub(crate) struct Registering<'a> {
    connection: &'a Connection,
    insert_new: CachedStatement<'a>,
}

impl<'a> Registering<'a> {
    pub(crate) fn prepare(connection: &'a Connection) -> Result<Self, Failure> {
        let insert_new = connection.prepare_cached(INSERT_NEW)?;
        Ok(Registering { connection, insert_new })
    }

    pub(crate) fn register(
        &mut self,
        key: Key<'_>,
        policy: &SyncPolicy,
        now_ms: i64,
    ) -> Result<Registered, Failure> {
        // Nearly always the tag is new, its worker active, and one statement does it all.
        if policy.require_short_tag(key.tag).is_ok()
            && let Ok(Some(new)) = next(None, SyncEvent::Registered, policy, now_ms)
            && self.insert_new.execute(columns(key, new))? == 1
        {
            return Ok(Registered::New);
        }
        register_known_or_refuse(self.connection, key, policy, now_ms)
    }
}

fn register_known_or_refuse(
    connection: &Connection,
    key: Key<'_>,
    policy: &SyncPolicy,
    now_ms: i64,
) -> Result<Registered, Failure> {
    require_active_worker(connection, key.registration)?;
    policy.require_short_tag(key.tag)?;
    let step = advance(connection, key, SyncEvent::Registered, policy, now_ms)?;
    let after = step.after.expect("invariant: registering never removes");
    Ok(match step.before {
        None => Registered::New,
        Some(before) if before == after => Registered::Unchanged,
        Some(before) if before.state == SyncState::Waiting => Registered::WaitEnded,
        Some(_) => Registered::Reregistered,
    })
}

pub(crate) fn settle(
    connection: &Connection,
    key: Key<'_>,
    outcome: Outcome,
    policy: &SyncPolicy,
    now_ms: i64,
) -> Result<Settled, Failure> {
    let step = advance(connection, key, SyncEvent::Settled(outcome), policy, now_ms)?;
    Ok(match step.before {
        None => Settled::Gone,
        Some(_) => settled(step.after, outcome, policy),
    })
}

pub(crate) fn hand_back(connection: &Connection, key: Key<'_>) -> Result<HandedBack, Failure> {
    // No policy and no time change what handing back means, so the caller gives none.
    let step = advance(connection, key, SyncEvent::HandedBack, &SyncPolicy::default(), 0)?;
    Ok(if step.after.is_some() { HandedBack::Pending } else { HandedBack::Gone })
}

/// What one event did to one registration.
struct Step {
    before: Option<SyncRecord>,
    after: Option<SyncRecord>,
}

/// The only writer of the table, but for [`Registering`]'s short cut: loads the row, asks [`next`],
/// and writes what it says.
fn advance(
    connection: &Connection,
    key: Key<'_>,
    event: SyncEvent,
    policy: &SyncPolicy,
    now_ms: i64,
) -> Result<Step, Failure> {
    let before = load(connection, key)?;
    let after = next(before, event, policy, now_ms).map_err(|source| {
        let Key { registration, tag } = key;
        StoreError::IllegalTransition { registration, tag: tag.to_owned(), source }
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
        (None, Outcome::Fulfilled) => Settled::Done { next_period_ms: None },
        (None, Outcome::Rejected | Outcome::TimedOut | Outcome::Terminated) => {
            Settled::GaveUp { next_period_ms: None }
        }
        (Some(SyncRecord { state: SyncState::Waiting, attempts, .. }), _) => Settled::Waiting {
            delay_ms: policy.retry_delay_ms(attempts),
            failed_attempts: attempts,
        },
        (Some(_), _) => Settled::PendingAgain,
    }
}

fn load(connection: &Connection, key: Key<'_>) -> Result<Option<SyncRecord>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT state, attempts, due_at_ms, interruptions FROM sync_registrations \
         WHERE registration_id = ?1 AND tag = ?2",
    )?;
    Ok(statement.query_row((key.registration, key.tag), record_from).optional()?)
}

fn save(connection: &Connection, key: Key<'_>, record: SyncRecord) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "INSERT INTO sync_registrations \
             (registration_id, tag, state, attempts, due_at_ms, interruptions, origin_id) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, origin_id FROM registrations WHERE id = ?1 \
             ON CONFLICT (registration_id, tag) DO UPDATE SET state = excluded.state, \
             attempts = excluded.attempts, due_at_ms = excluded.due_at_ms, \
             interruptions = excluded.interruptions",
        )?
        .execute(columns(key, record))?;
    Ok(())
}

fn columns(key: Key<'_>, record: SyncRecord) -> impl Params {
    let SyncRecord { state, attempts, due_at_ms, interruptions } = record;
    (key.registration, key.tag, state, attempts, due_at_ms, interruptions)
}

fn delete(connection: &Connection, key: Key<'_>) -> Result<(), Failure> {
    connection
        .prepare_cached("DELETE FROM sync_registrations WHERE registration_id = ?1 AND tag = ?2")?
        .execute((key.registration, key.tag))?;
    Ok(())
}

fn record_from(row: &Row<'_>) -> rusqlite::Result<SyncRecord> {
    Ok(SyncRecord {
        state: row.get(0)?,
        attempts: row.get(1)?,
        due_at_ms: row.get(2)?,
        interruptions: row.get(3)?,
    })
}
