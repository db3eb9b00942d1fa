//! The task of one realm.
//!
//! Invariant: the host's calls come first and in their order, each a turn of its own; then the
//! realm's own timers and answers; then the calls that came meanwhile.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use deno_core::futures::future::poll_fn;
use kittiwake_ops::{RealmId, ScriptSource, Services};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use url::Url;

use crate::activity::Busy;
use crate::helper::let_helper_work;
use crate::host::Shard;
use crate::limits::LimitOutcome;
use crate::realm::{
    Call, Ended, EventLoop, ModuleImport, ModuleKey, Realm, RealmError, TopLevelAwait, answer,
};

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
        script: ScriptSource,
        done: oneshot::Sender<Result<(), RealmError>>,
    },
    /// `url` is where its source has come from.
    CompileModule {
        key: ModuleKey,
        url: Url,
        source: ScriptSource,
        done: Compiled,
    },
    /// The code of what the realm has compiled from text.
    TakeCode {
        done: CodeTaken,
    },
    EvaluateModule {
        root: ModuleKey,
        top_level_await: TopLevelAwait,
        done: Ended,
    },
    /// The graph of an `import()` is compiled, or what is wrong with it.
    SettleImport {
        id: u32,
        loaded: Result<ModuleKey, String>,
    },
}

/// Takes the code of scripts, by their URLs.
pub(crate) type CodeTaken = oneshot::Sender<Result<Vec<(String, Vec<u8>)>, RealmError>>;

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
    let mut memory = Memory::default();
    let ended = poll_fn(|context| {
        shard.turns.note();
        loop {
            let waiting = run_waiting(&shard, id, &mut realm, &mut commands, context);
            if let Poll::Ready(Err(ended)) = waiting {
                return Poll::Ready(ended);
            }
            let event_loop = loop {
                match realm.poll_event_loop(context) {
                    Ok(event_loop) => break event_loop,
                    Err(RealmError::Exception(exception)) => shard.exception(id, exception),
                    Err(ended) => return Poll::Ready(Some(ended)),
                }
            };
            for import in realm.take_imports() {
                shard.import_dynamically(id, import);
            }
            if let Err(ended) = realm.answer_awaiting() {
                return Poll::Ready(Some(ended));
            }
            match event_loop {
                EventLoop::Busy => {
                    let_helper_work();
                    busy.get_or_insert_with(|| shard.activity.begin());
                }
                EventLoop::Quiet => {
                    busy = None;
                    memory.ask(&shard, id, &mut realm);
                }
            }
            if waiting.is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
    if let Some(RealmError::Terminated(limit)) = ended {
        shard.strike(id, limit, LimitOutcome::Terminated);
    }
    shard.drop_realm(id);
}

/// Runs the commands that wait. What these bring about waits in turn, until the realm has looked
/// after what they have left: a rejection that nobody handled is told first. Ready when one waits,
/// or with how the realm has ended; otherwise `context` is woken by the next.
fn run_waiting(
    shard: &Shard,
    id: RealmId,
    realm: &mut Realm,
    commands: &mut mpsc::UnboundedReceiver<(Command, Busy)>,
    context: &mut Context<'_>,
) -> Poll<Result<(), Option<RealmError>>> {
    let mut waiting = commands.len();
    loop {
        match ready!(commands.poll_recv(context)) {
            None => return Poll::Ready(Err(None)),
            Some((command, _busy)) => run_command(shard, id, realm, command).map_err(Some)?,
        }
        waiting = waiting.saturating_sub(1);
        if waiting == 0 && !commands.is_empty() {
            return Poll::Ready(Ok(()));
        }
    }
}

/// How often a realm that comes to rest is asked what it has of memory.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// When it was last asked.
#[derive(Default)]
struct Memory(Option<Instant>);

impl Memory {
    fn ask(&mut self, shard: &Shard, id: RealmId, realm: &mut Realm) {
        if self.0.is_none_or(|asked| asked.elapsed() >= ASK_EVERY) {
            self.0 = Some(Instant::now());
            shard.note_memory(id, realm.memory_bytes());
        }
    }
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
        Command::Evaluate { url, script, done } => answer(done, realm.evaluate(&url, script)),
        Command::TakeCode { done } => answer(done, realm.take_code()),
        Command::CompileModule { key, url, source, done } => {
            answer(done, realm.compile_module(key, url, source))
        }
        Command::EvaluateModule { root, top_level_await, done } => {
            realm.evaluate_module(&root, top_level_await, done)
        }
        Command::SettleImport { id, loaded } => realm.settle_import(id, loaded),
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
