//! A real HTTP server on loopback that records what reaches it.
//!
//! Invariant: it records every request but the preflights of CORS, in the order of arrival.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

/// A running server. Its thread ends with the test's process.
pub struct Server {
    /// `http://127.0.0.1:<port>`.
    pub origin: String,
    shared: Arc<Shared>,
}

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub body: String,
}

#[derive(Default)]
struct Shared {
    scripts: BTreeMap<String, String>,
    requests: Mutex<Vec<Request>>,
}

impl Server {
    /// Serves these scripts by path; any other request is recorded and answered with 200.
    pub fn start(scripts: &[(&str, &str)]) -> Self {
        let scripts = scripts.iter();
        let shared = Arc::new(Shared {
            scripts: scripts
                .map(|(path, source)| ((*path).to_owned(), (*source).to_owned()))
                .collect(),
            requests: Mutex::default(),
        });
        let (ready, started) = std::sync::mpsc::channel();
        let router = Router::new().fallback(answer).with_state(shared.clone());
        spawn(move || {
            let tokio = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("the system gives an event queue");
            tokio.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                let address = listener.local_addr().expect("it is bound");
                ready.send(address).expect("the test waits");
                axum::serve(listener, router).await.expect("it serves for ever");
            });
        });
        let address = started.recv().expect("the server starts");
        Server { origin: format!("http://{address}"), shared }
    }

    /// What has arrived.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("no holder panics").clone()
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let cors =
        [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"), (header::ACCESS_CONTROL_ALLOW_HEADERS, "*")];
    if method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return (StatusCode::NO_CONTENT, cors).into_response();
    }
    let path = uri.path().to_owned();
    if let Some(script) = shared.scripts.get(&path) {
        return ([(header::CONTENT_TYPE, "text/javascript")], script.clone()).into_response();
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    let request = Request { method: method.to_string(), path, body };
    shared.requests.lock().expect("no holder panics").push(request);
    (cors, "ok").into_response()
}
