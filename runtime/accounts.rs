//! What each origin has of what is limited, and what is told when it wants more.
//!
//! Invariant: what was taken is given back when its `Taken` is dropped; a limit that strikes is in
//! the trace, once a second for whoever struck it, so that a script floods nobody with strikes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kittiwake_ops::RealmId;
use tokio::time::Instant;

use crate::host::{RealmOwner, Shard};
use crate::limits::{Limit, LimitOutcome, LimitSubject};
use crate::trace::TraceKind;

/// How long a strike is told only once; and the time that a flood is measured by.
const INTERVAL: Duration = Duration::from_secs(1);

/// A line of a console costs this besides its text.
const LINE_OVERHEAD_BYTES: usize = 64;

/// A shard's accounts, and what was told of strikes.
#[derive(Default)]
pub(crate) struct Accounts {
    /// By origin and limit.
    taken: RefCell<BTreeMap<(String, Limit), Arc<AtomicUsize>>>,
    /// When strikes were told last, by whose they were.
    told: RefCell<BTreeMap<(String, Limit), Instant>>,
    consoles: RefCell<BTreeMap<RealmId, Flow>>,
    /// By origin.
    broadcasts: RefCell<BTreeMap<String, Flow>>,
    /// How many syncs each origin may register before they are counted anew.
    sync_room: RefCell<BTreeMap<String, u64>>,
}

/// Some of what a limit bounds, until dropped.
pub(crate) struct Taken {
    account: Arc<AtomicUsize>,
    amount: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.account.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// What has flowed in the second that began then.
struct Flow {
    since: Instant,
    bytes: usize,
}

impl Default for Flow {
    fn default() -> Self {
        Flow { since: Instant::now(), bytes: 0 }
    }
}

impl Flow {
    /// What has flowed, with these.
    fn with(&mut self, bytes: usize) -> usize {
        if self.since.elapsed() >= INTERVAL {
            *self = Flow::default();
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.bytes
    }
}

impl Shard {
    /// Time that an event other than a sync may take.
    pub(crate) fn event_limit(&self) -> Duration {
        self.limits.time(Limit::Event)
    }

    /// How many timers of one realm may wait.
    pub(crate) fn timer_limit(&self) -> u32 {
        u32::try_from(self.limits.of(Limit::Timers)).unwrap_or(u32::MAX)
    }

    /// Takes from what the realm's origin may have; `None`, and told, if that would be too much.
    pub(crate) fn take(&self, realm: RealmId, limit: Limit, amount: usize) -> Option<Taken> {
        let account = self.account(self.origin_of(realm).unwrap_or_default(), limit);
        let taken = account.load(Ordering::Relaxed).saturating_add(amount);
        if taken > self.limits.count(limit) {
            self.strike(realm, limit, LimitOutcome::Refused);
            return None;
        }
        account.store(taken, Ordering::Relaxed);
        Some(Taken { account, amount })
    }

    /// As [`Shard::take`], of an origin that has `others` besides.
    pub(crate) fn take_of_origin(
        &self,
        origin: &str,
        limit: Limit,
        others: usize,
    ) -> Option<Taken> {
        let account = self.account(origin.to_owned(), limit);
        if account.load(Ordering::Relaxed) + others >= self.limits.count(limit) {
            self.strike_origin(origin, limit, LimitOutcome::Refused);
            return None;
        }
        account.fetch_add(1, Ordering::Relaxed);
        Some(Taken { account, amount: 1 })
    }

    fn account(&self, origin: String, limit: Limit) -> Arc<AtomicUsize> {
        self.accounts.taken.borrow_mut().entry((origin, limit)).or_default().clone()
    }

    /// Whether a realm may write so much to its console now.
    pub(crate) fn may_write(&self, realm: RealmId, bytes: usize) -> bool {
        let mut consoles = self.accounts.consoles.borrow_mut();
        let flow = consoles.entry(realm).or_default().with(bytes + LINE_OVERHEAD_BYTES);
        drop(consoles);
        let may = flow <= self.limits.count(Limit::Console);
        if !may {
            self.strike(realm, Limit::Console, LimitOutcome::Dropped);
        }
        may
    }

    /// Whether a realm may broadcast so much now. Realms that listen have it within their next
    /// turns.
    pub(crate) fn broadcasts(&self, realm: RealmId, bytes: usize) -> bool {
        let origin = self.origin_of(realm).unwrap_or_default();
        let flow = self.accounts.broadcasts.borrow_mut().entry(origin).or_default().with(bytes);
        let may = flow <= self.limits.count(Limit::Messages);
        if !may {
            self.strike(realm, Limit::Messages, LimitOutcome::Refused);
        }
        may
    }

    /// How many more syncs an origin may register. `count` says how many it has; it is asked when
    /// all that was left the last time may have been used.
    pub(crate) fn takes_sync_room<E>(
        &self,
        origin: &str,
        count: impl FnOnce() -> Result<u64, E>,
    ) -> Result<bool, E> {
        let mut left = self.accounts.sync_room.borrow().get(origin).copied().unwrap_or(0);
        if left == 0 {
            left = self.limits.of(Limit::Syncs).saturating_sub(count()?);
        }
        let room = left.saturating_sub(1);
        self.accounts.sync_room.borrow_mut().insert(origin.to_owned(), room);
        Ok(left > 0)
    }

    /// Tells the trace that a realm has met a limit.
    pub(crate) fn strike(&self, realm: RealmId, limit: Limit, outcome: LimitOutcome) {
        if let Some(who) = self.who(realm) {
            self.tell_strike(who, limit, self.limits.of(limit), outcome);
        }
    }

    /// Tells the trace that an origin has met a limit.
    pub(crate) fn strike_origin(&self, origin: &str, limit: Limit, outcome: LimitOutcome) {
        let who = (LimitSubject::Origin, origin.to_owned());
        self.tell_strike(who, limit, self.limits.of(limit), outcome);
    }

    /// Tells the trace that an event has taken as long as it may.
    pub(crate) fn strike_event(&self, realm: RealmId, limit: Duration) {
        if let Some(who) = self.who(realm) {
            let amount = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            self.tell_strike(who, Limit::Event, amount, LimitOutcome::TimedOut);
        }
    }

    /// `None` if it has ended; that was told.
    fn who(&self, realm: RealmId) -> Option<(LimitSubject, String)> {
        Some(match self.realm_owner(realm)? {
            RealmOwner::Worker(worker) => (LimitSubject::Worker, worker.script_url.clone()),
            RealmOwner::Page(page) => (LimitSubject::Page, page.url.to_string()),
        })
    }

    fn tell_strike(
        &self,
        (subject, url): (LimitSubject, String),
        limit: Limit,
        amount: u64,
        outcome: LimitOutcome,
    ) {
        let mut told = self.accounts.told.borrow_mut();
        told.retain(|_, at| at.elapsed() < INTERVAL);
        let is_end = outcome == LimitOutcome::Terminated;
        if told.contains_key(&(url.clone(), limit)) && !is_end {
            return;
        }
        told.insert((url.clone(), limit), Instant::now());
        drop(told);
        self.trace(TraceKind::Limit { limit, amount, subject, url, outcome });
    }

    /// A realm that has ended writes no more.
    pub(crate) fn close_console_of(&self, realm: RealmId) {
        self.accounts.consoles.borrow_mut().remove(&realm);
    }
}
