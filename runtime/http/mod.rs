//! The HTTP door: the only way by which a request leaves Kittiwake. Real sockets are in `real.rs`,
//! files in `files.rs`, a poor network in `link.rs`; a simulation's servers are in `simulation/`.
//!
//! Invariant: a door makes one exchange, and answers with what the server said or with why there is
//! no answer. Every decision about redirects, CORS, modes and caches is made in `fetch/`.

mod decode;
mod door;
mod files;
mod link;
mod policy;
mod real;
mod redirect;
mod upstream;
mod web_socket;

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use futures::stream::LocalBoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use url::{Host, Url};

use crate::network::NetworkState;

pub(crate) use door::EmbeddersHttp;
pub use door::{DoorAnswer, DoorBody, DoorError, DoorRequest, DoorResponse, HttpDoor};
pub use files::{OriginFiles, Root};
pub use link::Link;
pub use policy::{HostRule, NetworkPolicy, Policed};
pub use real::ReqwestHttp;
pub(crate) use real::{Proxying, client_builder};
pub(crate) use redirect::{REDIRECTS_AT_MOST, follow, redirect_target};
pub use upstream::Upstream;
pub(crate) use web_socket::{DuplexStream, UpgradedConnection, WebSocketRequest};

/// A request that may leave now.
pub struct HttpRequest {
    /// The method, in the case in which it is sent.
    pub method: String,
    /// An `http` or `https` URL; its fragment is not sent.
    pub url: Url,
    /// Names and values in order. One character is one byte; none is above U+00FF.
    pub headers: Vec<(String, String)>,
    /// The body, if there is one.
    pub body: Option<HttpBody>,
    /// By which connection it leaves.
    pub connection: Connection,
}

/// By which connection a request leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connection {
    /// One that is open, if there is one.
    #[default]
    Any,
    /// One of its own. A door without connections takes it for any.
    New,
}

type Body = LocalBoxStream<'static, Result<Bytes, HttpError>>;

/// The body of a request.
pub enum HttpBody {
    /// All of it.
    Whole(Bytes),
    /// As it comes: the next chunk is asked for when the last one has left. An error ends the
    /// request.
    Stream(LocalBoxStream<'static, Result<Bytes, HttpError>>),
}

impl HttpRequest {
    /// A `GET` of `url` without headers.
    pub fn get(url: Url) -> HttpRequest {
        let (method, headers, connection) = ("GET".to_owned(), Vec::new(), Connection::Any);
        HttpRequest { method, url, headers, body: None, connection }
    }
}

/// A response whose body is still on its way.
pub struct HttpResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// The status text; empty over HTTP/2.
    pub status_text: String,
    /// Lower-case names and values, in order. One character is one byte.
    pub headers: Vec<(String, String)>,
    /// The URL that answered.
    pub url: Url,
    /// The decoded body. Ends after its first error.
    pub body: LocalBoxStream<'static, Result<Bytes, HttpError>>,
}

impl HttpResponse {
    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Waits for the whole body. Fails as the body does.
    pub async fn into_loaded(self) -> Result<Loaded, HttpError> {
        let content_type = self.header("content-type").map(str::to_owned);
        let body = self.body.try_fold(Vec::new(), async |mut body, chunk| {
            body.extend_from_slice(&chunk);
            Ok(body)
        });
        Ok(Loaded { status: self.status, content_type, url: self.url, body: body.await? })
    }
}

/// A response that is here as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The status, 200 to 599.
    pub status: u16,
    /// The `content-type` header.
    pub content_type: Option<String>,
    /// The URL that answered, after redirects.
    pub url: Url,
    /// The decoded body.
    pub body: Vec<u8>,
}

/// Why there is no response. Its text is for an operator's trace; a script must not learn it.
/// `host` is a host with its port, `cause` the words of whoever failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The network signal is offline; nothing was tried.
    #[error("the network is offline")]
    Offline,
    /// The network policy forbids it; nothing was sent.
    #[error("{host} is not asked: {why}")]
    Denied { host: String, why: &'static str },
    /// The body has more bytes than the network policy allows.
    #[error("{host} sends more than {most} bytes")]
    TooLong { host: String, most: u64 },
    /// Nobody listens at the host's port.
    #[error("connection refused by {host}")]
    Refused { host: String },
    /// The host's name has no address, or no name server answered.
    #[error("no address found for {host}")]
    Dns { host: String },
    /// The machine knows no way to the host's address.
    #[error("no route to {host}")]
    Unreachable { host: String },
    /// The host did not take the connection, or fell silent.
    #[error("{host} did not answer in time")]
    Timeout { host: String },
    /// The host's certificate is not trusted, or it does not speak TLS.
    #[error("no secure connection to {host}: {cause}")]
    Tls { host: String, cause: String },
    /// The connection ended in mid-exchange, or what came was not HTTP.
    #[error("connection to {host} broke: {cause}")]
    Broken { host: String, cause: String },
    /// The response at `url` was the redirect after the last one that is followed.
    #[error("more than 20 redirects, the last one by {url}")]
    TooManyRedirects { url: Url },
    /// A redirect where none may be.
    #[error("{url} redirects, which the request forbids")]
    RedirectForbidden { url: Url },
    /// A redirect whose `location` cannot be parsed.
    #[error("{url} redirects to `{location}`, which is no URL")]
    RedirectInvalid { url: Url, location: String },
    /// The request or a redirect leads away from HTTP.
    #[error("{url} is neither http nor https")]
    UnsupportedScheme { url: Url },
    /// A simulation asks a server that its scenario does not have.
    #[error("no server is scripted for {url}")]
    NoServer { url: Url },
    /// A stream that a script makes for a body failed.
    #[error("the script's stream broke: {cause}")]
    BodyBroken { cause: String },
    /// The method or a header cannot be written in HTTP.
    #[error("the request cannot be sent: {cause}")]
    InvalidRequest { cause: String },
    /// The machine gives no client, for example no root certificates or no thread.
    #[error("the HTTP client cannot start: {cause}")]
    NoClient { cause: String },
}

/// A door for requests.
pub trait Http {
    /// Sends one request; redirects are answers like others. Answers when the headers are there;
    /// the body follows as a stream. Dropping the future or the stream ends the exchange.
    fn send(
        &self,
        request: HttpRequest,
    ) -> LocalBoxFuture<'static, Result<HttpResponse, HttpError>>;

    /// Gets a URL, follows redirects, and blocks the calling thread until the whole body is there.
    /// Only for `importScripts`, which is synchronous; it has no deadline of its own.
    fn load(&self, url: &Url) -> Result<Loaded, HttpError>;

    /// Opens a WebSocket. A door without servers that speak it refuses.
    fn connect(
        &self,
        request: WebSocketRequest,
    ) -> LocalBoxFuture<'static, Result<UpgradedConnection, HttpError>> {
        std::future::ready(Err(HttpError::NoServer { url: request.url })).boxed_local()
    }
}

/// Refuses every request while the network signal is offline, so that `fetch` and `sync` never
/// disagree. A response that arrives while it is offline is lost too; a body under way is not.
pub struct Gate {
    state: Rc<Cell<NetworkState>>,
    inner: Box<dyn Http>,
}

impl Gate {
    /// Guards `inner`; whoever reads the signal writes `state`.
    pub fn new(state: Rc<Cell<NetworkState>>, inner: Box<dyn Http>) -> Gate {
        Gate { state, inner }
    }
}

fn require_online(state: &Cell<NetworkState>) -> Result<(), HttpError> {
    match state.get() {
        NetworkState::Online => Ok(()),
        NetworkState::Offline => Err(HttpError::Offline),
    }
}

impl Http for Gate {
    fn send(
        &self,
        request: HttpRequest,
    ) -> LocalBoxFuture<'static, Result<HttpResponse, HttpError>> {
        if let Err(offline) = require_online(&self.state) {
            return std::future::ready(Err(offline)).boxed_local();
        }
        let state = Rc::clone(&self.state);
        let response = self.inner.send(request);
        async move {
            let response = response.await?;
            require_online(&state)?;
            Ok(response)
        }
        .boxed_local()
    }

    fn load(&self, url: &Url) -> Result<Loaded, HttpError> {
        require_online(&self.state)?;
        self.inner.load(url)
    }

    fn connect(
        &self,
        request: WebSocketRequest,
    ) -> LocalBoxFuture<'static, Result<UpgradedConnection, HttpError>> {
        if let Err(offline) = require_online(&self.state) {
            return std::future::ready(Err(offline)).boxed_local();
        }
        self.inner.connect(request)
    }
}

/// Whether a URL's host is this machine by its name alone.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Host and port as a trace names them.
pub(crate) fn authority(url: &Url) -> String {
    match (url.host_str(), url.port_or_known_default()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    }
}

/// The usual text of a status; empty if it has none.
pub(crate) fn status_text(status: u16) -> String {
    let status = reqwest::StatusCode::from_u16(status).ok();
    status.and_then(|status| status.canonical_reason()).unwrap_or_default().to_owned()
}

/// A body that is here already.
pub(crate) fn whole_body(body: Bytes) -> LocalBoxStream<'static, Result<Bytes, HttpError>> {
    futures::stream::iter((!body.is_empty()).then_some(Ok(body))).boxed_local()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::simulation::ScriptedServers;

    fn gate(state: NetworkState) -> (Rc<Cell<NetworkState>>, ScriptedServers, Gate) {
        let servers: ScriptedServers =
            toml::from_str("['http://a.test']\n'GET /' = { status = 200, delay = '2s' }").unwrap();
        let state = Rc::new(Cell::new(state));
        let gate = Gate::new(Rc::clone(&state), Box::new(servers.clone()));
        (state, servers, gate)
    }

    #[tokio::test(start_paused = true)]
    async fn an_offline_gate_refuses_and_no_request_leaves() {
        let (state, servers, gate) = gate(NetworkState::Offline);
        let url = Url::parse("http://a.test/").unwrap();
        let refused = gate.send(HttpRequest::get(url.clone())).await.err();
        assert_eq!(refused, Some(HttpError::Offline));
        assert_eq!(gate.load(&url), Err(HttpError::Offline));
        assert_eq!(servers.requests(), []);
        state.set(NetworkState::Online);
        assert_eq!(gate.load(&url).unwrap().status, 200);
        assert_eq!(gate.send(HttpRequest::get(url)).await.unwrap().status, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_comes_after_the_network_went_is_lost() {
        let (state, servers, gate) = gate(NetworkState::Online);
        let response = gate.send(HttpRequest::get(Url::parse("http://a.test/").unwrap()));
        let goes_offline = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            state.set(NetworkState::Offline);
        };
        let (response, ()) = futures::join!(response, goes_offline);
        assert_eq!(response.err(), Some(HttpError::Offline));
        assert_eq!(servers.requests().len(), 1);
    }

    #[test]
    fn loopback_is_told_by_the_name() {
        for url in
            ["http://localhost/", "http://a.localhost/", "http://127.1.2.3/", "http://[::1]/"]
        {
            assert!(is_loopback(&Url::parse(url).unwrap()), "{url}");
        }
        for url in ["http://example.test/", "http://10.0.0.1/", "http://localhost.test/"] {
            assert!(!is_loopback(&Url::parse(url).unwrap()), "{url}");
        }
    }
}
