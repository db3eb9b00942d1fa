//! The task of one realm.
//!
//! Invariant: the host's calls come first and in their order, each a turn of its own; then the
//! realm's own timers and answers.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use deno_core::futures::future::poll_fn;
use kittiwake_ops::{RealmId, ScriptException, ScriptSource, Services};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use url::Url;

use crate::activity::Busy;
use crate::helper::let_helper_work;
use crate::host::{RealmOwner, Shard};
use crate::realm::{
    Call, Ended, EventLoop, ModuleImport, ModuleKey, Realm, RealmError, TopLevelAwait, answer,
};
use crate::trace::TraceKind;

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
        done: oneshot::Sender<Result<Vec<(String, Vec<u8>)>, RealmError>>,
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
        Poll::Pending
    })
    .await;
    if let Some(error) = ended {
        shard.trace_terminated(id, &error);
    }
    shard.drop_realm(id);
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

impl Shard {
    /// Calls into a realm at its next turn; a realm that is gone takes no calls.
    pub(crate) fn call_realm(&self, id: RealmId, call: Call) {
        self.command_realm(id, Command::Call(call));
    }

    /// Has a realm do something at its next turn; one that is gone does nothing.
    pub(crate) fn command_realm(&self, id: RealmId, command: Command) {
        if let Some(handle) = self.realms.borrow().get(&id) {
            // The task may have ended in this very moment: then the realm is gone too.
            let _ = handle.commands.send((command, self.activity.begin()));
        }
    }

    /// Runs a classic script in a realm.
    pub(crate) async fn evaluate(
        &self,
        id: RealmId,
        url: &str,
        script: ScriptSource,
    ) -> Result<(), RealmError> {
        let url = url.to_owned();
        self.ask_realm(id, |done| Command::Evaluate { url, script, done }).await
    }

    /// Has a realm do something that it answers.
    pub(crate) async fn ask_realm<T>(
        &self,
        id: RealmId,
        command: impl FnOnce(oneshot::Sender<Result<T, RealmError>>) -> Command,
    ) -> Result<T, RealmError> {
        let (done, answer) = oneshot::channel();
        if let Some(handle) = self.realms.borrow().get(&id) {
            let _ = handle.commands.send((command(done), self.activity.begin()));
        }
        answer.await.unwrap_or(Err(RealmError::Gone))
    }

    fn trace_terminated(&self, id: RealmId, error: &RealmError) {
        let url = match self.realm_owner(id) {
            Some(RealmOwner::Worker(worker)) => Some(worker.script_url.clone()),
            Some(RealmOwner::Page(page)) => Some(page.url.to_string()),
            None => None,
        };
        let exception = ScriptException {
            message: error.to_string(),
            file: url,
            line: None,
            column: None,
            stack: None,
        };
        self.trace(TraceKind::Error { exception });
    }
}
