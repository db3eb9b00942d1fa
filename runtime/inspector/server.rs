//! The HTTP server that debuggers ask: the list of targets, and a WebSocket for each.
//! <https://chromedevtools.github.io/devtools-protocol/#endpoints>
//!
//! Invariant: whoever was lent a host name by a name server is refused, and no other origin may
//! read an answer.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_TYPE, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{InspectorTarget, Shared, Target, session};

/// Starts the thread that answers.
pub(super) fn start(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
) -> io::Result<JoinHandle<()>> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _entered = tokio.enter();
        TcpListener::from_std(listener)?
    };
    let serve = move || {
        tokio.block_on(async move {
            let mut closed = shared.closed.subscribe();
            tokio::select! {
                () = accept(&listener, &shared) => {}
                _ = closed.wait_for(|closed| *closed) => {}
            }
        });
    };
    std::thread::Builder::new().name("kittiwake-inspector".into()).spawn(serve)
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        // Whoever could not connect tries again; too many open files are closed by others.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let shared = shared.clone();
        let service = service_fn(move |request| {
            let answer = answer(&shared, request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A client that goes away, or speaks no HTTP, concerns nobody else.
        tokio::spawn(connection.with_upgrades());
    }
}

fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let Some(host) = host_of(request.headers()) else {
        let text = "name this server by `localhost` or an IP address: another name may be lent";
        return plain(StatusCode::FORBIDDEN, text);
    };
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "GET is all there is");
    }
    match request.uri().path() {
        "/json" | "/json/" | "/json/list" => {
            let targets = shared.lock().values().map(|each| listed(&each.told(&host))).collect();
            json_answer(&Value::Array(targets))
        }
        "/json/version" => json_answer(&json!({
            "Browser": concat!("Kittiwake/", env!("CARGO_PKG_VERSION")),
            "Protocol-Version": "1.3",
            "V8-Version": deno_core::v8::VERSION_STRING,
        })),
        path => match shared.target(path.trim_start_matches('/')) {
            Some(target) => connect(target, request),
            None => plain(StatusCode::NOT_FOUND, "no such target; /json/list has those there are"),
        },
    }
}

/// Shakes hands: <https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2>
fn connect(target: Target, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        return plain(StatusCode::BAD_REQUEST, "a debugger connects by WebSocket");
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // Whoever went away in the midst of it wants nothing more.
        let Ok(upgraded) = upgraded.await else { return };
        let stream = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        session::carry(socket, target).await;
    });
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, accept);
    answer.body(Full::default()).expect("our own headers are well-formed")
}

/// What the client calls this server, if no name server had a part in it.
fn host_of(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(HOST)?.to_str().ok()?;
    let authority: http::uri::Authority = host.parse().ok()?;
    let name = authority.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_own = name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok();
    is_own.then(|| host.to_owned())
}

/// As Chromium's front end and editors read it.
fn listed(target: &InspectorTarget) -> Value {
    let InspectorTarget { id, title, url, web_socket_url } = target;
    let bare = web_socket_url.trim_start_matches("ws://");
    json!({
        "description": "Kittiwake",
        "devtoolsFrontendUrl":
            format!("devtools://devtools/bundled/js_app.html?experiments=true&v8only=true&ws={bare}"),
        "id": id,
        "title": title,
        "type": "node",
        "url": url,
        "webSocketDebuggerUrl": web_socket_url,
    })
}

fn json_answer(value: &Value) -> Response<Full<Bytes>> {
    let answer = Response::builder().header(CONTENT_TYPE, "application/json; charset=utf-8");
    answer.body(Full::from(format!("{value:#}\n"))).expect("our own headers are well-formed")
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(status).header(CONTENT_TYPE, "text/plain");
    answer.body(Full::from(format!("{text}\n"))).expect("our own headers are well-formed")
}
