//! The scheduler of background syncs of both types: wait, claim, and let them fire.
//!
//! Invariant: a claim is on disk before its event is dispatched, and the store is read anew after
//! each wake: the wake itself carries no data.
//!
//! A periodic sync that waits for its period is not work that a runtime's idleness waits for: it
//! has no end. Only its event is, while it is under way.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kittiwake_ops::Permission;
use kittiwake_store::{
    ClaimLimits, ClaimTurns, Claimed, Recovered, Recovery, Settled, StoreError, SyncType,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::activity::{Activity, Busy};
use crate::firing::{Line, fire};
use crate::host::Shard;
use crate::network::Outlook as NetworkOutlook;

/// Wakes the scheduler. The shard counts as busy from the call until the scheduler has looked.
#[derive(Default)]
pub(crate) struct Wake {
    notify: Notify,
    busy: RefCell<Option<Busy>>,
}

impl Wake {
    pub(crate) fn wake(&self, activity: &Activity) {
        self.busy.borrow_mut().get_or_insert_with(|| activity.begin());
        self.notify.notify_one();
    }
}

/// How long the scheduler leaves a store alone that failed.
const STORE_RETRY: Duration = Duration::from_secs(30);

/// How often the scheduler looks before it lets a moment pass. No real run comes near.
const MAX_LOOKS_AN_INSTANT: u32 = 1_000;

/// Schedules until the shard ends.
pub(crate) async fn run(shard: Rc<Shard>) {
    let mut turns = ClaimTurns::default();
    let mut instant = (Instant::now(), 0);
    loop {
        breathe(&mut instant).await;
        let looking = shard.wake.busy.borrow_mut().take();
        let outlook = look(&shard, &mut turns).unwrap_or_else(|error| {
            shard.trace_store_error(&error);
            Outlook { work: false, next: Some(STORE_RETRY) }
        });
        let hold = outlook.work.then(|| shard.activity.begin());
        drop(looking);
        let woken = shard.wake.notify.notified();
        match outlook.next {
            None => woken.await,
            // Whichever comes first; a wake that was not waited for is kept by `Notify`.
            Some(next) => drop(tokio::time::timeout(next, woken).await),
        }
        drop(hold);
    }
}

/// Lets a moment pass when very much happens in none: a worker that registers the next sync in each
/// of its sync events would hold a simulated clock still for ever, and nobody could stop the run.
async fn breathe((instant, looks): &mut (Instant, u32)) {
    if *instant != Instant::now() {
        (*instant, *looks) = (Instant::now(), 0);
    }
    *looks += 1;
    if *looks > MAX_LOOKS_AN_INSTANT {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What is to come once everything that may fire has been fired.
struct Outlook {
    /// Whether a sync can still move without anyone's doing.
    work: bool,
    /// When the scheduler has to look again, if nobody wakes it.
    next: Option<Duration>,
}

fn look(shard: &Rc<Shard>, turns: &mut ClaimTurns) -> Result<Outlook, StoreError> {
    shard.look_at_time();
    if shard.may_fire_syncs() {
        shard.resume_transfers();
    }
    let transfers_wait = shard.transfers_wait();
    // Whoever gives a slot back wakes.
    let may_fire = shard.may_fire_syncs() && shard.free_sync_slots() > 0;
    let may_change = shard.outlook.get() == NetworkOutlook::Open;
    if !may_fire && !may_change {
        // Nothing can move before somebody wakes: the store need not be asked.
        return Ok(Outlook { work: false, next: None });
    }
    shard.flush_commits();
    if may_fire {
        claim(shard, turns)?;
        claim_periodic(shard)?;
    }
    let due = shard.store.sync_next_due()?;
    let unsettled = due.is_some() || shard.store.sync_has_pending()?;
    let left = |due: i64| Duration::from_millis(due.saturating_sub(shard.now_ms()).max(0) as u64);
    Ok(Outlook {
        work: unsettled || transfers_wait,
        next: due.filter(|_| may_fire).into_iter().chain(next_period(shard)?).min().map(left),
    })
}

/// Settles what a crash left firing. Once, before anything else is scheduled.
pub(crate) fn recover(shard: &Shard) -> Result<(), StoreError> {
    let (policy, now_ms) = (&shard.policy, shard.now_ms());
    for (sync_type, recovered) in [
        (SyncType::OneShot, shard.store.sync_recover(policy, now_ms)?),
        (SyncType::Periodic, shard.store.periodic_recover(policy, now_ms)?),
    ] {
        for Recovered { registration, tag, recovery } in recovered {
            let Recovery::Settled(settled) = recovery else { continue };
            let Some(of) = shard.store.registration(registration)? else { continue };
            let attempt = match settled {
                Settled::Waiting { failed_attempts, .. } => failed_attempts,
                _ => policy.max_attempts,
            };
            let last_chance = sync_type == SyncType::OneShot && policy.is_last_chance(attempt);
            let claim = &Claimed { registration, tag, attempt, last_chance };
            let reason = Some("the process died in its event, time and again".to_owned());
            Line { sync_type, claim, scope: &of.scope }.tell_settled(shard, settled, reason);
        }
    }
    Ok(())
}

/// Takes what may fire now, and fires it.
fn claim(shard: &Shard, turns: &mut ClaimTurns) -> Result<(), StoreError> {
    let mut under_way = BTreeMap::new();
    for (sync_type, registration, _) in &*shard.firing.borrow() {
        *under_way.entry(*registration).or_default() +=
            usize::from(*sync_type == SyncType::OneShot);
    }
    let limits = ClaimLimits {
        total: shard.free_sync_slots(),
        per_registration: shard.pace.syncs_per_registration,
        under_way,
    };
    for claim in shard.store.sync_claim_due(&shard.policy, shard.now_ms(), &limits, turns)? {
        fire(shard, SyncType::OneShot, claim);
    }
    Ok(())
}

/// Takes the periodic syncs that are due, and fires them.
fn claim_periodic(shard: &Shard) -> Result<(), StoreError> {
    let now_ms = shard.now_ms();
    // Asked at every wake for either type of sync, so that it begins no transaction in vain.
    if next_period(shard)?.is_none_or(|due_at_ms| due_at_ms > now_ms) {
        return Ok(());
    }
    for claim in shard.store.periodic_claim_due(now_ms, shard.free_sync_slots())? {
        fire(shard, SyncType::Periodic, claim);
    }
    Ok(())
}

/// When there is a periodic sync to claim next. While the permission is denied nothing is claimed,
/// which is the specification's state `suspended`.
fn next_period(shard: &Shard) -> Result<Option<i64>, StoreError> {
    let may_claim = shard.free_sync_slots() > 0
        && shard.may_fire_syncs()
        && shard.is_granted(Permission::PeriodicBackgroundSync);
    if may_claim { shard.store.periodic_next_due() } else { Ok(None) }
}
