//! Background Synchronization: <https://wicg.github.io/background-sync/spec/>.

use deno_core::{OpState, op2};

use crate::{Host, OpError};

/// `SyncManager.register(tag)`: the number by which the host tells that it is on disk.
#[op2(nofast)]
#[number]
pub fn op_sync_register(
    state: &mut OpState,
    #[string] scope: &str,
    #[string] tag: String,
) -> Result<u64, OpError> {
    let (services, realm) = Host::of(state);
    services.sync_register(realm, scope, tag)
}

/// `SyncManager.getTags()`.
#[op2]
#[serde]
pub fn op_sync_tags(state: &mut OpState, #[string] scope: &str) -> Result<Vec<String>, OpError> {
    let (services, realm) = Host::of(state);
    services.sync_tags(realm, scope)
}
