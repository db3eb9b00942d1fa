//! Claiming: which registrations fire now.
//! Invariant: what is claimed is firing on disk before anyone is told; origins take turns, and the
//! registrations of each; none waits for another that is saturated.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Params};

use super::{Claimed, SyncEvent, SyncPolicy, advance};
use crate::error::Failure;
use crate::write::{Key, select_keys};
use crate::{RegistrationId, Store, StoreError};

pub(super) const DUE_KEYS: &str = "SELECT registration_id, tag FROM sync_registrations \
     WHERE state = 'waiting' AND due_at_ms <= ?1 ORDER BY due_at_ms LIMIT 1024";
pub(super) const NEXT_ORIGIN: &str = "SELECT origin_id FROM sync_registrations \
     WHERE state = 'pending' AND origin_id > ?1 ORDER BY origin_id LIMIT 1";
pub(super) const NEXT_REGISTRATION: &str = "SELECT registration_id FROM sync_registrations \
     WHERE state = 'pending' AND origin_id = ?1 AND registration_id > ?2 \
     ORDER BY registration_id LIMIT 1";
pub(super) const PENDING_KEYS: &str = "SELECT registration_id, tag FROM sync_registrations \
     WHERE state = 'pending' AND origin_id = ?1 AND registration_id = ?2 ORDER BY tag LIMIT ?3";

/// The turns of so many origins are known at once.
const KNOWN_TURNS: usize = 1 << 14;

/// How many events may be taken.
#[derive(Clone, Debug)]
pub struct ClaimLimits {
    /// In all.
    pub total: usize,
    /// Of one service worker registration, those under way included.
    pub per_registration: usize,
    /// How many are under way.
    pub under_way: BTreeMap<RegistrationId, usize>,
}

/// Whose turn it is: kept from one claim to the next.
#[derive(Clone, Debug)]
pub struct ClaimTurns {
    /// The origin that was served last; it is told by its number.
    origin: i64,
    /// The registration of each origin that was served last.
    registrations: BTreeMap<i64, i64>,
}

impl Default for ClaimTurns {
    fn default() -> Self {
        ClaimTurns { origin: i64::MIN, registrations: BTreeMap::new() }
    }
}

impl ClaimLimits {
    /// As many as `total`, of whichever registration.
    pub fn up_to(total: usize) -> Self {
        ClaimLimits { total, per_registration: usize::MAX, under_way: BTreeMap::new() }
    }
}

impl Store {
    /// Takes events that are ready, because they are pending or their wait is over: they are
    /// firing on disk before they are returned, and each must be settled or handed back. Origins
    /// take turns, in the order of their first registrations, starting after the one that `turns`
    /// says was served last; in its turn an origin has what is pending of one registration, by the
    /// tag's bytes, and in its next turn of its next registration. Costs what is claimed, not what
    /// is stored.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn sync_claim_due(
        &self,
        policy: &SyncPolicy,
        now_ms: i64,
        limits: &ClaimLimits,
        turns: &mut ClaimTurns,
    ) -> Result<Vec<Claimed>, StoreError> {
        self.write(|transaction| {
            // What is due beyond one batch is still due at the next call.
            for (registration, tag) in select_keys(transaction, DUE_KEYS, [now_ms])? {
                let key = Key { registration, tag: &tag };
                advance(transaction, key, SyncEvent::DelayElapsed, policy, now_ms)?;
            }
            let keys = Claiming::new(transaction, limits, turns).pending_keys()?;
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

/// One claim in the making.
struct Claiming<'a> {
    connection: &'a Connection,
    limits: &'a ClaimLimits,
    turns: &'a mut ClaimTurns,
    keys: Vec<(RegistrationId, String)>,
    /// What is pending of these is taken, or not to be taken.
    seen: BTreeSet<i64>,
}

impl<'a> Claiming<'a> {
    fn new(connection: &'a Connection, limits: &'a ClaimLimits, turns: &'a mut ClaimTurns) -> Self {
        Claiming { connection, limits, turns, keys: Vec::new(), seen: BTreeSet::new() }
    }

    fn room(&self) -> usize {
        self.limits.total - self.keys.len()
    }

    /// Pending rows, origin by origin, within the limits.
    fn pending_keys(mut self) -> Result<Vec<(RegistrationId, String)>, Failure> {
        let mut again = Vec::new();
        // First the origins after the one that was served last, then around to that one.
        let start = self.turns.origin;
        for (from, to) in [(start, i64::MAX), (i64::MIN, start)] {
            let mut last = from;
            while self.room() > 0 {
                let next = self.next(NEXT_ORIGIN, [last])?.filter(|origin| *origin <= to);
                let Some(origin) = next else { break };
                last = origin;
                if self.serve(origin)? {
                    again.push(origin);
                }
            }
        }
        while self.room() > 0 && !again.is_empty() {
            for origin in std::mem::take(&mut again) {
                if self.room() > 0 && self.serve(origin)? {
                    again.push(origin);
                }
            }
        }
        Ok(self.keys)
    }

    /// Takes what is pending of the origin's next registration that is not saturated; answers
    /// whether it has had a turn, and so may have another.
    fn serve(&mut self, origin: i64) -> Result<bool, Failure> {
        let mut last = self.turns.registrations.get(&origin).copied().unwrap_or(i64::MIN);
        loop {
            let mut next = self.next(NEXT_REGISTRATION, [origin, last])?;
            if next.is_none() {
                next = self.next(NEXT_REGISTRATION, [origin, i64::MIN])?;
            }
            let Some(registration) = next.filter(|next| self.seen.insert(*next)) else {
                return Ok(false);
            };
            last = registration;
            let under_way = self.limits.under_way.get(&RegistrationId(registration));
            let free = self.limits.per_registration.saturating_sub(under_way.map_or(0, |it| *it));
            if free == 0 {
                continue;
            }
            let free = i64::try_from(free.min(self.room())).unwrap_or(i64::MAX);
            let keys = select_keys(self.connection, PENDING_KEYS, (origin, registration, free))?;
            self.keys.extend(keys);
            self.turns.origin = origin;
            if self.turns.registrations.len() >= KNOWN_TURNS {
                self.turns.registrations.clear();
            }
            self.turns.registrations.insert(origin, registration);
            return Ok(true);
        }
    }

    fn next(&self, sql: &str, after: impl Params) -> Result<Option<i64>, Failure> {
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row(after, |row| row.get(0)).optional()?)
    }
}
