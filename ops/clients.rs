//! Clients, and messages between them and their workers.

use deno_core::{JsBuffer, OpState, op2};
use serde::{Deserialize, Serialize};

use crate::{Host, OpError, SerializedMessage, Transferred};

/// What a worker knows of a client: <https://w3c.github.io/ServiceWorker/#client-interface>.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientState {
    /// Opaque.
    pub id: String,
    /// The client's creation URL.
    pub url: String,
    /// `hidden` or `visible`.
    pub visibility_state: String,
    /// Whether the client has focus.
    pub focused: bool,
}

/// The addressee of a message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Recipient {
    /// A worker, by [`crate::ServiceWorkerState::id`].
    Worker(u32),
    /// A client, by [`ClientState::id`].
    Client(String),
}

/// A message on its way.
pub struct Delivery {
    /// To whom.
    pub to: Recipient,
    /// The message.
    pub message: SerializedMessage,
    /// The message as a person reads it, for the trace.
    pub text: String,
}

/// `clients.claim()`.
#[op2(fast)]
pub fn op_clients_claim(state: &mut OpState) -> Result<(), OpError> {
    let (services, realm) = Host::of(state);
    services.claim(realm)
}

/// `clients.matchAll()`.
#[op2]
#[serde]
pub fn op_clients_match(state: &mut OpState, include_uncontrolled: bool) -> Vec<ClientState> {
    let (services, realm) = Host::of(state);
    services.clients(realm, include_uncontrolled)
}

/// `ServiceWorker.postMessage()` and `Client.postMessage()`.
#[op2]
pub fn op_message_post(
    state: &mut OpState,
    #[serde] to: Recipient,
    #[buffer] data: JsBuffer,
    #[serde] transfer: Vec<Transferred>,
    #[string] text: String,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(state);
    let message = SerializedMessage { data: data.to_vec(), transfer };
    services.post_message(realm, Delivery { to, message, text })
}
