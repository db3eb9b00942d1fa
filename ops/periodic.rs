//! Periodic Background Synchronization: <https://wicg.github.io/periodic-background-sync/>.

use deno_core::{OpState, op2};

use crate::{Host, OpError};

/// `PeriodicSyncManager.register(tag, options)`. When it returns, the registration is on disk.
#[op2(fast)]
pub fn op_periodic_register(
    state: &mut OpState,
    #[string] scope: &str,
    #[string] tag: &str,
    #[number] min_interval_ms: i64,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(state);
    services.periodic_register(realm, scope, tag, min_interval_ms)
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

/// `PeriodicSyncManager.unregister(tag)`. When it returns, the registration is gone from disk.
#[op2(fast)]
pub fn op_periodic_unregister(
    state: &mut OpState,
    #[string] scope: &str,
    #[string] tag: &str,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(state);
    services.periodic_unregister(realm, scope, tag)
}
