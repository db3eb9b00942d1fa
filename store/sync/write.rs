//! Writes that arrive together, in one commit: an fsync costs the same for one as for a thousand.
//! Invariant: each write of a batch has the effect and the answer that it has alone, in its place.

use rusqlite::Connection;

use super::{
    HandedBack, Key, Outcome, Registered, Settled, SyncEvent, SyncPolicy, SyncState, advance,
    settled,
};
use crate::error::Failure;
use crate::{RegistrationId, Store, StoreError};

/// One change of one sync registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncWrite {
    /// [`Store::sync_register`].
    Register {
        /// The service worker registration.
        registration: RegistrationId,
        /// The tag.
        tag: String,
    },
    /// [`Store::sync_settle`].
    Settle {
        /// The service worker registration.
        registration: RegistrationId,
        /// The tag.
        tag: String,
        /// How its event ended.
        outcome: Outcome,
    },
    /// [`Store::sync_hand_back`].
    HandBack {
        /// The service worker registration.
        registration: RegistrationId,
        /// The tag.
        tag: String,
    },
}

/// What a [`SyncWrite`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncWritten {
    /// Of [`SyncWrite::Register`].
    Registered(Registered),
    /// Of [`SyncWrite::Settle`].
    Settled(Settled),
    /// Of [`SyncWrite::HandBack`].
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
            let one = |each| match write(transaction, each, policy, now_ms) {
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
    write: &SyncWrite,
    policy: &SyncPolicy,
    now_ms: i64,
) -> Result<SyncWritten, Failure> {
    let key = |registration: &RegistrationId, tag: &String| Key {
        registration: *registration,
        tag: tag.clone(),
    };
    Ok(match write {
        SyncWrite::Register { registration, tag } => {
            SyncWritten::Registered(register(connection, &key(registration, tag), policy, now_ms)?)
        }
        SyncWrite::Settle { registration, tag, outcome } => {
            let key = key(registration, tag);
            SyncWritten::Settled(settle(connection, &key, *outcome, policy, now_ms)?)
        }
        SyncWrite::HandBack { registration, tag } => {
            SyncWritten::HandedBack(hand_back(connection, &key(registration, tag))?)
        }
    })
}

pub(super) fn register(
    connection: &Connection,
    key: &Key,
    policy: &SyncPolicy,
    now_ms: i64,
) -> Result<Registered, Failure> {
    require_active_worker(connection, key.registration)?;
    policy.require_short_tag(&key.tag)?;
    let step = advance(connection, key, SyncEvent::Registered, policy, now_ms)?;
    let after = step.after.expect("invariant: registering never removes");
    Ok(match step.before {
        None => Registered::New,
        Some(before) if before == after => Registered::Unchanged,
        Some(before) if before.state == SyncState::Waiting => Registered::WaitEnded,
        Some(_) => Registered::Reregistered,
    })
}

pub(super) fn settle(
    connection: &Connection,
    key: &Key,
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

pub(super) fn hand_back(connection: &Connection, key: &Key) -> Result<HandedBack, Failure> {
    // No policy and no time change what handing back means, so the caller gives none.
    let policy = SyncPolicy::default();
    let step = advance(connection, key, SyncEvent::HandedBack, &policy, 0)?;
    Ok(if step.after.is_some() { HandedBack::Pending } else { HandedBack::Gone })
}

/// The rule of both kinds of sync.
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
