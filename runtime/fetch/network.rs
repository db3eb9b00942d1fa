//! HTTP-network-or-cache fetch: <https://fetch.spec.whatwg.org/#concept-http-network-or-cache-fetch>
//!
//! Invariant: a header that a script may not set is set here, anew for each exchange.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{FutureExt, StreamExt};
use kittiwake_store::HttpCacheLimits;
use percent_encoding::percent_decode_str;
use url::{Host, Origin, Url};

use super::referrer::{is_trustworthy, referrer_of};
use super::{
    Body, CacheMode, Credentials, Environment, FetchError, Mode, Referrer, ReferrerPolicy, Request,
    Tainting, cache, header, is_of_origin,
};
use crate::http::{Connection, HttpBody, HttpRequest, HttpResponse};

/// What the keepalive requests of a client may carry together:
/// <https://fetch.spec.whatwg.org/#keepalive-size-limit>
const KEEPALIVE_BYTES: usize = 64 << 10;

/// Conditional headers, by which a script does the cache's work itself.
const CONDITIONS: [&str; 5] =
    ["if-modified-since", "if-none-match", "if-unmodified-since", "if-match", "if-range"];

/// Answers the request as it stands now, from the cache or with one exchange.
pub(super) async fn network_or_cache(
    environment: &Environment,
    request: &mut Request,
) -> Result<HttpResponse, FetchError> {
    let mode = match request.cache {
        CacheMode::Default if CONDITIONS.iter().any(|name| request.has_header(name)) => {
            CacheMode::NoStore
        }
        CacheMode::Default if forbids_storing(request) => CacheMode::NoStore,
        mode => mode,
    };
    let headers = outgoing_headers(environment, request, mode)?;
    let url = request.url().clone();
    let is_cacheable = cache::concerns(request, mode);
    let range = cache::range_of(request).filter(|_| is_cacheable);
    let mut stored = None;
    if is_cacheable && mode != CacheMode::Reload {
        stored = cache::find(environment, &url, &headers, range);
    }
    if let Some(stored) = stored.take_if(|stored| stored.answers(mode)) {
        return Ok(stored.into_response(environment, url, range));
    }
    if let (Some(in_background), None) = (&environment.in_background, range)
        && let Some(stale) =
            stored.take_if(|stored| stored.answers_while_revalidated(request, mode))
    {
        let revalidation = revalidate(environment.clone(), request.without_body(), stale.clone());
        in_background(&url, revalidation.boxed_local());
        return Ok(stale.into_response(environment, url, None));
    }
    if mode == CacheMode::OnlyIfCached {
        return Err(FetchError::NotCached { url });
    }
    let sent_headers = || {
        let validators = stored.iter().flat_map(|stored| stored.validators());
        headers.iter().chain(validators).cloned().collect()
    };
    let mut response = exchange(environment, request, sent_headers(), Connection::Any).await?;
    // https://fetch.spec.whatwg.org/#http-network-or-cache-fetch, the step about 421
    if response.status == 421 && !matches!(request.body, Body::Stream(_)) {
        response = exchange(environment, request, sent_headers(), Connection::New).await?;
    }
    if response.status == 304
        && let Some(stored) = stored
    {
        return Ok(stored.confirmed(environment, url, &headers, range, &response));
    }
    cache::invalidate(environment, request, &response);
    // Whatever else answers for a part says nothing of the whole.
    let is_whole = range.is_none() || response.status == 200;
    Ok(match is_cacheable && is_whole {
        true => cache::keeping(environment, headers, response),
        false => response,
    })
}

/// Asks the server for what is stale and was used all the same. Answers the status.
async fn revalidate(
    environment: Environment,
    mut request: Request,
    stale: cache::Stored,
) -> Result<u16, FetchError> {
    let headers = outgoing_headers(&environment, &request, CacheMode::Default)?;
    let sent_headers = headers.iter().chain(stale.validators()).cloned().collect();
    let response = exchange(&environment, &mut request, sent_headers, Connection::Any).await?;
    let status = response.status;
    if status == 304 {
        let url = request.url().clone();
        drop(stale.confirmed(&environment, url, &headers, None, &response));
        return Ok(status);
    }
    // It is kept when its end has come.
    let mut body = cache::keeping(&environment, headers, response).body;
    let mut bytes = 0;
    while let Some(chunk) = body.next().await {
        bytes += chunk?.len() as u64;
        if bytes > HttpCacheLimits::default().response_bytes {
            break;
        }
    }
    Ok(status)
}

fn forbids_storing(request: &Request) -> bool {
    header(&request.headers, "cache-control").is_some_and(|control| control.contains("no-store"))
}

/// Asks whether the request may be made: <https://fetch.spec.whatwg.org/#cors-preflight-fetch>
pub(super) async fn preflight(
    environment: &Environment,
    request: &Request,
    headers: Vec<(String, String)>,
) -> Result<HttpResponse, FetchError> {
    let mut preflight = Request {
        method: "OPTIONS".to_owned(),
        url_list: request.url_list.clone(),
        headers,
        body: Body::Empty,
        origin: request.origin.clone(),
        referrer: request.referrer.clone(),
        integrity: String::new(),
        keepalive: false,
        destination: request.destination.clone(),
        credentials: Credentials::Omit,
        ..*request
    };
    let headers = outgoing_headers(environment, &preflight, CacheMode::Default)?;
    exchange(environment, &mut preflight, headers, Connection::Any).await
}

/// <https://fetch.spec.whatwg.org/#concept-http-network-fetch>
async fn exchange(
    environment: &Environment,
    request: &mut Request,
    headers: Vec<(String, String)>,
    connection: Connection,
) -> Result<HttpResponse, FetchError> {
    let body = match std::mem::replace(&mut request.body, Body::Empty) {
        Body::Empty => None,
        Body::Whole(bytes) => {
            request.body = Body::Whole(bytes.clone());
            Some(HttpBody::Whole(bytes))
        }
        Body::Stream(parts) => {
            // It is gone now, and that it was a stream decides about a redirect.
            request.body = Body::Stream(Box::pin(futures::stream::empty()));
            Some(HttpBody::Stream(parts))
        }
    };
    let (method, url) = (request.method.clone(), request.url().clone());
    let sent = HttpRequest { method, url, headers, body, connection };
    let response = environment.http.send(sent).await?;
    if includes_credentials(request) {
        let set = response.headers.iter().filter(|(name, _)| name == "set-cookie");
        let set = set.map(|(_, value)| value.as_str());
        environment.take_cookies(set, request.url(), site_relation(request, request.url()));
    }
    Ok(response)
}

/// Whether cookies and the like go with it: the variable of the same name in the standard.
pub(super) fn includes_credentials(request: &Request) -> bool {
    match request.credentials {
        Credentials::Include => true,
        Credentials::SameOrigin => request.tainting == Tainting::Basic,
        Credentials::Omit => false,
    }
}

fn outgoing_headers(
    environment: &Environment,
    request: &Request,
    mode: CacheMode,
) -> Result<Vec<(String, String)>, FetchError> {
    let mut headers = request.headers.clone();
    let has = |name: &str| request.has_header(name);
    let mut push = |name: &str, value: String| headers.push((name.to_owned(), value));
    match &request.body {
        Body::Empty if matches!(request.method.as_str(), "POST" | "PUT") => {
            push("Content-Length", "0".to_owned());
        }
        Body::Whole(bytes) if request.keepalive => {
            let (bytes, most) = (bytes.len() + environment.keepalive_bytes, KEEPALIVE_BYTES);
            if bytes > most {
                return Err(FetchError::KeepaliveBody { bytes, most });
            }
        }
        _ => {}
    }
    if !has("accept") {
        push("Accept", "*/*".to_owned());
    }
    if !has("accept-language") {
        push("Accept-Language", "en-US,en;q=0.9".to_owned());
    }
    if let Some(referrer) = referrer_of(request) {
        push("Referer", referrer);
    }
    if let Some(origin) = origin_header(request) {
        push("Origin", origin);
    }
    for (name, value) in fetch_metadata(request) {
        push(name, value.to_owned());
    }
    if mode == CacheMode::NoCache && !has("cache-control") {
        push("Cache-Control", "max-age=0".to_owned());
    }
    if matches!(mode, CacheMode::NoStore | CacheMode::Reload) {
        if !has("pragma") {
            push("Pragma", "no-cache".to_owned());
        }
        if !has("cache-control") {
            push("Cache-Control", "no-cache".to_owned());
        }
    }
    if has("range") {
        push("Accept-Encoding", "identity".to_owned());
    }
    if includes_credentials(request) {
        let relation = site_relation(request, request.url());
        let cookies = environment.cookies_for(request.url(), relation);
        headers.extend(cookies.map(|cookies| ("Cookie".to_owned(), cookies)));
        if !has("authorization") {
            headers.extend(basic_authorization(request.url()));
        }
    }
    Ok(headers)
}

/// <https://fetch.spec.whatwg.org/#append-a-request-origin-header>
fn origin_header(request: &Request) -> Option<String> {
    if request.tainting == Tainting::Cors {
        return Some(request.serialized_origin());
    }
    if matches!(request.method.as_str(), "GET" | "HEAD") {
        return None;
    }
    if request.mode == Mode::Cors {
        return Some(request.serialized_origin());
    }
    let Referrer::Url(source) = &request.referrer else { return Some(request.serialized_origin()) };
    let hidden = match request.referrer_policy {
        ReferrerPolicy::NoReferrer => true,
        ReferrerPolicy::NoReferrerWhenDowngrade
        | ReferrerPolicy::StrictOrigin
        | ReferrerPolicy::StrictOriginWhenCrossOrigin => {
            source.scheme() == "https" && request.url().scheme() != "https"
        }
        ReferrerPolicy::SameOrigin => request.origin != request.url().origin(),
        _ => false,
    };
    Some(if hidden { "null".to_owned() } else { request.serialized_origin() })
}

/// <https://w3c.github.io/webappsec-fetch-metadata/>
fn fetch_metadata(request: &Request) -> Vec<(&'static str, &str)> {
    if !is_trustworthy(request.url()) {
        return Vec::new();
    }
    let sites = request.url_list.iter().map(|url| site_relation(request, url));
    let site = sites.max().unwrap_or(SiteRelation::SameOrigin);
    let mode = match request.mode {
        Mode::SameOrigin => "same-origin",
        Mode::NoCors => "no-cors",
        Mode::Cors => "cors",
        Mode::Navigate => "navigate",
    };
    let destination = match request.destination.as_str() {
        "" => "empty",
        destination => destination,
    };
    vec![
        ("Sec-Fetch-Dest", destination),
        ("Sec-Fetch-Mode", mode),
        (
            "Sec-Fetch-Site",
            match site {
                SiteRelation::SameOrigin => "same-origin",
                SiteRelation::SameSite => "same-site",
                SiteRelation::CrossSite => "cross-site",
            },
        ),
    ]
}

/// Nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SiteRelation {
    SameOrigin,
    SameSite,
    CrossSite,
}

/// How a URL relates to who asks.
pub(super) fn site_relation(request: &Request, url: &Url) -> SiteRelation {
    relation_of(&request.origin, url)
}

/// <https://html.spec.whatwg.org/#same-site>, with the last two labels of a name for its
/// registrable domain.
pub(crate) fn relation_of(origin: &Origin, url: &Url) -> SiteRelation {
    if is_of_origin(origin, url) {
        return SiteRelation::SameOrigin;
    }
    let Origin::Tuple(scheme, host, _) = origin else {
        return SiteRelation::CrossSite;
    };
    let is_same_site = *scheme == url.scheme()
        && match (host, url.host()) {
            (Host::Domain(one), Some(Host::Domain(other))) => site(one) == site(other),
            (Host::Ipv4(one), Some(Host::Ipv4(other))) => *one == other,
            (Host::Ipv6(one), Some(Host::Ipv6(other))) => *one == other,
            _ => false,
        };
    if is_same_site { SiteRelation::SameSite } else { SiteRelation::CrossSite }
}

fn site(domain: &str) -> &str {
    let mut dots = domain.rmatch_indices('.').map(|(place, _)| place + 1);
    &domain[dots.nth(1).unwrap_or(0)..]
}

/// The credentials of a URL, which only a redirect can have.
fn basic_authorization(url: &Url) -> Option<(String, String)> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    Some(("Authorization".to_owned(), format!("Basic {}", STANDARD.encode(pair))))
}
