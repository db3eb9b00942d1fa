//! An HTTP door that an embedder brought: requests leave by its own client, or by none.
//!
//! Invariant: what the door answers is checked before anybody sees it, and its futures and bodies
//! are polled under the guard only.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, LocalBoxFuture};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use url::Url;

use super::{Http, HttpBody, HttpError, HttpRequest, HttpResponse, Loaded, authority, follow};
use crate::door_guard::{Door, DoorFault, DoorGuard};

/// How long `importScripts()` waits for an embedder's door, which blocks its host thread.
const LOAD_AT_MOST: Duration = Duration::from_secs(60);
/// How often it looks meanwhile whether the door is out of order.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The way by which requests leave, in an embedder's hands: see
/// [`Builder::http`](crate::Builder::http).
///
/// A door makes one exchange and decides nothing: redirects are answers like others; CORS, cookies
/// and the HTTP cache are Kittiwake's business. It is not asked while the network signal is
/// offline, nor for what a [`NetworkPolicy`](crate::NetworkPolicy) forbids by its host.
///
/// Its futures and bodies are polled on host threads, inside of tokio (not of yours): what blocks
/// there blocks all realms of the thread. One that blocks for longer than
/// [`Builder::turn_limit`](crate::Builder::turn_limit), or panics, puts the runtime out of order:
/// [`Error::Door`](crate::Error::Door). In a simulation they run in its time, and must not wait for
/// anything real.
///
/// [`conformance::http`](crate::conformance::http) tests one.
pub trait HttpDoor: Send + Sync + 'static {
    /// Sends one request. Answers when the head of the response is there; the body follows.
    /// Dropping the future or the body ends the exchange.
    fn exchange(&self, request: DoorRequest) -> DoorAnswer;
}

/// What [`HttpDoor::exchange`] comes to.
pub type DoorAnswer = BoxFuture<'static, Result<DoorResponse, DoorError>>;

/// A request that leaves by an [`HttpDoor`].
pub struct DoorRequest {
    /// The method, in the case in which it is sent.
    pub method: String,
    /// An `http` or `https` URL; its fragment is not sent.
    pub url: Url,
    /// Names and values in order. One character is one byte; none is above U+00FF.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: DoorBody,
}

/// The body of a [`DoorRequest`].
pub enum DoorBody {
    /// None.
    Empty,
    /// All of it.
    Whole(Bytes),
    /// As it comes: the next chunk is asked for when the last one has left. An error, in words for
    /// an operator, must end the request.
    Stream(BoxStream<'static, Result<Bytes, String>>),
}

/// What an [`HttpDoor`] answers.
pub struct DoorResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// The status text; may be empty.
    pub status_text: String,
    /// Names and values in order. One character is one byte.
    pub headers: Vec<(String, String)>,
    /// The body, decoded if the door asked for a coding. An error, in words for an operator, says
    /// that it was cut off.
    pub body: BoxStream<'static, Result<Bytes, String>>,
}

/// Why an [`HttpDoor`] has no answer. For the trace: a script learns "Failed to fetch".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// Nobody listens at the host's port.
    #[error("connection refused")]
    Refused,
    /// The host's name has no address.
    #[error("no address found")]
    NoAddress,
    /// There is no way to the host's address.
    #[error("no route")]
    NoRoute,
    /// The host did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// No secure connection, in words for an operator.
    #[error("no secure connection: {0}")]
    Tls(String),
    /// Anything else, in words for an operator.
    #[error("{0}")]
    Broken(String),
}

/// The door that the rest of Kittiwake sees.
pub(crate) struct EmbeddersHttp {
    door: Arc<dyn HttpDoor>,
    guard: DoorGuard,
    is_simulated: bool,
}

impl EmbeddersHttp {
    pub(crate) fn new(door: Arc<dyn HttpDoor>, guard: DoorGuard, is_simulated: bool) -> Self {
        EmbeddersHttp { door, guard, is_simulated }
    }
}

impl Http for EmbeddersHttp {
    fn send(
        &self,
        request: HttpRequest,
    ) -> LocalBoxFuture<'static, Result<HttpResponse, HttpError>> {
        let (door, guard, url) = (self.door.clone(), self.guard.clone(), request.url.clone());
        let request = given(request);
        async move {
            let host = authority(&url);
            let exchange = async move { door.exchange(request).await };
            let Some(answer) = guard.future(Door::Http, exchange).await else {
                return Err(out_of_order(host, &guard));
            };
            let answer = answer.map_err(|error| refused(error, host.clone()))?;
            taken(answer, url, host, guard)
        }
        .boxed_local()
    }

    fn load(&self, url: &Url) -> Result<Loaded, HttpError> {
        let (host, url, is_simulated) = (authority(url), url.clone(), self.is_simulated);
        let (door, guard) = (self.door.clone(), self.guard.clone());
        if is_simulated {
            let loaded = load_here(EmbeddersHttp::new(door, guard, is_simulated), url);
            return loaded.now_or_never().unwrap_or(Err(HttpError::Timeout { host }));
        }
        let (tell, told) = channel();
        // The caller's tokio cannot be waited on from inside itself, so this is another one.
        let thread = std::thread::Builder::new().name("kittiwake-load".to_owned());
        let spawned = thread.spawn(move || {
            let mut tokio = tokio::runtime::Builder::new_current_thread();
            let loaded = tokio.enable_all().build().map_err(no_client).and_then(|tokio| {
                tokio.block_on(load_here(EmbeddersHttp::new(door, guard, false), url))
            });
            // Nobody may wait any more.
            let _ = tell.send(loaded);
        });
        spawned.map_err(no_client)?;
        let mut waited = Duration::ZERO;
        loop {
            match told.recv_timeout(LOOK_EVERY) {
                Ok(loaded) => return loaded,
                Err(RecvTimeoutError::Disconnected) => return Err(out_of_order(host, &self.guard)),
                Err(RecvTimeoutError::Timeout) => waited += LOOK_EVERY,
            }
            if self.guard.faults().first().is_some() {
                return Err(out_of_order(host, &self.guard));
            }
            if waited >= LOAD_AT_MOST {
                return Err(HttpError::Timeout { host });
            }
        }
    }
}

async fn load_here(http: EmbeddersHttp, url: Url) -> Result<Loaded, HttpError> {
    follow(&http, url).await?.into_loaded().await
}

/// What the door is given: its futures may go from thread to thread, the host's bodies may not.
fn given(request: HttpRequest) -> DoorRequest {
    let HttpRequest { method, url, headers, body, .. } = request;
    let body = match body {
        None => DoorBody::Empty,
        Some(HttpBody::Whole(bytes)) => DoorBody::Whole(bytes),
        Some(HttpBody::Stream(mut chunks)) => {
            let (give, mut take) = mpsc::channel(1);
            spawn_local(async move {
                while let Some(chunk) = chunks.next().await {
                    let chunk = chunk.map_err(|error| error.to_string());
                    if give.send(chunk).await.is_err() {
                        return; // the door does not want it any more
                    }
                }
            });
            DoorBody::Stream(stream::poll_fn(move |context| take.poll_recv(context)).boxed())
        }
    };
    DoorRequest { method, url, headers, body }
}

/// The door's answer, if it is one.
fn taken(
    answer: DoorResponse,
    url: Url,
    host: String,
    guard: DoorGuard,
) -> Result<HttpResponse, HttpError> {
    let DoorResponse { status, status_text, headers, body } = answer;
    let is_latin1 = |text: &str| text.chars().all(|c| u32::from(c) <= 0xFF);
    let wrong = headers.iter().find(|(name, value)| !is_latin1(name) || !is_latin1(value));
    let wrong = match wrong {
        Some((name, _)) => Some(format!("the header {name:?}, which is not made of bytes")),
        None if !(200..=599).contains(&status) => Some(format!("the status {status}")),
        None => None,
    };
    if let Some(wrong) = wrong {
        guard.refuse(Door::Http, DoorFault::Invalid(wrong));
        return Err(out_of_order(host, &guard));
    }
    let headers =
        headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    let body = Body { chunks: Some(body), guard, host }.boxed_local();
    Ok(HttpResponse { status, status_text, headers, url, body })
}

/// A door's body, each poll of which is a call. Ends after its first error.
struct Body {
    chunks: Option<BoxStream<'static, Result<Bytes, String>>>,
    guard: DoorGuard,
    host: String,
}

impl Stream for Body {
    type Item = Result<Bytes, HttpError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Body { chunks, guard, host } = &mut *self;
        let Some(body) = chunks else { return Poll::Ready(None) };
        let item = match guard.call(Door::Http, || body.poll_next_unpin(context)) {
            Some(Poll::Pending) => return Poll::Pending,
            Some(Poll::Ready(None)) => None,
            Some(Poll::Ready(Some(Ok(chunk)))) => return Poll::Ready(Some(Ok(chunk))),
            Some(Poll::Ready(Some(Err(cause)))) => {
                Some(Err(HttpError::Broken { host: host.clone(), cause }))
            }
            None => Some(Err(out_of_order(host.clone(), guard))),
        };
        *chunks = None;
        Poll::Ready(item)
    }
}

fn refused(error: DoorError, host: String) -> HttpError {
    match error {
        DoorError::Refused => HttpError::Refused { host },
        DoorError::NoAddress => HttpError::Dns { host },
        DoorError::NoRoute => HttpError::Unreachable { host },
        DoorError::Timeout => HttpError::Timeout { host },
        DoorError::Tls(cause) => HttpError::Tls { host, cause },
        DoorError::Broken(cause) => HttpError::Broken { host, cause },
    }
}

fn out_of_order(host: String, guard: &DoorGuard) -> HttpError {
    let cause = guard.faults().first().map(|(door, fault)| format!("{door}: {fault}"));
    HttpError::Broken { host, cause: cause.unwrap_or_default() }
}

fn no_client(error: std::io::Error) -> HttpError {
    HttpError::NoClient { cause: error.to_string() }
}
