//! Which idle workers stay in memory: those that had an event last.
//!
//! Invariant: no worker is stopped for room while it has an event or installs, and a page never is.

use std::rc::Rc;
use std::time::Duration;

use kittiwake_ops::RealmId;
use kittiwake_store::ScriptCodeLimits;

use crate::host::{RealmOwner, Shard};
use crate::lifecycle::Worker;

/// How many realms may stay in memory, and how much of it they may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResidencyLimits {
    pub(crate) realms: usize,
    pub(crate) bytes: usize,
}

impl Default for ResidencyLimits {
    fn default() -> Self {
        ResidencyLimits { realms: 256, bytes: 2 << 30 }
    }
}

/// How much goes on at once, and for how long workers stay.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Time without an event after which a worker is stopped.
    pub(crate) idle: Duration,
    pub(crate) residency: ResidencyLimits,
    /// Whether a blank realm may wait for whoever needs one next.
    pub(crate) spare: bool,
    /// Code of workers' scripts.
    pub(crate) code: ScriptCodeLimits,
    /// Sync events under way in all.
    pub(crate) syncs: usize,
    /// Sync events under way of one registration.
    pub(crate) syncs_per_registration: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            idle: Duration::from_secs(30),
            residency: ResidencyLimits::default(),
            spare: true,
            code: ScriptCodeLimits::default(),
            syncs: 256,
            syncs_per_registration: 64,
        }
    }
}

impl Pace {
    /// What one of so many shards may have of what is for all.
    pub(crate) fn part_of(self, shards: usize) -> Pace {
        let part = |whole: usize| whole.div_ceil(shards);
        let ResidencyLimits { realms, bytes } = self.residency;
        let ScriptCodeLimits { script_bytes, total_bytes } = self.code;
        Pace {
            syncs: part(self.syncs),
            residency: ResidencyLimits { realms: part(realms), bytes: part(bytes) },
            code: ScriptCodeLimits { script_bytes, total_bytes: total_bytes / shards as u64 },
            ..self
        }
    }
}

impl Shard {
    /// Stops the workers that have been idle for longest, until one more realm is within the
    /// budget. Where all others are at work the budget is exceeded, because one of them may wait
    /// for the one that is to start; how many are at work is bounded where events come from.
    pub(crate) fn make_room(&self) {
        let mut idle = None;
        while self.realms.borrow().len() >= self.pace.residency.realms || self.is_over_bytes() {
            let idle = idle.get_or_insert_with(|| self.idle_workers());
            let Some(worker) = idle.pop() else { return };
            self.stop_worker(&worker);
        }
    }

    /// What a realm has taken of memory since it was last asked.
    pub(crate) fn note_memory(&self, realm: RealmId, bytes: usize) {
        if let Some(handle) = self.realms.borrow().get(&realm) {
            let before = handle.bytes.replace(bytes);
            self.resident_bytes.set(self.resident_bytes.get() - before + bytes);
        }
        if self.is_over_bytes() {
            self.drop_spare();
            self.make_room();
        }
    }

    /// In a simulation nobody counts bytes: they are not the same in every run.
    pub(crate) fn is_over_bytes(&self) -> bool {
        self.seed.is_none() && self.resident_bytes.get() > self.pace.residency.bytes
    }

    /// The one that has been idle for longest comes last.
    fn idle_workers(&self) -> Vec<Rc<Worker>> {
        let realms = self.realms.borrow();
        let workers = realms.values().filter_map(|handle| match &handle.owner {
            RealmOwner::Worker(worker) => Some(worker.clone()),
            RealmOwner::Page(_) => None,
        });
        let mut idle: Vec<_> = workers.filter(|worker| worker.may_be_stopped()).collect();
        idle.sort_by_key(|worker| std::cmp::Reverse(worker.idle_since()));
        idle
    }

    /// Lets go of what the realms of an origin share, once it has none and no event for one is
    /// under way: what a message brings along may be in there.
    pub(crate) fn let_go_of(&self, origin: &str) {
        let is_used = !self.realms_of(origin).is_empty()
            || self.registrations_of(origin).iter().any(|registration| registration.is_at_work());
        if !is_used {
            self.shares.borrow_mut().remove(origin);
        }
    }

    pub(crate) fn realms_of(&self, origin: &str) -> Vec<RealmId> {
        let realms = self.realms.borrow();
        let own = realms.iter().filter(|(_, handle)| match &handle.owner {
            RealmOwner::Worker(worker) => worker.origin == origin,
            RealmOwner::Page(page) => page.origin == origin,
        });
        own.map(|(id, _)| *id).collect()
    }

    pub(crate) fn realm_age(&self, id: RealmId) -> Duration {
        let created = self.realms.borrow().get(&id).map(|handle| handle.created);
        created.map_or(Duration::ZERO, |created| created.elapsed())
    }
}
