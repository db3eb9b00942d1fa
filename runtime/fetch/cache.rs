//! The HTTP cache: <https://httpwg.org/specs/rfc9111.html>, by
//! <https://fetch.spec.whatwg.org/#concept-http-network-or-cache-fetch>
//!
//! What may be reused is `http-cache-semantics`' to say, with the clock door's time; the store
//! keeps rows. A range is made from a response that is kept whole; a part is not kept.
//!
//! Invariant: a response is kept only when its whole body has come.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::unfold;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};
use kittiwake_store::{CachedResponse, CachedResponseId, HttpCacheLimits};
use serde::{Deserialize, Serialize};
use url::Url;

use super::range::ByteRange;
use super::{CacheMode, Environment, Request, header};
use crate::http::{HttpResponse, whole_body};

/// A private cache of one user; a tenth of a document's age is how long it is fresh, if the server
/// does not say.
const OPTIONS: CacheOptions = CacheOptions {
    shared: false,
    cache_heuristic: 0.1,
    immutable_min_time_to_live: Duration::from_secs(24 * 60 * 60),
    ignore_cargo_cult: false,
};

/// Headers of a 304 that say something about itself, and not about what it confirms.
const OF_A_304_ITSELF: [&str; 4] =
    ["content-encoding", "content-length", "content-range", "transfer-encoding"];

/// The head of a response, as a row of the store has it.
#[derive(Clone, Serialize, Deserialize)]
struct Head {
    status: u16,
    status_text: String,
    headers: Vec<(String, String)>,
}

/// <https://httpwg.org/specs/rfc9110.html#overview.of.status.codes>
const CACHEABLE_BY_DEFAULT: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

/// Without any of these a response is stale at once, and nothing could confirm it.
const MAKES_IT_OF_USE: [&str; 4] = ["cache-control", "expires", "etag", "last-modified"];

/// A response in the cache that matches a request.
#[derive(Clone)]
pub(super) struct Stored {
    id: CachedResponseId,
    head: Head,
    body: Bytes,
    is_fresh: bool,
    /// Stale, but of use while somebody asks the server.
    may_be_stale: bool,
    /// What the request says besides, so that the server may answer 304.
    validators: Vec<(String, String)>,
}

/// Whether a request may be answered from the cache, or its response be kept there.
pub(super) fn concerns(request: &Request, mode: CacheMode) -> bool {
    let is_understood = !request.has_header("range")
        || (range_of(request).is_some() && !request.has_header("if-range"));
    request.method == "GET" && mode != CacheMode::NoStore && is_understood
}

/// The part that a request asks for.
pub(super) fn range_of(request: &Request) -> Option<ByteRange> {
    header(&request.headers, "range").and_then(|range| ByteRange::parse(&range))
}

/// The response that is stored for a request, of those that match the one newest.
pub(super) fn find(
    environment: &Environment,
    url: &Url,
    headers: &[(String, String)],
    range: Option<ByteRange>,
) -> Option<Stored> {
    let rows = environment.store.cached_responses(&environment.partition, key(url).as_str());
    let rows = environment.told(rows).filter(|rows| !rows.is_empty())?;
    let asked = asked(url, headers)?;
    rows.into_iter().find_map(|(id, row)| {
        let policy: CachePolicy = serde_json::from_str(&row.policy).ok()?;
        let head: Head = serde_json::from_str(&row.head).ok()?;
        let (is_fresh, validators) = match policy.before_request(&asked, environment.time()) {
            BeforeRequest::Fresh(_) => (true, validators(&head)),
            BeforeRequest::Stale { matches: true, .. } => (false, validators(&head)),
            BeforeRequest::Stale { .. } => return None,
        };
        // A range is one of the bytes on the wire, which are not kept.
        let is_coded = header(&head.headers, "content-encoding").is_some();
        if range.is_some() && (is_coded || row.body.is_empty()) {
            return None;
        }
        let may_be_stale = is_within_window(&policy, &head, environment.time());
        Some(Stored { id, head, body: row.body.into(), is_fresh, may_be_stale, validators })
    })
}

/// How long a response may be used after it is stale, while somebody asks the server:
/// <https://www.rfc-editor.org/rfc/rfc5861#section-3>
fn stale_window(head: &Head) -> Option<Duration> {
    let control = header(&head.headers, "cache-control")?;
    let forbids = ["no-cache", "must-revalidate"];
    if directives(&control).any(|(name, _)| forbids.iter().any(|no| name.eq_ignore_ascii_case(no)))
    {
        return None;
    }
    seconds(&control, "stale-while-revalidate")
}

fn is_within_window(policy: &CachePolicy, head: &Head, now: SystemTime) -> bool {
    let Some(window) = stale_window(head) else { return false };
    let age = policy.age(now);
    // What the crate tells is the rest of its life, which is none now.
    let said = header(&head.headers, "cache-control").and_then(|said| seconds(&said, "max-age"));
    let born = SystemTime::UNIX_EPOCH;
    let life = said.unwrap_or_else(|| policy.time_to_live(born) + policy.age(born));
    age.saturating_sub(life) <= window
}

fn directives(control: &str) -> impl Iterator<Item = (&str, &str)> {
    control.split(',').map(|directive| {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        (name.trim(), value.trim().trim_matches('"'))
    })
}

fn seconds(control: &str, name: &str) -> Option<Duration> {
    let (_, value) = directives(control).find(|(other, _)| other.eq_ignore_ascii_case(name))?;
    value.parse().ok().map(Duration::from_secs)
}

fn validators(head: &Head) -> Vec<(String, String)> {
    let value = |name: &str| header(&head.headers, name);
    let etag = value("etag").map(|etag| ("If-None-Match".to_owned(), etag));
    let date = value("last-modified").map(|date| ("If-Modified-Since".to_owned(), date));
    etag.into_iter().chain(date).collect()
}

impl Stored {
    /// Whether it answers a request of this mode without asking the server.
    pub(super) fn answers(&self, mode: CacheMode) -> bool {
        match mode {
            CacheMode::ForceCache | CacheMode::OnlyIfCached => true,
            CacheMode::Default => self.is_fresh,
            CacheMode::NoStore | CacheMode::Reload | CacheMode::NoCache => false,
        }
    }

    /// Whether it answers a request of this mode while the server is asked anew. A request that
    /// speaks to caches itself wants none that is stale.
    pub(super) fn answers_while_revalidated(&self, request: &Request, mode: CacheMode) -> bool {
        let speaks = ["cache-control", "pragma"].iter().any(|name| request.has_header(name));
        mode == CacheMode::Default && self.may_be_stale && !speaks
    }

    pub(super) fn validators(&self) -> &[(String, String)] {
        &self.validators
    }

    /// The response from the cache, or the part of it that was asked for. Instead of a part that it
    /// does not have, it is all, as in Chromium.
    pub(super) fn into_response(
        mut self,
        environment: &Environment,
        url: Url,
        range: Option<ByteRange>,
    ) -> HttpResponse {
        let used = environment.store.use_cached_response(self.id, environment.now_ms as i64);
        environment.told(used);
        if self.head.status == 200
            && let Some(part) = range.and_then(|range| range.of(self.body.len()))
        {
            self.cut(part);
        }
        HttpResponse {
            status: self.head.status,
            status_text: self.head.status_text,
            headers: self.head.headers,
            url,
            body: whole_body(self.body),
        }
    }

    fn cut(&mut self, part: Range<usize>) {
        let Head { status, status_text, headers } = &mut self.head;
        *status = 206;
        if !status_text.is_empty() {
            "Partial Content".clone_into(status_text);
        }
        let (last, whole) = (part.end - 1, self.body.len());
        headers.retain(|(name, _)| name != "content-length" && name != "content-range");
        headers.push(("content-length".to_owned(), part.len().to_string()));
        let of = format!("bytes {}-{last}/{whole}", part.start);
        headers.push(("content-range".to_owned(), of));
        self.body = self.body.slice(part);
    }

    /// The response, which a 304 has confirmed.
    pub(super) fn confirmed(
        mut self,
        environment: &Environment,
        url: Url,
        headers: &[(String, String)],
        range: Option<ByteRange>,
        by: &HttpResponse,
    ) -> HttpResponse {
        let about_it = |name: &str| !OF_A_304_ITSELF.contains(&name);
        let new: Vec<_> = by.headers.iter().filter(|(name, _)| about_it(name)).cloned().collect();
        self.head.headers.retain(|(name, _)| !new.iter().any(|(newer, _)| newer == name));
        self.head.headers.extend(new);
        keep(environment, &url, headers, &self.head, &self.body, &[self.id]);
        self.into_response(environment, url, range)
    }
}

/// The response, which is kept when its body has come, if it may be.
pub(super) fn keeping(
    environment: &Environment,
    headers: Vec<(String, String)>,
    mut response: HttpResponse,
) -> HttpResponse {
    if !MAKES_IT_OF_USE.iter().any(|name| response.header(name).is_some()) {
        return response;
    }
    let head = Head {
        status: response.status,
        status_text: response.status_text.clone(),
        headers: response.headers.clone(),
    };
    if policy(environment, &response.url, &headers, &head).is_none() {
        return response;
    }
    if matches!(head.status, 204 | 205) {
        // Nobody will read it.
        keep(environment, &response.url, &headers, &head, &[], &[]);
        return response;
    }
    let (environment, url) = (environment.clone(), response.url.clone());
    let collected: Option<Vec<Bytes>> = Some(Vec::new());
    let state = (response.body, collected, 0);
    let limit = HttpCacheLimits::default().response_bytes as usize;
    let keep_all = move |chunks: Vec<Bytes>| {
        keep(&environment, &url, &headers, &head, &chunks.concat(), &[]);
    };
    response.body =
        unfold((state, Some(keep_all)), move |((mut body, chunks, bytes), keep_all)| async move {
            match body.next().await {
                Some(Ok(chunk)) => {
                    let bytes: usize = bytes + chunk.len();
                    let chunks = chunks.filter(|_| bytes <= limit).map(|mut chunks| {
                        chunks.push(chunk.clone());
                        chunks
                    });
                    Some((Ok(chunk), ((body, chunks, bytes), keep_all)))
                }
                Some(Err(error)) => Some((Err(error), ((body, None, bytes), None))),
                None => {
                    if let (Some(chunks), Some(keep_all)) = (chunks, keep_all) {
                        keep_all(chunks);
                    }
                    None
                }
            }
        })
        .boxed_local();
    response
}

/// Writes a response; the stored ones that match the same request go.
fn keep(
    environment: &Environment,
    url: &Url,
    headers: &[(String, String)],
    head: &Head,
    body: &[u8],
    replaces: &[CachedResponseId],
) {
    let Some(policy) = policy(environment, url, headers, head) else { return };
    let mut replaces = replaces.to_vec();
    replaces.extend(find(environment, url, headers, None).map(|stored| stored.id));
    let response = CachedResponse {
        policy: serde_json::to_string(&policy).expect("invariant: a policy is JSON"),
        head: serde_json::to_string(head).expect("invariant: a head is JSON"),
        body: body.to_vec(),
    };
    let (partition, url) = (&*environment.partition, key(url));
    let (limits, now_ms) = (HttpCacheLimits::default(), environment.now_ms as i64);
    let kept =
        environment.store.cache_response(partition, &url, &response, &replaces, limits, now_ms);
    environment.told(kept);
}

/// What decides about the reuse of a response; `None` if it may or need not be kept.
fn policy(
    environment: &Environment,
    url: &Url,
    headers: &[(String, String)],
    head: &Head,
) -> Option<CachePolicy> {
    let asked = asked(url, headers)?;
    let mut response = http::Response::builder().body(()).ok()?;
    *response.headers_mut() = header_map(&head.headers)?;
    // Any final status may be kept if the server says so, which the crate does for a few alone; so
    // it is asked about a 200.
    let control = header(&head.headers, "cache-control").unwrap_or_default();
    let says_so = control.contains("max-age") || control.contains("public");
    let says_so = says_so || header(&head.headers, "expires").is_some();
    if head.status == 206 || !(says_so || CACHEABLE_BY_DEFAULT.contains(&head.status)) {
        return None;
    }
    let policy = CachePolicy::new_options(&asked, &response, environment.time(), OPTIONS);
    let is_of_use = !policy.is_stale(environment.time())
        || !validators(head).is_empty()
        || stale_window(head).is_some_and(|window| !window.is_zero());
    (policy.is_storable() && is_of_use).then_some(policy)
}

/// Forgets what a request that changes things has made wrong:
/// <https://httpwg.org/specs/rfc9111.html#invalidation>
pub(super) fn invalidate(environment: &Environment, request: &Request, response: &HttpResponse) {
    let is_safe = matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE");
    if is_safe || !(200..400).contains(&response.status) {
        return;
    }
    let url = request.url();
    let named = ["location", "content-location"].map(|name| response.header(name));
    let others = named.into_iter().flatten().filter_map(|other| url.join(other).ok());
    let others = others.filter(|other| other.origin() == url.origin());
    for stale in std::iter::once(url.clone()).chain(others) {
        let (partition, key) = (&environment.partition, key(&stale));
        environment.told(environment.store.forget_cached_responses(partition, &key));
    }
}

fn key(url: &Url) -> String {
    url.as_str().split('#').next().unwrap_or_default().to_owned()
}

fn asked(url: &Url, headers: &[(String, String)]) -> Option<http::Request<()>> {
    let mut request = http::Request::builder().uri(key(url)).body(()).ok()?;
    *request.headers_mut() = header_map(headers)?;
    Some(request)
}

fn header_map(headers: &[(String, String)]) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let bytes: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(c).ok()).collect();
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        map.append(name, HeaderValue::from_bytes(&bytes?).ok()?);
    }
    Some(map)
}
