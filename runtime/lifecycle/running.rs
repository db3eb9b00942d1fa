//! A worker that runs: started for its events, kept while they last, stopped when it idles.
//! <https://w3c.github.io/ServiceWorker/#run-service-worker-algorithm>
//!
//! Invariant: a worker has one realm at most, and is not stopped for idleness during an event.

use std::rc::Rc;
use std::time::Duration;

use kittiwake_ops::RealmId;
use kittiwake_store::ScriptType;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::{FetchListeners, Worker};
use crate::activity::Busy;
use crate::host::{EventEnd, RealmOwner, Shard};
use crate::inspector::now;
use crate::limits::Limit;
use crate::realm::{Call, ExtendableInit, RealmError, RealmKind, StartOptions};

/// An event of a worker, until it is dropped.
pub(crate) struct EventUnderWay {
    shard: Rc<Shard>,
    worker: Rc<Worker>,
    _busy: Busy,
}

impl Drop for EventUnderWay {
    fn drop(&mut self) {
        let EventUnderWay { shard, worker, .. } = self;
        worker.events_under_way.set(worker.events_under_way.get() - 1);
        if worker.events_under_way.get() > 0 {
            return;
        }
        shard.stop_when_idle(worker.clone());
        shard.has_left(&worker.registration);
    }
}

impl Shard {
    /// Starts the worker if it sleeps, and answers its realm.
    /// <https://w3c.github.io/ServiceWorker/#run-service-worker>
    pub(crate) async fn ensure_running(&self, worker: &Rc<Worker>) -> Result<RealmId, RealmError> {
        let _starting = worker.starting.lock().await;
        if let Some(realm) = worker.realm.get() {
            return Ok(realm);
        }
        let source = self.main_script(worker)?;
        let registration = Some(worker.registration.describe());
        let start = StartOptions {
            kind: RealmKind::ServiceWorker,
            url: worker.script_url.clone(),
            origin: worker.origin.clone(),
            host_clock: self.host_doors.clock,
            host_entropy: self.host_doors.entropy,
            user_agent: self.user_agent.clone(),
            module: worker.script_type == ScriptType::Module,
            registration,
            worker: Some(worker.describe()),
            timer_limit: self.timer_limit(),
            buffer_limit: self.limits.of(Limit::Buffers) as f64,
        };
        self.make_room();
        let realm = self.create_realm(RealmOwner::Worker(worker.clone()), start);
        worker.realm.set(Some(realm));
        if !worker.is_installing() {
            // Others may wake as well.
            self.want_spare();
        }
        let evaluated = match worker.script_type {
            ScriptType::Classic => self.evaluate(realm, &worker.script_url, source).await,
            ScriptType::Module => self.run_module(worker, realm, source).await,
        };
        let evaluated = match evaluated {
            Ok(()) => self.load_test_worker(worker, realm).await,
            failed => failed,
        };
        if evaluated.is_err() {
            self.drop_realm(realm);
        } else if worker.fetch_listeners.get() == FetchListeners::Unknown {
            self.call_realm(realm, Call::TellListeners);
        }
        evaluated.map(|()| realm)
    }

    pub(crate) fn stop_worker(&self, worker: &Worker) {
        if let Some(realm) = worker.realm.get() {
            self.drop_realm(realm);
            self.let_go_of(&worker.origin);
        }
    }

    /// Dispatches an event at a worker, which is started if it sleeps, and stopped if it idles.
    pub(crate) async fn dispatch_functional(
        &self,
        worker: &Rc<Worker>,
        init: ExtendableInit,
        limit: Duration,
    ) -> EventEnd {
        let _under_way = self.event_under_way(worker);
        let is_functional = !matches!(
            init,
            ExtendableInit::Install | ExtendableInit::Activate | ExtendableInit::Message { .. }
        );
        if is_functional {
            self.update_if_stale(&worker.registration);
        }
        let is_first = matches!(init, ExtendableInit::Install | ExtendableInit::Activate);
        let (event, began) = (init.name(), Instant::now());
        let end = match self.ensure_running(worker).await {
            Ok(realm) => {
                let end = self.dispatch(realm, init, limit).await;
                if matches!(end, EventEnd::Fulfilled) && !is_first {
                    self.keep_code(worker, realm);
                }
                end
            }
            Err(RealmError::Exception(exception) | RealmError::CannotStart(exception)) => {
                EventEnd::Rejected(exception)
            }
            Err(RealmError::Terminated(_) | RealmError::Gone) => EventEnd::Terminated,
        };
        self.measure_event(event, &end, began.elapsed());
        end
    }

    /// Keeps the worker running for as long as the answer lives.
    pub(crate) fn event_under_way(&self, worker: &Rc<Worker>) -> EventUnderWay {
        worker.events_under_way.set(worker.events_under_way.get() + 1);
        let _busy = self.gauge.begin_event();
        EventUnderWay { shard: self.me(), worker: worker.clone(), _busy }
    }

    /// Stops the worker when it has had no event for the idle limit. One task watches a worker that
    /// runs, however many events it has; one that has stopped costs nothing.
    fn stop_when_idle(&self, worker: Rc<Worker>) {
        worker.last_event_ended.set(Instant::now());
        self.events_ended.set(self.events_ended.get() + 1);
        worker.idle_since.set(self.events_ended.get());
        if worker.realm.get().is_none() || worker.idle_watch.borrow().is_some() {
            return;
        }
        let (shard, watched) = (self.me(), worker.clone());
        let watch = spawn_local(async move {
            // An event that is under way then has the worker watched anew when it ends.
            while worker.events_under_way.get() == 0 {
                let ended = worker.last_event_ended.get();
                let began = now();
                tokio::time::sleep_until(ended + shard.pace.idle).await;
                let idle = worker.last_event_ended.get() == ended;
                if idle && shard.was_debugged_since(began) {
                    worker.last_event_ended.set(Instant::now());
                    continue;
                }
                if idle && worker.events_under_way.get() == 0 {
                    shard.stop_worker(&worker);
                    break;
                }
            }
            worker.idle_watch.take();
        });
        watched.idle_watch.replace(Some(watch.abort_handle()));
    }
}
