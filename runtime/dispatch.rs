//! One sync event at somebody's wish, beside the registrations: DevTools' `dispatchSyncEvent`.
//! <https://chromedevtools.github.io/devtools-protocol/tot/ServiceWorker/#method-dispatchSyncEvent>
//!
//! Invariant: the store is not asked and not changed; only what the script does itself reaches it.

use std::rc::Rc;
use std::time::Duration;

use kittiwake_ops::ScriptException;
use url::Url;

use crate::host::{EventEnd, Shard};
use crate::lifecycle::{Registration, Worker, plain_exception};
use crate::realm::ExtendableInit;
use crate::runtime::Error;
use crate::trace::{DispatchTraceState, TraceKind, duration_text};

/// Whether a sync event says that no attempt follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastChance {
    /// `lastChance` is false.
    No,
    /// `lastChance` is true.
    Yes,
}

/// How an event ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventOutcome {
    /// Every `waitUntil` promise fulfilled; also if there was none, or no listener.
    Fulfilled,
    /// A `waitUntil` promise rejected with this, or the worker's script threw at its start.
    Rejected(Box<ScriptException>),
    /// It took longer than the policy allows.
    TimedOut,
    /// The worker was stopped in mid-event.
    Terminated,
}

impl Shard {
    /// Dispatches a sync event at the active worker of `scope`, or of the only registration.
    pub(crate) async fn dispatch_sync(
        &self,
        scope: Option<Url>,
        tag: String,
        chance: LastChance,
    ) -> Result<EventOutcome, Error> {
        let registration = self.registration_to_ask(scope)?;
        self.worker_to_ask(&registration).await?;
        let scope = registration.scope.clone();
        let last_chance = chance == LastChance::Yes;
        let trace = |state, reason| {
            let (tag, scope) = (tag.clone(), scope.clone());
            self.trace(TraceKind::Dispatch { tag, scope, state, last_chance, reason });
        };
        trace(DispatchTraceState::Dispatched, None);
        let init = ExtendableInit::Sync { tag: tag.clone(), last_chance };
        let limit = Duration::from_millis(self.policy.max_event_duration_ms.max(0) as u64);
        let outcome = self.dispatch_to_active(&registration, init, limit).await?;
        match &outcome {
            EventOutcome::Fulfilled => trace(DispatchTraceState::Fulfilled, None),
            EventOutcome::Rejected(rejection) => {
                trace(DispatchTraceState::Rejected, Some(rejection.message.clone()));
            }
            EventOutcome::TimedOut => trace(DispatchTraceState::TimedOut, None),
            EventOutcome::Terminated => trace(DispatchTraceState::Terminated, None),
        }
        Ok(outcome)
    }

    /// Dispatches an event at a registration's active worker, and waits for its end.
    pub(crate) async fn dispatch_to_active(
        &self,
        registration: &Rc<Registration>,
        init: ExtendableInit,
        limit: Duration,
    ) -> Result<EventOutcome, Error> {
        let worker = self.worker_to_ask(registration).await?;
        Ok(match self.dispatch_functional(&worker, init, limit).await {
            EventEnd::Fulfilled => EventOutcome::Fulfilled,
            EventEnd::Rejected(rejection) => EventOutcome::Rejected(Box::new(rejection)),
            EventEnd::TimedOut => {
                // As after any event that is sat on: the worker is stopped.
                self.stop_worker(&worker);
                EventOutcome::TimedOut
            }
            EventEnd::Terminated => EventOutcome::Terminated,
        })
    }

    /// As [`Shard::dispatch_to_active`], for events of which nothing else tells how they ended.
    pub(crate) async fn dispatch_and_tell(
        &self,
        registration: &Rc<Registration>,
        init: ExtendableInit,
    ) -> Result<EventOutcome, Error> {
        let (name, limit) = (init.name(), self.event_limit());
        let outcome = self.dispatch_to_active(registration, init, limit).await?;
        match &outcome {
            EventOutcome::Fulfilled => {}
            EventOutcome::Rejected(rejection) => self.trace_exception((**rejection).clone()),
            EventOutcome::TimedOut => {
                let limit = duration_text(limit.as_millis() as u64);
                self.trace_exception(plain_exception(format!("{name} took longer than {limit}")));
            }
            EventOutcome::Terminated => {
                self.trace_exception(plain_exception(format!("the worker ended during {name}")));
            }
        }
        Ok(outcome)
    }

    /// The active worker, once it is activated.
    pub(crate) async fn worker_to_ask(
        &self,
        registration: &Rc<Registration>,
    ) -> Result<Rc<Worker>, Error> {
        let worker = registration.activated_worker().await;
        worker.ok_or_else(|| Error::NoWorker { scope: registration.scope.clone() })
    }

    pub(crate) fn registration_to_ask(
        &self,
        scope: Option<Url>,
    ) -> Result<Rc<Registration>, Error> {
        if let Some(scope) = scope {
            let found = self.registration(scope.as_str());
            return found.ok_or_else(|| Error::NoWorker { scope: scope.to_string() });
        }
        let registrations = self.all_registrations()?;
        let mut all = registrations.iter();
        match (all.next(), all.next()) {
            (None, _) => Err(Error::NoWorker { scope: "any scope".to_owned() }),
            (Some(only), None) => Ok(only.clone()),
            (Some(_), Some(_)) => {
                let scopes = registrations.iter().map(|each| each.scope.clone()).collect();
                Err(Error::ManyWorkers { scopes })
            }
        }
    }
}
