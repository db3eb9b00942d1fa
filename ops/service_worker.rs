//! Registrations and workers, as they cross the border.

use std::cell::RefCell;
use std::rc::Rc;

use deno_core::{OpState, op2};
use serde::{Deserialize, Serialize};

use crate::{Host, OpError};

/// A service worker's state: <https://w3c.github.io/ServiceWorker/#dfn-state>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerState {
    /// Its script runs for the first time.
    Parsed,
    /// Its install event is under way.
    Installing,
    /// Installed; waits for its predecessor to go.
    Installed,
    /// Its activate event is under way.
    Activating,
    /// Takes functional events.
    Activated,
    /// Replaced, unregistered, or its install failed.
    Redundant,
}

/// What a realm knows of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceWorkerState {
    /// Names the worker within this process.
    pub id: u32,
    /// Its script.
    pub script_url: String,
    /// `classic` or `module`.
    pub script_type: String,
    /// Its state.
    pub state: WorkerState,
}

/// What a realm knows of a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationState {
    /// Names the registration within this process; after `unregister()` its scope may have another.
    pub number: u32,
    /// The scope URL.
    pub scope: String,
    /// `imports`, `all` or `none`.
    pub update_via_cache: String,
    /// The worker that installs.
    pub installing: Option<ServiceWorkerState>,
    /// The worker that waits.
    pub waiting: Option<ServiceWorkerState>,
    /// The worker that is activating or activated.
    pub active: Option<ServiceWorkerState>,
}

/// The arguments of `navigator.serviceWorker.register()`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterWorker {
    /// Absolute, without its fragment.
    pub script_url: String,
    /// Absolute, without its fragment; by default the script's folder.
    pub scope_url: Option<String>,
    /// `classic` or `module`.
    pub script_type: String,
    /// `imports`, `all` or `none`.
    pub update_via_cache: String,
}

/// `navigator.serviceWorker.register()`.
#[op2]
#[serde]
pub async fn op_worker_register(
    state: Rc<RefCell<OpState>>,
    #[serde] options: RegisterWorker,
) -> Result<RegistrationState, OpError> {
    let (services, realm) = Host::of(&state.borrow());
    services.register_worker(realm, options).await
}

/// `ServiceWorkerRegistration.update()`.
#[op2]
#[serde]
pub async fn op_worker_update(
    state: Rc<RefCell<OpState>>,
    #[string] scope: String,
    number: u32,
) -> Result<RegistrationState, OpError> {
    let (services, realm) = Host::of(&state.borrow());
    services.update_worker(realm, &scope, number).await
}

/// `ServiceWorkerRegistration.unregister()`.
#[op2]
pub async fn op_worker_unregister(
    state: Rc<RefCell<OpState>>,
    #[string] scope: String,
) -> Result<bool, OpError> {
    let (services, realm) = Host::of(&state.borrow());
    services.unregister(realm, &scope).await
}

/// Every registration of the realm's origin, by scope.
#[op2]
#[serde]
pub fn op_worker_registrations(state: &mut OpState) -> Vec<RegistrationState> {
    let (services, realm) = Host::of(state);
    services.registrations(realm)
}

/// `navigator.serviceWorker.controller`.
#[op2]
#[serde]
pub fn op_worker_controller(state: &mut OpState) -> Option<ServiceWorkerState> {
    let (services, realm) = Host::of(state);
    services.controller(realm)
}

/// Whether the worker's script has added a listener of fetch events, now that it has run.
#[op2(fast)]
pub fn op_worker_fetch_listeners(state: &mut OpState, are_there: bool) {
    let (services, realm) = Host::of(state);
    services.fetch_listeners(realm, are_there);
}

/// `skipWaiting()`.
#[op2(fast)]
pub fn op_worker_skip_waiting(state: &mut OpState) {
    let (services, realm) = Host::of(state);
    services.skip_waiting(realm);
}
