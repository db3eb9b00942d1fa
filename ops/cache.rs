//! The Cache API: <https://w3c.github.io/ServiceWorker/#cache-objects>. Large bodies cross as
//! resources, in both directions.

use std::any::Any;
use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use deno_core::futures::future::LocalBoxFuture;
use deno_core::futures::stream::LocalBoxStream;
use deno_core::{JsBuffer, OpState, Resource, ResourceId, ToJsBuffer, U16String, op2};
use deno_error::JsErrorBox;
use serde::{Deserialize, Serialize};

use crate::fetch::ResponseBody;
use crate::{BucketNumber, Host, OpError, RealmId};

/// A request as caches know it; its method is GET.
#[derive(Debug, Deserialize, Serialize)]
pub struct CacheRequest {
    /// The URL, with its fragment.
    pub url: String,
    /// The header list.
    pub headers: Vec<(String, String)>,
}

/// What entries are looked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheQuery {
    /// The request that entries have to match.
    pub request: CacheRequest,
    /// `CacheQueryOptions.ignoreSearch`.
    pub ignore_search: bool,
    /// `CacheQueryOptions.ignoreVary`.
    pub ignore_vary: bool,
}

/// A response as caches keep it, without its body.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheResponse {
    /// The response type, as `Response.type` says it.
    pub response_type: String,
    /// Every URL on the way, the final one last.
    pub url_list: Vec<String>,
    /// The status.
    pub status: u16,
    /// The status message.
    pub status_text: String,
    /// The header list.
    pub headers: Vec<(String, String)>,
}

impl CacheResponse {
    /// The response of what has none, but only a body.
    pub(crate) fn none() -> Self {
        CacheResponse {
            response_type: String::new(),
            url_list: vec![],
            status: 0,
            status_text: String::new(),
            headers: vec![],
        }
    }
}

/// A request and its response, to be put.
pub struct CacheEntry {
    /// The request.
    pub request: CacheRequest,
    /// The field names in the response's `Vary` header.
    pub vary: Vec<String>,
    /// The response.
    pub response: CacheResponse,
    /// Its body; `None` for a response without one.
    pub body: Option<BodyToPut>,
}

/// The body of a [`CacheEntry`].
pub enum BodyToPut {
    /// All of it.
    Bytes(Vec<u8>),
    /// What was written through [`CacheServices::cache_body`].
    Written(Rc<dyn CacheBody>),
}

/// A body that a script writes piece by piece. Dropped before it is put, it leaves nothing.
pub trait CacheBody: Any {
    /// Appends; resolves when the next piece may come.
    fn write(self: Rc<Self>, bytes: Bytes) -> LocalBoxFuture<'static, Result<(), OpError>>;
}

/// A response that was found.
pub struct CacheMatch {
    /// The response.
    pub response: CacheResponse,
    /// Its body.
    pub body: MatchedBody,
}

/// The body of a [`CacheMatch`].
pub enum MatchedBody {
    /// The response has none.
    Null,
    /// All of it.
    Bytes(Vec<u8>),
    /// Chunks, read on demand.
    Stream(LocalBoxStream<'static, Result<Bytes, OpError>>),
}

/// What JavaScript hands over of a [`CacheEntry`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheEntryParts {
    request: CacheRequest,
    vary: Vec<String>,
    response: CacheResponse,
    bytes: Option<JsBuffer>,
    body: Option<ResourceId>,
}

/// What JavaScript gets of a [`CacheMatch`].
#[derive(Serialize)]
pub struct CacheMatchParts {
    response: CacheResponse,
    bytes: Option<ToJsBuffer>,
    body: Option<ResourceId>,
}

/// `CacheStorage.open(cacheName)`: names the cache to the other ops.
#[op2]
#[number]
pub fn op_cache_open(
    state: &mut OpState,
    #[number] bucket: i64,
    #[serde] name: U16String,
) -> Result<i64, OpError> {
    let (services, realm) = Host::of(state);
    services.cache_open(realm, bucket, &name)
}

/// `CacheStorage.has(cacheName)`.
#[op2]
pub fn op_cache_has(
    state: &mut OpState,
    #[number] bucket: i64,
    #[serde] name: U16String,
) -> Result<bool, OpError> {
    let (services, realm) = Host::of(state);
    services.cache_has(realm, bucket, &name)
}

/// `CacheStorage.delete(cacheName)`.
#[op2]
pub fn op_cache_delete(
    state: &mut OpState,
    #[number] bucket: i64,
    #[serde] name: U16String,
) -> Result<bool, OpError> {
    let (services, realm) = Host::of(state);
    services.cache_delete(realm, bucket, &name)
}

/// `CacheStorage.keys()`.
#[op2]
#[serde]
pub fn op_cache_names(
    state: &mut OpState,
    #[number] bucket: i64,
) -> Result<Vec<U16String>, OpError> {
    let (services, realm) = Host::of(state);
    Ok(services.cache_names(realm, bucket)?.into_iter().map(U16String::from).collect())
}

/// `CacheStorage.match(request, options)`: the first response, in the named cache or in any.
#[op2]
#[serde]
pub fn op_cache_match_any(
    state: &mut OpState,
    #[number] bucket: i64,
    #[serde] query: CacheQuery,
    #[serde] name: Option<U16String>,
) -> Result<Option<CacheMatchParts>, OpError> {
    let (services, realm) = Host::of(state);
    let name = name.as_ref().map(|name| name.as_slice());
    let found = services.cache_match_any(realm, bucket, query, name)?;
    Ok(found.map(|found| parts(state, found)))
}

/// `Cache.match(request, options)`.
#[op2]
#[serde]
pub fn op_cache_match(
    state: &mut OpState,
    #[number] cache: i64,
    #[serde] query: CacheQuery,
) -> Result<Option<CacheMatchParts>, OpError> {
    let (services, realm) = Host::of(state);
    let found = services.cache_match(realm, cache, Some(query), 1)?.pop();
    Ok(found.map(|found| parts(state, found)))
}

/// `Cache.matchAll(request, options)`.
#[op2]
#[serde]
pub fn op_cache_match_all(
    state: &mut OpState,
    #[number] cache: i64,
    #[serde] query: Option<CacheQuery>,
) -> Result<Vec<CacheMatchParts>, OpError> {
    let (services, realm) = Host::of(state);
    let found = services.cache_match(realm, cache, query, usize::MAX)?;
    Ok(found.into_iter().map(|found| parts(state, found)).collect())
}

/// `Cache.keys(request, options)`.
#[op2]
#[serde]
pub fn op_cache_requests(
    state: &mut OpState,
    #[number] cache: i64,
    #[serde] query: Option<CacheQuery>,
) -> Result<Vec<CacheRequest>, OpError> {
    let (services, realm) = Host::of(state);
    services.cache_requests(realm, cache, query)
}

/// `Cache.delete(request, options)`.
#[op2]
pub fn op_cache_delete_entries(
    state: &mut OpState,
    #[number] cache: i64,
    #[serde] query: CacheQuery,
) -> Result<bool, OpError> {
    let (services, realm) = Host::of(state);
    services.cache_delete_entries(realm, cache, query)
}

/// Begins a body for [`op_cache_put`]. Closing it drops what was written.
#[op2(fast)]
#[smi]
pub fn op_cache_body(state: &mut OpState) -> ResourceId {
    let (services, realm) = Host::of(state);
    let body = services.cache_body(realm);
    state.resource_table.add(BodyResource(body))
}

/// Appends to a body.
#[op2]
pub async fn op_cache_body_write(
    state: Rc<RefCell<OpState>>,
    #[smi] body: ResourceId,
    #[buffer] bytes: JsBuffer,
) -> Result<(), OpError> {
    let body = state.borrow().resource_table.get::<BodyResource>(body);
    let body = body.map_err(|_| OpError::Aborted)?;
    body.0.clone().write(Bytes::copy_from_slice(&bytes)).await
}

/// Appends to a body all that another resource has.
#[op2]
pub async fn op_cache_body_pipe(
    state: Rc<RefCell<OpState>>,
    #[smi] body: ResourceId,
    #[smi] from: ResourceId,
) -> Result<(), JsErrorBox> {
    let body = state.borrow().resource_table.get::<BodyResource>(body);
    let body = body.map_err(|_| JsErrorBox::from_err(OpError::Aborted))?.0.clone();
    let from = state.borrow().resource_table.get_any(from);
    let from = from.map_err(|_| JsErrorBox::from_err(OpError::Aborted))?;
    loop {
        let piece = from.clone().read(PIPED_BYTES).await?;
        if piece.is_empty() {
            return Ok(());
        }
        let bytes = Bytes::copy_from_slice(&piece);
        body.clone().write(bytes).await.map_err(JsErrorBox::from_err)?;
    }
}

/// Puts entries, all or none; when it resolves, they are on disk.
#[op2]
pub async fn op_cache_put(
    state: Rc<RefCell<OpState>>,
    #[number] cache: i64,
    #[serde] entries: Vec<CacheEntryParts>,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(&state.borrow());
    let one = |parts: CacheEntryParts| {
        let body = match (parts.bytes, parts.body) {
            (Some(bytes), _) => Some(BodyToPut::Bytes(bytes.to_vec())),
            (None, Some(body)) => {
                let body = state.borrow_mut().resource_table.take::<BodyResource>(body);
                Some(BodyToPut::Written(body.map_err(|_| OpError::Aborted)?.0.clone()))
            }
            (None, None) => None,
        };
        let CacheEntryParts { request, vary, response, .. } = parts;
        Ok(CacheEntry { request, vary, response, body })
    };
    let entries = entries.into_iter().map(one).collect::<Result<_, OpError>>()?;
    services.cache_put(realm, cache, entries).await
}

/// A response as JavaScript gets it.
pub(crate) fn parts(state: &mut OpState, found: CacheMatch) -> CacheMatchParts {
    let CacheMatch { response, body } = found;
    match body {
        MatchedBody::Null => CacheMatchParts { response, bytes: None, body: None },
        MatchedBody::Bytes(bytes) => {
            CacheMatchParts { response, bytes: Some(bytes.into()), body: None }
        }
        MatchedBody::Stream(chunks) => {
            let body = state.resource_table.add(ResponseBody::new(chunks));
            CacheMatchParts { response, bytes: None, body: Some(body) }
        }
    }
}

/// How much is taken from the other resource at once.
const PIPED_BYTES: usize = 64 << 10;

struct BodyResource(Rc<dyn CacheBody>);

impl Resource for BodyResource {
    fn name(&self) -> Cow<'_, str> {
        "cacheBody".into()
    }
}

/// The part of [`Services`](crate::Services) that keeps caches.
pub trait CacheServices {
    /// The cache of this name (UTF-16, perhaps ill-formed), which is made if there is none; the
    /// methods below take what it answers, and only from a realm that was answered so.
    fn cache_open(
        &self,
        realm: RealmId,
        bucket: BucketNumber,
        name: &[u16],
    ) -> Result<i64, OpError>;
    /// Whether there is a cache of this name.
    fn cache_has(
        &self,
        realm: RealmId,
        bucket: BucketNumber,
        name: &[u16],
    ) -> Result<bool, OpError>;
    /// Deletes a cache; whether there was one. Realms that opened it may go on using it.
    fn cache_delete(
        &self,
        realm: RealmId,
        bucket: BucketNumber,
        name: &[u16],
    ) -> Result<bool, OpError>;
    /// The names of the bucket's caches, in the order of their creation.
    fn cache_names(&self, realm: RealmId, bucket: BucketNumber) -> Result<Vec<Vec<u16>>, OpError>;
    /// The first response in the named cache, or in any of the bucket's in that order.
    fn cache_match_any(
        &self,
        realm: RealmId,
        bucket: BucketNumber,
        query: CacheQuery,
        name: Option<&[u16]>,
    ) -> Result<Option<CacheMatch>, OpError>;
    /// The responses that match in the order in which they were put, `limit` at most.
    fn cache_match(
        &self,
        realm: RealmId,
        cache: i64,
        query: Option<CacheQuery>,
        limit: usize,
    ) -> Result<Vec<CacheMatch>, OpError>;
    /// The requests that match in the order in which they were put.
    fn cache_requests(
        &self,
        realm: RealmId,
        cache: i64,
        query: Option<CacheQuery>,
    ) -> Result<Vec<CacheRequest>, OpError>;
    /// Deletes what matches; whether there was something.
    fn cache_delete_entries(
        &self,
        realm: RealmId,
        cache: i64,
        query: CacheQuery,
    ) -> Result<bool, OpError>;
    /// Begins a body for [`CacheServices::cache_put`].
    fn cache_body(&self, realm: RealmId) -> Rc<dyn CacheBody>;
    /// Puts entries, all or none; when the future resolves, they are on disk.
    fn cache_put(
        &self,
        realm: RealmId,
        cache: i64,
        entries: Vec<CacheEntry>,
    ) -> LocalBoxFuture<'static, Result<(), OpError>>;
}
