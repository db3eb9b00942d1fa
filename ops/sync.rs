//! Background Synchronization: <https://wicg.github.io/background-sync/spec/>.

use std::cell::RefCell;
use std::rc::Rc;

use deno_core::{OpState, op2};

use crate::{Host, OpError};

/// `SyncManager.register(tag)`. When it resolves, the registration is on disk.
#[op2]
pub async fn op_sync_register(
    state: Rc<RefCell<OpState>>,
    #[string] scope: String,
    #[string] tag: String,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(&state.borrow());
    services.sync_register(realm, &scope, tag).await
}

/// The promise of `register()` is about to resolve: from now on its event may fire, as Chromium
/// has it.
#[op2(fast)]
pub fn op_sync_resolved(state: &mut OpState) {
    Host::of(state).0.sync_resolved();
}

/// `SyncManager.getTags()`.
#[op2]
#[serde]
pub fn op_sync_tags(state: &mut OpState, #[string] scope: &str) -> Result<Vec<String>, OpError> {
    let (services, realm) = Host::of(state);
    services.sync_tags(realm, scope)
}
