//! Requests of a client outside: what a browser would do with them, as a library's call.
//! <https://w3c.github.io/ServiceWorker/#handle-fetch>
//!
//! Invariant: a body that was cut off never looks like one that has ended.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{self, BoxStream, LocalBoxStream};
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::{mpsc, oneshot};
use url::Url;

use crate::fetch::{
    self, FetchError, Interceptor, Mode, RedirectMode, Referrer, Request, Response, ResponseSource,
    ServiceWorkersMode, fetch, shortened,
};
use crate::fetch_events::{Controller, EventClient};
use crate::host::Shard;
use crate::http::HttpError;
use crate::navigation::request_of;
use crate::runtime::Error;

/// Chunks of a body that may wait for their reader.
const CHUNKS_WAITING: usize = 4;

/// Header names that a fetch sets by itself, or that its connections do.
const NOT_TAKEN: [&str; 9] = [
    "accept-encoding",
    "content-length",
    "cookie",
    "expect",
    "host",
    "origin",
    "referer",
    "transfer-encoding",
    "connection",
];

/// A request as a browser would make it for a page; see [`Runtime::fetch`](crate::Runtime::fetch).
pub struct ClientRequest {
    /// The method, in the case in which it is sent.
    pub method: String,
    /// An `http` or `https` URL.
    pub url: Url,
    /// Names and values in order; one character is one byte. A `referer` names the page that asks.
    /// What a fetch sets by itself is left out: `host`, `origin`, `cookie`, `content-length`,
    /// `accept-encoding`, `sec-fetch-*` and what is about one connection.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: ClientBody,
    /// What asks for it.
    pub kind: ClientRequestKind,
}

/// The body of a [`ClientRequest`].
pub enum ClientBody {
    /// None.
    Empty,
    /// Bytes, which can be sent again after a redirect.
    Whole(Bytes),
    /// As it comes: the next chunk is asked for when the last one has left. An error, in words for
    /// an operator, ends the request.
    Stream(BoxStream<'static, Result<Bytes, String>>),
}

/// What asks for a [`ClientRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientRequestKind {
    /// A page that is about to be: redirects are answers, and the registration that the URL matches
    /// has the controller.
    Navigation,
    /// A page that is there: redirects are followed, and the registration that the page's URL
    /// matches has the controller; the page is the referrer, or the URL itself without one.
    Subresource {
        /// <https://fetch.spec.whatwg.org/#concept-request-destination>, empty for `fetch()`.
        destination: String,
        /// Whether the mode is `no-cors`, as of an image, or `cors`, as of `fetch()`.
        no_cors: bool,
    },
}

/// What a [`ClientRequest`] is answered with.
#[derive(Debug)]
pub struct ClientResponse {
    /// The status.
    pub status: u16,
    /// The status text; may be empty.
    pub status_text: String,
    /// Names and values in order; one character is one byte. `content-encoding` and
    /// `content-length` may be those of a body that has been decoded. Cookies stay behind, in the
    /// origin's jar.
    pub headers: Vec<(String, String)>,
    /// The decoded body; `None` for a null body.
    pub body: Option<ClientResponseBody>,
    /// Who answered.
    pub source: ResponseSource,
}

/// The body of a [`ClientResponse`], chunk by chunk. The worker or the server waits while it is not
/// read, and hears that nobody reads it when it is dropped. Ends after its first error, which is
/// [`Error::Fetch`], or [`Error::Stopped`] if the runtime ended first.
#[derive(Debug)]
pub struct ClientResponseBody(BodyState);

#[derive(Debug)]
enum BodyState {
    /// It was there when the head was.
    Whole(Bytes),
    Coming(mpsc::Receiver<Part>),
    Ended,
}

#[derive(Debug)]
enum Part {
    Chunk(Bytes),
    End,
    Broken(Error),
}

impl ClientResponseBody {
    /// All of it, if it came with the head, as what a worker has made of text or bytes does.
    ///
    /// # Errors
    ///
    /// The body itself, if more is to come.
    pub fn into_whole(self) -> Result<Bytes, ClientResponseBody> {
        match self.0 {
            BodyState::Whole(bytes) => Ok(bytes),
            other => Err(ClientResponseBody(other)),
        }
    }
}

impl Stream for ClientResponseBody {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let part = match &mut self.0 {
            BodyState::Ended => return Poll::Ready(None),
            BodyState::Whole(bytes) => {
                let chunk = Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty());
                self.0 = BodyState::Ended;
                return Poll::Ready(chunk.map(Ok));
            }
            BodyState::Coming(parts) => std::task::ready!(parts.poll_recv(context)),
        };
        if let Some(Part::Chunk(chunk)) = part {
            return Poll::Ready(Some(Ok(chunk)));
        }
        self.0 = BodyState::Ended;
        Poll::Ready(match part {
            Some(Part::Chunk(_) | Part::End) => None,
            Some(Part::Broken(error)) => Some(Err(error)),
            None => Some(Err(Error::Stopped)),
        })
    }
}

/// Takes the answer to a [`ClientRequest`].
pub(crate) type ClientAnswer = oneshot::Sender<Result<ClientResponse, Error>>;

impl Shard {
    /// Answers a client, then hands the body over until it ends or nobody reads it any more.
    pub(crate) async fn answer_client(
        self: Rc<Self>,
        request: ClientRequest,
        mut answer: ClientAnswer,
    ) {
        let _busy = self.activity.begin();
        let (method, url) = (request.method.clone(), request.url.clone());
        let (shown, started) = (shortened(&url), self.elapsed_ms());
        let fetched = tokio::select! {
            fetched = self.fetch_for_client(request) => fetched,
            () = answer.closed() => return,
        };
        let traced = fetched.as_ref().map(|response| (response.status, response.source));
        self.trace_fetch(started, method.clone(), shown.clone(), traced);
        let failed =
            |error: &FetchError| Error::Fetch { url: url.clone(), reason: error.to_string() };
        let response = match fetched {
            Ok(response) => response,
            Err(error) => {
                // The client may have gone.
                let _ = answer.send(Err(failed(&error)));
                return;
            }
        };
        let (body, rest) = match response.body.map(split) {
            None => (None, None),
            Some(Body::Whole(bytes)) => (Some(BodyState::Whole(bytes)), None),
            Some(Body::Coming(chunks)) => {
                let (parts, received) = mpsc::channel(CHUNKS_WAITING);
                (Some(BodyState::Coming(received)), Some((chunks, parts)))
            }
        };
        let answered = answer.send(Ok(ClientResponse {
            status: response.status,
            status_text: response.status_text,
            headers: response.headers,
            body: body.map(ClientResponseBody),
            source: response.source,
        }));
        let (Ok(()), Some((chunks, parts))) = (answered, rest) else { return };
        let broken = |error| {
            let error = FetchError::from(error);
            self.trace_fetch(started, method.clone(), shown.clone(), Err(&error));
            failed(&error)
        };
        hand_over(chunks, parts, broken).await;
    }

    async fn fetch_for_client(&self, request: ClientRequest) -> Result<Response, FetchError> {
        let is_navigation = request.kind == ClientRequestKind::Navigation;
        let mut request = converted(request);
        let origin = request.origin.clone();
        let client = match &request.referrer {
            Referrer::Url(page) if !is_navigation && page.origin() == origin => page.clone(),
            _ => request.url().clone(),
        };
        let worker = self.match_registration(client.as_str()).and_then(|found| found.active());
        let mut ids = EventClient::default();
        if is_navigation {
            ids.resulting_client_id = format!("client-{}", self.next_id());
        }
        let interceptor = worker.map(|worker| {
            request.service_workers = ServiceWorkersMode::All;
            Rc::new(Controller { shard: self.me(), worker, client: ids }) as Rc<dyn Interceptor>
        });
        fetch(&self.fetch_environment(&client, interceptor), request).await
    }
}

/// A response's body, once it is known whether more is to come.
enum Body {
    Whole(Bytes),
    Coming(Chunks),
}

type Chunks = LocalBoxStream<'static, Result<Bytes, HttpError>>;

/// Takes what is there already: a body of one chunk at most needs no stream.
fn split(mut chunks: Chunks) -> Body {
    let first = match chunks.next().now_or_never() {
        Some(None) => return Body::Whole(Bytes::new()),
        Some(Some(Ok(first))) => first,
        Some(Some(error)) => {
            return Body::Coming(stream::iter([error]).chain(chunks).boxed_local());
        }
        None => return Body::Coming(chunks),
    };
    match chunks.next().now_or_never() {
        Some(None) => Body::Whole(first),
        Some(Some(second)) => {
            Body::Coming(stream::iter([Ok(first), second]).chain(chunks).boxed_local())
        }
        None => Body::Coming(stream::iter([Ok(first)]).chain(chunks).boxed_local()),
    }
}

/// Hands a body over until it ends or nobody reads it any more.
async fn hand_over(
    mut chunks: Chunks,
    parts: mpsc::Sender<Part>,
    broken: impl Fn(HttpError) -> Error,
) {
    loop {
        let part = tokio::select! {
            chunk = chunks.next() => match chunk {
                Some(Ok(chunk)) => Part::Chunk(chunk),
                Some(Err(error)) => Part::Broken(broken(error)),
                None => Part::End,
            },
            () = parts.closed() => return,
        };
        let is_last = !matches!(part, Part::Chunk(_));
        if parts.send(part).await.is_err() || is_last {
            return;
        }
    }
}

fn converted(request: ClientRequest) -> Request {
    let ClientRequest { method, url, headers, body, kind } = request;
    let (destination, mode) = match kind {
        ClientRequestKind::Navigation => ("document".to_owned(), Mode::Navigate),
        ClientRequestKind::Subresource { destination, no_cors: true } => {
            (destination, Mode::NoCors)
        }
        ClientRequestKind::Subresource { destination, no_cors: false } => (destination, Mode::Cors),
    };
    let mut converted = request_of(url, &destination, mode);
    if mode == Mode::Navigate {
        converted.redirect = RedirectMode::Manual;
    }
    let referrer = fetch::header(&headers, "referer").and_then(|url| Url::parse(&url).ok());
    converted.referrer = referrer.map_or(Referrer::None, Referrer::Url);
    let is_taken = |name: &str| {
        let name = name.to_ascii_lowercase();
        !NOT_TAKEN.contains(&name.as_str()) && !name.starts_with("sec-fetch-")
    };
    converted.headers = headers.into_iter().filter(|(name, _)| is_taken(name)).collect();
    converted.method = method;
    converted.body = match body {
        ClientBody::Empty => fetch::Body::Empty,
        ClientBody::Whole(bytes) => fetch::Body::Whole(bytes),
        ClientBody::Stream(chunks) => {
            let broken = |cause| HttpError::BodyBroken { cause };
            fetch::Body::Stream(chunks.map(move |chunk| chunk.map_err(broken)).boxed_local())
        }
    };
    converted
}
