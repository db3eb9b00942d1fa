//! Service workers and their registrations: register, install, wait, activate, become redundant.
//! <https://w3c.github.io/ServiceWorker/#algorithms>
//!
//! Invariant: the store knows a worker only from the end of its install event on, so that nothing
//! is ever half-registered.

mod activate;
mod code;
mod install;
mod jobs;
mod modules;
mod refusal;
mod register;
mod running;
mod scopes;
mod script;
mod unregister;
mod update;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use kittiwake_ops::{RealmId, RegistrationState, ScriptException, ServiceWorkerState, WorkerState};
use kittiwake_store::{
    NavigationPreload, RegistrationId, ScriptResource, ScriptType, UpdateViaCache, VersionId,
};
use tokio::sync::{Mutex, Notify};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::accounts::Taken;
use crate::host::{RealmOwner, Shard};
use crate::realm::Call;
use crate::static_routing::Router;
use crate::trace::{LifecycleSubject, TraceKind};

pub(crate) use jobs::{Done, Job, Jobs};
pub(crate) use modules::{check_type, data_module};
pub(crate) use refusal::{Refusal, RegisterError, refused};
pub(crate) use register::{RegisterRequest, registration_of};
pub(crate) use scopes::ScopeMap;
pub(crate) use script::{decode, is_javascript};

/// A registration, with its workers: <https://w3c.github.io/ServiceWorker/#dfn-service-worker-registration>
pub(crate) struct Registration {
    /// Names it within this process, as the scope does not: after `unregister()` the same scope can
    /// have another.
    pub(crate) number: u32,
    pub(crate) id: Cell<Option<RegistrationId>>,
    pub(crate) origin: String,
    pub(crate) scope: String,
    pub(crate) update_via_cache: Cell<UpdateViaCache>,
    installing: RefCell<Option<Rc<Worker>>>,
    waiting: RefCell<Option<Rc<Worker>>>,
    active: RefCell<Option<Rc<Worker>>>,
    /// Told of every change of the workers and of their states.
    changed: Notify,
    /// Its scope matches nothing any more; it lasts until nobody uses it.
    unregistered: Cell<bool>,
    /// When its script was last compared with its server's, in Unix epoch milliseconds.
    update_checked_ms: Cell<Option<i64>>,
    pub(crate) preload: RefCell<NavigationPreload>,
    /// Whether a task waits to compare it after a navigation.
    update_planned: Cell<bool>,
    /// Its place among those that its origin may have, until it is in the scope map.
    taken: RefCell<Option<Taken>>,
}

/// A service worker: <https://w3c.github.io/ServiceWorker/#dfn-service-worker>
pub(crate) struct Worker {
    pub(crate) id: u32,
    pub(crate) origin: String,
    pub(crate) script_url: String,
    pub(crate) script_type: ScriptType,
    /// Until the registration is cleared the two hold each other.
    pub(crate) registration: Rc<Registration>,
    pub(crate) state: Cell<WorkerState>,
    pub(crate) realm: Cell<Option<RealmId>>,
    /// Set once its install event succeeded.
    version: Cell<Option<VersionId>>,
    /// The script resource map until then; after that the store has it.
    resources: RefCell<BTreeMap<String, ScriptResource>>,
    /// Who answers requests instead of its fetch event.
    pub(crate) router: RefCell<Router>,
    pub(crate) fetch_listeners: Cell<FetchListeners>,
    skip_waiting: Cell<bool>,
    events_under_way: Cell<u32>,
    last_event_ended: Cell<Instant>,
    /// The number of that end among all of the shard.
    idle_since: Cell<u64>,
    /// The task that waits to stop it.
    idle_watch: RefCell<Option<AbortHandle>>,
    /// Held while the script starts: events wait for it in the order in which they came.
    starting: Mutex<()>,
}

/// Whether a worker's script had added a listener of fetch events when it had run for the first
/// time: <https://w3c.github.io/ServiceWorker/#dfn-set-of-event-types-to-handle>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FetchListeners {
    /// It has not run in this process.
    #[default]
    Unknown,
    Some,
    /// One that comes later is not asked either.
    None,
}

impl Registration {
    fn new(number: u32, origin: String, scope: String) -> Rc<Self> {
        Rc::new(Registration {
            number,
            id: Cell::new(None),
            origin,
            scope,
            update_via_cache: Cell::default(),
            installing: RefCell::default(),
            waiting: RefCell::default(),
            active: RefCell::default(),
            changed: Notify::new(),
            unregistered: Cell::default(),
            update_checked_ms: Cell::default(),
            preload: RefCell::new(no_preload()),
            update_planned: Cell::default(),
            taken: RefCell::default(),
        })
    }

    pub(crate) fn active(&self) -> Option<Rc<Worker>> {
        self.active.borrow().clone()
    }

    fn waiting(&self) -> Option<Rc<Worker>> {
        self.waiting.borrow().clone()
    }

    /// Its workers, the newest first.
    fn workers(&self) -> impl Iterator<Item = Rc<Worker>> {
        let slots = [&self.installing, &self.waiting, &self.active];
        slots.map(|slot| slot.borrow().clone()).into_iter().flatten()
    }

    /// <https://w3c.github.io/ServiceWorker/#get-newest-worker>
    pub(crate) fn newest(&self) -> Option<Rc<Worker>> {
        self.workers().next()
    }

    /// Empties it, and answers the workers that it had.
    pub(crate) fn take_workers(&self) -> Vec<Rc<Worker>> {
        let slots = [&self.installing, &self.waiting, &self.active];
        slots.into_iter().filter_map(|slot| slot.borrow_mut().take()).collect()
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

    /// Whether one of its workers has an event, or installs.
    pub(crate) fn is_at_work(&self) -> bool {
        self.workers().any(|worker| !worker.may_be_stopped())
    }

    pub(crate) fn describe(&self) -> RegistrationState {
        let describe = |worker: &RefCell<Option<Rc<Worker>>>| {
            worker.borrow().as_ref().map(|worker| worker.describe())
        };
        RegistrationState {
            number: self.number,
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
            let changed = self.registration.changed.notified();
            if self.state.get() == WorkerState::Activating {
                changed.await;
            }
        }
    }

    /// Whether the network answers each request of its clients, and nobody needs to ask it.
    pub(crate) fn leaves_all_to_network(&self) -> bool {
        self.fetch_listeners.get() == FetchListeners::None && self.router.borrow().is_empty()
    }

    /// Whether nothing is lost if its realm ends now.
    pub(crate) fn may_be_stopped(&self) -> bool {
        self.events_under_way.get() == 0 && !self.is_installing()
    }

    /// Grows with the end of its last event: in a simulation many end in one moment.
    pub(crate) fn idle_since(&self) -> u64 {
        self.idle_since.get()
    }

    /// Its realm has gone, and nobody has to wait for that any more.
    pub(crate) fn has_stopped(&self) {
        self.realm.set(None);
        if let Some(watch) = self.idle_watch.take() {
            watch.abort();
        }
    }

    pub(crate) fn is_installing(&self) -> bool {
        matches!(self.state.get(), WorkerState::Parsed | WorkerState::Installing)
    }
}

impl Shard {
    fn new_registration(&self, origin: String, scope: String) -> Rc<Registration> {
        Registration::new(self.next_id(), origin, scope)
    }

    fn new_worker(
        &self,
        registration: &Rc<Registration>,
        script_url: String,
        script_type: ScriptType,
    ) -> Rc<Worker> {
        Rc::new(Worker {
            id: self.next_id(),
            origin: registration.origin.clone(),
            script_url,
            script_type,
            registration: registration.clone(),
            state: Cell::new(WorkerState::Parsed),
            realm: Cell::default(),
            version: Cell::default(),
            resources: RefCell::default(),
            router: RefCell::default(),
            fetch_listeners: Cell::default(),
            skip_waiting: Cell::default(),
            events_under_way: Cell::default(),
            last_event_ended: Cell::new(Instant::now()),
            idle_since: Cell::default(),
            idle_watch: RefCell::default(),
            starting: Mutex::default(),
        })
    }

    pub(crate) fn worker(&self, id: u32) -> Option<Rc<Worker>> {
        // One whose script runs for the first time has no registration yet.
        let running = self.realms.borrow().values().find_map(|realm| match &realm.owner {
            RealmOwner::Worker(worker) if worker.id == id => Some(worker.clone()),
            _ => None,
        });
        if running.is_some() {
            return running;
        }
        let mut all = self.registrations_in_memory().into_iter().chain(self.unregistered());
        all.find_map(|registration| registration.workers().find(|worker| worker.id == id))
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
            worker: Some(worker.id),
            scope: Some(worker.registration.scope.clone()),
        });
        for realm in self.realms_of(&worker.origin) {
            self.call_realm(realm, Call::ChangeWorkerState { worker: worker.id, state });
        }
        worker.registration.changed.notify_waiters();
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
}

fn no_preload() -> NavigationPreload {
    NavigationPreload { enabled: false, header: "true".to_owned() }
}

/// An exception that the host itself has to report, without a place in any script.
pub(crate) fn plain_exception(message: String) -> ScriptException {
    ScriptException { message, file: None, line: None, column: None, stack: None }
}
