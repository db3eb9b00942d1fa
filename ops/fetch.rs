//! Requests and responses, as they cross the border; a response's body crosses as a resource.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use deno_core::futures::StreamExt;
use deno_core::futures::stream::{LocalBoxStream, Peekable};
use deno_core::{
    AsyncRefCell, AsyncResult, BufView, CancelFuture, CancelHandle, CancelTryFuture, JsBuffer,
    OpState, RcRef, Resource, ResourceId, op2,
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
    /// The URL, absolute, without its fragment.
    pub url: String,
    /// Header list, in order.
    pub headers: Vec<(String, String)>,
    /// `follow`, `error` or `manual`.
    pub redirect: String,
    /// The whole body.
    #[serde(skip)]
    pub body: Option<Bytes>,
}

/// The head of a response, with its body as a stream of chunks.
pub struct FetchResponse {
    /// The status.
    pub status: u16,
    /// The status message; empty in HTTP/2.
    pub status_text: String,
    /// Header list, in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Every URL on the way, the final one last.
    pub url_list: Vec<String>,
    /// The body. An error ends it; its text is for the trace alone.
    pub body: LocalBoxStream<'static, Result<Bytes, OpError>>,
}

/// What JavaScript gets of a [`FetchResponse`].
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchResponseHead {
    status: u16,
    status_text: String,
    headers: Vec<(String, String)>,
    url_list: Vec<String>,
    body: ResourceId,
}

/// Sends a request and answers when the response's head is there. `cancel` is a cancel handle of
/// the caller's; cancelling it ends the request with [`OpError::Aborted`].
#[op2]
#[serde]
pub async fn op_http_send(
    state: Rc<RefCell<OpState>>,
    #[serde] mut request: FetchRequest,
    #[buffer] body: Option<JsBuffer>,
    #[smi] cancel: ResourceId,
) -> Result<FetchResponseHead, OpError> {
    request.body = body.map(|bytes| Bytes::copy_from_slice(&bytes));
    let (services, realm) = Host::of(&state.borrow());
    let cancel = state.borrow().resource_table.get::<CancelHandle>(cancel);
    let cancel = cancel.map_err(|_| OpError::Aborted)?;
    let sent = services.fetch(realm, request).or_cancel(cancel).await;
    let response = sent.map_err(|_| OpError::Aborted)??;
    let body = state.borrow_mut().resource_table.add(ResponseBody::new(response.body));
    Ok(FetchResponseHead {
        status: response.status,
        status_text: response.status_text,
        headers: response.headers,
        url_list: response.url_list,
        body,
    })
}

/// A response's body: read on demand, so that a slow reader holds the sender back.
pub(crate) struct ResponseBody {
    chunks: AsyncRefCell<Peekable<LocalBoxStream<'static, Result<Bytes, OpError>>>>,
    cancel: CancelHandle,
}

impl ResponseBody {
    pub(crate) fn new(chunks: LocalBoxStream<'static, Result<Bytes, OpError>>) -> Self {
        Self { chunks: AsyncRefCell::new(chunks.peekable()), cancel: CancelHandle::default() }
    }
}

impl Resource for ResponseBody {
    fn name(&self) -> Cow<'_, str> {
        "responseBody".into()
    }

    fn read(self: Rc<Self>, limit: usize) -> AsyncResult<BufView> {
        let cancel = RcRef::map(self.clone(), |body| &body.cancel);
        let read = async move {
            let mut chunks = RcRef::map(self, |body| &body.chunks).borrow_mut().await;
            // An empty chunk would read as the end of the body.
            while let Some(Ok(chunk)) = std::pin::Pin::new(&mut *chunks).peek_mut().await {
                if !chunk.is_empty() {
                    return Ok(BufView::from(chunk.split_to(limit.min(chunk.len()))));
                }
                chunks.next().await;
            }
            match chunks.next().await {
                Some(Err(error)) => Err(JsErrorBox::from_err(error)),
                _ => Ok(BufView::empty()),
            }
        };
        Box::pin(read.try_or_cancel(cancel))
    }

    fn close(self: Rc<Self>) {
        self.cancel.cancel();
    }
}
