//! Service workers and their registrations: register, install, wait, activate, become redundant.
//! <https://w3c.github.io/ServiceWorker/#algorithms>
//!
//! Invariant: the store knows a worker only from the end of its install event on, so that nothing
//! is ever half-registered.

mod modules;
mod register;
mod running;
mod scopes;
mod script;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use kittiwake_ops::{RealmId, RegistrationState, ScriptException, ServiceWorkerState, WorkerState};
use kittiwake_store::{
    RegistrationId, ScriptResource, ScriptType, StoreError, UpdateViaCache, VersionId,
};
use tokio::sync::{Mutex, Notify};
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::host::Shard;
use crate::realm::{Call, ExtendableInit};
use crate::trace::{LifecycleSubject, TraceKind};

pub(crate) use register::{Refusal, RegisterError, RegisterRequest, refused};
pub(crate) use scopes::ScopeMap;
pub(crate) use script::{decode, is_javascript};

/// A registration, with its workers: <https://w3c.github.io/ServiceWorker/#dfn-service-worker-registration>
pub(crate) struct Registration {
    pub(crate) id: Cell<Option<RegistrationId>>,
    pub(crate) origin: String,
    pub(crate) scope: String,
    pub(crate) update_via_cache: Cell<UpdateViaCache>,
    installing: RefCell<Option<Rc<Worker>>>,
    waiting: RefCell<Option<Rc<Worker>>>,
    active: RefCell<Option<Rc<Worker>>>,
    /// Told of every change of the workers and of their states.
    changed: Notify,
    /// One job at a time: <https://w3c.github.io/ServiceWorker/#dfn-job-queue>
    job: tokio::sync::Mutex<()>,
}

/// A service worker: <https://w3c.github.io/ServiceWorker/#dfn-service-worker>
pub(crate) struct Worker {
    pub(crate) id: u32,
    pub(crate) origin: String,
    pub(crate) scope: String,
    pub(crate) script_url: String,
    pub(crate) script_type: ScriptType,
    registration: Weak<Registration>,
    pub(crate) state: Cell<WorkerState>,
    pub(crate) realm: Cell<Option<RealmId>>,
    /// Set once its install event succeeded.
    version: Cell<Option<VersionId>>,
    /// The script resource map until then; after that the store has it.
    resources: RefCell<BTreeMap<String, ScriptResource>>,
    skip_waiting: Cell<bool>,
    events_under_way: Cell<u32>,
    /// It was unregistered in mid-event.
    retired: Cell<bool>,
    last_event_ended: Cell<Instant>,
    /// Whether a task waits to stop it.
    idle_watched: Cell<bool>,
    /// Held while the script starts: events wait for it in the order in which they came.
    starting: Mutex<()>,
}

impl Registration {
    fn new(origin: String, scope: String) -> Rc<Self> {
        Rc::new(Registration {
            id: Cell::new(None),
            origin,
            scope,
            update_via_cache: Cell::default(),
            installing: RefCell::default(),
            waiting: RefCell::default(),
            active: RefCell::default(),
            changed: Notify::new(),
            job: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn active(&self) -> Option<Rc<Worker>> {
        self.active.borrow().clone()
    }

    fn waiting(&self) -> Option<Rc<Worker>> {
        self.waiting.borrow().clone()
    }

    fn newest(&self) -> Option<Rc<Worker>> {
        let installing = self.installing.borrow().clone();
        installing.or_else(|| self.waiting()).or_else(|| self.active())
    }

    /// The active worker, once it is activated; functional events wait for that.
    pub(crate) async fn activated_worker(&self) -> Option<Rc<Worker>> {
        loop {
            let changed = self.changed.notified();
            match self.active() {
                Some(worker) if worker.state.get() == WorkerState::Activating => changed.await,
                active => return active,
            }
        }
    }

    pub(crate) fn describe(&self) -> RegistrationState {
        let describe = |worker: &RefCell<Option<Rc<Worker>>>| {
            worker.borrow().as_ref().map(|worker| worker.describe())
        };
        RegistrationState {
            scope: self.scope.clone(),
            update_via_cache: self.update_via_cache.get().to_string(),
            installing: describe(&self.installing),
            waiting: describe(&self.waiting),
            active: describe(&self.active),
        }
    }
}

impl Worker {
    pub(crate) fn describe(&self) -> ServiceWorkerState {
        ServiceWorkerState {
            id: self.id,
            script_url: self.script_url.clone(),
            script_type: self.script_type.to_string(),
            state: self.state.get(),
        }
    }

    /// Functional events wait for the end of the activate event.
    pub(crate) async fn activation(&self) {
        while self.state.get() == WorkerState::Activating {
            let Some(registration) = self.registration.upgrade() else { return };
            let changed = registration.changed.notified();
            if self.state.get() == WorkerState::Activating {
                changed.await;
            }
        }
    }

    fn is_installing(&self) -> bool {
        matches!(self.state.get(), WorkerState::Parsed | WorkerState::Installing)
    }
}

impl Shard {
    fn new_worker(
        &self,
        registration: &Rc<Registration>,
        script_url: String,
        script_type: ScriptType,
    ) -> Rc<Worker> {
        Rc::new(Worker {
            id: self.next_id(),
            origin: registration.origin.clone(),
            scope: registration.scope.clone(),
            script_url,
            script_type,
            registration: Rc::downgrade(registration),
            state: Cell::new(WorkerState::Parsed),
            realm: Cell::default(),
            version: Cell::default(),
            resources: RefCell::default(),
            skip_waiting: Cell::default(),
            events_under_way: Cell::default(),
            last_event_ended: Cell::new(Instant::now()),
            idle_watched: Cell::default(),
            retired: Cell::default(),
            starting: Mutex::default(),
        })
    }

    pub(crate) fn worker(&self, id: u32) -> Option<Rc<Worker>> {
        let registrations = self.registrations_in_memory();
        let mut workers = registrations.iter().flat_map(|registration| {
            let installing = registration.installing.borrow().clone();
            [installing, registration.waiting(), registration.active()].into_iter().flatten()
        });
        workers.find(|worker| worker.id == id)
    }

    // --- states ---

    /// Sets the worker's state and tells the trace and the origin's realms.
    /// <https://w3c.github.io/ServiceWorker/#update-state>
    fn set_worker_state(&self, worker: &Worker, state: WorkerState) {
        self.enter_worker_state(worker, state);
        self.tell_worker_state(worker);
    }

    fn enter_worker_state(&self, worker: &Worker, state: WorkerState) {
        worker.state.set(state);
        self.trace(TraceKind::Lifecycle {
            subject: LifecycleSubject::Worker,
            url: worker.script_url.clone(),
            state: match state {
                WorkerState::Parsed => "parsed",
                WorkerState::Installing => "installing",
                WorkerState::Installed => "installed",
                WorkerState::Activating => "activating",
                WorkerState::Activated => "activated",
                WorkerState::Redundant => "redundant",
            },
        });
        for realm in self.realms_of(&worker.origin) {
            self.call_realm(realm, Call::ChangeWorkerState { worker: worker.id, state });
        }
        if let Some(registration) = worker.registration.upgrade() {
            registration.changed.notify_waiters();
        }
    }

    fn tell_worker_state(&self, worker: &Worker) {
        let (id, state) = (worker.id, worker.state.get());
        for realm in self.realms_of(&worker.origin) {
            self.call_realm(realm, Call::ChangeWorkerState { worker: id, state });
        }
    }

    /// Tells the origin's realms which workers the registration has.
    fn tell_registration(&self, registration: &Registration, update_found: bool) {
        for realm in self.realms_of(&registration.origin) {
            let registration = registration.describe();
            self.call_realm(realm, Call::ChangeRegistration { registration, update_found });
        }
    }

    /// Drops the registration with its syncs; whether it was there.
    /// <https://w3c.github.io/ServiceWorker/#clear-registration>
    pub(crate) fn clear_registration(&self, scope: &str) -> Result<bool, StoreError> {
        let Some(registration) = self.registration(scope) else {
            return Ok(false);
        };
        self.flush_commits();
        if let Some(id) = registration.id.get() {
            self.store.unregister(id)?;
        }
        let mut workers = Vec::new();
        for slot in [&registration.installing, &registration.waiting, &registration.active] {
            workers.extend(slot.borrow_mut().take());
        }
        self.tell_registration(&registration, false);
        self.remove_registration(&registration);
        for worker in workers {
            self.retire(&worker);
        }
        Ok(true)
    }

    /// Makes a worker redundant and stops it, once its events under way are over.
    fn retire(&self, worker: &Worker) {
        if worker.events_under_way.get() > 0 {
            return worker.retired.set(true);
        }
        self.set_worker_state(worker, WorkerState::Redundant);
        self.stop_worker(worker);
    }

    // --- activation ---

    /// Activates the waiting worker if nothing holds it back.
    /// <https://w3c.github.io/ServiceWorker/#try-activate-algorithm>
    pub(crate) fn try_activate(&self, registration: &Rc<Registration>) {
        let Some(waiting) = registration.waiting() else {
            return;
        };
        if let Some(active) = registration.active() {
            let in_use = self.pages.borrow().values().any(|page| page.is_controlled_by(&active));
            let busy = active.events_under_way.get() > 0;
            if busy || (in_use && !waiting.skip_waiting.get()) {
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
        self.store.activating(worker.version.get().expect("a waiting worker is in the store"))?;
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
        let end = self.dispatch_functional(worker, init, self.limits.event).await;
        self.trace_rejection(end);
        if worker.state.get() != WorkerState::Activating {
            return;
        }
        let version = worker.version.get().expect("an active worker is in the store");
        if let Err(error) = self.store.activated(version) {
            self.trace_store_error(&error);
        }
        self.set_worker_state(worker, WorkerState::Activated);
        self.wake.wake(&self.activity);
    }

    /// Pages that the predecessor controlled have the new worker as their controller.
    fn move_controlled_pages(&self, worker: &Rc<Worker>) {
        let pages: Vec<_> =
            self.pages.borrow().iter().map(|(id, page)| (*id, page.clone())).collect();
        for (id, page) in pages {
            let controller = page.controller.borrow().clone();
            if controller.is_some_and(|controller| controller.scope == worker.scope) {
                *page.controller.borrow_mut() = Some(worker.clone());
                self.call_realm(id, Call::ChangeController);
            }
        }
    }

    /// `skipWaiting()` of a worker.
    pub(crate) fn skip_waiting_of(&self, worker: &Worker) {
        worker.skip_waiting.set(true);
        if let Some(registration) = worker.registration.upgrade() {
            self.try_activate(&registration);
        }
    }

    /// `clients.claim()` of an active worker.
    /// <https://w3c.github.io/ServiceWorker/#dom-clients-claim>
    pub(crate) fn claim_pages(&self, worker: &Rc<Worker>) {
        let pages: Vec<_> =
            self.pages.borrow().iter().map(|(id, page)| (*id, page.clone())).collect();
        for (id, page) in pages {
            let registration = self.match_registration(page.url.as_str());
            let in_scope = registration.is_some_and(|found| found.scope == worker.scope);
            if in_scope && page.origin == worker.origin && !page.is_controlled_by(worker) {
                *page.controller.borrow_mut() = Some(worker.clone());
                self.call_realm(id, Call::ChangeController);
            }
        }
    }
}

/// An exception that the host itself has to report, without a place in any script.
pub(crate) fn plain_exception(message: String) -> ScriptException {
    ScriptException { message, file: None, line: None, column: None, stack: None }
}
