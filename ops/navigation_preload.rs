//! Navigation preload: its state, and the response that was asked for ahead of a fetch event.

use std::cell::RefCell;
use std::rc::Rc;

use deno_core::futures::future::LocalBoxFuture;
use deno_core::{OpState, op2};
use serde::Serialize;

use crate::fetch::{FetchResponse, FetchResponseHead, head_of};
use crate::{Host, OpError, RealmId};

/// <https://w3c.github.io/ServiceWorker/#dictdef-navigationpreloadstate>
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NavigationPreloadState {
    /// Whether navigations are asked for ahead.
    pub enabled: bool,
    /// What such a request says in `Service-Worker-Navigation-Preload`; one character is one byte.
    pub header_value: String,
}

impl Default for NavigationPreloadState {
    fn default() -> Self {
        NavigationPreloadState { enabled: false, header_value: "true".to_owned() }
    }
}

/// What the runtime knows about navigation preload. All methods run on the host thread.
pub trait NavigationPreloadServices {
    /// The state of a registration of the asking realm's origin.
    fn preload_state(&self, realm: RealmId, scope: &str) -> NavigationPreloadState;
    /// Sets it, or fails if the registration has no active worker. On disk when this returns.
    fn set_preload_state(
        &self,
        realm: RealmId,
        scope: &str,
        state: NavigationPreloadState,
    ) -> Result<(), OpError>;
    /// The response that was asked for ahead of a fetch event of the asking worker; once.
    fn fetch_event_preload(
        &self,
        realm: RealmId,
        event: u32,
    ) -> LocalBoxFuture<'static, Result<FetchResponse, OpError>>;
}

/// `NavigationPreloadManager.getState()`.
#[op2]
#[serde]
pub fn op_preload_state(state: &mut OpState, #[string] scope: &str) -> NavigationPreloadState {
    let (services, realm) = Host::of(state);
    services.preload_state(realm, scope)
}

/// `NavigationPreloadManager.enable()`, `disable()` and `setHeaderValue()`.
#[op2(fast)]
pub fn op_preload_set(
    state: &mut OpState,
    #[string] scope: &str,
    enabled: bool,
    #[string] header_value: String,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(state);
    services.set_preload_state(realm, scope, NavigationPreloadState { enabled, header_value })
}

/// `FetchEvent.preloadResponse`, where there is one.
#[op2]
#[serde]
pub async fn op_fetch_event_preload(
    state: Rc<RefCell<OpState>>,
    #[smi] event: u32,
) -> Result<FetchResponseHead, OpError> {
    let (services, realm) = Host::of(&state.borrow());
    let response = services.fetch_event_preload(realm, event).await?;
    Ok(head_of(&state, response).await)
}
