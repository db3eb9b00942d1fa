//! Claiming: which registrations fire now.
//! Invariant: what is claimed is firing on disk before anyone is told, and no registration waits
//! for another that is saturated.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use super::{Claimed, SyncEvent, SyncPolicy, advance};
use crate::error::Failure;
use crate::write::{Key, select_keys};
use crate::{RegistrationId, Store, StoreError};

pub(super) const DUE_KEYS: &str = "SELECT registration_id, tag FROM sync_registrations \
     WHERE state = 'waiting' AND due_at_ms <= ?1 ORDER BY due_at_ms LIMIT 1024";
pub(super) const NEXT_PENDING: &str = "SELECT registration_id FROM sync_registrations \
     WHERE state = 'pending' AND registration_id > ?1 ORDER BY registration_id LIMIT 1";
pub(super) const PENDING_KEYS: &str = "SELECT registration_id, tag FROM sync_registrations \
     WHERE state = 'pending' AND registration_id = ?1 ORDER BY tag LIMIT ?2";

/// How many events may be taken.
#[derive(Clone, Debug)]
pub struct ClaimLimits {
    /// In all.
    pub total: usize,
    /// Of one service worker registration, those under way included.
    pub per_registration: usize,
    /// How many are under way.
    pub under_way: BTreeMap<RegistrationId, usize>,
    /// Registrations after this one come first, so that each has its turn.
    pub after: Option<RegistrationId>,
}

impl ClaimLimits {
    /// As many as `total`, of whichever registration.
    pub fn up_to(total: usize) -> Self {
        let under_way = BTreeMap::new();
        ClaimLimits { total, per_registration: usize::MAX, under_way, after: None }
    }
}

impl Store {
    /// Takes events that are ready, because they are pending or their wait is over: they are
    /// firing on disk before they are returned, and each must be settled or handed back. Ordered
    /// by registration, starting after [`ClaimLimits::after`] and around, then by the tag's bytes.
    /// Costs what is claimed, not what is stored.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn sync_claim_due(
        &self,
        policy: &SyncPolicy,
        now_ms: i64,
        limits: &ClaimLimits,
    ) -> Result<Vec<Claimed>, StoreError> {
        self.write(|transaction| {
            // What is due beyond one batch is still due at the next call.
            for (registration, tag) in select_keys(transaction, DUE_KEYS, [now_ms])? {
                let key = Key { registration, tag: &tag };
                advance(transaction, key, SyncEvent::DelayElapsed, policy, now_ms)?;
            }
            let keys = pending_keys(transaction, limits)?;
            let claim = |(registration, tag): (RegistrationId, String)| {
                let key = Key { registration, tag: &tag };
                let step = advance(transaction, key, SyncEvent::Fired, policy, now_ms)?;
                let attempt = step.after.expect("invariant: firing never removes").attempt();
                let last_chance = policy.is_last_chance(attempt);
                Ok(Claimed { registration, tag, attempt, last_chance })
            };
            keys.into_iter().map(claim).collect()
        })
    }
}

/// Pending rows, registration by registration, within the limits.
fn pending_keys(
    connection: &Connection,
    limits: &ClaimLimits,
) -> Result<Vec<(RegistrationId, String)>, Failure> {
    let start = limits.after.map_or(i64::MIN, |after| after.0);
    let mut keys = Vec::new();
    // First those after the start, then around to those up to it.
    for (from, to) in [(start, i64::MAX), (i64::MIN, start)] {
        let mut last = from;
        while keys.len() < limits.total {
            let Some(registration) = next_pending(connection, last)?.filter(|id| id.0 <= to) else {
                break;
            };
            last = registration.0;
            let under_way = limits.under_way.get(&registration).copied().unwrap_or(0);
            let free = limits.per_registration.saturating_sub(under_way);
            let free = free.min(limits.total - keys.len());
            let free = i64::try_from(free).unwrap_or(i64::MAX);
            keys.extend(select_keys(connection, PENDING_KEYS, (registration, free))?);
        }
    }
    Ok(keys)
}

fn next_pending(connection: &Connection, after: i64) -> Result<Option<RegistrationId>, Failure> {
    let mut statement = connection.prepare_cached(NEXT_PENDING)?;
    Ok(statement.query_row([after], |row| row.get(0)).optional()?)
}
