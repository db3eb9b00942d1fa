//! Unregistering: <https://w3c.github.io/ServiceWorker/#unregister-algorithm>
//!
//! Invariant: from the moment at which its promise resolves, a registration is gone from the disk
//! and matches nothing; its workers serve the pages that use it until the last one has gone.

use std::rc::Rc;
use std::sync::Arc;

use kittiwake_ops::WorkerState;
use kittiwake_store::StoreError;

use super::Registration;
use super::jobs::{Done, Queued};
use super::refusal::RegisterError;
use crate::host::Shard;

impl Shard {
    pub(super) async fn run_unregister(&self, scope: &str, queued: &Queued) {
        let Some(registration) = self.registration(scope) else {
            return queued.settle(Ok(Done::Unregistered(false)));
        };
        if let Err(error) = self.unregister(&registration) {
            self.trace_store_error(&error);
            return queued.settle(Err(RegisterError::Store(Arc::new(error))));
        }
        queued.settle(Ok(Done::Unregistered(true)));
        // As in Chromium: its promise resolves while its workers are there still.
        tokio::task::yield_now().await;
        self.try_clear(&registration);
    }

    /// Takes the registration, its scripts and its syncs from the store.
    fn unregister(&self, registration: &Rc<Registration>) -> Result<(), StoreError> {
        self.flush_commits();
        for worker in registration.workers() {
            let Some(version) = worker.version.get() else { continue };
            // It may start again for a page that it still controls.
            let resources = self.store.script_resources(version)?;
            let resources = resources.into_iter().map(|each| (each.url.clone(), each));
            *worker.resources.borrow_mut() = resources.collect();
        }
        if let Some(id) = registration.id.get() {
            let bodies = self.store.background_fetch_bodies(id)?;
            self.store.unregister(id)?;
            self.forget_background_fetches(id);
            self.release_bodies(bodies);
        }
        registration.unregistered.set(true);
        self.remove_registration(registration);
        self.keep_unregistered(registration);
        Ok(())
    }

    /// <https://w3c.github.io/ServiceWorker/#try-clear-registration-algorithm>
    pub(super) fn try_clear(&self, registration: &Rc<Registration>) {
        let is_busy = registration.workers().any(|worker| worker.events_under_way.get() > 0);
        if is_busy || self.is_used(registration) {
            return;
        }
        self.forget_unregistered(registration);
        let workers = registration.take_workers();
        self.tell_registration(registration, false);
        for worker in workers {
            self.set_worker_state(&worker, WorkerState::Redundant);
            self.stop_worker(&worker);
        }
    }
}
