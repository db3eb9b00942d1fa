//! Requests on the wire, to servers on loopback.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
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
    ReqwestHttp::new("test", Routes::default(), Arc::default())
        .send(HttpRequest::get(url))
        .await
        .err()
        .unwrap()
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
    let response = ReqwestHttp::new("kittiwake/1", Routes::default(), Arc::default())
        .send(request)
        .await
        .unwrap();
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
    let response = ReqwestHttp::new("test", Routes::default(), Arc::default())
        .send(request(parts.to_vec()))
        .await
        .unwrap();
    assert_eq!(response.into_loaded().await.unwrap().body, b"onetwo");
    let broken = HttpError::BodyBroken { cause: "no more".to_owned() };
    let request = request(vec![parts[0].clone(), Err(broken.clone())]);
    assert_eq!(
        ReqwestHttp::new("test", Routes::default(), Arc::default()).send(request).await.err(),
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
    let loaded = ReqwestHttp::new("test", Routes::default(), Arc::default())
        .load(&url.join("/old").unwrap())
        .unwrap();
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
    let response =
        ReqwestHttp::new("test", Routes::default(), Arc::default()).send(request).await.unwrap();
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    assert_eq!(response.into_loaded().await.unwrap().body, b"hi");
}

#[tokio::test]
async fn a_body_that_stops_short_ends_with_an_error() {
    let address = serve_bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
    let request = HttpRequest::get(address_url("http", address));
    let response =
        ReqwestHttp::new("test", Routes::default(), Arc::default()).send(request).await.unwrap();
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
        let error = ReqwestHttp::new("test", Routes::default(), Arc::default())
            .send(request)
            .await
            .err()
            .unwrap();
        assert_eq!(error.to_string(), format!("the request cannot be sent: {cause}"));
    }
}

#[tokio::test]
async fn a_request_may_ask_for_a_connection_of_its_own() {
    let who = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string();
    let router = Router::new().route("/", get(who));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = address_url("http", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, service).await.unwrap() });
    let http = ReqwestHttp::new("test", Routes::default(), Arc::default());
    let peer = async |connection| {
        let request = HttpRequest { connection, ..HttpRequest::get(url.clone()) };
        http.send(request).await.unwrap().into_loaded().await.unwrap().body
    };
    let first = peer(Connection::Any).await;
    assert_eq!(peer(Connection::Any).await, first);
    assert_ne!(peer(Connection::New).await, first);
    assert_eq!(peer(Connection::Any).await, first);
}
