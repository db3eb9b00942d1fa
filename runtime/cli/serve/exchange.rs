//! One request of HTTP, as a client's request for the worker, and the answer on its way back.
//!
//! Invariant: what HTTP says about one connection stays on that connection.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyDataStream, BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use kittiwake::{
    ClientBody, ClientRequest, ClientRequestKind, ClientResponse, ClientResponseBody, Error,
    Runtime,
};
use url::{Host, Url};

use super::push;

/// A body of this size at most, if its size is known, is read whole, so that it can follow a
/// redirect.
const WHOLE_BODY: u64 = 64 << 10;

/// <https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1>
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a response is sent with.
pub type Answer = Response<BoxBody<Bytes, Error>>;

/// Answers a request with what the worker or its upstream says.
pub async fn answer(runtime: &Runtime, origin: &Url, request: Request<Incoming>) -> Answer {
    // https://fetch.spec.whatwg.org/#forbidden-method
    if matches!(request.method().as_str(), "CONNECT" | "TRACE" | "TRACK") {
        let text = format!("no page can make a request with the method {}\n", request.method());
        return plain(StatusCode::METHOD_NOT_ALLOWED, text);
    }
    if let Some(reason) = refusal(origin, request.headers()) {
        return plain(StatusCode::FORBIDDEN, format!("{reason}\n"));
    }
    if push::is_push(&request) {
        return push::answer(runtime, origin, request).await;
    }
    let request = match converted(origin, request).await {
        Ok(request) => request,
        Err(reason) => return plain(StatusCode::BAD_REQUEST, format!("{reason}\n")),
    };
    match runtime.fetch(request).await {
        Ok(response) => relayed(origin, response),
        Err(Error::Stopped) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "kittiwake is stopping\n".to_owned())
        }
        Err(error) => plain(StatusCode::BAD_GATEWAY, format!("network error: {error}\n")),
    }
}

/// Why a request is not the origin's own. The worker sees each one as its own page's, with the
/// origin's cookies; another site in the client's browser must not get at that.
fn refusal(origin: &Url, headers: &HeaderMap) -> Option<String> {
    let header = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    // An address cannot be another site's name for this server; a name can.
    let host = Url::parse(&format!("http://{}", header("host").unwrap_or_default())).ok();
    let is_own_host = host.as_ref().and_then(Url::host).is_some_and(|host| match host {
        Host::Domain("localhost") => true,
        Host::Domain(name) => name.ends_with(".localhost") || Some(name) == origin.host_str(),
        Host::Ipv4(_) | Host::Ipv6(_) => true,
    });
    if !is_own_host {
        let host = header("host").unwrap_or_default();
        return Some(format!("`{host}` is not served here; use the IP address, or give --origin"));
    }
    if let Some(asking) = header("origin") {
        let asking = Url::parse(asking).ok();
        let is_own = |asking: &Url| asking.origin() == origin.origin() || is_here(asking, headers);
        if !asking.as_ref().is_some_and(is_own) {
            return Some(
                "a page of another origin asks, and CORS is not for this server".to_owned(),
            );
        }
    }
    let is_navigation = header("sec-fetch-mode") == Some("navigate");
    let is_foreign = matches!(header("sec-fetch-site"), Some("cross-site" | "same-site"));
    (is_foreign && !is_navigation).then(|| "a page of another site asks".to_owned())
}

async fn converted(origin: &Url, request: Request<Incoming>) -> Result<ClientRequest, String> {
    let (head, body) = request.into_parts();
    let mut url = origin.clone();
    url.set_path(head.uri.path());
    url.set_query(head.uri.query());
    let kind = kind_of(&head.method, &head.headers);
    let size = body.size_hint();
    let body = match size.exact() {
        Some(0) => ClientBody::Empty,
        Some(bytes) if bytes <= WHOLE_BODY => {
            let whole = body.collect().await.map_err(|error| format!("no whole body: {error}"))?;
            ClientBody::Whole(whole.to_bytes())
        }
        _ => {
            let chunks = BodyDataStream::new(body);
            ClientBody::Stream(chunks.map_err(|error| error.to_string()).boxed())
        }
    };
    let body = match head.method {
        // Such a request has no body in the Fetch Standard.
        Method::GET | Method::HEAD => ClientBody::Empty,
        _ => body,
    };
    let mut headers = end_to_end(&head.headers);
    for (name, value) in &mut headers {
        // The page's address in the client's eyes is the origin in the worker's.
        if name == "referer"
            && let Ok(page) = Url::parse(value)
            && is_here(&page, &head.headers)
        {
            *value = rebased(&page, origin).into();
        }
    }
    Ok(ClientRequest { method: head.method.to_string(), url, headers, body, kind })
}

fn is_here(page: &Url, headers: &HeaderMap) -> bool {
    let host = page.host_str().unwrap_or_default();
    let authority = page.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
    headers.get("host").is_some_and(|host| host.as_bytes() == authority.as_bytes())
}

fn rebased(url: &Url, origin: &Url) -> Url {
    let mut rebased = origin.clone();
    rebased.set_path(url.path());
    rebased.set_query(url.query());
    rebased
}

fn kind_of(method: &Method, headers: &HeaderMap) -> ClientRequestKind {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let accepts_html = || {
        let first = header("accept").unwrap_or_default().split([',', ';']).next();
        method == Method::GET && first.is_some_and(|first| first.trim() == "text/html")
    };
    match header("sec-fetch-mode") {
        Some("navigate") => ClientRequestKind::Navigation,
        None if accepts_html() => ClientRequestKind::Navigation,
        mode => {
            let destination = header("sec-fetch-dest").filter(|name| *name != "empty");
            ClientRequestKind::Subresource {
                destination: destination.unwrap_or_default().to_owned(),
                no_cors: mode == Some("no-cors"),
            }
        }
    }
}

/// The headers that go on; one character is one byte.
fn end_to_end(headers: &HeaderMap) -> Vec<(String, String)> {
    let named = headers.get_all("connection").iter().filter_map(|value| value.to_str().ok());
    let named: Vec<_> = named.flat_map(|names| names.split(',')).map(str::trim).collect();
    let goes_on = |name: &str| {
        !HOP_BY_HOP.contains(&name) && !named.iter().any(|hop| hop.eq_ignore_ascii_case(name))
    };
    let headers = headers.iter().filter(|(name, _)| goes_on(name.as_str()));
    let text =
        |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    headers.map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn relayed(origin: &Url, response: ClientResponse) -> Answer {
    let status = StatusCode::from_u16(response.status).ok().filter(|status| status.as_u16() >= 200);
    let Some(status) = status else {
        let text = "network error: the response has no status that HTTP could send\n";
        return plain(StatusCode::BAD_GATEWAY, text.to_owned());
    };
    let body = match response.body.map(ClientResponseBody::into_whole) {
        Some(Ok(whole)) => full(whole),
        Some(Err(chunks)) => {
            // What came before an error is sent before the connection breaks.
            let chunks = chunks.or_else(|error| async {
                tokio::task::yield_now().await;
                Err(error)
            });
            BodyExt::boxed(StreamBody::new(chunks.map_ok(Frame::data)))
        }
        None => full(Bytes::new()),
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    for (name, value) in &response.headers {
        let name = name.to_ascii_lowercase();
        // The body has been decoded. If it is whole, hyper says how long it is.
        if HOP_BY_HOP.contains(&&*name) || matches!(&*name, "content-encoding" | "content-length") {
            continue;
        }
        let value = match (&*name, Url::parse(value)) {
            // The client's address may be another one than the worker's origin.
            ("location", Ok(target)) if target.origin() == origin.origin() => {
                target[url::Position::BeforePath..].to_owned()
            }
            _ => value.clone(),
        };
        let bytes: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(c).ok()).collect();
        let value = bytes.and_then(|bytes| HeaderValue::from_bytes(&bytes).ok());
        if let (Ok(name), Some(value)) = (HeaderName::try_from(name), value) {
            answer.headers_mut().append(name, value);
        }
    }
    answer
}

pub fn plain(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(full(Bytes::from(text)));
    *answer.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert("content-type", text);
    answer
}

fn full(body: Bytes) -> BoxBody<Bytes, Error> {
    Full::new(body).map_err(|never| match never {}).boxed()
}
