//! Periodic Background Synchronization: <https://wicg.github.io/periodic-background-sync/>.

use deno_core::{OpState, op2};

use crate::{Host, OpError};

/// `PeriodicSyncManager.register(tag, options)`: the number by which the host tells that it is on
/// disk.
#[op2(nofast)]
#[number]
pub fn op_periodic_register(
    state: &mut OpState,
    #[string] scope: &str,
    #[string] tag: String,
    #[number] min_interval_ms: i64,
) -> Result<u64, OpError> {
    let (services, realm) = Host::of(state);
    services.periodic_register(realm, scope, tag, min_interval_ms)
}

/// `PeriodicSyncManager.unregister(tag)`: the number by which the host tells that it is gone from
/// disk.
#[op2(nofast)]
#[number]
pub fn op_periodic_unregister(
    state: &mut OpState,
    #[string] scope: &str,
    #[string] tag: String,
) -> Result<u64, OpError> {
    let (services, realm) = Host::of(state);
    services.periodic_unregister(realm, scope, tag)
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
