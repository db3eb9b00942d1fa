//! Windows, as pages and workers move them: <https://html.spec.whatwg.org/#navigation>

use std::cell::RefCell;
use std::rc::Rc;

use deno_core::futures::future::LocalBoxFuture;
use deno_core::serde_v8::ToJsBuffer;
use deno_core::{JsBuffer, OpState, op2};
use serde::{Deserialize, Serialize};

use crate::{ClientState, Host, OpError, RealmId};

/// What becomes of the entry that a page leaves: <https://html.spec.whatwg.org/#history-handling-behavior>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HistoryHandling {
    /// It stays behind the new one.
    Push,
    /// The new one takes its place.
    Replace,
}

/// What a page knows of its session history.
#[derive(Serialize)]
pub struct HistoryEntry {
    /// How many entries there are.
    pub length: u32,
    /// The state of its own, by V8's serialiser.
    pub state: Option<ToJsBuffer>,
}

/// A page's entry changes without a navigation.
pub struct HistoryUpdate {
    /// The document's URL from now on.
    pub url: String,
    /// The entry's state, by V8's serialiser.
    pub state: Option<Vec<u8>>,
    /// What becomes of the entry before.
    pub handling: HistoryHandling,
}

/// Who moves windows.
pub trait WindowServices {
    /// The asking page's window goes to another URL, soon.
    fn location_navigate(&self, realm: RealmId, url: &str, handling: HistoryHandling);
    /// The asking page's window loads its document again, soon.
    fn location_reload(&self, realm: RealmId);
    /// The asking page's entry.
    fn history_entry(&self, realm: RealmId) -> HistoryEntry;
    /// `pushState()`, `replaceState()`, or another fragment.
    fn history_update(&self, realm: RealmId, update: HistoryUpdate) -> Result<(), OpError>;
    /// The asking page's window goes so many entries forth, or back if negative; soon.
    fn history_go(&self, realm: RealmId, delta: i32);
    /// Brings a client of the asking worker's origin to the front.
    fn client_focus(&self, realm: RealmId, client: &str) -> Result<ClientState, OpError>;
    /// Navigates a client of the asking worker; None if it leaves the origin.
    fn client_navigate(
        &self,
        realm: RealmId,
        client: String,
        url: String,
    ) -> LocalBoxFuture<'static, Result<Option<ClientState>, OpError>>;
    /// Opens a window; None if its page is of another origin.
    fn window_open(
        &self,
        realm: RealmId,
        url: String,
    ) -> LocalBoxFuture<'static, Result<Option<ClientState>, OpError>>;
}

/// `location.assign()`, `location.replace()` and their kin.
#[op2]
pub fn op_location_navigate(
    state: &mut OpState,
    #[string] url: &str,
    #[serde] handling: HistoryHandling,
) {
    let (services, realm) = Host::of(state);
    services.location_navigate(realm, url, handling);
}

/// `location.reload()`.
#[op2(fast)]
pub fn op_location_reload(state: &mut OpState) {
    let (services, realm) = Host::of(state);
    services.location_reload(realm);
}

/// `history.length` and `history.state`.
#[op2]
#[serde]
pub fn op_history_entry(state: &mut OpState) -> HistoryEntry {
    let (services, realm) = Host::of(state);
    services.history_entry(realm)
}

/// `history.pushState()`, `history.replaceState()`, `location.hash = ...`.
#[op2]
pub fn op_history_update(
    state: &mut OpState,
    #[string] url: String,
    #[buffer] data: Option<JsBuffer>,
    #[serde] handling: HistoryHandling,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(state);
    let state = data.map(|data| data.to_vec());
    services.history_update(realm, HistoryUpdate { url, state, handling })
}

/// `history.go()`.
#[op2(fast)]
pub fn op_history_go(state: &mut OpState, delta: i32) {
    let (services, realm) = Host::of(state);
    services.history_go(realm, delta);
}

/// `WindowClient.focus()`.
#[op2]
#[serde]
pub fn op_client_focus(
    state: &mut OpState,
    #[string] client: &str,
) -> Result<ClientState, OpError> {
    let (services, realm) = Host::of(state);
    services.client_focus(realm, client)
}

/// `WindowClient.navigate()`.
#[op2]
#[serde]
pub async fn op_client_navigate(
    state: Rc<RefCell<OpState>>,
    #[string] client: String,
    #[string] url: String,
) -> Result<Option<ClientState>, OpError> {
    let (services, realm) = Host::of(&state.borrow());
    services.client_navigate(realm, client, url).await
}

/// `clients.openWindow()`.
#[op2]
#[serde]
pub async fn op_window_open(
    state: Rc<RefCell<OpState>>,
    #[string] url: String,
) -> Result<Option<ClientState>, OpError> {
    let (services, realm) = Host::of(&state.borrow());
    services.window_open(realm, url).await
}
