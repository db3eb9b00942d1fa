//! Background Fetch: <https://wicg.github.io/background-fetch/>. Bodies cross as the Cache API's do.

use std::cell::RefCell;
use std::rc::Rc;

use deno_core::futures::future::LocalBoxFuture;
use deno_core::{JsBuffer, OpState, op2};
use serde::{Deserialize, Serialize};

use crate::cache::{CacheMatch, CacheMatchParts, CacheQuery, CacheResponse, MatchedBody, parts};
use crate::{Host, OpError, RealmId};

/// A request that is kept: all of it but its body, in the words of the Fetch Standard.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the members are those of the standard's request")]
pub struct KeptRequest {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub mode: String,
    pub credentials: String,
    pub cache: String,
    pub redirect: String,
    pub referrer: String,
    pub referrer_policy: String,
    pub integrity: String,
}

/// What JavaScript hands over of a background fetch that begins.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewBackgroundFetchParts {
    id: String,
    requests: Vec<KeptRequest>,
    bodies: Vec<Option<JsBuffer>>,
    title: String,
    download_total: f64,
}

/// A background fetch that begins.
pub struct NewBackgroundFetch {
    /// The script's id.
    pub id: String,
    /// The requests with their bodies, in order.
    pub requests: Vec<(KeptRequest, Option<Vec<u8>>)>,
    /// What people would see.
    pub title: String,
    /// `BackgroundFetchOptions.downloadTotal`; 0 for no limit.
    pub download_total: u64,
}

/// What a `BackgroundFetchRegistration` says. Numbers are doubles, because a script reads them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackgroundFetchSnapshot {
    /// Names it to the other ops, for as long as the state lives.
    pub number: f64,
    /// The script's id.
    pub id: String,
    /// Bytes of all requests' bodies.
    pub upload_total: f64,
    /// How many of them have been sent.
    pub uploaded: f64,
    /// What the script expects; 0 if it does not say.
    pub download_total: f64,
    /// Bytes of bodies that came.
    pub downloaded: f64,
    /// <https://wicg.github.io/background-fetch/#enumdef-backgroundfetchresult>
    pub result: &'static str,
    /// <https://wicg.github.io/background-fetch/#enumdef-backgroundfetchfailurereason>
    pub failure_reason: &'static str,
    /// `BackgroundFetchRegistration.recordsAvailable`.
    pub records_available: bool,
}

/// A record that matches a query.
pub struct MatchedRecord {
    /// Its place among all of its fetch.
    pub position: u32,
    /// Its request.
    pub request: KeptRequest,
    /// The request's body.
    pub body: MatchedBody,
}

/// What JavaScript gets of a [`MatchedRecord`].
#[derive(Serialize)]
pub struct MatchedRecordParts {
    position: u32,
    request: KeptRequest,
    upload: CacheMatchParts,
}

/// Begins a background fetch; when it resolves, it is on disk.
#[op2]
#[serde]
pub async fn op_background_fetch_begin(
    state: Rc<RefCell<OpState>>,
    #[string] scope: String,
    #[serde] parts: NewBackgroundFetchParts,
) -> Result<BackgroundFetchSnapshot, OpError> {
    let (services, realm) = Host::of(&state.borrow());
    let NewBackgroundFetchParts { id, requests, bodies, title, download_total } = parts;
    let bodies = bodies.into_iter().map(|body| body.map(|bytes| bytes.to_vec()));
    let requests = requests.into_iter().zip(bodies).collect();
    let fetch = NewBackgroundFetch { id, requests, title, download_total: download_total as u64 };
    services.background_fetch_begin(realm, &scope, fetch).await
}

/// `BackgroundFetchManager.get(id)`.
#[op2]
#[serde]
pub fn op_background_fetch_get(
    state: &mut OpState,
    #[string] scope: &str,
    #[string] id: &str,
) -> Option<BackgroundFetchSnapshot> {
    let (services, realm) = Host::of(state);
    services.background_fetch_get(realm, scope, id)
}

/// What a background fetch is at now; from now on the realm hears of its progress.
#[op2]
#[serde]
pub fn op_background_fetch_watch(
    state: &mut OpState,
    #[number] number: i64,
) -> Option<BackgroundFetchSnapshot> {
    let (services, realm) = Host::of(state);
    services.background_fetch_watch(realm, number)
}

/// `BackgroundFetchManager.getIds()`.
#[op2]
#[serde]
pub fn op_background_fetch_ids(state: &mut OpState, #[string] scope: &str) -> Vec<String> {
    let (services, realm) = Host::of(state);
    services.background_fetch_ids(realm, scope)
}

/// `BackgroundFetchRegistration.abort()`.
#[op2]
pub async fn op_background_fetch_abort(
    state: Rc<RefCell<OpState>>,
    #[number] number: i64,
) -> Result<bool, OpError> {
    let (services, realm) = Host::of(&state.borrow());
    services.background_fetch_abort(realm, number).await
}

/// `BackgroundFetchRegistration.matchAll(request, options)`.
#[op2]
#[serde]
pub fn op_background_fetch_match(
    state: &mut OpState,
    #[number] number: i64,
    #[serde] query: Option<CacheQuery>,
    ignore_method: bool,
    only_first: bool,
) -> Result<Vec<MatchedRecordParts>, OpError> {
    let (services, realm) = Host::of(state);
    let limit = if only_first { 1 } else { usize::MAX };
    let found = services.background_fetch_match(realm, number, query, ignore_method, limit)?;
    let one = |MatchedRecord { position, request, body }: MatchedRecord| {
        let upload = parts(state, CacheMatch { response: CacheResponse::none(), body });
        MatchedRecordParts { position, request, upload }
    };
    Ok(found.into_iter().map(one).collect())
}

/// `BackgroundFetchRecord.responseReady`: answers when the request has ended.
#[op2]
#[serde]
pub async fn op_background_fetch_response(
    state: Rc<RefCell<OpState>>,
    #[number] number: i64,
    #[smi] position: u32,
) -> Result<CacheMatchParts, OpError> {
    let (services, realm) = Host::of(&state.borrow());
    let found = services.background_fetch_response(realm, number, position).await?;
    Ok(parts(&mut state.borrow_mut(), found))
}

/// `BackgroundFetchUpdateUIEvent.updateUI(options)`.
#[op2(fast)]
pub fn op_background_fetch_update_ui(
    state: &mut OpState,
    #[number] number: i64,
    #[string] title: &str,
) {
    let (services, realm) = Host::of(state);
    services.background_fetch_update_ui(realm, number, title);
}

/// The part of [`Services`](crate::Services) that fetches in the background. A realm reaches what
/// belongs to registrations of its own origin.
pub trait BackgroundFetchServices {
    /// Begins one; when the future resolves, it is on disk.
    fn background_fetch_begin(
        &self,
        realm: RealmId,
        scope: &str,
        fetch: NewBackgroundFetch,
    ) -> LocalBoxFuture<'static, Result<BackgroundFetchSnapshot, OpError>>;
    /// The active one of the registration with this id.
    fn background_fetch_get(
        &self,
        realm: RealmId,
        scope: &str,
        id: &str,
    ) -> Option<BackgroundFetchSnapshot>;
    /// What it is at now, if it is there still. From now on the realm is called by
    /// `changeBackgroundFetch`.
    fn background_fetch_watch(
        &self,
        realm: RealmId,
        number: i64,
    ) -> Option<BackgroundFetchSnapshot>;
    /// The ids of the registration's active ones, by their bytes.
    fn background_fetch_ids(&self, realm: RealmId, scope: &str) -> Vec<String>;
    /// Ends one that is active; whether there was one. When the future resolves, it is on disk, and
    /// the realm has been called.
    fn background_fetch_abort(
        &self,
        realm: RealmId,
        number: i64,
    ) -> LocalBoxFuture<'static, Result<bool, OpError>>;
    /// The records that match, in the order of their requests, `limit` at most; all without a
    /// query.
    fn background_fetch_match(
        &self,
        realm: RealmId,
        number: i64,
        query: Option<CacheQuery>,
        ignore_method: bool,
        limit: usize,
    ) -> Result<Vec<MatchedRecord>, OpError>;
    /// The response of a record, once its request has ended.
    fn background_fetch_response(
        &self,
        realm: RealmId,
        number: i64,
        position: u32,
    ) -> LocalBoxFuture<'static, Result<CacheMatch, OpError>>;
    /// People would see this title from now on.
    fn background_fetch_update_ui(&self, realm: RealmId, number: i64, title: &str);
}
