//! The Cache API's questions, answered: which realm may use which cache, and what it holds.
//!
//! Invariant: a realm reaches the caches of its own origin only, and keeps what it opened until it
//! ends, also when the cache is deleted.

mod body;
mod commits;
mod routed;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use deno_core::futures::FutureExt;
use deno_core::futures::future::LocalBoxFuture;
use kittiwake_ops::{
    BodyToPut, BucketNumber, CacheBody, CacheEntry, CacheMatch, CacheQuery, CacheRequest,
    CacheResponse, CacheServices, MatchedBody, OpError, RealmId,
};
use kittiwake_store::{self as store, CacheId, EntryBody, ResponseType, StoreError};

use tokio::task::spawn_local;

use self::body::OpenBodies;
pub(crate) use self::body::WrittenBody;
use crate::host::Shard;

/// What a shard knows of its caches beside the store.
#[derive(Default)]
pub(crate) struct Caches {
    /// Which realms opened a cache and live.
    opened: RefCell<BTreeMap<CacheId, BTreeSet<RealmId>>>,
    /// Caches that were deleted while open.
    nameless: RefCell<BTreeSet<CacheId>>,
    commits: commits::Queue,
    bodies: OpenBodies,
}

impl CacheServices for Shard {
    fn cache_open(
        &self,
        realm: RealmId,
        bucket: BucketNumber,
        name: &[u16],
    ) -> Result<i64, OpError> {
        let key = self.caching_key(realm, bucket)?;
        self.flush_caches();
        let quota = self.quota_of_caches(&key);
        let opened = self.store.cache_open(&key, name, |_| quota);
        let cache = opened.map_err(|error| self.cache_error(&error))?;
        self.caches.opened.borrow_mut().entry(cache).or_default().insert(realm);
        Ok(cache.0)
    }

    fn cache_has(
        &self,
        realm: RealmId,
        bucket: BucketNumber,
        name: &[u16],
    ) -> Result<bool, OpError> {
        let key = self.caching_key(realm, bucket)?;
        let found = self.store.cache_find(&key, name);
        found.map(|found| found.is_some()).map_err(|error| self.cache_error(&error))
    }

    fn cache_delete(
        &self,
        realm: RealmId,
        bucket: BucketNumber,
        name: &[u16],
    ) -> Result<bool, OpError> {
        let key = self.caching_key(realm, bucket)?;
        self.flush_caches();
        self.delete_cache(&key, name).map_err(|error| self.cache_error(&error))
    }

    fn cache_names(&self, realm: RealmId, bucket: BucketNumber) -> Result<Vec<Vec<u16>>, OpError> {
        let key = self.caching_key(realm, bucket)?;
        self.store.cache_names(&key).map_err(|error| self.cache_error(&error))
    }

    fn cache_match_any(
        &self,
        realm: RealmId,
        bucket: BucketNumber,
        query: CacheQuery,
        name: Option<&[u16]>,
    ) -> Result<Option<CacheMatch>, OpError> {
        let key = self.caching_key(realm, bucket)?;
        self.flush_caches();
        let query = to_query(query);
        let found = match name {
            None => self.store.cache_match_any(&key, &query),
            Some(name) => self.store.cache_find(&key, name).and_then(|cache| {
                let Some(cache) = cache else { return Ok(None) };
                Ok(self.store.cache_match(cache, Some(&query), 1)?.pop())
            }),
        };
        let found = found.map_err(|error| self.cache_error(&error))?;
        found.map(|response| self.to_match(response)).transpose()
    }

    fn cache_match(
        &self,
        realm: RealmId,
        cache: i64,
        query: Option<CacheQuery>,
        limit: usize,
    ) -> Result<Vec<CacheMatch>, OpError> {
        let cache = self.opened_cache(realm, cache)?;
        self.flush_caches();
        let found = self.store.cache_match(cache, query.map(to_query).as_ref(), limit);
        let found = found.map_err(|error| self.cache_error(&error))?;
        found.into_iter().map(|response| self.to_match(response)).collect()
    }

    fn cache_requests(
        &self,
        realm: RealmId,
        cache: i64,
        query: Option<CacheQuery>,
    ) -> Result<Vec<CacheRequest>, OpError> {
        let cache = self.opened_cache(realm, cache)?;
        self.flush_caches();
        let found = self.store.cache_requests(cache, query.map(to_query).as_ref());
        let found = found.map_err(|error| self.cache_error(&error))?;
        let request =
            |each: store::EntryRequest| CacheRequest { url: each.url, headers: each.headers };
        Ok(found.into_iter().map(request).collect())
    }

    fn cache_delete_entries(
        &self,
        realm: RealmId,
        cache: i64,
        query: CacheQuery,
    ) -> Result<bool, OpError> {
        let cache = self.opened_cache(realm, cache)?;
        self.flush_caches();
        let deleted = self.store.cache_delete_entries(cache, &to_query(query));
        let (deleted, released) = deleted.map_err(|error| self.cache_error(&error))?;
        self.release_bodies(released);
        Ok(deleted > 0)
    }

    fn cache_body(&self, realm: RealmId) -> Rc<dyn CacheBody> {
        self.begin_body(self.caching_origin(realm).unwrap_or_default())
    }

    fn cache_put(
        &self,
        realm: RealmId,
        cache: i64,
        entries: Vec<CacheEntry>,
    ) -> LocalBoxFuture<'static, Result<(), OpError>> {
        let (shard, busy) = (self.me(), self.activity.begin());
        let place = self
            .opened_cache(realm, cache)
            .and_then(|cache| Ok((cache, self.caching_origin(realm)?)));
        // In a task of the host's: the engine polls an op's future where no task can be spawned.
        let put = spawn_local(async move {
            let _busy = busy;
            let (cache, origin) = place?;
            shard.put_entries(cache, &origin, entries).await
        });
        async move { put.await.expect("putting does not panic") }.boxed_local()
    }
}

impl Shard {
    /// Puts entries when their bodies are on disk; they are too when this returns.
    async fn put_entries(
        &self,
        cache: CacheId,
        origin: &str,
        entries: Vec<CacheEntry>,
    ) -> Result<(), OpError> {
        let mut to_put = Vec::with_capacity(entries.len());
        let mut written = Vec::with_capacity(entries.len());
        for CacheEntry { request, vary, response, body } in entries {
            let body = match body {
                None => WrittenBody::null(),
                Some(BodyToPut::Bytes(bytes)) => self.whole_body(origin, bytes).await?,
                Some(BodyToPut::Written(body)) => self.finish_body(body).await?,
            };
            let response = to_response(response, body.column.clone());
            to_put.push(store::CacheEntry { request: to_request(request), vary, response });
            written.push(body);
        }
        let write = store::CacheWrite { cache, entries: to_put };
        self.commit_cache(write, written).await.expect("a commit answers every write")
    }

    /// Discards caches that were deleted and that only this realm had open.
    pub(crate) fn close_caches_of(&self, realm: RealmId) {
        let mut closed = Vec::new();
        self.caches.opened.borrow_mut().retain(|cache, realms| {
            if realms.remove(&realm) && realms.is_empty() {
                closed.push(*cache);
            }
            !realms.is_empty()
        });
        for cache in closed {
            if self.caches.nameless.borrow_mut().remove(&cache) {
                self.flush_caches();
                match self.store.cache_discard(cache) {
                    Ok(released) => self.release_bodies(released),
                    // It has no name, so that the next start discards it.
                    Err(error) => self.trace_store_error(&error),
                }
            }
        }
    }

    fn delete_cache(&self, key: &str, name: &[u16]) -> Result<bool, StoreError> {
        let Some(cache) = self.store.cache_find(key, name)? else {
            return Ok(false);
        };
        if self.caches.opened.borrow().contains_key(&cache) {
            self.store.cache_forget_name(cache)?;
            self.caches.nameless.borrow_mut().insert(cache);
        } else {
            let released = self.store.cache_discard(cache)?;
            self.release_bodies(released);
        }
        Ok(true)
    }

    fn caching_key(&self, realm: RealmId, bucket: BucketNumber) -> Result<String, OpError> {
        self.storage_key(realm, bucket).ok_or(OpError::CacheFailed)
    }

    /// Where bodies are counted until they are put: one count for all buckets of an origin.
    fn caching_origin(&self, realm: RealmId) -> Result<String, OpError> {
        self.origin_of(realm).ok_or(OpError::CacheFailed)
    }

    fn opened_cache(&self, realm: RealmId, cache: i64) -> Result<CacheId, OpError> {
        let cache = CacheId(cache);
        let opened = self.caches.opened.borrow();
        let own = opened.get(&cache).is_some_and(|realms| realms.contains(&realm));
        own.then_some(cache).ok_or(OpError::CacheFailed)
    }

    /// What a script learns of a failure.
    fn cache_error(&self, error: &StoreError) -> OpError {
        match error {
            StoreError::QuotaExceeded { origin, .. } => {
                self.strike_storage(origin);
                OpError::QuotaExceeded
            }
            StoreError::DuplicateRequests { url } => {
                OpError::DuplicateRequests { url: url.clone() }
            }
            // The realm has ended meanwhile.
            StoreError::NoCache { .. } => OpError::CacheFailed,
            StoreError::DiskFull { .. } => {
                self.trace_store_error(error);
                OpError::QuotaExceeded
            }
            error => {
                self.trace_store_error(error);
                OpError::CacheFailed
            }
        }
    }

    /// A body as JavaScript reads it.
    pub(crate) fn to_matched_body(&self, body: EntryBody) -> Result<MatchedBody, OpError> {
        Ok(match body {
            EntryBody::Null => MatchedBody::Null,
            EntryBody::Inline(bytes) => MatchedBody::Bytes(bytes),
            EntryBody::File { id, .. } => MatchedBody::Stream(self.read_body(id)?),
        })
    }

    pub(crate) fn to_match(&self, found: store::EntryResponse) -> Result<CacheMatch, OpError> {
        let body = self.to_matched_body(found.body)?;
        let response = CacheResponse {
            response_type: found.response_type.as_str().to_owned(),
            url_list: found.url_list,
            status: found.status,
            status_text: found.status_text,
            headers: found.headers,
        };
        Ok(CacheMatch { response, body })
    }
}

fn to_request(request: CacheRequest) -> store::EntryRequest {
    store::EntryRequest { url: request.url, headers: request.headers }
}

pub(crate) fn to_query(query: CacheQuery) -> store::CacheQuery {
    let CacheQuery { request, ignore_search, ignore_vary } = query;
    store::CacheQuery { request: to_request(request), ignore_search, ignore_vary }
}

fn to_response(response: CacheResponse, body: EntryBody) -> store::EntryResponse {
    store::EntryResponse {
        response_type: match response.response_type.as_str() {
            "basic" => ResponseType::Basic,
            "cors" => ResponseType::Cors,
            "error" => ResponseType::Error,
            "opaque" => ResponseType::Opaque,
            "opaqueredirect" => ResponseType::OpaqueRedirect,
            _ => ResponseType::Default,
        },
        url_list: response.url_list,
        status: response.status,
        status_text: response.status_text,
        headers: response.headers,
        body,
    }
}
