//! Requests and responses, as they cross the border; a response's body crosses as a resource.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use deno_core::futures::StreamExt;
use deno_core::futures::stream::{LocalBoxStream, Peekable, unfold};
use deno_core::{
    AsyncRefCell, AsyncResult, BufMutView, BufView, CancelFuture, CancelHandle, CancelTryFuture,
    JsBuffer, OpState, RcRef, Resource, ResourceId, op2,
};
use deno_error::JsErrorBox;
use serde::{Deserialize, Serialize};

use crate::{Host, OpError};

/// A request, in the words of the Fetch Standard.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
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
    /// The body, or none. An error ends it; its text is for the trace alone.
    pub body: Option<LocalBoxStream<'static, Result<Bytes, OpError>>>,
}

/// What JavaScript gets of a [`FetchResponse`].
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchResponseHead {
    r#type: &'static str,
    status: u16,
    status_text: String,
    headers: Vec<(String, String)>,
    url_list: Vec<String>,
    body: Option<ResourceId>,
}

/// Fetches, and answers when the response's head is there. `cancel` is a cancel handle of the
/// caller's; cancelling it ends the request with [`OpError::Aborted`].
#[op2]
#[serde]
pub async fn op_http_fetch(
    state: Rc<RefCell<OpState>>,
    #[serde] request: FetchRequest,
    #[buffer] bytes: Option<JsBuffer>,
    #[smi] cancel: ResourceId,
) -> Result<FetchResponseHead, OpError> {
    let (services, realm) = Host::of(&state.borrow());
    let cancel = state.borrow().resource_table.get::<CancelHandle>(cancel);
    let cancel = cancel.map_err(|_| OpError::Aborted)?;
    let body = body_of(&mut state.borrow_mut(), bytes, request.body_stream)?;
    let sent = services.fetch(realm, request, body).or_cancel(cancel).await;
    let response = sent.map_err(|_| OpError::Aborted)??;
    Ok(head_of(&mut state.borrow_mut(), response))
}

/// The head of a response, and a resource for its body.
pub(crate) fn head_of(state: &mut OpState, response: FetchResponse) -> FetchResponseHead {
    FetchResponseHead {
        r#type: response.kind,
        status: response.status,
        status_text: response.status_text,
        headers: response.headers,
        url_list: response.url_list,
        body: response.body.map(|body| add_body(state, body)),
    }
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
pub(crate) fn add_body(
    state: &mut OpState,
    body: LocalBoxStream<'static, Result<Bytes, OpError>>,
) -> ResourceId {
    state.resource_table.add(ResponseBody::new(body))
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
    chunks: AsyncRefCell<Peekable<LocalBoxStream<'static, Result<Bytes, OpError>>>>,
    cancel: CancelHandle,
}

impl ResponseBody {
    pub(crate) fn new(chunks: LocalBoxStream<'static, Result<Bytes, OpError>>) -> Self {
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
