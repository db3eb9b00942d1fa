//! A fetch event: the request on its way to the worker, and what the worker answers.

use deno_core::futures::StreamExt;
use deno_core::{JsBuffer, OpState, ResourceId, ToJsBuffer, op2};
use serde::{Deserialize, Serialize};

use crate::fetch::{add_body, body_of};
use crate::{Host, OpError, RequestBody};

/// What the worker makes of a request.
pub enum FetchAnswer {
    /// A response.
    Response(WorkerResponse),
    /// The network shall answer: nobody called `respondWith()`.
    Fallback,
    /// A network error, and why.
    Failed(String),
}

/// A worker's response.
pub struct WorkerResponse {
    /// Its head.
    pub head: WorkerResponseHead,
    /// Its body; a stream is still being made.
    pub body: RequestBody,
}

/// All of a response but its body; of a filtered one, what it hides.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerResponseHead {
    /// `basic`, `cors`, `opaque`, `opaqueredirect`, or `default` for one that the script made.
    pub r#type: String,
    /// The status.
    pub status: u16,
    /// The status message.
    pub status_text: String,
    /// Header list, in order.
    pub headers: Vec<(String, String)>,
    /// Every URL on the way; empty for one that the script made.
    pub url_list: Vec<String>,
}

/// What JavaScript gets of a request's body: bytes, or a resource.
#[derive(Serialize)]
pub struct InterceptedBody {
    bytes: Option<ToJsBuffer>,
    rid: Option<ResourceId>,
}

/// The body of a fetch event's request; once.
#[op2]
#[serde]
pub fn op_fetch_event_body(state: &mut OpState, #[smi] event: u32) -> InterceptedBody {
    let (services, realm) = Host::of(state);
    match services.fetch_event_body(realm, event) {
        RequestBody::Empty => InterceptedBody { bytes: None, rid: None },
        RequestBody::Whole(bytes) => {
            InterceptedBody { bytes: Some(bytes.to_vec().into()), rid: None }
        }
        RequestBody::Stream(chunks) => {
            let chunks = chunks.map(|chunk| chunk.map_err(|_| OpError::FailedToFetch));
            InterceptedBody { bytes: None, rid: Some(add_body(state, chunks.boxed_local())) }
        }
    }
}

/// The worker answers a fetch event with a response.
#[op2]
pub fn op_fetch_event_respond(
    state: &mut OpState,
    #[smi] event: u32,
    #[serde] head: WorkerResponseHead,
    #[buffer] bytes: Option<JsBuffer>,
    #[serde] stream: Option<ResourceId>,
) -> Result<(), OpError> {
    let body = body_of(state, bytes, stream)?;
    let answer = FetchAnswer::Response(WorkerResponse { head, body });
    let (services, realm) = Host::of(state);
    services.fetch_event_answered(realm, event, answer);
    Ok(())
}

/// Nobody answers a fetch event: the network shall, or with a `failure` nobody.
#[op2]
pub fn op_fetch_event_unanswered(
    state: &mut OpState,
    #[smi] event: u32,
    #[string] failure: Option<String>,
) {
    let (services, realm) = Host::of(state);
    let answer = failure.map_or(FetchAnswer::Fallback, FetchAnswer::Failed);
    services.fetch_event_answered(realm, event, answer);
}
