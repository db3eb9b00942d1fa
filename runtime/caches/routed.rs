//! What a router rule's source `cache` has for a request.
//! <https://w3c.github.io/ServiceWorker/#handle-fetch>
//!
//! Invariant: the caches are those of the worker's own origin.

use deno_core::futures::StreamExt;
use kittiwake_ops::OpError;
use kittiwake_store::{
    CacheQuery, EntryBody, EntryRequest, EntryResponse, ResponseType, StoreError,
};
use url::Url;

use crate::fetch::{self, Request, Response, ResponseSource};
use crate::host::Shard;
use crate::http::{HttpError, whole_body};

impl Shard {
    /// What an origin's caches, or the one with this name, have for a request. A store that fails
    /// has nothing; the trace says why.
    pub(crate) fn cached_response(
        &self,
        origin: &str,
        name: Option<&str>,
        request: &Request,
    ) -> Option<Response> {
        if request.method != "GET" {
            return None;
        }
        let found = self.find_cached(origin, name, request);
        let found = found.inspect_err(|error| self.trace_store_error(error)).ok()??;
        let body = match found.body {
            EntryBody::Null => None,
            EntryBody::Inline(bytes) => Some(whole_body(bytes.into())),
            EntryBody::File { id, .. } => {
                let broken = |error: OpError| HttpError::BodyBroken { cause: error.to_string() };
                let chunks = self.read_body(id).ok()?;
                Some(chunks.map(move |chunk| chunk.map_err(broken)).boxed_local())
            }
        };
        let mut url_list: Vec<Url> =
            found.url_list.iter().filter_map(|url| Url::parse(url).ok()).collect();
        if url_list.is_empty() {
            url_list.clone_from(&request.url_list);
        }
        Some(Response {
            kind: match found.response_type {
                ResponseType::Cors => fetch::ResponseType::Cors,
                ResponseType::Opaque => fetch::ResponseType::Opaque,
                ResponseType::OpaqueRedirect => fetch::ResponseType::OpaqueRedirect,
                _ => fetch::ResponseType::Basic,
            },
            status: found.status,
            status_text: found.status_text,
            headers: found.headers,
            url_list,
            body,
            source: ResponseSource::ServiceWorker,
        })
    }

    fn find_cached(
        &self,
        origin: &str,
        name: Option<&str>,
        request: &Request,
    ) -> Result<Option<EntryResponse>, StoreError> {
        self.flush_caches();
        let (url, headers) = (request.url().to_string(), request.headers.clone());
        let query = CacheQuery {
            request: EntryRequest { url, headers },
            ignore_search: false,
            ignore_vary: false,
        };
        let Some(name) = name else { return self.store.cache_match_any(origin, &query) };
        let name: Vec<u16> = name.encode_utf16().collect();
        match self.store.cache_find(origin, &name)? {
            Some(cache) => Ok(self.store.cache_match(cache, Some(&query), 1)?.pop()),
            None => Ok(None),
        }
    }
}
