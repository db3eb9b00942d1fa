//! The task of one realm.
//!
//! Invariant: the host's calls come first and in their order, each a turn of its own; then the
//! realm's own timers and answers.

use std::rc::Rc;
use std::task::Poll;

use deno_core::futures::future::poll_fn;
use kittiwake_ops::{RealmId, Services};
use tokio::sync::{mpsc, oneshot};

use crate::activity::Busy;
use crate::host::Shard;
use crate::limits::LimitOutcome;
use crate::realm::{Call, EventLoop, ModuleImport, ModuleKey, Realm, RealmError};

/// What the host wants of a realm at its next turn.
pub(crate) enum Command {
    Call(Call),
    /// A call whose end somebody waits for.
    Hear {
        call: Call,
        done: oneshot::Sender<Result<(), RealmError>>,
    },
    /// One message of a port, or its end, if it is still this realm's.
    Port(u32),
    Evaluate {
        url: String,
        source: String,
        done: oneshot::Sender<Result<(), RealmError>>,
    },
    CompileModule {
        key: ModuleKey,
        source: String,
        done: Compiled,
    },
    EvaluateModule {
        root: ModuleKey,
        done: oneshot::Sender<Result<(), RealmError>>,
    },
}

/// Takes what a module imports.
pub(crate) type Compiled = oneshot::Sender<Result<Vec<ModuleImport>, RealmError>>;

/// Drives one realm: its host's calls first, then its event loop.
pub(crate) async fn drive(
    shard: Rc<Shard>,
    id: RealmId,
    mut realm: Realm,
    mut commands: mpsc::UnboundedReceiver<(Command, Busy)>,
) {
    let mut busy: Option<Busy> = Some(shard.activity.begin());
    let ended = poll_fn(|context| {
        shard.turns.note();
        loop {
            match commands.poll_recv(context) {
                Poll::Ready(Some((command, _busy))) => {
                    if let Err(ended) = run_command(&shard, id, &mut realm, command) {
                        return Poll::Ready(Some(ended));
                    }
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        loop {
            match realm.poll_event_loop(context) {
                Ok(EventLoop::Busy) => {
                    shard.wait_for_threads();
                    busy.get_or_insert_with(|| shard.activity.begin());
                    return Poll::Pending;
                }
                Ok(EventLoop::Quiet) => {
                    busy = None;
                    return Poll::Pending;
                }
                Err(RealmError::Exception(exception)) => shard.exception(id, exception),
                Err(ended) => return Poll::Ready(Some(ended)),
            }
        }
    })
    .await;
    if let Some(RealmError::Terminated(limit)) = ended {
        shard.strike(id, limit, LimitOutcome::Terminated);
    }
    shard.drop_realm(id);
}

fn run_command(
    shard: &Shard,
    id: RealmId,
    realm: &mut Realm,
    command: Command,
) -> Result<(), RealmError> {
    match command {
        Command::Call(call) => run_call(shard, id, realm, call),
        Command::Hear { call, done } => answer(done, realm.call(call)),
        Command::Port(port) => match shard.next_of_port(id, port) {
            Some(call) => run_call(shard, id, realm, call),
            None => Ok(()),
        },
        Command::Evaluate { url, source, done } => answer(done, realm.evaluate(&url, source)),
        Command::CompileModule { key, source, done } => {
            answer(done, realm.compile_module(key, &source))
        }
        Command::EvaluateModule { root, done } => answer(done, realm.evaluate_module(&root)),
    }
}

fn run_call(shard: &Shard, id: RealmId, realm: &mut Realm, call: Call) -> Result<(), RealmError> {
    if let Some(message) = call.message() {
        shard.receive_ports(id, message);
    }
    let may_fire = matches!(call, Call::ResolveSyncs { .. });
    let called = realm.call(call);
    if may_fire {
        // Not before: Chromium fires no event before the script knows of its registration.
        shard.wake.wake(&shard.activity);
    }
    match called {
        Err(RealmError::Exception(exception)) => {
            shard.exception(id, exception);
            Ok(())
        }
        other => other,
    }
}

/// Tells whoever asked, and whether the realm has ended.
fn answer<T>(
    done: oneshot::Sender<Result<T, RealmError>>,
    result: Result<T, RealmError>,
) -> Result<(), RealmError> {
    let ended = match &result {
        Err(RealmError::Terminated(limit)) => Err(RealmError::Terminated(*limit)),
        _ => Ok(()),
    };
    // Whoever asked has gone: the result is of no use.
    let _ = done.send(result);
    ended
}
