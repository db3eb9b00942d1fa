//! What every HTTP door keeps, tried with a server on this machine.
//!
//! Invariant: the suite knows a door by its trait alone, and its server ends with it.

use std::convert::Infallible;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

use crate::http::{DoorBody, DoorError, DoorRequest, DoorResponse, HttpDoor};

/// More than any buffer on the way holds.
const MANY_BYTES: usize = 4 << 20;

/// Tests an HTTP door that reaches `127.0.0.1`, where a server answers for as long as the suite
/// runs: what is sent arrives as it is, what is answered comes back as it is, redirects are not
/// followed, bodies stream both ways, and where there is no answer there is an error. Wants a tokio
/// with I/O, as every door has.
///
/// # Panics
///
/// If the door does not keep that, or this machine gives no socket.
pub async fn http(door: &(impl HttpDoor + ?Sized)) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket on this machine");
    let address = listener.local_addr().expect("a socket has an address");
    let base = Url::parse(&format!("http://{address}/")).expect("a URL");
    let mut server = JoinSet::new();
    server.spawn(serve(listener));
    what_is_sent_arrives(door, &base).await;
    what_is_answered_comes_back(door, &base).await;
    redirects_and_failures_are_answers(door, &base).await;
    bodies_stream_both_ways(door, &base).await;
    server.shutdown().await;
    no_answer_is_an_error(door, &base).await;
}

async fn what_is_sent_arrives(door: &(impl HttpDoor + ?Sized), base: &Url) {
    let mut request = request("PATCH", base, "echo?a=b%20c");
    request.headers.push(("x-word".to_owned(), "caf\u{e9}".to_owned()));
    request.body = DoorBody::Whole(Bytes::from_static(b"\0whole\xff"));
    let said = text(answer(door, request).await).await;
    let wanted = ["PATCH /echo?a=b%20c", "x-word: caf\\xe9", "\\0whole\\xff"];
    for wanted in wanted.map(|text| text.replace("\\0", "\\x00")) {
        assert!(said.contains(&wanted), "the server is sent `{wanted}` as it is, not\n{said}");
    }
}

async fn what_is_answered_comes_back(door: &(impl HttpDoor + ?Sized), base: &Url) {
    let response = answer(door, request("GET", base, "headers")).await;
    let values = |wanted: &str| {
        let own = response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        own.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(values("x-word"), ["caf\u{e9}"], "one character of a header is one byte");
    let cookies = ["a=1", "b=2"];
    assert_eq!(values("set-cookie"), cookies, "headers of one name stay apart, in order");
    assert_eq!(response.status, 203, "the status is the server's");
    assert_eq!(text(response).await, "headers", "the body is the server's");
    let empty = answer(door, request("GET", base, "nothing")).await;
    assert_eq!((empty.status, text(empty).await.as_str()), (204, ""), "a body may be empty");
}

async fn redirects_and_failures_are_answers(door: &(impl HttpDoor + ?Sized), base: &Url) {
    for status in [301, 307, 404, 500] {
        let response = answer(door, request("GET", base, &format!("status/{status}"))).await;
        assert_eq!(response.status, status, "each status is an answer, and nothing is followed");
    }
}

async fn bodies_stream_both_ways(door: &(impl HttpDoor + ?Sized), base: &Url) {
    let mut upload = request("POST", base, "count");
    let chunk = Bytes::from(vec![b'x'; MANY_BYTES / 64]);
    upload.body = DoorBody::Stream(stream::iter(vec![Ok(chunk); 64]).boxed());
    assert_eq!(text(answer(door, upload).await).await, MANY_BYTES.to_string(), "bytes that arrive");
    let body = answer(door, request("GET", base, "many")).await.body;
    let got = body.try_fold(0, async |sum, chunk| Ok(sum + chunk.len())).await;
    assert_eq!(got, Ok(MANY_BYTES), "bytes that come back");
    // Whoever reads one chunk and goes has ended the exchange.
    let mut body = answer(door, request("GET", base, "many")).await.body;
    assert!(matches!(body.next().await, Some(Ok(_))), "a body begins before it has ended");
    drop(body);
    let mut broken = request("POST", base, "count");
    let chunks = [Ok(Bytes::from_static(b"x")), Err("the script's stream broke".to_owned())];
    broken.body = DoorBody::Stream(stream::iter(chunks).boxed());
    let ended = door.exchange(broken).await;
    assert!(ended.is_err(), "a body that breaks ends the exchange with an error");
}

async fn no_answer_is_an_error(door: &(impl HttpDoor + ?Sized), base: &Url) {
    let error = door.exchange(request("GET", base, "echo")).await.err();
    assert!(error.is_some(), "a server that is gone is an error");
    if error != Some(DoorError::Refused) {
        // Told less well than it could be; nothing relies on it.
        assert!(!error.map(|error| error.to_string()).unwrap_or_default().is_empty());
    }
}

fn request(method: &str, base: &Url, path: &str) -> DoorRequest {
    let url = base.join(path).expect("a path of ours");
    DoorRequest { method: method.to_owned(), url, headers: Vec::new(), body: DoorBody::Empty }
}

async fn answer(door: &(impl HttpDoor + ?Sized), request: DoorRequest) -> DoorResponse {
    let shown = format!("{} {}", request.method, request.url);
    let answer = door.exchange(request).await;
    answer.unwrap_or_else(|error| panic!("{shown} has an answer, not: {error}"))
}

async fn text(response: DoorResponse) -> String {
    let body = response.body.try_fold(Vec::new(), async |mut body, chunk| {
        body.extend_from_slice(&chunk);
        Ok(body)
    });
    String::from_utf8(body.await.expect("the body is whole")).expect("the server says UTF-8")
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let served =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(respond));
        connections.spawn(async move {
            // A client may go at any time.
            let _ = served.await;
        });
    }
}

async fn respond(request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let (head, body) = request.into_parts();
    let mut response = Response::builder();
    let path = head.uri.path().trim_start_matches('/');
    let text = match path {
        "echo" => {
            let body = body.collect().await?.to_bytes();
            let mut said = format!("{} {}\n", head.method, head.uri);
            for (name, value) in &head.headers {
                said += &format!("{name}: {}\n", value.as_bytes().escape_ascii());
            }
            Bytes::from(said + &body.escape_ascii().to_string())
        }
        "count" => Bytes::from(body.collect().await?.to_bytes().len().to_string()),
        "many" => Bytes::from(vec![b'x'; MANY_BYTES]),
        "headers" => {
            let word = http::HeaderValue::from_bytes(b"caf\xe9").expect("bytes of a header");
            response = response.status(203).header("x-word", word);
            response = response.header("set-cookie", "a=1").header("set-cookie", "b=2");
            Bytes::from_static(b"headers")
        }
        "nothing" => {
            response = response.status(StatusCode::NO_CONTENT);
            Bytes::new()
        }
        other => {
            let status = other.trim_start_matches("status/").parse::<u16>().unwrap_or(404);
            response = response.status(status).header("location", "/echo");
            Bytes::new()
        }
    };
    Ok(response.body(Full::new(text).boxed()).expect("a response of ours"))
}
