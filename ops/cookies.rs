//! The Cookie Store API: <https://wicg.github.io/cookie-store/>

use deno_core::{OpState, op2};
use serde::{Deserialize, Serialize};

use crate::{Host, OpError, RealmId};

/// <https://wicg.github.io/cookie-store/#dictdef-cookielistitem>
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CookieItem {
    /// May be empty.
    pub name: String,
    /// May be empty.
    pub value: String,
    /// The domain that it was set for, if it is not the host's alone.
    pub domain: Option<String>,
    /// The path that it was set for.
    pub path: String,
    /// When it ends, in Unix epoch ms; `None` if with the process.
    pub expires: Option<i64>,
    /// `strict`, `lax` or `none`.
    pub same_site: &'static str,
    /// Whether it is sent to trustworthy origins only.
    pub secure: bool,
}

/// <https://wicg.github.io/cookie-store/#dictdef-cookieinit>
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CookieToSet {
    /// Without `=`.
    pub name: String,
    /// Its value.
    pub value: String,
    /// `None` for the host's alone.
    pub domain: Option<String>,
    /// Begins with a slash.
    pub path: String,
    /// In Unix epoch ms; `None` for as long as the process lives.
    pub expires: Option<i64>,
    /// `strict`, `lax` or `none`.
    pub same_site: String,
}

/// <https://wicg.github.io/cookie-store/#dictdef-cookiestoregetoptions>, and what a subscription
/// is: <https://wicg.github.io/cookie-store/#cookie-change-subscription>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CookieQuery {
    /// `None` for every name.
    pub name: Option<String>,
    /// May be relative; `None` for the realm's own, or the registration's scope.
    pub url: Option<String>,
}

/// What happened to cookies that a script may see.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CookieChanges {
    /// Set, or set anew with something else.
    pub changed: Vec<CookieItem>,
    /// Gone.
    pub deleted: Vec<CookieItem>,
}

/// What becomes of a registration's subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionChange {
    /// `subscribe()`
    Subscribe,
    /// `unsubscribe()`
    Unsubscribe,
}

/// The part of [`Services`](crate::Services) that has cookies.
pub trait CookieServices {
    /// The cookies that a script may see, in the order in which they are sent.
    fn cookies(&self, realm: RealmId, query: CookieQuery) -> Result<Vec<CookieItem>, OpError>;
    /// Sets a cookie, or deletes it if its end has passed; when it returns, that is on disk, if the
    /// cookie has an end.
    fn cookie_set(&self, realm: RealmId, cookie: CookieToSet) -> Result<(), OpError>;
    /// Changes what a registration hears of; when it returns, that is on disk.
    fn cookie_subscribe(
        &self,
        realm: RealmId,
        scope: &str,
        subscriptions: Vec<CookieQuery>,
        change: SubscriptionChange,
    ) -> Result<(), OpError>;
    /// What a registration hears of, with absolute URLs.
    fn cookie_subscriptions(
        &self,
        realm: RealmId,
        scope: &str,
    ) -> Result<Vec<CookieQuery>, OpError>;
}

/// `CookieStore.get()` and `getAll()`
#[op2]
#[serde]
pub fn op_cookie_list(
    state: &mut OpState,
    #[serde] query: CookieQuery,
) -> Result<Vec<CookieItem>, OpError> {
    let (services, realm) = Host::of(state);
    services.cookies(realm, query)
}

/// `CookieStore.set()` and `delete()`
#[op2]
pub fn op_cookie_set(state: &mut OpState, #[serde] cookie: CookieToSet) -> Result<(), OpError> {
    let (services, realm) = Host::of(state);
    services.cookie_set(realm, cookie)
}

/// `CookieStoreManager.subscribe()`
#[op2]
pub fn op_cookie_subscribe(
    state: &mut OpState,
    #[string] scope: &str,
    #[serde] subscriptions: Vec<CookieQuery>,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(state);
    services.cookie_subscribe(realm, scope, subscriptions, SubscriptionChange::Subscribe)
}

/// `CookieStoreManager.unsubscribe()`
#[op2]
pub fn op_cookie_unsubscribe(
    state: &mut OpState,
    #[string] scope: &str,
    #[serde] subscriptions: Vec<CookieQuery>,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(state);
    services.cookie_subscribe(realm, scope, subscriptions, SubscriptionChange::Unsubscribe)
}

/// `CookieStoreManager.getSubscriptions()`
#[op2]
#[serde]
pub fn op_cookie_subscriptions(
    state: &mut OpState,
    #[string] scope: &str,
) -> Result<Vec<CookieQuery>, OpError> {
    let (services, realm) = Host::of(state);
    services.cookie_subscriptions(realm, scope)
}
