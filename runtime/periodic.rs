//! Periodic background syncs: registered and unregistered by scripts, claimed when due, dispatched,
//! settled. <https://wicg.github.io/periodic-background-sync/>
//!
//! Invariant: a claim is on disk before its event is dispatched. While the permission is denied
//! nothing is claimed, which is the specification's state `suspended`.
//!
//! A periodic sync that waits for its period is not work that a runtime's idleness waits for: it
//! has no end. Only its event is, while it is under way.

use std::rc::Rc;

use kittiwake_ops::{OpError, Permission, RealmId};
use kittiwake_store::{
    PeriodicClaimed, PeriodicRegistered, PeriodicSettled, PeriodicUnregistered, StoreError,
};
use tokio::task::spawn_local;

use crate::host::Shard;
use crate::realm::ExtendableInit;
use crate::scheduler::{dispatch, outcome_of, worker_for};
use crate::trace::{SyncTraceState, SyncType, TraceKind};

impl Shard {
    pub(crate) fn register_periodic(
        &self,
        realm: RealmId,
        scope: &str,
        tag: &str,
        min_interval_ms: i64,
    ) -> Result<(), OpError> {
        let registration = self.own_registration(realm, scope);
        let active = registration.filter(|found| found.active().is_some());
        let no_active_worker = OpError::NoActiveWorker { interface: INTERFACE };
        let id = active.and_then(|found| found.id.get()).ok_or(no_active_worker)?;
        self.require_permission(Permission::PeriodicBackgroundSync, tag)?;
        let now_ms = self.now_ms();
        let registered =
            self.store.periodic_register(id, tag, min_interval_ms, &self.policy, now_ms);
        let line = Line { tag, scope, attempt: 0 };
        match registered.map_err(|error| self.sync_error(&error, INTERFACE))? {
            PeriodicRegistered::Begun { delay_ms } => {
                line.trace(self, SyncTraceState::Registered, Some(delay_ms), None);
            }
            PeriodicRegistered::IntervalChanged => {
                line.trace(self, SyncTraceState::Registered, None, None);
            }
            PeriodicRegistered::Reregistered => {
                line.trace(self, SyncTraceState::Reregistered, None, None);
            }
            PeriodicRegistered::Unchanged => return Ok(()),
        }
        // Committed: only now may anyone act on it, and the scheduler reads the store.
        self.wake.wake(&self.activity);
        Ok(())
    }

    pub(crate) fn tags_of_periodic(
        &self,
        realm: RealmId,
        scope: &str,
    ) -> Result<Vec<String>, OpError> {
        let registration = self.own_registration(realm, scope);
        let Some(id) = registration.and_then(|found| found.id.get()) else {
            return Ok(vec![]);
        };
        self.store.periodic_tags(id).map_err(|error| self.sync_error(&error, INTERFACE))
    }

    pub(crate) fn unregister_periodic(
        &self,
        realm: RealmId,
        scope: &str,
        tag: &str,
    ) -> Result<(), OpError> {
        let registration = self.own_registration(realm, scope);
        let Some(id) = registration.and_then(|found| found.id.get()) else {
            return Ok(());
        };
        let unregistered = self.store.periodic_unregister(id, tag);
        match unregistered.map_err(|error| self.sync_error(&error, INTERFACE))? {
            PeriodicUnregistered::Removed => {
                let line = Line { tag, scope, attempt: 0 };
                line.trace(self, SyncTraceState::Unregistered, None, None);
            }
            PeriodicUnregistered::NotFound => {}
        }
        Ok(())
    }

    fn may_fire_periodic(&self) -> bool {
        self.may_fire_syncs() && self.is_granted(Permission::PeriodicBackgroundSync)
    }
}

const INTERFACE: &str = "PeriodicSyncManager";

/// Settles what a crash left firing. Once, before anything else is scheduled.
pub(crate) fn recover(shard: &Shard) -> Result<(), StoreError> {
    let now_ms = shard.now_ms();
    for recovered in shard.store.periodic_recover(&shard.policy, now_ms)? {
        let record = recovered.record;
        let counted = record.interruptions == 0;
        let (true, Some(registration)) =
            (counted, shard.store.registration(recovered.registration)?)
        else {
            continue;
        };
        let (state, attempt) = match record.attempts {
            0 => (SyncTraceState::GaveUp, shard.policy.max_attempts),
            failed => (SyncTraceState::Waiting, failed),
        };
        let line = Line { tag: &recovered.tag, scope: &registration.scope, attempt };
        let reason = "the process died in its event, time and again".to_owned();
        line.trace(shard, state, Some(record.due_at_ms - now_ms), Some(reason));
    }
    Ok(())
}

/// When there is something to claim next, as far as anything may be claimed.
pub(crate) fn next_due(shard: &Shard) -> Result<Option<i64>, StoreError> {
    let may_claim = shard.may_fire_periodic() && shard.free_sync_slots() > 0;
    if may_claim { shard.store.periodic_next_due() } else { Ok(None) }
}

/// Takes what is due, and fires it.
pub(crate) fn claim(shard: &Rc<Shard>) -> Result<(), StoreError> {
    let now_ms = shard.now_ms();
    // Asked at every wake of either kind of sync, so that it begins no transaction in vain.
    if next_due(shard)?.is_none_or(|due_at_ms| due_at_ms > now_ms) {
        return Ok(());
    }
    for claim in shard.store.periodic_claim_due(now_ms, shard.free_sync_slots())? {
        let key = (claim.registration, claim.tag.clone());
        shard.firing_periodic.borrow_mut().insert(key.clone());
        let busy = shard.activity.begin();
        let shard = shard.clone();
        spawn_local(async move {
            if let Err(error) = fire(&shard, &claim).await {
                shard.trace_store_error(&error);
            }
            shard.firing_periodic.borrow_mut().remove(&key);
            shard.wake.wake(&shard.activity);
            drop(busy);
        });
    }
    Ok(())
}

/// Dispatches one periodic sync event and settles it.
/// <https://wicg.github.io/periodic-background-sync/#fire-a-periodicsync-event>
async fn fire(shard: &Rc<Shard>, claim: &PeriodicClaimed) -> Result<(), StoreError> {
    let PeriodicClaimed { registration: id, tag, attempt } = claim;
    let key = (*id, tag.clone());
    // A graceful stop gives claims back: then there is nothing left to settle.
    let is_given_back = || !shard.firing_periodic.borrow().contains(&key);
    let ready = worker_for(shard, *id).await;
    if is_given_back() {
        return Ok(());
    }
    let (Some((registration, worker)), true) = (ready, shard.is_online()) else {
        return shard.store.periodic_hand_back(*id, tag).map(drop);
    };
    let line = Line { tag, scope: &registration.scope, attempt: *attempt };
    line.trace(shard, SyncTraceState::Firing, None, None);
    let init = ExtendableInit::PeriodicSync { tag: tag.clone() };
    let end = dispatch(shard, &worker, init).await;
    if is_given_back() {
        return Ok(());
    }
    let (outcome, reason) = outcome_of(&end);
    let now_ms = shard.now_ms();
    match shard.store.periodic_settle(*id, tag, outcome, &shard.policy, now_ms)? {
        PeriodicSettled::Done { delay_ms } => {
            line.trace(shard, SyncTraceState::Done, Some(delay_ms), None);
        }
        PeriodicSettled::Waiting { delay_ms } => {
            line.trace(shard, SyncTraceState::Waiting, Some(delay_ms), reason);
        }
        PeriodicSettled::GaveUp { delay_ms } => {
            line.trace(shard, SyncTraceState::GaveUp, Some(delay_ms), reason);
        }
        // It fires again at once, which the trace shows; `unregistered` was the end of its story.
        PeriodicSettled::DueAgain | PeriodicSettled::Gone => shard.trace_rejection(end),
    }
    Ok(())
}

/// Whom a trace line is about.
struct Line<'a> {
    tag: &'a str,
    scope: &'a str,
    attempt: u32,
}

impl Line<'_> {
    fn trace(
        &self,
        shard: &Shard,
        state: SyncTraceState,
        delay_ms: Option<i64>,
        reason: Option<String>,
    ) {
        shard.trace(TraceKind::Sync {
            sync_type: SyncType::Periodic,
            tag: self.tag.to_owned(),
            scope: self.scope.to_owned(),
            state,
            attempt: self.attempt,
            last_chance: false,
            delay_ms: delay_ms.map(|delay_ms| delay_ms.max(0) as u64),
            reason,
        });
    }
}
