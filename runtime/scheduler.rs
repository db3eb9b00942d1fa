//! The scheduler of background syncs: wait, claim, dispatch, settle.
//!
//! Invariant: a claim is on disk before its event is dispatched, and the store is read anew after
//! each wake: the wake itself carries no data.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kittiwake_store::{
    ClaimLimits, Claimed, Outcome, Recovery, RegistrationId, Settled, StoreError, SyncWrite,
    SyncWritten,
};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::activity::{Activity, Busy};
use crate::host::{EventEnd, Shard};
use crate::lifecycle::{Registration, Worker};
use crate::network::Outlook as NetworkOutlook;
use crate::periodic;
use crate::realm::ExtendableInit;
use crate::trace::{SyncTraceState, SyncType, TraceKind};

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
    let mut last = None;
    let mut instant = (Instant::now(), 0);
    loop {
        breathe(&mut instant).await;
        let looking = shard.wake.busy.borrow_mut().take();
        let outlook = look(&shard, &mut last).unwrap_or_else(|error| {
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

fn look(shard: &Rc<Shard>, last: &mut Option<RegistrationId>) -> Result<Outlook, StoreError> {
    shard.look_at_time();
    let may_fire = shard.may_fire_syncs();
    if may_fire {
        claim(shard, last)?;
        periodic::claim(shard)?;
    }
    let may_change = shard.outlook.get() == NetworkOutlook::Open;
    if !may_fire && !may_change {
        // Nothing can move before somebody wakes: the store need not be asked.
        return Ok(Outlook { work: false, next: None });
    }
    let due = shard.store.sync_next_due()?;
    let unsettled = due.is_some() || shard.store.sync_has_pending()?;
    let left = |due: i64| Duration::from_millis(due.saturating_sub(shard.now_ms()).max(0) as u64);
    Ok(Outlook {
        work: unsettled,
        next: due
            .filter(|_| may_fire)
            .into_iter()
            .chain(periodic::next_due(shard)?)
            .min()
            .map(left),
    })
}

/// Settles what a crash left firing. Once, before anything else is scheduled.
pub(crate) fn recover(shard: &Shard) -> Result<(), StoreError> {
    for recovered in shard.store.sync_recover(&shard.policy, shard.now_ms())? {
        if let Recovery::Settled(settled) = recovered.recovery {
            let Some(registration) = shard.store.registration(recovered.registration)? else {
                continue;
            };
            let attempt = match settled {
                Settled::Waiting { failed_attempts, .. } => failed_attempts,
                _ => shard.policy.max_attempts,
            };
            let reason = Some("the process died in its event, time and again".to_owned());
            let claim = Claimed {
                registration: recovered.registration,
                tag: recovered.tag,
                attempt,
                last_chance: shard.policy.is_last_chance(attempt),
            };
            trace_settled(shard, &claim, &registration.scope, settled, reason);
        }
    }
    periodic::recover(shard)
}

/// Takes what may fire now, and fires it. `last` is the registration that was served last.
fn claim(shard: &Rc<Shard>, last: &mut Option<RegistrationId>) -> Result<(), StoreError> {
    shard.flush_commits();
    let mut under_way = BTreeMap::new();
    for (registration, _) in &*shard.firing.borrow() {
        *under_way.entry(*registration).or_default() += 1;
    }
    let limits = ClaimLimits {
        total: shard.free_sync_slots(),
        per_registration: shard.limits.syncs_per_registration,
        under_way,
        after: *last,
    };
    for claim in shard.store.sync_claim_due(&shard.policy, shard.now_ms(), &limits)? {
        *last = Some(claim.registration);
        shard.firing.borrow_mut().insert((claim.registration, claim.tag.clone()));
        let busy = shard.activity.begin();
        let shard = shard.clone();
        spawn_local(async move {
            let fired = fire(&shard, &claim).await;
            shard.firing.borrow_mut().remove(&(claim.registration, claim.tag));
            match fired {
                Ok(Fired::Settled) => shard.wake.wake(&shard.activity),
                // It would be claimed again at once; activation or the network will wake.
                Ok(Fired::GivenBack) => {}
                Err(error) => shard.trace_store_error(&error),
            }
            drop(busy);
        });
    }
    Ok(())
}

/// What became of a claim.
enum Fired {
    Settled,
    GivenBack,
}

/// Dispatches one sync event and settles it.
/// <https://wicg.github.io/background-sync/spec/#fire-a-sync-event>
async fn fire(shard: &Rc<Shard>, claim: &Claimed) -> Result<Fired, Arc<StoreError>> {
    let key = (claim.registration, claim.tag.clone());
    // A graceful stop gives claims back: then there is nothing left to settle.
    let is_given_back = || !shard.firing.borrow().contains(&key);
    let ready = worker_for(shard, claim.registration).await;
    if is_given_back() {
        return Ok(Fired::GivenBack);
    }
    let (Some((registration, worker)), true) = (ready, shard.is_online()) else {
        let Claimed { registration, tag, .. } = claim.clone();
        write(shard, SyncWrite::HandBack { registration, tag }).await?;
        return Ok(Fired::GivenBack);
    };
    trace_sync(shard, claim, &registration.scope, SyncTraceState::Firing, None, None);
    let init = ExtendableInit::Sync { tag: claim.tag.clone(), last_chance: claim.last_chance };
    let end = dispatch(shard, &worker, init).await;
    if is_given_back() {
        return Ok(Fired::GivenBack);
    }
    let (outcome, reason) = outcome_of(&end);
    let Claimed { registration: id, tag, .. } = claim.clone();
    match write(shard, SyncWrite::Settle { registration: id, tag, outcome }).await? {
        SyncWritten::Settled(settled) => {
            if matches!(settled, Settled::PendingAgain | Settled::Gone) {
                shard.trace_rejection(end);
            }
            trace_settled(shard, claim, &registration.scope, settled, reason);
            Ok(Fired::Settled)
        }
        other => unreachable!("a settle is answered as one, not as {other:?}"),
    }
}

/// The registration and its worker, once that is activated; `None` if either is gone.
pub(crate) async fn worker_for(
    shard: &Shard,
    registration: RegistrationId,
) -> Option<(Rc<Registration>, Rc<Worker>)> {
    let registration = shard.registration_by_id(registration)?;
    let worker = registration.activated_worker().await?;
    Some((registration, worker))
}

/// Dispatches an event of either kind of sync.
pub(crate) async fn dispatch(shard: &Shard, worker: &Rc<Worker>, init: ExtendableInit) -> EventEnd {
    let limit = Duration::from_millis(shard.policy.max_event_duration_ms.max(0) as u64);
    let end = shard.dispatch_functional(worker, init, limit).await;
    if matches!(end, EventEnd::TimedOut) {
        // A worker that sits on its event is stopped, as Chromium does, and starts afresh.
        shard.stop_worker(worker);
    }
    end
}

/// What the end of an event is to the store; with a failure comes its reason.
pub(crate) fn outcome_of(end: &EventEnd) -> (Outcome, Option<String>) {
    match end {
        EventEnd::Fulfilled => (Outcome::Fulfilled, None),
        EventEnd::Rejected(rejection) => (Outcome::Rejected, Some(rejection.message.clone())),
        EventEnd::TimedOut => {
            (Outcome::TimedOut, Some("the event took longer than its limit".to_owned()))
        }
        EventEnd::Terminated => (Outcome::Terminated, Some("the worker was terminated".to_owned())),
    }
}

async fn write(shard: &Shard, write: SyncWrite) -> Result<SyncWritten, Arc<StoreError>> {
    shard.commit(write).await.expect("a commit answers every write")
}

fn trace_settled(
    shard: &Shard,
    claim: &Claimed,
    scope: &str,
    settled: Settled,
    reason: Option<String>,
) {
    match settled {
        Settled::Done => trace_sync(shard, claim, scope, SyncTraceState::Done, None, None),
        Settled::Waiting { delay_ms, .. } => {
            let delay = Some(delay_ms.max(0) as u64);
            trace_sync(shard, claim, scope, SyncTraceState::Waiting, delay, reason);
        }
        Settled::GaveUp => trace_sync(shard, claim, scope, SyncTraceState::GaveUp, None, reason),
        // It fires again at once, which the trace shows; or it is gone, and with it its story.
        Settled::PendingAgain | Settled::Gone => {}
    }
}

fn trace_sync(
    shard: &Shard,
    claim: &Claimed,
    scope: &str,
    state: SyncTraceState,
    delay_ms: Option<u64>,
    reason: Option<String>,
) {
    shard.trace(TraceKind::Sync {
        sync_type: SyncType::OneShot,
        tag: claim.tag.clone(),
        scope: scope.to_owned(),
        state,
        attempt: claim.attempt,
        last_chance: claim.last_chance,
        delay_ms,
        reason,
    });
}
