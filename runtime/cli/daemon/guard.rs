//! What every request passes before it is answered: a name, the checks against other sites, the
//! token, and a limit of time.
//!
//! Invariant: nothing but the list in [`is_open`] is answered without the token or the private
//! socket; no page of another site gets at anything, whatever name it has for this machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use url::{Host, Url};

use super::Daemon;
use super::page;
use super::problem::{self, Problem};
use super::token::Token;

/// Bytes that the body of a request may have.
pub const BODY_LIMIT: usize = 8 << 20;

/// Longer than the longest event may take: an answer that comes later is none.
const ANSWER_LIMIT: Duration = Duration::from_secs(6 * 60);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Who may ask.
pub struct Access {
    /// What has to be shown; none at a private socket without one.
    pub token: Option<Token>,
    /// Whether the clients come by TCP, browsers among them.
    pub is_tcp: bool,
    /// Names of this machine beside its addresses.
    pub hosts: Vec<String>,
    /// Names requests that have no name.
    pub numbers: AtomicU64,
    /// Begins these names.
    pub epoch: String,
}

/// The outermost: names the request, has it checked and answered, and writes what became of it.
pub async fn attend(State(daemon): State<Arc<Daemon>>, request: Request, next: Next) -> Response {
    let id = request_id(&daemon.access, request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let began = tokio::time::Instant::now();
    let mut response = match daemon.access.check(&request) {
        Ok(()) => answer(request, next).await,
        Err(problem) => problem.into_response(),
    };
    problem::write(&mut response, &id);
    let headers = response.headers_mut();
    for (name, value) in page::SECURITY_HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    let status = response.status().as_u16();
    daemon.metrics.count_request(status);
    let took_ms = began.elapsed().as_millis() as u64;
    if status >= 500 {
        tracing::error!(request = id, %method, path, status, took_ms, "answered");
    } else {
        tracing::debug!(request = id, %method, path, status, took_ms, "answered");
    }
    response
}

async fn answer(request: Request, next: Next) -> Response {
    match timeout(ANSWER_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = "what was asked for takes longer than 6 minutes, and goes on; \
                          GET /v1/trace tells how it ends";
            let title = "It takes too long to wait for";
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", title, detail).into_response()
        }
    }
}

/// A client's own name for its request, if it can stand in a header and a log; else a new one.
fn request_id(access: &Access, headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let is_plain = |id: &&str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=64).contains(&id.len()) && id.bytes().all(is_plain)
    };
    match given.filter(is_plain) {
        Some(id) => id.to_owned(),
        None => {
            let number = access.numbers.fetch_add(1, Ordering::Relaxed);
            format!("{}-{number}", access.epoch)
        }
    }
}

impl Access {
    /// Whether a request may be answered.
    fn check(&self, request: &Request) -> Result<(), Problem> {
        if self.is_tcp {
            self.check_site(request)?;
        }
        let Some(token) = &self.token else { return Ok(()) };
        if is_open(request.uri().path()) {
            return Ok(());
        }
        let shown = request.headers().get(header::AUTHORIZATION);
        match shown {
            Some(shown) if token.is_shown_by(shown.as_bytes()) => Ok(()),
            shown => {
                let detail = match shown {
                    None => "send the token of the daemon: `Authorization: Bearer TOKEN`",
                    Some(_) => "this is not the token of the daemon; read its file again",
                };
                let title = "The token is missing or wrong";
                Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", title, detail))
            }
        }
    }

    /// Refuses what a browser sends for another site: under a name that another site has given
    /// this machine (DNS rebinding), or from its pages.
    fn check_site(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let host = text("host").unwrap_or_default();
        if !self.is_own_host(host) {
            let detail = format!(
                "`{host}` is no name of this daemon; use its IP address, or start it with \
                 --allow-host NAME"
            );
            let title = "The host is not served here";
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", title, detail));
        }
        let is_own_origin = |origin: &str| {
            let origin = Url::parse(origin).ok();
            origin.is_some_and(|origin| {
                origin[url::Position::BeforeHost..url::Position::AfterPort] == *host
            })
        };
        let foreign_origin = text("origin").is_some_and(|origin| !is_own_origin(origin));
        let foreign_site = matches!(text("sec-fetch-site"), Some("cross-site" | "same-site"));
        // Somebody may follow a link to the page, which has nothing but itself to show.
        let follows_link =
            text("sec-fetch-mode") == Some("navigate") && is_open(request.uri().path());
        if foreign_origin || foreign_site && !follows_link {
            let detail = "a page of another site asks, and CORS is not for this server";
            let title = "Another site may not ask";
            return Err(Problem::new(StatusCode::FORBIDDEN, "other-site", title, detail));
        }
        Ok(())
    }

    /// An address cannot be another site's name for this machine; a name can.
    fn is_own_host(&self, host: &str) -> bool {
        let parsed = Url::parse(&format!("http://{host}/")).ok();
        parsed.as_ref().and_then(Url::host).is_some_and(|host| match host {
            Host::Domain(name) => {
                name == "localhost" || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
            }
            Host::Ipv4(_) | Host::Ipv6(_) => true,
        })
    }
}

/// What says nothing of workers, or whether the daemon is there.
fn is_open(path: &str) -> bool {
    matches!(path, "/" | "/page.css" | "/page.js" | "/healthz" | "/readyz" | "/openapi.json")
}
