//! Requests and responses, as they cross the border; a response's body crosses as a resource.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use deno_core::futures::StreamExt;
use deno_core::futures::future::poll_fn;
use deno_core::futures::stream::{LocalBoxStream, Peekable, iter, unfold};
use deno_core::{
    AsyncRefCell, AsyncResult, BufMutView, BufView, CancelFuture, CancelHandle, CancelTryFuture,
    JsBuffer, OpState, RcRef, Resource, ResourceId, ToJsBuffer, op2,
};
use deno_error::JsErrorBox;
use serde::{Deserialize, Serialize};

use crate::{Host, KeptRequest, OpError};

/// A request, in the words of the Fetch Standard.
#[derive(Debug, Deserialize)]
#[serde(from = "FetchRequestParts")]
pub struct FetchRequest {
    /// The method, normalised.
    pub method: String,
    /// The URL, absolute.
    pub url: String,
    /// Header list, in order.
    pub headers: Vec<(String, String)>,
    /// The mode.
    pub mode: String,
    /// The credentials mode.
    pub credentials: String,
    /// The cache mode.
    pub cache: String,
    /// The redirect mode.
    pub redirect: String,
    /// `client`, `no-referrer` or a URL.
    pub referrer: String,
    /// The referrer policy; empty for the default.
    pub referrer_policy: String,
    /// Integrity metadata.
    pub integrity: String,
    /// Whether it may outlive its realm.
    pub keepalive: bool,
    /// The destination; empty for a script's own request.
    pub destination: String,
    /// A resource that is read for the body.
    body_stream: Option<ResourceId>,
    /// A cancel handle, by which JavaScript ends the request with [`OpError::Aborted`].
    cancel: Option<ResourceId>,
}

/// A [`FetchRequest`] as JavaScript gives it: a list, because looking up names takes longer.
#[derive(Deserialize)]
struct FetchRequestParts(
    String,
    String,
    Vec<(String, String)>,
    String,
    String,
    String,
    String,
    String,
    String,
    String,
    bool,
    String,
    Option<ResourceId>,
    Option<ResourceId>,
);

impl From<FetchRequestParts> for FetchRequest {
    fn from(parts: FetchRequestParts) -> Self {
        FetchRequest {
            method: parts.0,
            url: parts.1,
            headers: parts.2,
            mode: parts.3,
            credentials: parts.4,
            cache: parts.5,
            redirect: parts.6,
            referrer: parts.7,
            referrer_policy: parts.8,
            integrity: parts.9,
            keepalive: parts.10,
            destination: parts.11,
            body_stream: parts.12,
            cancel: parts.13,
        }
    }
}

impl From<KeptRequest> for FetchRequest {
    /// Its body comes on another way, and nobody can cancel it.
    fn from(kept: KeptRequest) -> Self {
        FetchRequest {
            method: kept.method,
            url: kept.url,
            headers: kept.headers,
            mode: kept.mode,
            credentials: kept.credentials,
            cache: kept.cache,
            redirect: kept.redirect,
            referrer: kept.referrer,
            referrer_policy: kept.referrer_policy,
            integrity: kept.integrity,
            keepalive: true,
            destination: String::new(),
            body_stream: None,
            cancel: None,
        }
    }
}

/// The body of a request.
pub enum RequestBody {
    /// None.
    Empty,
    /// All of it.
    Whole(Bytes),
    /// As the script makes it. An error is the script's own text.
    Stream(LocalBoxStream<'static, Result<Bytes, String>>),
}

impl RequestBody {
    /// How many bytes it is known to have. A stream, of which nobody knows, counts for none.
    pub fn whole_bytes(&self) -> usize {
        match self {
            RequestBody::Whole(bytes) => bytes.len(),
            RequestBody::Empty | RequestBody::Stream(_) => 0,
        }
    }
}

/// A body as it comes. An error ends it; its text is for the trace alone.
pub type Chunks = LocalBoxStream<'static, Result<Bytes, OpError>>;

/// The head of a response, with its body as a stream of chunks.
pub struct FetchResponse {
    /// `basic`, `cors`, `opaque` or `opaqueredirect`. JavaScript hides what the last two have.
    pub kind: &'static str,
    /// The status.
    pub status: u16,
    /// The status message; empty in HTTP/2.
    pub status_text: String,
    /// Header list, in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Every URL on the way, the final one last.
    pub url_list: Vec<String>,
    /// The body, or none.
    pub body: Option<Chunks>,
}

/// What JavaScript gets of a [`FetchResponse`]. An object of serde_v8 has a shape of its own, which
/// no inline cache knows, so it has one member only. And it has no prototype, so that no `then` of
/// a script's is asked for when a promise resolves to it, as an array's would be.
#[derive(Serialize)]
pub struct FetchedResponse {
    parts: FetchResponseParts,
}

/// Type, status, status message, header list and URL list; all of the body, if it came with the
/// head, or a resource for it.
#[derive(Serialize)]
struct FetchResponseParts(
    &'static str,
    u16,
    String,
    Vec<(String, String)>,
    Vec<String>,
    Option<ToJsBuffer>,
    Option<ResourceId>,
);

/// Fetches, and answers when the response's head is there.
#[op2]
#[serde]
pub async fn op_http_fetch(
    state: Rc<RefCell<OpState>>,
    #[serde] request: FetchRequest,
    #[buffer] bytes: Option<JsBuffer>,
) -> Result<FetchedResponse, OpError> {
    let (services, realm) = Host::of(&state.borrow());
    let cancel = request.cancel.map(|rid| state.borrow().resource_table.get::<CancelHandle>(rid));
    let cancel = cancel.transpose().map_err(|_| OpError::Aborted)?;
    let body = body_of(&mut state.borrow_mut(), bytes, request.body_stream)?;
    let sent = services.fetch(realm, request, body);
    let response = match cancel {
        None => sent.await?,
        Some(cancel) => sent.or_cancel(cancel).await.map_err(|_| OpError::Aborted)??,
    };
    Ok(fetched(&state, response).await)
}

/// The head of a response, with its body, or with a resource for it.
pub(crate) async fn fetched(state: &RefCell<OpState>, response: FetchResponse) -> FetchedResponse {
    let (bytes, body) = match response.body {
        None => (None, None),
        Some(chunks) => match all_that_came(chunks).await {
            Ok(bytes) => (Some(bytes.into()), None),
            Err(chunks) => (None, Some(add_body(&mut state.borrow_mut(), chunks))),
        },
    };
    let FetchResponse { kind, status, status_text, headers, url_list, .. } = response;
    let parts = FetchResponseParts(kind, status, status_text, headers, url_list, bytes, body);
    FetchedResponse { parts }
}

/// A body that JavaScript gives away: bytes, a resource that is read for it, or none.
pub(crate) fn body_of(
    state: &mut OpState,
    bytes: Option<JsBuffer>,
    stream: Option<ResourceId>,
) -> Result<RequestBody, OpError> {
    Ok(match (bytes, stream) {
        (Some(bytes), _) => RequestBody::Whole(Bytes::copy_from_slice(&bytes)),
        (None, None) => RequestBody::Empty,
        (None, Some(rid)) => {
            let taken = state.resource_table.take_any(rid);
            RequestBody::Stream(chunks_of(taken.map_err(|_| OpError::Aborted)?))
        }
    })
}

/// A resource by which JavaScript reads a body.
pub(crate) fn add_body(state: &mut OpState, body: Chunks) -> ResourceId {
    state.resource_table.add(ResponseBody::new(body))
}

/// The largest body that goes along with its head. A reader of a resource would take as much.
const ALONG_WITH_HEAD: usize = 64 << 10;

/// A body that has already come whole, or the stream of it as it was. It waits for nothing.
async fn all_that_came(mut chunks: Chunks) -> Result<Vec<u8>, Chunks> {
    let (mut here, mut bytes) = (Vec::new(), 0);
    let is_whole = poll_fn(|context| {
        while let Poll::Ready(chunk) = chunks.poll_next_unpin(context) {
            let Some(chunk) = chunk else { return Poll::Ready(true) };
            bytes += chunk.as_ref().map_or(usize::MAX, Bytes::len);
            here.push(chunk);
            if bytes > ALONG_WITH_HEAD {
                break;
            }
        }
        Poll::Ready(false)
    });
    if is_whole.await {
        return Ok(here.into_iter().flatten().collect::<Vec<_>>().concat());
    }
    if here.is_empty() { Err(chunks) } else { Err(iter(here).chain(chunks).boxed_local()) }
}

/// Answers all of a body at once, in bytes of the caller's own; nothing of it may have been read.
#[op2]
#[buffer]
pub async fn op_fetch_body_read_all(
    state: Rc<RefCell<OpState>>,
    #[smi] body: ResourceId,
) -> Result<Vec<u8>, JsErrorBox> {
    let most = Host::of(&state.borrow()).0.buffer_limit();
    let body = state.borrow().resource_table.get::<ResponseBody>(body);
    let body = body.map_err(|_| JsErrorBox::from_err(OpError::Aborted))?;
    let cancel = RcRef::map(body.clone(), |body| &body.cancel);
    let read = async move {
        let mut all = Vec::new();
        loop {
            let chunk = body.clone().next(usize::MAX).await?;
            if chunk.is_empty() {
                return Ok(all);
            }
            if chunk.len() > most - all.len() {
                return Err(JsErrorBox::from_err(OpError::NoMemory));
            }
            all.extend_from_slice(&chunk);
        }
    };
    read.try_or_cancel(cancel).await
}

/// How much of a script's stream is taken at once.
const STREAM_CHUNK: usize = 64 << 10;

/// A resource of JavaScript's, closed when nobody reads it any more.
struct Source(Rc<dyn Resource>);

impl Drop for Source {
    fn drop(&mut self) {
        self.0.clone().close();
    }
}

fn chunks_of(resource: Rc<dyn Resource>) -> LocalBoxStream<'static, Result<Bytes, String>> {
    let next = |source: Source| async {
        match source.0.clone().read(STREAM_CHUNK).await {
            Ok(chunk) if chunk.is_empty() => None,
            Ok(chunk) => Some((Ok(Bytes::copy_from_slice(&chunk)), source)),
            Err(error) => Some((Err(error.to_string()), source)),
        }
    };
    unfold(Source(resource), next).boxed_local()
}

/// A body on its way to a script: read on demand, so that a slow reader holds the sender back.
pub(crate) struct ResponseBody {
    chunks: AsyncRefCell<Peekable<Chunks>>,
    cancel: CancelHandle,
}

impl ResponseBody {
    pub(crate) fn new(chunks: Chunks) -> Self {
        Self { chunks: AsyncRefCell::new(chunks.peekable()), cancel: CancelHandle::default() }
    }

    /// The next bytes, as many as there are up to `limit`; none at the end.
    async fn next(self: Rc<Self>, limit: usize) -> Result<Bytes, JsErrorBox> {
        let mut chunks = RcRef::map(self, |body| &body.chunks).borrow_mut().await;
        // An empty chunk would read as the end of the body.
        while let Some(Ok(chunk)) = std::pin::Pin::new(&mut *chunks).peek_mut().await {
            if !chunk.is_empty() {
                return Ok(chunk.split_to(limit.min(chunk.len())));
            }
            chunks.next().await;
        }
        match chunks.next().await {
            Some(Err(error)) => Err(JsErrorBox::from_err(error)),
            _ => Ok(Bytes::new()),
        }
    }
}

impl Resource for ResponseBody {
    fn name(&self) -> Cow<'_, str> {
        "body".into()
    }

    fn read(self: Rc<Self>, limit: usize) -> AsyncResult<BufView> {
        let cancel = RcRef::map(self.clone(), |body| &body.cancel);
        let read = async move { Ok(BufView::from(self.next(limit).await?)) };
        Box::pin(read.try_or_cancel(cancel))
    }

    fn read_byob(self: Rc<Self>, mut buffer: BufMutView) -> AsyncResult<(usize, BufMutView)> {
        let cancel = RcRef::map(self.clone(), |body| &body.cancel);
        let read = async move {
            let bytes = self.next(buffer.len()).await?;
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Ok((bytes.len(), buffer))
        };
        Box::pin(read.try_or_cancel(cancel))
    }

    fn close(self: Rc<Self>) {
        self.cancel.cancel();
    }
}
