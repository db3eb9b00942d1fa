//! Web Locks: <https://w3c.github.io/web-locks/>.

use std::cell::RefCell;
use std::rc::Rc;

use deno_core::futures::future::LocalBoxFuture;
use deno_core::{OpState, op2};
use serde::{Deserialize, Serialize};

use crate::{Host, OpError, RealmId};

/// <https://w3c.github.io/web-locks/#enumdef-lockmode>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockMode {
    /// With others of this mode.
    Shared,
    /// Alone.
    Exclusive,
}

/// The arguments of `LockManager.request()`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockRequest {
    /// UTF-16 code units: a name may have lone surrogates.
    pub name: Vec<u16>,
    /// With whom it may be held.
    pub mode: LockMode,
    /// It does not wait.
    pub if_available: bool,
    /// It takes the lock from its holders.
    pub steal: bool,
}

/// A lock or a request for one: <https://w3c.github.io/web-locks/#dictdef-lockinfo>
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockInfo {
    /// UTF-16 code units.
    pub name: Vec<u16>,
    /// With whom it may be held.
    pub mode: LockMode,
    /// The client that has it, or waits for it.
    pub client_id: String,
}

/// <https://w3c.github.io/web-locks/#dictdef-lockmanagersnapshot>
#[derive(Clone, Debug, Serialize)]
pub struct LockSnapshot {
    /// Locks that are held.
    pub held: Vec<LockInfo>,
    /// Requests that wait, in order.
    pub pending: Vec<LockInfo>,
}

/// The locks of each origin, shared by its realms. A request is named by what
/// [`LockServices::lock_request`] answered; a realm that ends gives up all that is its own.
pub trait LockServices {
    /// Asks for a lock.
    fn lock_request(&self, realm: RealmId, request: LockRequest) -> Result<u32, OpError>;
    /// Waits until it is granted; false if it is not available, or was taken back.
    fn lock_granted(&self, realm: RealmId, request: u32) -> LocalBoxFuture<'static, bool>;
    /// Waits until it is stolen (true) or released (false).
    fn lock_broken(&self, realm: RealmId, request: u32) -> LocalBoxFuture<'static, bool>;
    /// Takes a request back, or releases a lock whose holder has not heard of it yet; whether there
    /// was one.
    fn lock_abort(&self, realm: RealmId, request: u32) -> bool;
    /// Gives a lock back; false if it was stolen.
    fn lock_release(&self, realm: RealmId, request: u32) -> bool;
    /// What the realm's origin holds and waits for.
    fn lock_query(&self, realm: RealmId) -> LockSnapshot;
}

/// `LockManager.request()`.
#[op2]
pub fn op_lock_request(state: &mut OpState, #[serde] request: LockRequest) -> Result<u32, OpError> {
    let (services, realm) = Host::of(state);
    services.lock_request(realm, request)
}

/// Resolves when the lock is granted, or is not to be had.
#[op2]
pub async fn op_lock_granted(state: Rc<RefCell<OpState>>, request: u32) -> bool {
    let (services, realm) = Host::of(&state.borrow());
    services.lock_granted(realm, request).await
}

/// Resolves when the lock is gone; whether it was stolen.
#[op2]
pub async fn op_lock_broken(state: Rc<RefCell<OpState>>, request: u32) -> bool {
    let (services, realm) = Host::of(&state.borrow());
    services.lock_broken(realm, request).await
}

/// Takes a request back.
#[op2(fast)]
pub fn op_lock_abort(state: &mut OpState, request: u32) -> bool {
    let (services, realm) = Host::of(state);
    services.lock_abort(realm, request)
}

/// Gives a lock back.
#[op2(fast)]
pub fn op_lock_release(state: &mut OpState, request: u32) -> bool {
    let (services, realm) = Host::of(state);
    services.lock_release(realm, request)
}

/// `LockManager.query()`.
#[op2]
#[serde]
pub fn op_lock_query(state: &mut OpState) -> LockSnapshot {
    let (services, realm) = Host::of(state);
    services.lock_query(realm)
}
