//! One sync event of either type, from its claim to its settlement.
//!
//! Invariant: a claim is settled or handed back once, unless a graceful stop has given it back.

use std::rc::Rc;
use std::time::Duration;

use kittiwake_store::{
    Claimed, Outcome, RegistrationId, Settled, SyncChange, SyncType, SyncWrite, SyncWritten,
};
use tokio::task::spawn_local;

use crate::activity::Busy;
use crate::commits::Answer;
use crate::host::{EventEnd, Shard};
use crate::lifecycle::{Registration, Worker};
use crate::realm::ExtendableInit;
use crate::trace::{SyncTraceState, TraceKind};

/// Fires a claimed sync in a task of its own.
/// <https://wicg.github.io/background-sync/spec/#fire-a-sync-event>
/// <https://wicg.github.io/periodic-background-sync/#fire-a-periodicsync-event>
pub(crate) fn fire(shard: &Shard, sync_type: SyncType, claim: Claimed) {
    let (busy, event) = (shard.activity.begin(), shard.gauge.begin_event());
    let firing = Firing { sync_type, claim, busy, event };
    shard.firing.borrow_mut().insert(firing.key());
    let shard = shard.me();
    spawn_local(async move { firing.run(&shard).await });
}

/// A claim under way.
struct Firing {
    sync_type: SyncType,
    claim: Claimed,
    busy: Busy,
    event: Busy,
}

impl Firing {
    async fn run(self, shard: &Rc<Shard>) {
        // Every tag that fires is in the set until its end is on disk, but for a graceful stop.
        let is_given_back = || !shard.firing.borrow().contains(&self.key());
        let ready = worker_for(shard, self.claim.registration).await;
        if is_given_back() {
            return;
        }
        let (Some((registration, worker)), true) = (ready, shard.is_online()) else {
            return self.hand_back(shard);
        };
        self.line(&registration.scope).tell(shard, SyncTraceState::Firing, None, None);
        let end = dispatch(shard, &worker, self.init()).await;
        if !is_given_back() {
            self.settle(shard, registration, end);
        }
    }

    fn init(&self) -> ExtendableInit {
        let Claimed { tag, last_chance, .. } = &self.claim;
        match self.sync_type {
            SyncType::OneShot => {
                ExtendableInit::Sync { tag: tag.clone(), last_chance: *last_chance }
            }
            SyncType::Periodic => ExtendableInit::PeriodicSync { tag: tag.clone() },
        }
    }

    fn key(&self) -> (SyncType, RegistrationId, String) {
        (self.sync_type, self.claim.registration, self.claim.tag.clone())
    }

    fn line<'a>(&'a self, scope: &'a str) -> Line<'a> {
        Line { sync_type: self.sync_type, claim: &self.claim, scope }
    }

    fn write(&self, change: SyncChange) -> SyncWrite {
        let (registration, tag) = (self.claim.registration, self.claim.tag.clone());
        SyncWrite { registration, tag, change }
    }

    fn hand_back(self, shard: &Shard) {
        let write = self.write(SyncChange::HandBack(self.sync_type));
        let answer = Answer::Call(Box::new(move |shard, _, written| {
            shard.firing.borrow_mut().remove(&self.key());
            // Nobody is woken: it would be claimed again at once. Activation or the network will.
            if let Err(error) = written {
                shard.trace_store_error(&error);
            }
            drop((self.busy, self.event));
        }));
        shard.commit(write, answer);
    }

    fn settle(self, shard: &Shard, registration: Rc<Registration>, end: EventEnd) {
        let (outcome, reason) = outcome_of(&end);
        let write = self.write(SyncChange::Settle(self.sync_type, outcome));
        let answer = Answer::Call(Box::new(move |shard, _, written| {
            shard.firing.borrow_mut().remove(&self.key());
            match written {
                Ok(SyncWritten::Settled(settled)) => {
                    if matches!(settled, Settled::PendingAgain | Settled::Gone) {
                        shard.trace_rejection(end);
                    }
                    self.line(&registration.scope).tell_settled(shard, settled, reason);
                    shard.wake.wake(&shard.activity);
                }
                Ok(other) => unreachable!("a settle is answered as one, not as {other:?}"),
                Err(error) => shard.trace_store_error(&error),
            }
            drop((self.busy, self.event));
        }));
        shard.commit(write, answer);
    }
}

/// Whom trace lines are about.
pub(crate) struct Line<'a> {
    pub(crate) sync_type: SyncType,
    pub(crate) claim: &'a Claimed,
    pub(crate) scope: &'a str,
}

impl Line<'_> {
    pub(crate) fn tell_settled(&self, shard: &Shard, settled: Settled, reason: Option<String>) {
        match settled {
            Settled::Done { next_period_ms } => {
                self.tell(shard, SyncTraceState::Done, next_period_ms, None);
            }
            Settled::Waiting { delay_ms, .. } => {
                self.tell(shard, SyncTraceState::Waiting, Some(delay_ms), reason);
            }
            Settled::GaveUp { next_period_ms } => {
                self.tell(shard, SyncTraceState::GaveUp, next_period_ms, reason);
            }
            // It fires again at once, which the trace shows; or it is gone, and with it its story.
            Settled::PendingAgain | Settled::Gone => {}
        }
    }

    fn tell(
        &self,
        shard: &Shard,
        state: SyncTraceState,
        delay_ms: Option<i64>,
        reason: Option<String>,
    ) {
        shard.trace(TraceKind::Sync {
            sync_type: self.sync_type,
            tag: self.claim.tag.clone(),
            scope: self.scope.to_owned(),
            state,
            attempt: self.claim.attempt,
            last_chance: self.claim.last_chance,
            delay_ms: delay_ms.map(|delay_ms| delay_ms.max(0) as u64),
            reason,
        });
    }
}

/// The registration and its worker, once that is activated; `None` if either is gone.
async fn worker_for(
    shard: &Shard,
    registration: RegistrationId,
) -> Option<(Rc<Registration>, Rc<Worker>)> {
    let registration = shard.registration_by_id(registration)?;
    let worker = registration.activated_worker().await?;
    Some((registration, worker))
}

async fn dispatch(shard: &Shard, worker: &Rc<Worker>, init: ExtendableInit) -> EventEnd {
    let limit = Duration::from_millis(shard.policy.max_event_duration_ms.max(0) as u64);
    let end = shard.dispatch_functional(worker, init, limit).await;
    if matches!(end, EventEnd::TimedOut) {
        // A worker that sits on its event is stopped, as Chromium does, and starts afresh.
        shard.stop_worker(worker);
    }
    end
}

/// What the end of an event is to the store; with a failure comes its reason.
fn outcome_of(end: &EventEnd) -> (Outcome, Option<String>) {
    match end {
        EventEnd::Fulfilled => (Outcome::Fulfilled, None),
        EventEnd::Rejected(rejection) => (Outcome::Rejected, Some(rejection.message.clone())),
        EventEnd::TimedOut => {
            (Outcome::TimedOut, Some("the event took longer than its limit".to_owned()))
        }
        EventEnd::Terminated => (Outcome::Terminated, Some("the worker was terminated".to_owned())),
    }
}
