//! Periodic Background Synchronization: <https://wicg.github.io/periodic-background-sync/>.

use std::cell::RefCell;
use std::rc::Rc;

use deno_core::{OpState, op2};

use crate::{Host, OpError};

/// `PeriodicSyncManager.register(tag, options)`. When it resolves, the registration is on disk.
#[op2]
pub async fn op_periodic_register(
    state: Rc<RefCell<OpState>>,
    #[string] scope: String,
    #[string] tag: String,
    #[number] min_interval_ms: i64,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(&state.borrow());
    services.periodic_register(realm, &scope, tag, min_interval_ms).await
}

/// `PeriodicSyncManager.unregister(tag)`. When it resolves, the registration is gone from disk.
#[op2]
pub async fn op_periodic_unregister(
    state: Rc<RefCell<OpState>>,
    #[string] scope: String,
    #[string] tag: String,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(&state.borrow());
    services.periodic_unregister(realm, &scope, tag).await
}

/// `PeriodicSyncManager.getTags()`.
#[op2]
#[serde]
pub fn op_periodic_tags(
    state: &mut OpState,
    #[string] scope: &str,
) -> Result<Vec<String>, OpError> {
    let (services, realm) = Host::of(state);
    services.periodic_tags(realm, scope)
}
