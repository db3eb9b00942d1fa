//! Message ports: <https://html.spec.whatwg.org/#message-ports>

use deno_core::{JsBuffer, OpState, op2};
use serde::{Deserialize, Serialize};

use crate::{Host, OpError, RealmId};

/// A message as V8's serialiser left it, with what goes along.
#[derive(Debug)]
pub struct SerializedMessage {
    /// The value; transferred objects stand in it by their index in `transfer`.
    pub data: Vec<u8>,
    /// What is transferred, buffers excepted: their bytes are in `data`.
    pub transfer: Vec<Transferred>,
}

/// An object that leaves its realm; each is carried by ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transferred {
    /// What it was, and will be.
    pub kind: TransferredKind,
    /// The host's numbers of its ports; 0 for a port that was closed.
    pub ports: Vec<u32>,
}

/// <https://html.spec.whatwg.org/#transferable-objects>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the interfaces, by their names")]
pub enum TransferredKind {
    MessagePort,
    ReadableStream,
    WritableStream,
    TransformStream,
}

/// Whether the other end is told that a port ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortEnd {
    /// By a `close` event.
    Told,
    /// Not at all: the engine collected the port, and scripts must not see when.
    Untold,
}

/// Who keeps the ports of all realms.
pub trait MessagePortServices {
    /// Two new ports of the asking realm, entangled.
    fn port_create(&self, realm: RealmId) -> Result<(u32, u32), OpError>;
    /// Queues a message for the other end; it is dropped if there is none any more.
    fn port_post(
        &self,
        realm: RealmId,
        port: u32,
        message: SerializedMessage,
    ) -> Result<(), OpError>;
    /// From now on the port's messages are delivered.
    fn port_start(&self, realm: RealmId, port: u32);
    /// Disentangles the port.
    fn port_close(&self, realm: RealmId, port: u32, end: PortEnd);
    /// The asking page takes the messages of workers that were held back for it.
    fn client_messages_start(&self, realm: RealmId);
}

/// `new MessageChannel()`.
#[op2]
#[serde]
pub fn op_port_create(state: &mut OpState) -> Result<(u32, u32), OpError> {
    let (services, realm) = Host::of(state);
    services.port_create(realm)
}

/// `MessagePort.postMessage()`.
#[op2]
pub fn op_port_post(
    state: &mut OpState,
    port: u32,
    #[buffer] data: JsBuffer,
    #[serde] transfer: Vec<Transferred>,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(state);
    services.port_post(realm, port, SerializedMessage { data: data.to_vec(), transfer })
}

/// Whether a message of so many bytes may be broadcast now.
#[op2(fast)]
pub fn op_broadcast_admit(state: &mut OpState, #[number] bytes: usize) -> Result<(), OpError> {
    let (services, realm) = Host::of(state);
    services.may_broadcast(realm, bytes)
}

/// `MessagePort.start()`.
#[op2(fast)]
pub fn op_port_start(state: &mut OpState, port: u32) {
    let (services, realm) = Host::of(state);
    services.port_start(realm, port);
}

/// `MessagePort.close()`, or the port was collected.
#[op2(fast)]
pub fn op_port_close(state: &mut OpState, port: u32, collected: bool) {
    let (services, realm) = Host::of(state);
    let end = if collected { PortEnd::Untold } else { PortEnd::Told };
    services.port_close(realm, port, end);
}

/// `ServiceWorkerContainer.startMessages()`.
#[op2(fast)]
pub fn op_client_messages_start(state: &mut OpState) {
    let (services, realm) = Host::of(state);
    services.client_messages_start(realm);
}
