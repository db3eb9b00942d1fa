//! The Fetch Standard, on the host's side of the border: <https://fetch.spec.whatwg.org/>
//!
//! A script's `fetch()` comes here with everything that the script may choose, and gets back what
//! the script may see. Cookies, caches, CORS and redirects are decided here, because a script must
//! not reach them.
//!
//! Invariant: a script sees of a response what its tainting allows; why there is none, only the
//! trace says.

mod cache;
mod cookies;
mod cors;
mod integrity;
mod main_fetch;
mod network;
mod range;
mod redirect;
mod referrer;
mod scheme;
mod tee;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::LocalBoxStream;
use kittiwake_store::{Store, StoreError};
use serde::Serialize;
use url::{Host, Origin, Url};

use crate::http::{Http, HttpError, Loaded};
use network::SiteRelation;

pub(crate) use cookies::{CookieObserved, Jar};
pub use cors::Cors;
pub(crate) use cors::PreflightCache;
pub(crate) use main_fetch::fetch;
pub(crate) use network::relation_of;
pub(crate) use referrer::ReferrerPolicy;
pub(crate) use scheme::{has_good_port, require_good_port, shortened};
pub(crate) use tee::tee;

/// Hears which cookies a response has changed.
type OnCookieChange = Rc<dyn Fn(&[CookieObserved])>;

/// Takes the revalidation of a URL, which answers the status of the response.
type InBackground = Rc<dyn Fn(&Url, LocalBoxFuture<'static, Result<u16, FetchError>>)>;

/// What a fetch may use. Clones are the same environment.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) http: Rc<dyn Http>,
    /// Who is asked before the network; nobody for a client without a controller, or a worker.
    pub(crate) interceptor: Option<Rc<dyn Interceptor>>,
    pub(crate) cors: Cors,
    pub(crate) preflights: Rc<RefCell<PreflightCache>>,
    pub(crate) store: Arc<Store>,
    /// Whose cookies and whose part of the HTTP cache it uses.
    pub(crate) partition: Rc<str>,
    pub(crate) jar: Rc<RefCell<Jar>>,
    pub(crate) on_cookie_change: OnCookieChange,
    /// Hears of what the store could not keep; the fetch goes on without it.
    pub(crate) on_store_error: Rc<dyn Fn(&StoreError)>,
    /// Asks anew for what is stale, as long as the client is there; without it nothing stale is of
    /// use.
    pub(crate) in_background: Option<InBackground>,
    /// Bytes that the client's other keepalive requests carry, which are under way.
    pub(crate) keepalive_bytes: usize,
    /// Milliseconds since the Unix epoch.
    pub(crate) now_ms: f64,
}

impl Environment {
    fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs_f64(self.now_ms.max(0.0) / 1e3)
    }

    /// What the store answered, or nothing and the error told.
    fn told<T>(&self, answer: Result<T, StoreError>) -> Option<T> {
        answer.inspect_err(|error| (self.on_store_error)(error)).ok()
    }

    pub(crate) fn cookies_for(&self, url: &Url, relation: SiteRelation) -> Option<String> {
        self.jar.borrow_mut().header(url, relation, self.now_ms as i64)
    }

    pub(crate) fn take_cookies<'a>(
        &self,
        headers: impl Iterator<Item = &'a str>,
        url: &Url,
        relation: SiteRelation,
    ) {
        let now_ms = self.now_ms as i64;
        let changes = self.jar.borrow_mut().take(headers, url, relation, now_ms);
        if !changes.is_empty() {
            self.told(self.store.change_cookies(&self.partition, &changes, now_ms));
            let observed = self.jar.borrow_mut().observed();
            (self.on_cookie_change)(&observed);
        }
    }
}

/// A controller: <https://w3c.github.io/ServiceWorker/#handle-fetch>
pub(crate) trait Interceptor {
    /// Answers a response, `None` if the network shall answer, or why there is a network error. The
    /// request is still whole afterwards.
    fn handle<'a>(
        &'a self,
        request: &'a mut Request,
    ) -> LocalBoxFuture<'a, Result<Option<Response>, FetchError>>;
}

/// <https://fetch.spec.whatwg.org/#concept-request>
pub(crate) struct Request {
    pub(crate) method: String,
    /// Never empty; the last one is the current URL.
    pub(crate) url_list: Vec<Url>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
    pub(crate) origin: Origin,
    pub(crate) mode: Mode,
    pub(crate) credentials: Credentials,
    pub(crate) cache: CacheMode,
    pub(crate) redirect: RedirectMode,
    pub(crate) referrer: Referrer,
    pub(crate) referrer_policy: ReferrerPolicy,
    pub(crate) integrity: String,
    pub(crate) keepalive: bool,
    /// Empty for a script's own request.
    pub(crate) destination: String,
    pub(crate) tainting: Tainting,
    pub(crate) service_workers: ServiceWorkersMode,
    /// <https://fetch.spec.whatwg.org/#concept-request-reload-navigation-flag>
    pub(crate) reload: bool,
}

impl Request {
    pub(crate) fn url(&self) -> &Url {
        self.url_list.last().expect("invariant: a request has a URL")
    }

    /// Whether a URL is of the request's origin.
    pub(super) fn is_of_origin(&self, url: &Url) -> bool {
        is_of_origin(&self.origin, url)
    }

    pub(crate) fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }

    pub(crate) fn remove_headers(&mut self, names: &[&str]) {
        self.headers.retain(|(name, _)| !names.iter().any(|gone| name.eq_ignore_ascii_case(gone)));
    }

    /// <https://fetch.spec.whatwg.org/#concept-request-tainted-origin>
    pub(crate) fn is_origin_tainted(&self) -> bool {
        self.url_list.windows(2).any(|pair| {
            let (last, next) = (pair[0].origin(), pair[1].origin());
            last != next && last != self.origin
        })
    }

    /// <https://fetch.spec.whatwg.org/#serializing-a-request-origin>
    pub(crate) fn serialized_origin(&self) -> String {
        match self.is_origin_tainted() {
            true => "null".to_owned(),
            false => self.origin.ascii_serialization(),
        }
    }
}

fn is_of_origin(origin: &Origin, url: &Url) -> bool {
    let Origin::Tuple(scheme, host, port) = origin else { return false };
    // Said in words, because `Url::origin` makes copies; only blob: URLs have another's.
    match url.scheme() {
        "http" | "https" | "ws" | "wss" | "ftp" => {
            scheme == url.scheme()
                && Some(*port) == url.port_or_known_default()
                && match (host, url.host()) {
                    (Host::Domain(one), Some(Host::Domain(other))) => one == other,
                    (Host::Ipv4(one), Some(Host::Ipv4(other))) => *one == other,
                    (Host::Ipv6(one), Some(Host::Ipv6(other))) => *one == other,
                    _ => false,
                }
        }
        _ => *origin == url.origin(),
    }
}

/// <https://fetch.spec.whatwg.org/#concept-header-list-get>; `name` is in lower case.
pub(crate) fn header(headers: &[(String, String)], name: &str) -> Option<String> {
    let mut values = headers
        .iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str());
    let first = values.next()?.to_owned();
    Some(values.fold(first, |joined, value| joined + ", " + value))
}

/// The body of a request.
pub(crate) enum Body {
    Empty,
    /// Bytes that can be sent again.
    Whole(Bytes),
    /// A stream, which can be sent once.
    Stream(LocalBoxStream<'static, Result<Bytes, HttpError>>),
}

/// <https://fetch.spec.whatwg.org/#concept-request-mode>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    SameOrigin,
    NoCors,
    Cors,
    Navigate,
}

/// <https://fetch.spec.whatwg.org/#request-service-workers-mode>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceWorkersMode {
    All,
    None,
}

impl Request {
    /// The same request, with nothing to send.
    pub(crate) fn without_body(&self) -> Request {
        Request {
            method: self.method.clone(),
            url_list: self.url_list.clone(),
            headers: self.headers.clone(),
            body: Body::Empty,
            origin: self.origin.clone(),
            referrer: self.referrer.clone(),
            integrity: self.integrity.clone(),
            destination: self.destination.clone(),
            ..*self
        }
    }
}

/// <https://fetch.spec.whatwg.org/#concept-request-credentials-mode>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Credentials {
    Omit,
    SameOrigin,
    Include,
}

/// <https://fetch.spec.whatwg.org/#concept-request-cache-mode>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CacheMode {
    Default,
    NoStore,
    Reload,
    NoCache,
    ForceCache,
    OnlyIfCached,
}

/// <https://fetch.spec.whatwg.org/#concept-request-redirect-mode>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RedirectMode {
    Follow,
    Error,
    Manual,
}

/// <https://fetch.spec.whatwg.org/#concept-request-referrer>
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Referrer {
    None,
    Url(Url),
}

/// <https://fetch.spec.whatwg.org/#concept-request-response-tainting>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tainting {
    Basic,
    Cors,
    Opaque,
}

/// <https://fetch.spec.whatwg.org/#concept-response-type>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseType {
    Basic,
    Cors,
    Opaque,
    OpaqueRedirect,
}

impl ResponseType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            ResponseType::Basic => "basic",
            ResponseType::Cors => "cors",
            ResponseType::Opaque => "opaque",
            ResponseType::OpaqueRedirect => "opaqueredirect",
        }
    }
}

/// <https://fetch.spec.whatwg.org/#concept-response>, with the headers that its type lets through.
pub(crate) struct Response {
    pub(crate) kind: ResponseType,
    pub(crate) status: u16,
    pub(crate) status_text: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) url_list: Vec<Url>,
    /// `None` for a null body.
    pub(crate) body: Option<LocalBoxStream<'static, Result<Bytes, HttpError>>>,
    pub(crate) source: ResponseSource,
}

impl Response {
    /// All of it.
    pub(crate) async fn into_loaded(self) -> Result<Loaded, HttpError> {
        let mut body = Vec::new();
        if let Some(mut chunks) = self.body {
            while let Some(chunk) = chunks.try_next().await? {
                body.extend_from_slice(&chunk);
            }
        }
        let url = self.url_list.last().expect("invariant: a response has its URL").clone();
        let content_type = header(&self.headers, "content-type");
        Ok(Loaded { status: self.status, content_type, url, body })
    }
}

/// Who made a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResponseSource {
    /// A server.
    Network,
    /// The client's controller.
    ServiceWorker,
}

impl ResponseSource {
    pub(crate) fn is_network(&self) -> bool {
        *self == ResponseSource::Network
    }
}

/// Why a fetch is a network error, for the trace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("too many requests of the origin are under way, or too many bytes of theirs")]
    TooMany,
    #[error("{url} is no URL")]
    InvalidUrl { url: String },
    #[error("port {port} is blocked, because another protocol has it")]
    BadPort { port: u16 },
    #[error("{url} is not in the HTTP cache, and the request's cache mode is only-if-cached")]
    NotCached { url: Url },
    #[error("{url} is of another origin, and the request's mode is same-origin")]
    NotSameOrigin { url: Url },
    #[error("a no-cors request of another origin must follow redirects")]
    NoCorsWithoutFollow,
    #[error("the scheme `{scheme}` cannot be fetched")]
    Scheme { scheme: String },
    #[error("no blob has the URL {url}")]
    NoBlob { url: Url },
    #[error("{url} is no data: URL that can be read")]
    InvalidData { url: String },
    #[error("CORS forbids the response of {url}: {problem}")]
    Cors { url: Url, problem: String },
    #[error("the preflight to {url} was refused: {problem}")]
    Preflight { url: Url, problem: String },
    #[error("{url} has credentials, which a cross-origin redirect may not have")]
    RedirectCredentials { url: Url },
    #[error("{url} redirects a request whose body is a stream")]
    StreamRedirected { url: Url },
    #[error(
        "keepalive requests have {most} bytes at most, with those under way; these are {bytes}"
    )]
    KeepaliveBody { bytes: usize, most: usize },
    #[error("cross-origin-resource-policy of {url} keeps its response to itself")]
    ResourcePolicy { url: Url },
    #[error("{reason}")]
    Intercepted { reason: String },
    #[error("the response of {url} does not have the integrity that the request asks for")]
    Integrity { url: Url },
}

#[cfg(test)]
mod tests;
