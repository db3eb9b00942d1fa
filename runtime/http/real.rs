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
use reqwest::header::{ACCEPT_ENCODING, HOST, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder, Method, Version, redirect::Policy};
use tokio::sync::mpsc;
use url::Url;

use super::decode::decoded;
use super::{
    Http, HttpBody, HttpError, HttpRequest, HttpResponse, Loaded, authority, follow, is_loopback,
    status_text,
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

struct Clients {
    user_agent: String,
    routes: Routes,
    system: OnceCell<Client>,
    direct: OnceCell<Client>,
}

impl ReqwestHttp {
    /// A door whose requests say `user_agent` unless they bring a `user-agent` of their own. It
    /// opens nothing before the first request. Requests to origins with a route go there.
    pub fn new(user_agent: &str, routes: Routes) -> ReqwestHttp {
        ReqwestHttp(Rc::new(Clients {
            user_agent: user_agent.to_owned(),
            routes,
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
        let routes = Arc::clone(&self.0.routes);
        let url = url.clone();
        // The caller's runtime cannot be waited on from inside itself, so this is another one, with
        // connections of its own.
        let thread = std::thread::Builder::new().name("kittiwake-load".to_owned());
        let thread =
            thread.spawn(move || load_here(&user_agent, routes, url)).map_err(no_client)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn load_here(user_agent: &str, routes: Routes, url: Url) -> Result<Loaded, HttpError> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_io().enable_time().build().map_err(no_client)?;
    runtime.block_on(async {
        let http = ReqwestHttp::new(user_agent, routes);
        follow(&http, url).await?.into_loaded().await
    })
}

impl Clients {
    fn client(&self, proxying: Proxying) -> Result<&Client, HttpError> {
        let cell = match proxying {
            Proxying::System => &self.system,
            Proxying::Direct => &self.direct,
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = client_builder(&self.user_agent, proxying).build().map_err(no_client)?;
        Ok(cell.get_or_init(|| client))
    }

    /// Turns a request for a routed origin to its address; the server still sees the origin's host.
    fn route(&self, request: &mut reqwest::Request) {
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

fn no_client(cause: impl Error + 'static) -> HttpError {
    HttpError::NoClient { cause: innermost(&cause).to_string() }
}

async fn exchange(clients: &Clients, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let url = request.url.clone();
    if !matches!(url.scheme(), "http" | "https") {
        return Err(HttpError::UnsupportedScheme { url });
    }
    let (mut request, mut upload) = outgoing(request)?;
    clients.route(&mut request);
    let client = clients.client(Proxying::of(request.url()))?;
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
fn transport_error(error: &reqwest::Error, url: &Url) -> HttpError {
    let host = authority(url);
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
mod tests {
    use std::net::SocketAddr;

    use axum::Router;
    use axum::http::{HeaderMap as Headers, StatusCode};
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn serve(router: Router) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = address_url("http", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        url
    }

    /// A server that answers its first connection with `answer`, whatever it is asked.
    async fn serve_bytes(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            assert_ne!(socket.read(&mut [0; 4096]).await.unwrap(), 0);
            socket.write_all(answer).await.unwrap();
        });
        address
    }

    fn address_url(scheme: &str, address: SocketAddr) -> Url {
        Url::parse(&format!("{scheme}://{address}/")).unwrap()
    }

    async fn failure(url: Url) -> HttpError {
        ReqwestHttp::new("test", Routes::default()).send(HttpRequest::get(url)).await.err().unwrap()
    }

    #[tokio::test]
    async fn a_request_arrives_as_it_was_given() {
        let echo = async |headers: Headers, body: String| {
            let text = |name| headers[name].as_bytes().iter().map(|b| char::from(*b)).collect();
            let seen: [String; 3] = [text("user-agent"), text("x-latin"), body];
            (StatusCode::CREATED, [("X-Reply", "yes")], seen.join("|"))
        };
        let url = serve(Router::new().route("/", post(echo))).await;
        let request = HttpRequest {
            method: "POST".to_owned(),
            headers: vec![("X-Latin".to_owned(), "caf\u{e9}".to_owned())],
            body: Some(HttpBody::Whole(Bytes::from_static(b"hello"))),
            ..HttpRequest::get(url.clone())
        };
        let response =
            ReqwestHttp::new("kittiwake/1", Routes::default()).send(request).await.unwrap();
        assert_eq!((response.status, response.status_text.as_str()), (201, "Created"));
        assert_eq!(response.header("x-reply"), Some("yes"));
        assert_eq!(response.url, url);
        let loaded = response.into_loaded().await.unwrap();
        assert_eq!(loaded.content_type.as_deref(), Some("text/plain; charset=utf-8"));
        assert_eq!(String::from_utf8(loaded.body).unwrap(), "kittiwake/1|caf\u{e9}|hello");
    }

    #[tokio::test]
    async fn a_body_leaves_as_it_comes() {
        let url = serve(Router::new().route("/", post(async |body: String| body))).await;
        let parts = ["one", "two"].map(|part| Ok(Bytes::from_static(part.as_bytes())));
        let request = |parts: Vec<Result<Bytes, HttpError>>| HttpRequest {
            method: "POST".to_owned(),
            body: Some(HttpBody::Stream(futures::stream::iter(parts).boxed_local())),
            ..HttpRequest::get(url.clone())
        };
        let response = ReqwestHttp::new("test", Routes::default())
            .send(request(parts.to_vec()))
            .await
            .unwrap();
        assert_eq!(response.into_loaded().await.unwrap().body, b"onetwo");
        let broken = HttpError::BodyBroken { cause: "no more".to_owned() };
        let request = request(vec![parts[0].clone(), Err(broken.clone())]);
        assert_eq!(
            ReqwestHttp::new("test", Routes::default()).send(request).await.err(),
            Some(broken)
        );
    }

    #[tokio::test]
    async fn a_script_is_loaded_while_the_thread_stands_still() {
        // The server needs a thread of its own: this one is blocked by `load`.
        let (sender, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(
                async {
                    let script = async || ([("content-type", "text/javascript")], "run()");
                    let old = async || (StatusCode::FOUND, [("location", "/sw.js")]);
                    let router = Router::new().route("/sw.js", get(script)).route("/old", get(old));
                    sender.send(serve(router).await).unwrap();
                    std::future::pending::<()>().await;
                },
            );
        });
        let url = address.recv().unwrap();
        let loaded =
            ReqwestHttp::new("test", Routes::default()).load(&url.join("/old").unwrap()).unwrap();
        assert_eq!(
            loaded,
            Loaded {
                status: 200,
                content_type: Some("text/javascript".to_owned()),
                url: url.join("/sw.js").unwrap(),
                body: b"run()".to_vec(),
            }
        );
    }

    #[tokio::test]
    async fn a_failure_says_what_an_operator_can_act_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let free = listener.local_addr().unwrap();
        drop(listener);
        let refused = failure(address_url("http", free)).await;
        assert_eq!(refused.to_string(), format!("connection refused by {free}"));

        let broken = serve_bytes(b"").await;
        let message = failure(address_url("http", broken)).await.to_string();
        assert!(message.starts_with(&format!("connection to {broken} broke: ")), "{message}");

        let plain = serve_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let message = failure(address_url("https", plain)).await.to_string();
        assert!(message.starts_with(&format!("no secure connection to {plain}: ")), "{message}");

        let unknown = Url::parse("http://no-such-name.invalid/").unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        let error = client.get(unknown.clone()).send().await.unwrap_err();
        let message = transport_error(&error, &unknown).to_string();
        assert_eq!(message, "no address found for no-such-name.invalid");

        let data = failure(Url::parse("data:,x").unwrap()).await;
        assert_eq!(data.to_string(), "data:,x is neither http nor https");
    }

    #[tokio::test]
    async fn a_compressed_body_is_decoded_and_its_headers_are_told() {
        let address = serve_bytes(
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 22\r\n\r\n\
              \x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\
              \xcb\xc8\x04\x00\xac\x2a\x93\xd8\x02\x00\x00\x00",
        );
        let request = HttpRequest::get(address_url("http", address.await));
        let response = ReqwestHttp::new("test", Routes::default()).send(request).await.unwrap();
        assert_eq!(response.header("content-encoding"), Some("gzip"));
        assert_eq!(response.into_loaded().await.unwrap().body, b"hi");
    }

    #[tokio::test]
    async fn a_body_that_stops_short_ends_with_an_error() {
        let address = serve_bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
        let request = HttpRequest::get(address_url("http", address));
        let response = ReqwestHttp::new("test", Routes::default()).send(request).await.unwrap();
        assert_eq!(response.status, 200);
        let message = response.into_loaded().await.unwrap_err().to_string();
        assert!(message.starts_with(&format!("connection to {address} broke: ")), "{message}");
    }

    #[tokio::test]
    async fn what_http_cannot_say_is_refused_before_it_is_sent() {
        let unsent = Url::parse("http://127.0.0.1:9/").unwrap();
        let with_header = |name: &str, value: &str| HttpRequest {
            headers: vec![(name.to_owned(), value.to_owned())],
            ..HttpRequest::get(unsent.clone())
        };
        let method = HttpRequest { method: "G T".to_owned(), ..HttpRequest::get(unsent.clone()) };
        let cases = [
            (method, "`G T` is no method"),
            (with_header("a b", ""), "`a b` is no header name"),
            (with_header("a", "\u{20ac}"), "header `a` has a character that HTTP forbids"),
        ];
        for (request, cause) in cases {
            let error =
                ReqwestHttp::new("test", Routes::default()).send(request).await.err().unwrap();
            assert_eq!(error.to_string(), format!("the request cannot be sent: {cause}"));
        }
    }
}
