//! The servers of a simulation: they answer what the scenario says, without sockets.
//!
//! Invariant: what a scripted server answers depends on the scenario and on the requests before it,
//! and on nothing else.

mod first;
mod script;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::LocalBoxFuture;
use futures::stream::LocalBoxStream;
use futures::{FutureExt, StreamExt};
use serde::Deserialize;
use url::Url;

pub(crate) use first::ServersFirst;
pub use script::ServersError;

use crate::http::{
    Http, HttpBody, HttpError, HttpRequest, HttpResponse, Loaded, authority, follow, status_text,
    whole_body,
};

/// Scripted servers, read from the `[servers]` table of a `scenario.toml`:
///
/// ```toml
/// [servers."https://api.test"]
/// "POST /outbox" = [503, 204]                      # in order; the last one repeats
/// "GET /data" = { headers = { content-type = "text/plain" }, body = "hi", delay = "2s" }
/// "GET /data?page=2" = 404                         # a route without a query takes every query
/// "GET /broken" = { fail = "connection refused" }  # or "timeout", "connection reset"
/// ```
///
/// Another path on such an origin is a 404 that says so; a request to another
/// origin fails. Clones are the same servers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "BTreeMap<String, BTreeMap<String, serde_json::Value>>")]
pub struct ScriptedServers(Arc<Mutex<World>>);

#[derive(Debug, Default)]
struct World {
    /// Routes by origin.
    servers: BTreeMap<String, BTreeMap<RouteKey, Route>>,
    requests: Vec<RecordedRequest>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RouteKey {
    method: String,
    path: String,
    /// `None` takes every query.
    query: Option<String>,
}

#[derive(Debug)]
struct Route {
    /// Never empty; the last one repeats.
    answers: Vec<Answer>,
    given: usize,
}

#[derive(Clone, Debug)]
struct Answer {
    delay: Duration,
    outcome: Outcome,
}

#[derive(Clone, Debug)]
enum Outcome {
    Reply { status: u16, headers: Vec<(String, String)>, body: Bytes, end: End },
    Fail(Failure),
}

/// What follows a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nothing: it was whole.
    Whole,
    /// The connection breaks, and the rest never comes.
    Broken,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Failure {
    #[serde(rename = "connection refused", alias = "refused")]
    Refused,
    #[serde(rename = "timeout")]
    Timeout,
    #[serde(rename = "connection reset", alias = "reset")]
    Reset,
}

/// A request that a scripted server has received, redirected ones included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedRequest {
    /// The method, as it was sent.
    pub method: String,
    /// The URL that was asked.
    pub url: Url,
    /// Names and values, as they were sent.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Option<Bytes>,
}

impl ScriptedServers {
    /// Every request so far, in the order in which they were sent. Requests to an origin that no
    /// server has are not among them.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.world().requests.clone()
    }

    /// Whether this method and URL have a script.
    fn has(&self, method: &str, url: &Url) -> bool {
        let world = self.world();
        let routes = world.servers.get(&url.origin().ascii_serialization());
        let mut key = RouteKey::of(method, url);
        routes.is_some_and(|routes| {
            routes.contains_key(&key) || {
                key.query = None;
                routes.contains_key(&key)
            }
        })
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("invariant: nothing panics while it holds the world")
    }
}

impl Http for ScriptedServers {
    fn send(
        &self,
        request: HttpRequest,
    ) -> LocalBoxFuture<'static, Result<HttpResponse, HttpError>> {
        let servers = self.clone();
        async move {
            let HttpRequest { method, url, headers, body, .. } = request;
            let body = match body {
                None => None,
                Some(HttpBody::Whole(bytes)) => Some(bytes),
                Some(HttpBody::Stream(parts)) => Some(collected(parts).await?),
            };
            let is_head = method == "HEAD";
            let recorded = RecordedRequest { method, url: url.clone(), headers, body };
            let answer = servers.world().answer(recorded)?;
            if !answer.delay.is_zero() {
                tokio::time::sleep(answer.delay).await;
            }
            answer.into_response(url, is_head)
        }
        .boxed_local()
    }

    /// Answers at once: nothing else could run during a delay, so it would say nothing.
    fn load(&self, url: &Url) -> Result<Loaded, HttpError> {
        let undelayed = Undelayed(self.clone());
        async { follow(&undelayed, url.clone()).await?.into_loaded().await }
            .now_or_never()
            .expect("invariant: a scripted answer without its delay is ready")
    }
}

/// The servers without their delays.
struct Undelayed(ScriptedServers);

impl Http for Undelayed {
    fn send(
        &self,
        request: HttpRequest,
    ) -> LocalBoxFuture<'static, Result<HttpResponse, HttpError>> {
        let HttpRequest { method, url, headers, .. } = request;
        let recorded = RecordedRequest { method, url: url.clone(), headers, body: None };
        let answer = self.0.world().answer(recorded);
        std::future::ready(answer.and_then(|answer| answer.into_response(url, false))).boxed_local()
    }

    fn load(&self, url: &Url) -> Result<Loaded, HttpError> {
        self.0.load(url)
    }
}

async fn collected(
    mut parts: LocalBoxStream<'static, Result<Bytes, HttpError>>,
) -> Result<Bytes, HttpError> {
    let mut whole = BytesMut::new();
    while let Some(part) = parts.next().await {
        whole.extend_from_slice(&part?);
    }
    Ok(whole.freeze())
}

impl World {
    /// Records the request and takes the answer whose turn it is.
    fn answer(&mut self, request: RecordedRequest) -> Result<Answer, HttpError> {
        let url = &request.url;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(HttpError::UnsupportedScheme { url: url.clone() });
        }
        let origin = url.origin().ascii_serialization();
        let Some(routes) = self.servers.get_mut(&origin) else {
            return Err(HttpError::NoServer { url: url.clone() });
        };
        let mut key = RouteKey::of(&request.method, url);
        self.requests.push(request);
        if !routes.contains_key(&key) {
            key.query = None;
        }
        Ok(match routes.get_mut(&key) {
            Some(route) => route.next(),
            None => Answer::nothing_scripted(&origin, &key),
        })
    }
}

impl RouteKey {
    fn of(method: &str, url: &Url) -> RouteKey {
        RouteKey {
            method: method.to_owned(),
            path: url.path().to_owned(),
            query: url.query().map(str::to_owned),
        }
    }
}

impl Route {
    fn next(&mut self) -> Answer {
        let turn = self.given.min(self.answers.len() - 1);
        self.given += 1;
        self.answers[turn].clone()
    }
}

impl Answer {
    fn nothing_scripted(origin: &str, key: &RouteKey) -> Answer {
        let body = format!("{origin} has no script for {} {}\n", key.method, key.path);
        let headers = vec![("content-type".to_owned(), "text/plain".to_owned())];
        let (status, body) = (404, Bytes::from(body));
        let outcome = Outcome::Reply { status, headers, body, end: End::Whole };
        Answer { delay: Duration::ZERO, outcome }
    }

    fn into_response(self, url: Url, is_head: bool) -> Result<HttpResponse, HttpError> {
        let host = authority(&url);
        match self.outcome {
            Outcome::Reply { status, headers, body, end } => {
                let body = whole_body(if is_head { Bytes::new() } else { body });
                let cause = "connection reset".to_owned();
                let broken = (end == End::Broken).then_some(Err(HttpError::Broken { host, cause }));
                Ok(HttpResponse {
                    status,
                    status_text: status_text(status),
                    headers,
                    url,
                    body: body.chain(futures::stream::iter(broken)).boxed_local(),
                })
            }
            Outcome::Fail(Failure::Refused) => Err(HttpError::Refused { host }),
            Outcome::Fail(Failure::Timeout) => Err(HttpError::Timeout { host }),
            Outcome::Fail(Failure::Reset) => {
                Err(HttpError::Broken { host, cause: "connection reset".to_owned() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const SERVERS: &str = r#"
        ["https://api.test"]
        "POST /outbox" = [503, 204]
        "GET /data" = { headers = { Content-Type = "text/plain" }, body = "hi", delay = "2s" }
        "HEAD /data" = { body = "hi" }
        "GET /data?page=2" = 404
        "GET /refused" = { fail = "connection refused" }
        "GET /reset" = { fail = "reset", delay = "1s" }
        "GET /timeout" = { fail = "timeout" }
        "GET /cut" = { body = "hi", breaks = true }
        "GET /moved" = { status = 302, headers = { location = "/data" } }
    "#;

    fn servers() -> ScriptedServers {
        toml::from_str(SERVERS).unwrap()
    }

    fn request(method: &str, url: &str) -> HttpRequest {
        HttpRequest { method: method.to_owned(), ..HttpRequest::get(Url::parse(url).unwrap()) }
    }

    /// Status and body of a response, or the error's text.
    async fn answer(servers: &ScriptedServers, method: &str, url: &str) -> (u16, String) {
        let response = match servers.send(request(method, url)).await {
            Ok(response) => response.into_loaded().await,
            Err(error) => Err(error),
        };
        match response {
            Ok(loaded) => (loaded.status, String::from_utf8(loaded.body).unwrap()),
            Err(error) => (0, error.to_string()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_answered_in_order_and_its_last_repeats() {
        let servers = servers();
        for status in [503, 204, 204] {
            assert_eq!(answer(&servers, "POST", "https://api.test/outbox").await.0, status);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_passes_on_the_simulated_clock() {
        let started = Instant::now();
        let url = Url::parse("https://api.test/data?page=1").unwrap();
        let response = servers().send(HttpRequest::get(url)).await.unwrap();
        assert_eq!(started.elapsed(), Duration::from_secs(2));
        assert_eq!(response.header("content-type"), Some("text/plain"));
        assert_eq!(response.into_loaded().await.unwrap().body, b"hi");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_scripted_says_so() {
        let servers = servers();
        let cases = [
            ("GET", "https://api.test/data?page=2", 404, ""),
            ("HEAD", "https://api.test/data", 200, ""),
            ("PUT", "https://api.test/data", 404, "https://api.test has no script for PUT /data\n"),
            ("GET", "https://api.test/", 404, "https://api.test has no script for GET /\n"),
            ("GET", "https://b.test/x", 0, "no server is scripted for https://b.test/x"),
            ("GET", "https://api.test/refused", 0, "connection refused by api.test:443"),
            ("GET", "https://api.test/timeout", 0, "api.test:443 did not answer in time"),
            (
                "GET",
                "https://api.test/reset",
                0,
                "connection to api.test:443 broke: connection reset",
            ),
        ];
        for (method, url, status, body) in cases {
            assert_eq!(answer(&servers, method, url).await, (status, body.to_owned()), "{url}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_break_behind_the_part_that_has_come() {
        let url = Url::parse("https://api.test/cut").unwrap();
        let mut body = servers().send(HttpRequest::get(url)).await.unwrap().body;
        assert_eq!(body.next().await, Some(Ok(Bytes::from_static(b"hi"))));
        assert!(matches!(body.next().await, Some(Err(HttpError::Broken { .. }))));
        assert_eq!(body.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_script_is_loaded_at_once_and_through_redirects() {
        let started = Instant::now();
        let loaded = servers().load(&Url::parse("https://api.test/moved").unwrap()).unwrap();
        assert_eq!((loaded.url.as_str(), loaded.body), ("https://api.test/data", b"hi".to_vec()));
        assert_eq!(loaded.content_type.as_deref(), Some("text/plain"));
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_recorded_as_they_were_sent() {
        let servers = servers();
        let headers = vec![("X-Id".to_owned(), "7".to_owned())];
        let whole = Bytes::from_static(b"mail");
        let sent = HttpRequest {
            headers: headers.clone(),
            body: Some(HttpBody::Whole(whole.clone())),
            ..request("POST", "https://api.test/outbox?a=b")
        };
        let (method, url) = (sent.method.clone(), sent.url.clone());
        servers.send(sent).await.unwrap();
        answer(&servers, "GET", "https://b.test/").await;
        let body = Some(whole);
        assert_eq!(servers.requests(), [RecordedRequest { method, url, headers, body }]);
    }
}
