//! WebSockets: <https://websockets.spec.whatwg.org/>. A connection crosses as a resource.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use deno_core::futures::future::LocalBoxFuture;
use deno_core::serde_v8::ToJsBuffer;
use deno_core::{
    AsyncRefCell, CancelFuture, CancelHandle, JsBuffer, OpState, RcRef, Resource, ResourceId, op2,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::{Host, OpError, RealmId};

/// Where to connect.
#[derive(Debug, Deserialize)]
pub struct SocketRequest {
    /// A `ws` or `wss` URL.
    pub url: String,
    /// The `Sec-WebSocket-Protocol` header; empty for none.
    pub protocols: String,
}

/// An open connection.
pub struct SocketConnection {
    /// The protocol that the server chose; empty for none.
    pub protocol: String,
    /// What came, in order; the last is a close.
    pub incoming: mpsc::Receiver<SocketEvent>,
    /// Takes what is to be sent. Dropping it ends the connection.
    pub outgoing: mpsc::Sender<SocketSend>,
}

/// Something that a connection brought.
#[derive(Debug)]
pub enum SocketEvent {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// The end.
    Close(SocketClose),
}

/// How a connection ended.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SocketClose {
    /// <https://www.rfc-editor.org/rfc/rfc6455#section-7.4>
    pub code: u16,
    /// The peer's words.
    pub reason: String,
    /// Whether both sides closed.
    pub was_clean: bool,
}

/// Something to send; told when it is on its way.
pub enum SocketSend {
    /// A text message.
    Text(String, oneshot::Sender<()>),
    /// A binary message.
    Binary(Bytes, oneshot::Sender<()>),
    /// The closing handshake begins. 1005 stands for no code.
    Close(u16, String),
}

/// Connects WebSockets through the HTTP door.
pub trait SocketServices {
    /// Opens a connection for the realm's origin.
    fn socket_connect(
        &self,
        realm: RealmId,
        request: SocketRequest,
    ) -> LocalBoxFuture<'static, Result<SocketConnection, OpError>>;
}

/// What JavaScript gets of a [`SocketConnection`].
#[derive(Serialize)]
pub struct ConnectedSocket {
    socket: ResourceId,
    protocol: String,
}

/// What JavaScript gets of a [`SocketEvent`]: one of these.
#[derive(Default, Serialize)]
pub struct ReceivedFromSocket {
    text: Option<String>,
    binary: Option<ToJsBuffer>,
    close: Option<SocketClose>,
}

struct Socket {
    incoming: AsyncRefCell<mpsc::Receiver<SocketEvent>>,
    outgoing: mpsc::Sender<SocketSend>,
}

impl Resource for Socket {
    fn name(&self) -> Cow<'_, str> {
        "webSocket".into()
    }
}

/// Opens a connection; cancelling `cancel` gives up.
#[op2]
#[serde]
pub async fn op_socket_connect(
    state: Rc<RefCell<OpState>>,
    #[serde] request: SocketRequest,
    #[smi] cancel: ResourceId,
) -> Result<ConnectedSocket, OpError> {
    let (services, realm) = Host::of(&state.borrow());
    let cancel = state.borrow().resource_table.get::<CancelHandle>(cancel);
    let cancel = cancel.map_err(|_| OpError::Aborted)?;
    let connected = services.socket_connect(realm, request).or_cancel(cancel).await;
    let SocketConnection { protocol, incoming, outgoing } =
        connected.map_err(|_| OpError::Aborted)??;
    let socket = Socket { incoming: AsyncRefCell::new(incoming), outgoing };
    let socket = state.borrow_mut().resource_table.add(socket);
    Ok(ConnectedSocket { socket, protocol })
}

fn socket_of(state: &Rc<RefCell<OpState>>, socket: ResourceId) -> Result<Rc<Socket>, OpError> {
    state.borrow().resource_table.get(socket).map_err(|_| OpError::Aborted)
}

/// Waits for the next message, or the end.
#[op2]
#[serde]
pub async fn op_socket_next(
    state: Rc<RefCell<OpState>>,
    #[smi] socket: ResourceId,
) -> Result<ReceivedFromSocket, OpError> {
    let socket = socket_of(&state, socket)?;
    let mut incoming = RcRef::map(socket, |socket| &socket.incoming).borrow_mut().await;
    let nothing = ReceivedFromSocket::default();
    Ok(match incoming.recv().await {
        Some(SocketEvent::Text(text)) => ReceivedFromSocket { text: Some(text), ..nothing },
        Some(SocketEvent::Binary(bytes)) => {
            ReceivedFromSocket { binary: Some(bytes.to_vec().into()), ..nothing }
        }
        Some(SocketEvent::Close(close)) => ReceivedFromSocket { close: Some(close), ..nothing },
        None => return Err(OpError::Aborted),
    })
}

/// Sends a message; resolves when it is on its way.
#[op2]
pub async fn op_socket_send(
    state: Rc<RefCell<OpState>>,
    #[smi] socket: ResourceId,
    #[string] text: Option<String>,
    #[buffer] binary: Option<JsBuffer>,
) -> Result<(), OpError> {
    let socket = socket_of(&state, socket)?;
    let (sent, is_sent) = oneshot::channel();
    let message = match (text, binary) {
        (Some(text), _) => SocketSend::Text(text, sent),
        (None, bytes) => {
            let bytes = bytes.map(|bytes| Bytes::copy_from_slice(&bytes)).unwrap_or_default();
            SocketSend::Binary(bytes, sent)
        }
    };
    socket.outgoing.send(message).await.map_err(|_| OpError::Aborted)?;
    is_sent.await.map_err(|_| OpError::Aborted)
}

/// Begins the closing handshake; its end comes as an event.
#[op2]
pub async fn op_socket_close(
    state: Rc<RefCell<OpState>>,
    #[smi] socket: ResourceId,
    #[smi] code: u16,
    #[string] reason: String,
) -> Result<(), OpError> {
    let socket = socket_of(&state, socket)?;
    // The connection may have ended meanwhile: then its end is told already.
    let _ = socket.outgoing.send(SocketSend::Close(code, reason)).await;
    Ok(())
}
