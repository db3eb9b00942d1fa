//! Activation: a waiting worker takes its predecessor's place, and the pages that it controlled.
//! <https://w3c.github.io/ServiceWorker/#activation-algorithm>
//!
//! Invariant: one worker of a registration is active at a time, and an event under way keeps it.

use std::rc::Rc;

use kittiwake_ops::WorkerState;
use kittiwake_store::StoreError;
use tokio::task::spawn_local;

use super::{Registration, Worker};
use crate::host::Shard;
use crate::realm::{Call, ExtendableInit};

impl Shard {
    /// Activates the waiting worker if nothing holds it back.
    /// <https://w3c.github.io/ServiceWorker/#try-activate-algorithm>
    pub(crate) fn try_activate(&self, registration: &Rc<Registration>) {
        let Some(waiting) = registration.waiting() else {
            return;
        };
        if let Some(active) = registration.active() {
            let is_busy =
                active.state.get() == WorkerState::Activating || active.events_under_way.get() > 0;
            if is_busy || (self.is_used(registration) && !waiting.skip_waiting.get()) {
                return;
            }
        }
        match self.start_activation(registration, waiting) {
            Ok(worker) => {
                let (shard, busy) = (self.me(), self.activity.begin());
                spawn_local(async move {
                    shard.finish_activation(&worker).await;
                    drop(busy);
                });
            }
            Err(error) => self.trace_store_error(&error),
        }
    }

    /// <https://w3c.github.io/ServiceWorker/#activation-algorithm>
    fn start_activation(
        &self,
        registration: &Registration,
        worker: Rc<Worker>,
    ) -> Result<Rc<Worker>, StoreError> {
        if !registration.unregistered.get() {
            let version = worker.version.get().expect("a waiting worker is in the store");
            self.store.activating(version)?;
        }
        registration.waiting.borrow_mut().take();
        let predecessor = registration.active.borrow_mut().replace(worker.clone());
        if let Some(predecessor) = predecessor {
            self.set_worker_state(&predecessor, WorkerState::Redundant);
            self.stop_worker(&predecessor);
        }
        self.tell_registration(registration, false);
        self.set_worker_state(&worker, WorkerState::Activating);
        self.move_controlled_pages(&worker);
        Ok(worker)
    }

    /// Whatever becomes of the event, the worker is activated after it.
    async fn finish_activation(&self, worker: &Rc<Worker>) {
        let init = ExtendableInit::Activate;
        let end = self.dispatch_functional(worker, init, self.event_limit()).await;
        self.trace_rejection(end);
        if worker.state.get() != WorkerState::Activating {
            return;
        }
        if !worker.registration.unregistered.get() {
            let version = worker.version.get().expect("an active worker is in the store");
            if let Err(error) = self.store.activated(version) {
                self.trace_store_error(&error);
            }
        }
        self.set_worker_state(worker, WorkerState::Activated);
        self.wake.wake(&self.activity);
        self.try_activate(&worker.registration);
    }

    /// Pages that the predecessor controlled have the new worker as their controller.
    fn move_controlled_pages(&self, worker: &Rc<Worker>) {
        let pages: Vec<_> =
            self.pages.borrow().iter().map(|(id, page)| (*id, page.clone())).collect();
        for (id, page) in pages {
            if page.uses(&worker.registration) {
                *page.controller.borrow_mut() = Some(worker.clone());
                self.call_realm(id, Call::ChangeController);
            }
        }
    }

    /// Whether a page's controller is a worker of the registration.
    /// <https://w3c.github.io/ServiceWorker/#dfn-use>
    pub(super) fn is_used(&self, registration: &Rc<Registration>) -> bool {
        self.pages.borrow().values().any(|page| page.uses(registration))
    }

    /// `skipWaiting()` of a worker.
    pub(crate) fn skip_waiting_of(&self, worker: &Worker) {
        worker.skip_waiting.set(true);
        self.try_activate(&worker.registration);
    }

    /// `clients.claim()` of an active worker.
    /// <https://w3c.github.io/ServiceWorker/#dom-clients-claim>
    pub(crate) fn claim_pages(&self, worker: &Rc<Worker>) {
        let pages: Vec<_> =
            self.pages.borrow().iter().map(|(id, page)| (*id, page.clone())).collect();
        for (id, page) in pages {
            let registration = self.match_registration(page.url.as_str());
            let is_own = |found: Rc<Registration>| Rc::ptr_eq(&found, &worker.registration);
            if registration.is_some_and(is_own) && !page.is_controlled_by(worker) {
                let before = page.controller.replace(Some(worker.clone()));
                self.call_realm(id, Call::ChangeController);
                if let Some(before) = before {
                    self.has_left(&before.registration);
                }
            }
        }
    }

    /// A page or an event that used the registration does so no more.
    pub(crate) fn has_left(&self, registration: &Rc<Registration>) {
        match registration.unregistered.get() {
            true => self.try_clear(registration),
            false => self.try_activate(registration),
        }
    }
}
