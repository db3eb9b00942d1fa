//! The scope to registration map: <https://w3c.github.io/ServiceWorker/#dfn-scope-to-registration-map>
//!
//! The store has it whole. An origin's part of it comes to memory when somebody asks for it, so
//! that a start does not cost what is stored.
//!
//! Invariant: of an origin, all that the store knows is in memory, or nothing; a registration is
//! one object for as long as the process lives.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use kittiwake_ops::WorkerState;
use kittiwake_store::{Registration as Stored, RegistrationId, StoreError, Version, VersionState};
use url::Url;

use super::Registration;
use crate::host::Shard;
use crate::static_routing::Router;

/// What is in memory of it.
#[derive(Default)]
pub(crate) struct ScopeMap {
    by_scope: RefCell<BTreeMap<String, Rc<Registration>>>,
    /// Of the registrations that the store knows.
    scopes: RefCell<BTreeMap<RegistrationId, String>>,
    loaded_origins: RefCell<BTreeSet<String>>,
    /// Those that match nothing any more, and are still used.
    unregistered: RefCell<Vec<Rc<Registration>>>,
}

impl Drop for ScopeMap {
    fn drop(&mut self) {
        // Registrations and their workers hold each other.
        let registrations = self.by_scope.take().into_values();
        for registration in registrations.chain(self.unregistered.take()) {
            registration.take_workers();
        }
    }
}

impl Shard {
    /// Activates what waited for the process to end, and brings nothing else to memory.
    pub(crate) fn activate_stored(&self) -> Result<(), StoreError> {
        for stored in self.store.registrations_to_activate()? {
            self.load_origin(&stored.origin)?;
        }
        for registration in self.registrations_in_memory() {
            self.try_activate(&registration);
        }
        Ok(())
    }

    pub(crate) fn registration(&self, scope: &str) -> Option<Rc<Registration>> {
        let find = || self.scope_map.by_scope.borrow().get(scope).cloned();
        find().or_else(|| {
            self.require_origin(&origin_of(scope)?);
            find()
        })
    }

    pub(crate) fn registration_by_id(&self, id: RegistrationId) -> Option<Rc<Registration>> {
        let known = self.scope_map.scopes.borrow().get(&id).cloned();
        let scope = match known {
            Some(scope) => scope,
            None => self.told(self.store.registration(id))??.scope,
        };
        self.registration(&scope).filter(|registration| registration.id.get() == Some(id))
    }

    /// The registration with the longest scope that starts `url`.
    /// <https://w3c.github.io/ServiceWorker/#match-service-worker-registration>
    pub(crate) fn match_registration(&self, url: &str) -> Option<Rc<Registration>> {
        let registrations = self.registrations_of(&origin_of(url)?);
        let matching = registrations.into_iter().filter(|each| url.starts_with(&each.scope));
        matching.max_by_key(|each| each.scope.len())
    }

    /// Those of one origin, by scope.
    pub(crate) fn registrations_of(&self, origin: &str) -> Vec<Rc<Registration>> {
        self.require_origin(origin);
        let first = format!("{origin}/");
        let by_scope = self.scope_map.by_scope.borrow();
        let from_first =
            by_scope.range::<str, _>((Bound::Included(first.as_str()), Bound::Unbounded));
        let own = from_first.take_while(|(scope, _)| scope.starts_with(&first));
        own.map(|(_, registration)| registration.clone()).collect()
    }

    /// Those that somebody has asked for in this process, by scope.
    pub(crate) fn registrations_in_memory(&self) -> Vec<Rc<Registration>> {
        self.scope_map.by_scope.borrow().values().cloned().collect()
    }

    /// All, by scope. It costs what is stored: for what a person asks.
    pub(crate) fn all_registrations(&self) -> Result<Vec<Rc<Registration>>, StoreError> {
        for origin in self.store.origins()? {
            self.load_origin(&origin)?;
        }
        Ok(self.registrations_in_memory())
    }

    pub(super) fn add_registration(&self, registration: &Rc<Registration>) {
        let scope = registration.scope.clone();
        registration.taken.take();
        self.scope_map.by_scope.borrow_mut().insert(scope, registration.clone());
    }

    /// The store knows the registration, by this.
    pub(super) fn set_registration_id(&self, registration: &Registration, id: RegistrationId) {
        registration.id.set(Some(id));
        self.scope_map.scopes.borrow_mut().insert(id, registration.scope.clone());
    }

    /// Those that were unregistered and are still used.
    pub(super) fn unregistered(&self) -> Vec<Rc<Registration>> {
        self.scope_map.unregistered.borrow().clone()
    }

    pub(super) fn keep_unregistered(&self, registration: &Rc<Registration>) {
        self.scope_map.unregistered.borrow_mut().push(registration.clone());
    }

    pub(super) fn forget_unregistered(&self, registration: &Rc<Registration>) {
        let mut unregistered = self.scope_map.unregistered.borrow_mut();
        unregistered.retain(|other| !Rc::ptr_eq(other, registration));
    }

    pub(super) fn remove_registration(&self, registration: &Registration) {
        self.scope_map.by_scope.borrow_mut().remove(&registration.scope);
        if let Some(id) = registration.id.get() {
            self.scope_map.scopes.borrow_mut().remove(&id);
        }
    }

    /// Nothing of it is in memory any more, as in a process that has just started.
    pub(crate) fn forget_registrations(&self) -> ScopeMap {
        let ScopeMap { by_scope, scopes, loaded_origins, unregistered } = &self.scope_map;
        ScopeMap {
            by_scope: by_scope.take().into(),
            scopes: scopes.take().into(),
            loaded_origins: loaded_origins.take().into(),
            unregistered: unregistered.take().into(),
        }
    }

    /// As [`Shard::load_origin`], for whoever asks for one thing: without the store, it is not
    /// there.
    fn require_origin(&self, origin: &str) {
        self.told(self.load_origin(origin));
    }

    /// Brings an origin's registrations to memory.
    fn load_origin(&self, origin: &str) -> Result<(), StoreError> {
        if self.scope_map.loaded_origins.borrow().contains(origin) {
            return Ok(());
        }
        for stored in self.store.registrations_of(origin)? {
            self.load(stored);
        }
        self.scope_map.loaded_origins.borrow_mut().insert(origin.to_owned());
        Ok(())
    }

    fn load(&self, stored: Stored) {
        let registration = self.new_registration(stored.origin, stored.scope);
        self.set_registration_id(&registration, stored.id);
        registration.update_via_cache.set(stored.update_via_cache);
        registration.update_checked_ms.set(stored.update_checked_ms);
        *registration.preload.borrow_mut() = stored.preload;
        let worker = |version: Version, state| {
            let worker = self.new_worker(&registration, version.script_url, version.script_type);
            worker.version.set(Some(version.id));
            *worker.router.borrow_mut() = Router::from_json(&version.router_rules);
            worker.state.set(state);
            worker
        };
        for version in [stored.active, stored.waiting].into_iter().flatten() {
            match version.state {
                VersionState::Activated => {
                    *registration.active.borrow_mut() =
                        Some(worker(version, WorkerState::Activated));
                }
                // A crash cut its activate event short: it is dispatched anew.
                VersionState::Activating | VersionState::Installed => {
                    *registration.waiting.borrow_mut() =
                        Some(worker(version, WorkerState::Installed));
                }
            }
        }
        self.add_registration(&registration);
    }

    /// `None` if the store failed, which the trace has then.
    pub(super) fn told<T>(&self, read: Result<T, StoreError>) -> Option<T> {
        read.inspect_err(|error| self.trace_store_error(error)).ok()
    }
}

/// The origin of a URL, as the store has it.
fn origin_of(url: &str) -> Option<String> {
    Some(Url::parse(url).ok()?.origin().ascii_serialization())
}
