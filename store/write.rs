//! Writes of both types of sync that arrive together, in one commit: an fsync costs the same for
//! one as for a thousand.
//! Invariant: each write of a batch has the effect and the answer that it has alone, in its place.

use rusqlite::{Connection, Params};

use crate::error::Failure;
use crate::sync::Registering;
use crate::{
    HandedBack, Outcome, PeriodicRegistered, PeriodicUnregistered, Registered, RegistrationId,
    Settled, Store, StoreError, SyncPolicy, SyncType, periodic, sync,
};

/// One change of one sync registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncWrite {
    /// The service worker registration.
    pub registration: RegistrationId,
    /// The tag.
    pub tag: String,
    /// What happens to it.
    pub change: SyncChange,
}

/// What a [`SyncWrite`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncChange {
    /// [`Store::sync_register`].
    Register,
    /// [`Store::periodic_register`].
    RegisterPeriodic {
        /// The `minInterval`, in ms.
        min_interval_ms: i64,
    },
    /// [`Store::periodic_unregister`].
    UnregisterPeriodic,
    /// [`Store::sync_settle`], [`Store::periodic_settle`].
    Settle(SyncType, Outcome),
    /// [`Store::sync_hand_back`], [`Store::periodic_hand_back`].
    HandBack(SyncType),
}

/// What a [`SyncWrite`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncWritten {
    /// Of [`SyncChange::Register`].
    Registered(Registered),
    /// Of [`SyncChange::RegisterPeriodic`].
    PeriodicRegistered(PeriodicRegistered),
    /// Of [`SyncChange::UnregisterPeriodic`].
    PeriodicUnregistered(PeriodicUnregistered),
    /// Of [`SyncChange::Settle`].
    Settled(Settled),
    /// Of [`SyncChange::HandBack`].
    HandedBack(HandedBack),
}

impl Store {
    /// Makes the writes in their order and in one commit; all are durable when it returns. A write
    /// that is refused (no active worker, a tag too long, an illegal transition) changes nothing
    /// and does not keep the others from being made.
    ///
    /// # Errors
    ///
    /// [`StoreError::DiskFull`] and the other failures of the disk; then none was made.
    pub fn sync_write_all(
        &self,
        writes: &[SyncWrite],
        policy: &SyncPolicy,
        now_ms: i64,
    ) -> Result<Vec<Result<SyncWritten, StoreError>>, StoreError> {
        self.write(|transaction| {
            let mut registering = Registering::prepare(transaction)?;
            let one = |each| match write(transaction, &mut registering, each, policy, now_ms) {
                Ok(written) => Ok(Ok(written)),
                Err(Failure::Refused(refusal)) => Ok(Err(refusal)),
                Err(failure) => Err(failure),
            };
            writes.iter().map(one).collect()
        })
    }
}

fn write(
    connection: &Connection,
    registering: &mut Registering<'_>,
    SyncWrite { registration, tag, change }: &SyncWrite,
    policy: &SyncPolicy,
    now_ms: i64,
) -> Result<SyncWritten, Failure> {
    use SyncType::{OneShot, Periodic};

    let key = Key { registration: *registration, tag };
    Ok(match *change {
        SyncChange::Register => SyncWritten::Registered(registering.register(key, policy, now_ms)?),
        SyncChange::RegisterPeriodic { min_interval_ms } => {
            let registered = periodic::register(connection, key, min_interval_ms, policy, now_ms);
            SyncWritten::PeriodicRegistered(registered?)
        }
        SyncChange::UnregisterPeriodic => {
            SyncWritten::PeriodicUnregistered(periodic::unregister(connection, key)?)
        }
        SyncChange::Settle(kind, outcome) => {
            let settle = match kind {
                OneShot => sync::settle,
                Periodic => periodic::settle,
            };
            SyncWritten::Settled(settle(connection, key, outcome, policy, now_ms)?)
        }
        SyncChange::HandBack(kind) => SyncWritten::HandedBack(match kind {
            OneShot => sync::hand_back(connection, key)?,
            Periodic => periodic::hand_back(connection, key)?,
        }),
    })
}

/// What names a sync among those of its type; each type has a table of its own.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) registration: RegistrationId,
    pub(crate) tag: &'a str,
}

/// The rule of both types of sync.
pub(crate) fn require_active_worker(
    connection: &Connection,
    registration: RegistrationId,
) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM versions WHERE registration_id = ?1 AND (state = 'installed') = 0",
    )?;
    if statement.exists([registration])? {
        return Ok(());
    }
    Err(StoreError::NoActiveWorker { registration }.into())
}

/// Registrations that a claim or a recovery takes. Collected before any row is changed: a statement
/// must not read an index that changes under it.
pub(crate) fn select_keys(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
) -> Result<Vec<(RegistrationId, String)>, Failure> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
