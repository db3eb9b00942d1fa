//! The HTTP door to real servers, on reqwest.
//!
//! Invariant: one call of `exchange` is one request on the wire.
//!
//! What reqwest does not tell: headers of one name stand together, at the place of the first.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, LocalBoxFuture, select};
use futures::stream::{LocalBoxStream, unfold};
use futures::{FutureExt, StreamExt};
use hyper::ext::ReasonPhrase;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT_ENCODING, HOST, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder, Method, Version, redirect::Policy};
use tokio::sync::mpsc;
use url::Url;

use super::decode::decoded;
use super::policy::{NetworkPolicy, PRIVATE};
use super::{
    Connection, Http, HttpBody, HttpError, HttpRequest, HttpResponse, Loaded, UpgradedConnection,
    WebSocketRequest, authority, follow, is_loopback, status_text, web_socket,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What `decode.rs` can decode, in Chromium's order.
const ENCODINGS: HeaderValue = HeaderValue::from_static("gzip, deflate, br, zstd");

/// Whether a client uses the proxy that the system is set up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxying {
    System,
    Direct,
}

impl Proxying {
    /// This machine is never asked through a proxy, as in browsers.
    pub(crate) fn of(url: &Url) -> Proxying {
        if is_loopback(url) { Proxying::Direct } else { Proxying::System }
    }
}

/// A client that follows no redirects and gives up connecting after 30 s.
pub(crate) fn client_builder(user_agent: &str, proxying: Proxying) -> ClientBuilder {
    let builder = Client::builder()
        .user_agent(user_agent)
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT);
    match proxying {
        Proxying::System => builder,
        Proxying::Direct => builder.no_proxy(),
    }
}

/// Real servers. Needs a tokio runtime with I/O and real time when a request is sent. Clones share
/// their connections.
#[derive(Clone)]
pub struct ReqwestHttp(Rc<Clients>);

/// Where origins are really served: the serialised origin, and the address that speaks plain HTTP
/// for it.
pub type Routes = Arc<BTreeMap<String, SocketAddr>>;

pub(super) struct Clients {
    user_agent: String,
    routes: Routes,
    policy: Arc<NetworkPolicy>,
    system: OnceCell<Client>,
    direct: OnceCell<Client>,
}

impl ReqwestHttp {
    /// A door whose requests say `user_agent` unless they bring a `user-agent` of their own. It
    /// opens nothing before the first request. Requests to origins with a route go there. Of
    /// `policy` it keeps what is about addresses; the rest is `Policed`'s.
    pub fn new(user_agent: &str, routes: Routes, policy: Arc<NetworkPolicy>) -> ReqwestHttp {
        ReqwestHttp(Rc::new(Clients {
            user_agent: user_agent.to_owned(),
            routes,
            policy,
            system: OnceCell::new(),
            direct: OnceCell::new(),
        }))
    }
}

impl Http for ReqwestHttp {
    fn send(
        &self,
        request: HttpRequest,
    ) -> LocalBoxFuture<'static, Result<HttpResponse, HttpError>> {
        let clients = Rc::clone(&self.0);
        async move { exchange(&clients, request).await }.boxed_local()
    }

    fn load(&self, url: &Url) -> Result<Loaded, HttpError> {
        let user_agent = self.0.user_agent.clone();
        let (routes, policy) = (Arc::clone(&self.0.routes), Arc::clone(&self.0.policy));
        let url = url.clone();
        // The caller's runtime cannot be waited on from inside itself, so this is another one, with
        // connections of its own.
        let thread = std::thread::Builder::new().name("kittiwake-load".to_owned());
        let thread =
            thread.spawn(move || load_here(&user_agent, routes, policy, url)).map_err(no_client)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn connect(
        &self,
        request: WebSocketRequest,
    ) -> LocalBoxFuture<'static, Result<UpgradedConnection, HttpError>> {
        let clients = Rc::clone(&self.0);
        async move { web_socket::connect(&clients, request).await }.boxed_local()
    }
}

fn load_here(
    user_agent: &str,
    routes: Routes,
    policy: Arc<NetworkPolicy>,
    url: Url,
) -> Result<Loaded, HttpError> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_io().enable_time().build().map_err(no_client)?;
    runtime.block_on(async {
        let http = ReqwestHttp::new(user_agent, routes, policy);
        follow(&http, url).await?.into_loaded().await
    })
}

impl Clients {
    fn client(&self, proxying: Proxying) -> Result<&Client, HttpError> {
        let proxying = self.proxying(proxying);
        let cell = match proxying {
            Proxying::System => &self.system,
            Proxying::Direct => &self.direct,
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = self.builder(proxying).build().map_err(no_client)?;
        Ok(cell.get_or_init(|| client))
    }

    /// A proxy would look names up by itself, out of the policy's reach.
    fn proxying(&self, wanted: Proxying) -> Proxying {
        if self.policy.deny_private { Proxying::Direct } else { wanted }
    }

    fn builder(&self, proxying: Proxying) -> ClientBuilder {
        let builder = client_builder(&self.user_agent, self.proxying(proxying));
        builder.dns_resolver(Arc::new(Resolver(self.policy.clone())))
    }

    /// A client for one WebSocket. HTTP/2 has another handshake, which few servers know.
    pub(super) fn web_socket_client(&self, url: &Url) -> Result<Client, HttpError> {
        self.builder(Proxying::of(url)).http1_only().build().map_err(no_client)
    }

    /// Turns a request for a routed origin to its address; the server still sees the origin's host.
    pub(super) fn route(&self, request: &mut reqwest::Request) {
        if self.routes.is_empty() {
            return;
        }
        let Some(address) = self.routes.get(&request.url().origin().ascii_serialization()) else {
            return;
        };
        let url = request.url();
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let host = HeaderValue::from_str(&host).expect("invariant: a URL's host is ASCII");
        request.headers_mut().insert(HOST, host);
        let url = request.url_mut();
        url.set_scheme("http").expect("invariant: http and https are both special schemes");
        url.set_ip_host(address.ip()).expect("invariant: an http URL has a host");
        url.set_port(Some(address.port())).expect("invariant: an http URL has a port");
    }
}

/// The machine's name servers, without the addresses that the policy denies.
struct Resolver(Arc<NetworkPolicy>);

/// A name that has only addresses that the policy denies.
#[derive(Debug, thiserror::Error)]
#[error("{PRIVATE}")]
struct AddressDenied;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let is_found = !found.is_empty();
            let allowed = found.into_iter().filter(|found| policy.allows_address(found.ip()));
            let allowed: Vec<SocketAddr> = allowed.collect();
            if allowed.is_empty() && is_found {
                return Err(AddressDenied.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn no_client(cause: impl Error + 'static) -> HttpError {
    HttpError::NoClient { cause: innermost(&cause).to_string() }
}

async fn exchange(clients: &Clients, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let url = request.url.clone();
    if !matches!(url.scheme(), "http" | "https") {
        return Err(HttpError::UnsupportedScheme { url });
    }
    let connection = request.connection;
    let (mut request, mut upload) = outgoing(request)?;
    clients.route(&mut request);
    let proxying = Proxying::of(request.url());
    let client = match connection {
        Connection::Any => clients.client(proxying)?.clone(),
        Connection::New => clients.builder(proxying).build().map_err(no_client)?,
    };
    let response = client.execute(request);
    let response = match upload.take() {
        None => response.await,
        Some(sending) => match select(pin!(response), sending).await {
            Either::Left((response, sending)) => {
                upload = Some(sending);
                response
            }
            Either::Right((Ok(()), response)) => response.await,
            Either::Right((Err(broken), _)) => return Err(broken),
        },
    };
    let response = response.map_err(|error| transport_error(&error, &url))?;
    let headers: Vec<_> =
        response.headers().iter().map(|(name, value)| header_text(name, value)).collect();
    Ok(HttpResponse {
        status: response.status().as_u16(),
        status_text: reason_phrase(&response),
        body: decoded(
            &headers,
            with_upload(body_stream(response, url.clone()), upload),
            &authority(&url),
        ),
        headers,
        url,
    })
}

/// What the server wrote, or the usual text; nothing from HTTP/2 on.
fn reason_phrase(response: &reqwest::Response) -> String {
    if let Some(reason) = response.extensions().get::<ReasonPhrase>() {
        return reason.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    }
    match response.version() {
        Version::HTTP_09 | Version::HTTP_10 | Version::HTTP_11 => {
            status_text(response.status().as_u16())
        }
        _ => String::new(),
    }
}

type Body = LocalBoxStream<'static, Result<Bytes, HttpError>>;

/// Moves the stream that is a request's body to the connection, and waits whenever that is full.
type Upload = LocalBoxFuture<'static, Result<(), HttpError>>;

fn outgoing(request: HttpRequest) -> Result<(reqwest::Request, Option<Upload>), HttpError> {
    let invalid = |cause: String| HttpError::InvalidRequest { cause };
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| invalid(format!("`{}` is no method", request.method)))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(format!("`{name}` is no header name")))?;
        let bytes: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(c).ok()).collect();
        let value = bytes
            .and_then(|bytes| HeaderValue::from_bytes(&bytes).ok())
            .ok_or_else(|| invalid(format!("header `{name}` has a character that HTTP forbids")))?;
        headers.append(parsed, value);
    }
    headers.entry(ACCEPT_ENCODING).or_insert(ENCODINGS);
    let mut outgoing = reqwest::Request::new(method, request.url);
    *outgoing.headers_mut() = headers;
    let mut upload = None;
    *outgoing.body_mut() =
        match request.body {
            None => None,
            Some(HttpBody::Whole(bytes)) => Some(bytes.into()),
            Some(HttpBody::Stream(parts)) => {
                let (sender, receiver) = mpsc::channel(1);
                upload = Some(send_parts(parts, sender).boxed_local());
                let parts = unfold(receiver, |mut receiver| async move {
                    Some((receiver.recv().await?, receiver))
                });
                Some(reqwest::Body::wrap_stream(parts))
            }
        };
    Ok((outgoing, upload))
}

async fn send_parts(
    mut parts: LocalBoxStream<'static, Result<Bytes, HttpError>>,
    sender: mpsc::Sender<Result<Bytes, HttpError>>,
) -> Result<(), HttpError> {
    while let Some(part) = parts.next().await {
        let broken = part.as_ref().err().cloned();
        // Whoever does not take it any more has answered, or failed for a reason of its own.
        let is_over = sender.send(part).await.is_err();
        match broken {
            // The connection learns of it too, or the body would seem to have ended.
            Some(broken) => return Err(broken),
            None if is_over => break,
            None => {}
        }
    }
    Ok(())
}

/// The body of a response that came before the request's body had ended; both go on.
fn with_upload(body: Body, upload: Option<Upload>) -> Body {
    let Some(upload) = upload else { return body };
    let next = |(mut body, upload): (Body, Option<Upload>)| async move {
        let Some(sending) = upload else {
            return Some((body.next().await?, (body, None)));
        };
        let (part, sending) = match select(body.next(), sending).await {
            Either::Left((part, sending)) => (part, Some(sending)),
            // A failure reaches the response by way of the connection.
            Either::Right((_, part)) => (part.await, None),
        };
        Some((part?, (body, sending)))
    };
    unfold((body, Some(upload)), next).boxed_local()
}

/// The Fetch Standard's isomorphic decoding: one byte, one character.
fn header_text(name: &HeaderName, value: &HeaderValue) -> (String, String) {
    let value = value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    (name.as_str().to_owned(), value)
}

fn body_stream(response: reqwest::Response, url: Url) -> Body {
    let chunks = response.bytes_stream();
    chunks.map(move |chunk| chunk.map_err(|error| transport_error(&error, &url))).boxed_local()
}

/// Says why an exchange failed. reqwest hides the cause in a chain of errors; the kind of an I/O
/// error in it decides, because its text differs between systems.
pub(super) fn transport_error(error: &reqwest::Error, url: &Url) -> HttpError {
    let host = authority(url);
    if causes(error).any(|cause| cause.is::<AddressDenied>()) {
        return HttpError::Denied { host, why: PRIVATE };
    }
    if error.is_dns() {
        return HttpError::Dns { host: url.host_str().unwrap_or_default().to_owned() };
    }
    if error.is_timeout() {
        return HttpError::Timeout { host };
    }
    let cause = innermost(error).to_string();
    let kinds: Vec<io::ErrorKind> =
        causes(error).filter_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind())).collect();
    let has = |kind| kinds.contains(&kind);
    if has(io::ErrorKind::ConnectionRefused) {
        HttpError::Refused { host }
    } else if has(io::ErrorKind::NetworkUnreachable) || has(io::ErrorKind::HostUnreachable) {
        HttpError::Unreachable { host }
    } else if error.is_connect() && url.scheme() == "https" {
        // Whatever else goes wrong while connecting goes wrong in the TLS handshake.
        HttpError::Tls { host, cause }
    } else {
        HttpError::Broken { host, cause }
    }
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    causes(error).last().expect("invariant: an error is the first of its causes")
}

/// The error and its causes, outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An I/O error skips the very error that it wraps when it is asked for its source.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests;
