//! The connections of WebSockets: one task each. <https://www.rfc-editor.org/rfc/rfc6455>
//!
//! Invariant: whatever ends a connection, its realm is told once, and last.

use deno_core::futures::FutureExt;
use deno_core::futures::future::LocalBoxFuture;
use futures::{SinkExt, StreamExt};
use kittiwake_ops::{
    OpError, RealmId, SocketClose, SocketConnection, SocketEvent, SocketRequest, SocketSend,
    SocketServices,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Duration, Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use url::Url;

use crate::fetch::{ResponseSource, relation_of, require_good_port};
use crate::host::Shard;
use crate::http::{DuplexStream, WebSocketRequest};
use crate::limits::Limit;
use crate::trace::TraceKind;

/// Messages between a realm and its connection; then the faster one waits.
const QUEUE: usize = 16;
/// No message is larger than this. A browser's limit is its memory.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// How long a peer may take to answer a close.
const CLOSING_LIMIT: Duration = Duration::from_secs(10);
const NO_STATUS: u16 = 1005;
const ABNORMAL: u16 = 1006;

type Stream = WebSocketStream<Box<dyn DuplexStream>>;

impl SocketServices for Shard {
    fn socket_connect(
        &self,
        realm: RealmId,
        request: SocketRequest,
    ) -> LocalBoxFuture<'static, Result<SocketConnection, OpError>> {
        let Some(taken) = self.take(realm, Limit::Sockets, 1) else {
            return async { Err(OpError::FailedToFetch) }.boxed_local();
        };
        let Some(client) = self.client_url(realm) else {
            return async { Err(OpError::Aborted) }.boxed_local();
        };
        let shard = self.me();
        let (mut reply, answer) = oneshot::channel();
        // A task of its own, which is the connection's for as long as it lives.
        spawn_local(async move {
            let _taken = taken;
            let connected = tokio::select! {
                connected = shard.connect_socket(client, request) => connected,
                () = reply.closed() => return,
            };
            match connected {
                Ok((protocol, stream)) => {
                    let (event, incoming) = mpsc::channel(QUEUE);
                    let (outgoing, send) = mpsc::channel(QUEUE);
                    // A realm that has ended drops its ends, and the connection ends too.
                    let _ = reply.send(Ok(SocketConnection { protocol, incoming, outgoing }));
                    drive(stream, event, send).await;
                }
                Err(error) => drop(reply.send(Err(error))),
            }
        });
        async move { answer.await.unwrap_or(Err(OpError::Aborted)) }.boxed_local()
    }
}

impl Shard {
    async fn connect_socket(
        &self,
        client: Url,
        request: SocketRequest,
    ) -> Result<(String, Stream), OpError> {
        let SocketRequest { url, protocols } = request;
        let http =
            Url::parse(&url.replacen("ws", "http", 1)).map_err(|_| OpError::FailedToFetch)?;
        let key = self.socket_key();
        let (environment, origin) = (self.fetch_environment(&client, None), client.origin());
        let relation = relation_of(&origin, &http);
        let cookies = environment.cookies_for(&http, relation);
        let origin = origin.ascii_serialization();
        let request = WebSocketRequest { url: http.clone(), origin, protocols, cookies, key };
        let (method, started) = ("GET".to_owned(), self.elapsed_ms());
        let connection = match require_good_port(&request.url) {
            Ok(()) => self.http.connect(request).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let (status, error) = match &connection {
            Ok(_) => (Some(101), None),
            Err(error) => (None, Some(error.clone())),
        };
        self.trace(TraceKind::Fetch {
            method,
            url,
            status,
            source: ResponseSource::Network,
            error,
            elapsed_ms: self.elapsed_ms() - started,
        });
        let connection = connection.map_err(|_| OpError::FailedToFetch)?;
        environment.take_cookies(
            connection.set_cookies.iter().map(String::as_str),
            &http,
            relation,
        );
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let stream = Stream::from_raw_socket(connection.stream, Role::Client, Some(config)).await;
        Ok((connection.protocol, stream))
    }

    /// 16 bytes of the entropy door, in Base64.
    fn socket_key(&self) -> String {
        let bytes: Vec<u8> = (0..16).map(|_| (self.entropy.random() * 256.0) as u8).collect();
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let encode = |chunk: &[u8]| {
            let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
            let bits = bits << (8 * (3 - chunk.len()));
            (0..4)
                .map(|at| match at <= chunk.len() {
                    true => char::from(ALPHABET[(bits >> (18 - 6 * at)) as usize & 63]),
                    false => '=',
                })
                .collect::<String>()
        };
        bytes.chunks(3).map(encode).collect()
    }
}

/// Carries messages both ways until one side has closed and the other answered.
async fn drive(
    mut stream: Stream,
    event: mpsc::Sender<SocketEvent>,
    mut send: mpsc::Receiver<SocketSend>,
) {
    let mut closing: Option<Instant> = None;
    let mut received: Option<CloseFrame> = None;
    let mut is_closed = false;
    loop {
        let deadline = closing.unwrap_or_else(Instant::now);
        tokio::select! {
            message = stream.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    deliver(&event, SocketEvent::Text(text.to_string())).await;
                }
                Some(Ok(Message::Binary(bytes))) => {
                    deliver(&event, SocketEvent::Binary(bytes)).await;
                }
                // tungstenite answers a close by itself, and then ends.
                Some(Ok(Message::Close(frame))) => {
                    is_closed = true;
                    received = frame;
                    closing.get_or_insert_with(|| Instant::now() + CLOSING_LIMIT);
                }
                Some(Ok(_)) => {}
                Some(Err(Error::ConnectionClosed)) | None => break,
                Some(Err(_)) => break,
            },
            wanted = send.recv(), if closing.is_none() => match wanted {
                Some(wanted) => {
                    if matches!(wanted, SocketSend::Close(..)) {
                        closing = Some(Instant::now() + CLOSING_LIMIT);
                    }
                    if write(&mut stream, wanted).await.is_err() {
                        break;
                    }
                }
                // The realm has ended: the peer hears that it goes away.
                None => {
                    let _ = stream.close(Some(frame(1001, String::new()))).await;
                    return;
                }
            },
            () = sleep_until(deadline), if closing.is_some() => break,
        }
    }
    let close = match (is_closed, received) {
        (true, Some(frame)) => SocketClose {
            code: frame.code.into(),
            reason: frame.reason.to_string(),
            was_clean: true,
        },
        (true, None) => SocketClose { code: NO_STATUS, reason: String::new(), was_clean: true },
        (false, _) => SocketClose { code: ABNORMAL, reason: String::new(), was_clean: false },
    };
    deliver(&event, SocketEvent::Close(close)).await;
}

async fn write(stream: &mut Stream, wanted: SocketSend) -> Result<(), Error> {
    let (message, sent) = match wanted {
        SocketSend::Text(text, sent) => (Message::text(text), Some(sent)),
        SocketSend::Binary(bytes, sent) => (Message::binary(bytes), Some(sent)),
        SocketSend::Close(NO_STATUS, _) => (Message::Close(None), None),
        SocketSend::Close(code, reason) => (Message::Close(Some(frame(code, reason))), None),
    };
    stream.send(message).await?;
    if let Some(sent) = sent {
        // Whoever waits may have ended.
        let _ = sent.send(());
    }
    Ok(())
}

fn frame(code: u16, reason: String) -> CloseFrame {
    CloseFrame { code: CloseCode::from(code), reason: reason.into() }
}

/// A realm that has ended hears nothing more.
async fn deliver(event: &mpsc::Sender<SocketEvent>, what: SocketEvent) {
    let _ = event.send(what).await;
}
