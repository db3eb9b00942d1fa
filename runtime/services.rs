//! What the ops ask of the host thread, answered.
//!
//! Invariant: a realm is answered about its own origin only, and no answer enters another realm:
//! what needs one happens in a task of its own.

use deno_core::futures::FutureExt;
use deno_core::futures::future::LocalBoxFuture;
use kittiwake_ops::{
    ClientState, ConsoleLevel, Delivery, FetchAnswer, FetchRequest, FetchResponse,
    NetworkInformation, OpError, Permission, PermissionState, RealmId, RegisterWorker,
    RegistrationState, RequestBody, RouterRule, ScriptException, ScriptSource, ServiceWorkerState,
    Services, WorkerState,
};
use kittiwake_store::{StoreError, SyncChange, SyncType};
use tokio::task::JoinSet;

use crate::host::{EventEnd, RealmOwner, Shard};
use crate::lifecycle::{FetchListeners, Registration};
use crate::limits::{Limit, LimitOutcome};
use crate::trace::TraceKind;

impl Services for Shard {
    fn now_ms(&self) -> f64 {
        self.clock.now_ms()
    }

    fn elapsed_ms(&self, realm: RealmId) -> f64 {
        self.realm_age(realm).as_secs_f64() * 1e3
    }

    fn random(&self) -> f64 {
        self.entropy.random()
    }

    fn online(&self) -> bool {
        self.is_online()
    }

    fn network_information(&self) -> NetworkInformation {
        self.information()
    }

    fn console(&self, realm: RealmId, level: ConsoleLevel, text: String) {
        if self.may_write(realm, text.len()) {
            if let Some(inspector) = &self.inspector {
                inspector.console((realm, &self.debugged), level, &text, self.now_ms());
            }
            self.trace(TraceKind::Console { level, text });
        }
    }

    fn blob_room(&self, realm: RealmId, bytes: usize) -> Result<Box<dyn Send + Sync>, OpError> {
        let room = self.take(realm, Limit::Blobs, bytes).ok_or(OpError::NoMemory)?;
        Ok(Box::new(room))
    }

    fn may_broadcast(&self, realm: RealmId, bytes: usize) -> Result<(), OpError> {
        match self.broadcasts(realm, bytes) {
            true => Ok(()),
            false => Err(self.too_many_messages()),
        }
    }

    fn buffer_limit(&self) -> usize {
        self.limits.count(Limit::Buffers)
    }

    fn timer_refused(&self, realm: RealmId) {
        self.strike(realm, Limit::Timers, LimitOutcome::Refused);
    }

    fn exception(&self, realm: RealmId, exception: ScriptException) {
        self.note_uncaught(realm, &exception);
        self.trace_exception(exception);
    }

    fn event_settled(&self, realm: RealmId, event: u32, rejection: Option<ScriptException>) {
        self.settle_event(realm, event, rejection);
    }

    fn sync_register(&self, realm: RealmId, scope: &str, tag: String) -> Result<u64, OpError> {
        self.change_sync(realm, scope, tag, SyncChange::Register)
    }

    fn sync_tags(&self, realm: RealmId, scope: &str) -> Result<Vec<String>, OpError> {
        self.tags_of_syncs(realm, scope, SyncType::OneShot)
    }

    fn periodic_register(
        &self,
        realm: RealmId,
        scope: &str,
        tag: String,
        min_interval_ms: i64,
    ) -> Result<u64, OpError> {
        self.change_sync(realm, scope, tag, SyncChange::RegisterPeriodic { min_interval_ms })
    }

    fn periodic_unregister(
        &self,
        realm: RealmId,
        scope: &str,
        tag: String,
    ) -> Result<u64, OpError> {
        self.change_sync(realm, scope, tag, SyncChange::UnregisterPeriodic)
    }

    fn periodic_tags(&self, realm: RealmId, scope: &str) -> Result<Vec<String>, OpError> {
        self.tags_of_syncs(realm, scope, SyncType::Periodic)
    }

    fn permission(&self, _realm: RealmId, permission: Permission) -> PermissionState {
        self.permissions.borrow().state(permission)
    }

    fn fetch(
        &self,
        realm: RealmId,
        request: FetchRequest,
        body: RequestBody,
    ) -> LocalBoxFuture<'static, Result<FetchResponse, OpError>> {
        let interceptor = self.controller_of(realm);
        let is_controlled = interceptor.is_some();
        let kept_alive = request.keepalive.then(|| body.whole_bytes());
        let fetched = self.fetch_for(realm, request, body, interceptor);
        if let Some(bytes) = kept_alive {
            return self.keep_alive(realm, bytes, fetched);
        }
        if !is_controlled {
            return fetched;
        }
        // In a task of its own, because the controller's isolate will be entered; it ends with the
        // asking realm's interest.
        let mut task = JoinSet::new();
        task.spawn_local(fetched);
        async move {
            let ended = task.join_next().await.expect("invariant: there is one task");
            ended.expect("invariant: a fetch does not panic")
        }
        .boxed_local()
    }

    fn fetch_event_body(&self, realm: RealmId, event: u32) -> RequestBody {
        self.take_fetch_event_body(realm, event)
    }

    fn fetch_event_answered(&self, realm: RealmId, event: u32, answer: FetchAnswer) {
        self.answer_fetch_event(realm, event, answer);
    }

    fn import_script(&self, realm: RealmId, url: &str) -> Result<ScriptSource, OpError> {
        match self.realm_owner(realm) {
            Some(RealmOwner::Worker(worker)) => self.import_script_for(&worker, url),
            _ => Err(OpError::ImportFailed { url: url.to_owned() }),
        }
    }

    fn add_routes(&self, realm: RealmId, rules: Vec<RouterRule>) -> Result<(), OpError> {
        match self.realm_owner(realm) {
            Some(RealmOwner::Worker(worker)) if worker.is_installing() => {
                worker.router.borrow_mut().add(rules);
                Ok(())
            }
            _ => Err(OpError::RoutesAfterInstall),
        }
    }

    fn fetch_listeners(&self, realm: RealmId, are_there: bool) {
        if let Some(RealmOwner::Worker(worker)) = self.realm_owner(realm) {
            let found = if are_there { FetchListeners::Some } else { FetchListeners::None };
            worker.fetch_listeners.set(found);
        }
    }

    fn skip_waiting(&self, realm: RealmId) {
        if let Some(RealmOwner::Worker(worker)) = self.realm_owner(realm) {
            self.skip_waiting_of(&worker);
        }
    }

    fn claim(&self, realm: RealmId) -> Result<(), OpError> {
        match self.realm_owner(realm) {
            Some(RealmOwner::Worker(worker))
                if matches!(
                    worker.state.get(),
                    WorkerState::Activating | WorkerState::Activated
                ) =>
            {
                self.claim_pages(&worker);
                Ok(())
            }
            _ => Err(OpError::ClaimByInactiveWorker),
        }
    }

    fn register_worker(
        &self,
        realm: RealmId,
        options: RegisterWorker,
    ) -> LocalBoxFuture<'static, Result<RegistrationState, OpError>> {
        self.register_for(realm, options)
    }

    fn update_worker(
        &self,
        realm: RealmId,
        scope: &str,
        number: u32,
    ) -> LocalBoxFuture<'static, Result<RegistrationState, OpError>> {
        self.update_for(realm, scope, number)
    }

    fn unregister(
        &self,
        realm: RealmId,
        scope: &str,
    ) -> LocalBoxFuture<'static, Result<bool, OpError>> {
        self.unregister_for(realm, scope)
    }

    fn registrations(&self, realm: RealmId) -> Vec<RegistrationState> {
        let origin = self.origin_of(realm);
        let own = origin.map_or(vec![], |origin| self.registrations_of(&origin));
        own.iter().map(|registration| registration.describe()).collect()
    }

    fn controller(&self, realm: RealmId) -> Option<ServiceWorkerState> {
        match self.realm_owner(realm) {
            Some(RealmOwner::Page(page)) => {
                page.controller.borrow().as_ref().map(|worker| worker.describe())
            }
            _ => None,
        }
    }

    fn post_message(&self, realm: RealmId, delivery: Delivery) -> Result<(), OpError> {
        self.deliver(realm, delivery)
    }

    fn clients(&self, realm: RealmId, include_uncontrolled: bool) -> Vec<ClientState> {
        let Some(RealmOwner::Worker(worker)) = self.realm_owner(realm) else {
            return vec![];
        };
        let pages = self.pages.borrow();
        let own = pages.values().filter(|page| page.origin == worker.origin);
        let mut chosen: Vec<_> =
            own.filter(|page| include_uncontrolled || page.is_controlled_by(&worker)).collect();
        // https://w3c.github.io/ServiceWorker/#clients-matchall: by the time of the last focus
        chosen.sort_by_key(|page| std::cmp::Reverse(page.window.shown_at()));
        chosen.into_iter().map(|page| page.describe()).collect()
    }
}

impl Shard {
    pub(crate) fn trace_exception(&self, exception: ScriptException) {
        self.trace(TraceKind::Error { exception });
    }

    /// Tells the operator what failed in the store; the script has been told what it may know.
    pub(crate) fn trace_store_error(&self, error: &StoreError) {
        let exception = ScriptException {
            message: error.to_string(),
            file: None,
            line: None,
            column: None,
            stack: None,
        };
        self.trace(TraceKind::Error { exception });
    }

    /// For events whose end nobody else tells: the trace is where a rejection is seen.
    pub(crate) fn trace_rejection(&self, end: EventEnd) {
        if let EventEnd::Rejected(rejection) = end {
            self.trace_exception(rejection);
        }
    }

    pub(crate) fn origin_of(&self, realm: RealmId) -> Option<String> {
        match self.realm_owner(realm)? {
            RealmOwner::Worker(worker) => Some(worker.origin.clone()),
            RealmOwner::Page(page) => Some(page.origin.clone()),
        }
    }

    pub(crate) fn own_registration(
        &self,
        realm: RealmId,
        scope: &str,
    ) -> Option<std::rc::Rc<Registration>> {
        let origin = self.origin_of(realm)?;
        self.registration(scope).filter(|registration| registration.origin == origin)
    }
}
