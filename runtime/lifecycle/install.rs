//! Installing a worker: <https://w3c.github.io/ServiceWorker/#installation-algorithm>
//!
//! Invariant: a worker whose install event failed leaves no trace in the store.

use std::rc::Rc;
use std::sync::Arc;

use kittiwake_ops::WorkerState;
use kittiwake_store::InstalledWorker;
use tokio::sync::watch;

use super::jobs::{Done, Queued};
use super::refusal::RegisterError;
use super::{Registration, Worker};
use crate::host::{EventEnd, Shard};
use crate::realm::ExtendableInit;

impl Shard {
    /// Answers the job, dispatches the install event, and activates the worker if nothing holds it
    /// back.
    pub(super) async fn install(
        &self,
        registration: &Rc<Registration>,
        worker: Rc<Worker>,
        queued: &Queued,
    ) {
        *registration.installing.borrow_mut() = Some(worker.clone());
        // A page that registers never sees the worker in its first state.
        self.enter_worker_state(&worker, WorkerState::Installing);
        self.add_registration(registration);
        let (ended, installation) = watch::channel(None);
        queued.settle(Ok(Done::Registration(registration.clone(), Some(installation))));
        // The promise of register() resolves first, and its continuation runs.
        tokio::task::yield_now().await;
        self.tell_worker_state(&worker);
        self.tell_registration(registration, true);
        let result = self.dispatch_install(registration, &worker).await;
        if let Err(error) = &result {
            self.discard_installing(registration, &worker, error);
        } else {
            self.try_activate(registration);
        }
        // A page that registered the worker does not wait for this.
        let _ = ended.send(Some(result));
    }

    async fn dispatch_install(
        &self,
        registration: &Rc<Registration>,
        worker: &Rc<Worker>,
    ) -> Result<(), RegisterError> {
        let end =
            self.dispatch_functional(worker, ExtendableInit::Install, self.event_limit()).await;
        let failure = match end {
            EventEnd::Fulfilled => None,
            EventEnd::Rejected(cause) => Some(cause),
            EventEnd::TimedOut => {
                Some(super::plain_exception("the event took longer than its limit".to_owned()))
            }
            EventEnd::Terminated => {
                Some(super::plain_exception("the worker was terminated".to_owned()))
            }
        };
        if let Some(cause) = failure {
            return Err(RegisterError::InstallFailed { cause: Box::new(cause) });
        }
        let resources = worker.resources.take().into_values().collect();
        let (id, version) = self
            .store
            .install(&InstalledWorker {
                origin: registration.origin.clone(),
                scope: registration.scope.clone(),
                script_url: worker.script_url.clone(),
                script_type: worker.script_type,
                update_via_cache: registration.update_via_cache.get(),
                router_rules: worker.router.borrow().to_json(),
                resources,
            })
            .map_err(|error| RegisterError::Store(Arc::new(error)))?;
        self.set_registration_id(registration, id);
        self.keep_update_check(registration);
        worker.version.set(Some(version));
        let redundant = registration.waiting.borrow_mut().replace(worker.clone());
        registration.installing.borrow_mut().take();
        if let Some(redundant) = redundant {
            self.set_worker_state(&redundant, WorkerState::Redundant);
            self.stop_worker(&redundant);
        }
        self.tell_registration(registration, false);
        self.set_worker_state(worker, WorkerState::Installed);
        Ok(())
    }

    fn discard_installing(
        &self,
        registration: &Rc<Registration>,
        worker: &Rc<Worker>,
        error: &RegisterError,
    ) {
        match error {
            RegisterError::Store(error) => self.trace_store_error(error),
            RegisterError::InstallFailed { cause } => self.trace_exception(*cause.clone()),
            RegisterError::Refused { .. } => {}
        }
        registration.installing.borrow_mut().take();
        self.tell_registration(registration, false);
        self.set_worker_state(worker, WorkerState::Redundant);
        self.stop_worker(worker);
        if registration.newest().is_none() {
            self.remove_registration(registration);
        }
    }
}
