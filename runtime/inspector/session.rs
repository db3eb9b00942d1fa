//! One debugger at one realm: what it says goes to the realm's engine, and back.
//!
//! Invariant: a session that ends, from whatever side, leaves no realm paused.

use std::sync::Arc;

use deno_core::futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use deno_core::{
    InspectorMsg, InspectorSessionChannels, InspectorSessionKind, InspectorSessionProxy,
};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{Debugged, Target};

/// Carries messages until one side has had enough, or the realm ends.
pub(super) async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: WebSocketStream<S>,
    target: Target,
) {
    // Before the engine can pause for it, and also if the server ends meanwhile.
    let _attached = Attached::to(&target);
    if let Some((engine, mut said)) = connect(&target) {
        let (mut console, mut wants_console) = (target.console.subscribe(), false);
        loop {
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        wants_console |= text.contains("\"Runtime.enable\"");
                        // The realm has ended if nobody takes it; the other arm tells.
                        let _ = engine.unbounded_send(text.to_string());
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                    Some(Ok(_)) => {}
                },
                message = said.next() => {
                    let Some(message) = message else { break };
                    if socket.send(Message::text(message.content)).await.is_err() {
                        break;
                    }
                }
                line = console.recv(), if wants_console => {
                    // One that is too slow misses the oldest lines.
                    let Ok(line) = line else { continue };
                    if socket.send(Message::text(&*line)).await.is_err() {
                        break;
                    }
                }
            }
        }
    }
    // It may be gone already.
    let _ = socket.close(None).await;
}

/// A debugger is attached for as long as this lives.
struct Attached(Arc<Debugged>);

impl Attached {
    fn to(target: &Target) -> Self {
        target.debugged.attach();
        Attached(target.debugged.clone())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.detach();
    }
}

/// Lets a realm go on that waits for a debugger.
pub(super) fn let_go(target: &Target) {
    if let Some((engine, _)) = connect(target) {
        let go_on = r#"{"id":1,"method":"Runtime.runIfWaitingForDebugger"}"#;
        let _ = engine.unbounded_send(go_on.to_owned());
    }
}

/// A session with the realm's engine, if the realm still runs.
fn connect(target: &Target) -> Option<(UnboundedSender<String>, UnboundedReceiver<InspectorMsg>)> {
    let (engine, heard) = unbounded();
    let (say, said) = unbounded();
    let proxy = InspectorSessionProxy {
        channels: InspectorSessionChannels::Regular { tx: say, rx: heard },
        kind: InspectorSessionKind::NonBlocking { wait_for_disconnect: false },
    };
    target.sessions.unbounded_send(proxy).ok()?;
    Some((engine, said))
}
