//! Initialises V8, and is the parent of all host threads.
//!
//! Invariant: every thread that runs an isolate descends from the thread that initialised V8. With
//! memory protection keys a thread has the rights of its parent, and V8 crashes without them.

use std::cell::OnceCell;
use std::io;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};

use deno_core::{JsRuntime, v8};

/// The most that one WebAssembly memory may have, in pages of 64 KiB: 1 GiB. What one instruction
/// fills, nobody can stop meanwhile.
const WASM_PAGES: usize = 1 << 14;

/// With a heap of more than 2 GiB, which a realm's may grow to (`realm/memory.rs`), V8 maps its
/// builtins once more beside the code of each isolate, 1.6 MB of the process's resident memory.
const ONE_COPY_OF_BUILTINS: &str = "--no-short-builtin-calls";

/// The fast one reserves six bytes for each character of a string, and ends the process where that
/// is more than 2 GiB. The other one takes up to half as long again.
const ROBUST_JSON: &str = "--no-json-stringify-fast-path";

type Main = Box<dyn FnOnce() + Send>;
type Request = (Main, SyncSender<io::Result<JoinHandle<()>>>);

/// Why there is no host thread.
#[derive(Clone, Debug)]
pub(crate) enum EngineError {
    /// Somebody else in this process has initialised V8, which takes no flags after that.
    Taken,
    /// The operating system gave no thread.
    Thread(Arc<io::Error>),
}

/// Starts a host thread that runs `main`. The first call of the process initialises V8 on the
/// thread that calls, so that others may run isolates there, and on the threads that it starts.
pub(crate) fn spawn_host_thread(main: Main) -> Result<JoinHandle<()>, EngineError> {
    let engine = engine().as_ref().map_err(Clone::clone)?;
    let (reply, spawned) = sync_channel(1);
    engine.send((main, reply)).expect("the engine thread lives as long as the process");
    let spawned = spawned.recv().expect("the engine thread answers every request");
    spawned.map_err(|error| EngineError::Thread(Arc::new(error)))
}

/// Initialises V8 on a thread of its own, while the program reads its options, say. The first
/// [`Builder::start`](crate::Builder::start) waits for that, and says if it failed. Nothing but
/// Kittiwake may use V8 in this process then.
///
/// ```
/// use kittiwake::Runtime;
///
/// kittiwake::prepare_engine();
/// let options = std::env::args(); // which take some time to read
/// let runtime = Runtime::builder().start()?;
/// # drop(options);
/// # Ok::<_, kittiwake::Error>(())
/// ```
#[allow(dead_code, reason = "the build script includes this file and waits for V8")]
pub fn prepare_engine() {
    let _ = Builder::new().name("kittiwake-start".into()).spawn(engine);
}

fn engine() -> &'static Result<Sender<Request>, EngineError> {
    static ENGINE: OnceLock<Result<Sender<Request>, EngineError>> = OnceLock::new();
    ENGINE.get_or_init(start_engine)
}

fn start_engine() -> Result<Sender<Request>, EngineError> {
    if is_initialised() {
        return Err(EngineError::Taken);
    }
    v8::V8::set_flags_from_string(&format!("--wasm-max-mem-pages={WASM_PAGES}"));
    v8::V8::set_flags_from_string(ONE_COPY_OF_BUILTINS);
    v8::V8::set_flags_from_string(ROBUST_JSON);
    JsRuntime::init_platform(None);
    let (requests, incoming) = channel::<Request>();
    let serve = move || {
        for (main, reply) in incoming {
            let spawned = Builder::new().name("kittiwake-host".into()).spawn(main);
            // Whoever asked may be gone by now; its thread then finds that out itself.
            let _ = reply.send(spawned);
        }
    };
    let thread = Builder::new().name("kittiwake-engine".into()).spawn(serve);
    thread.map(|_| requests).map_err(|error| EngineError::Thread(Arc::new(error)))
}

/// Who hears why V8 fails.
pub(crate) type FailureHook = Arc<dyn Fn(&str) + Send + Sync>;

static ENDING: OnceLock<fn(&str)> = OnceLock::new();

thread_local! {
    static OUTLIVED: OnceCell<FailureHook> = const { OnceCell::new() };
}

/// Calls `tell` when V8 is about to end the process, with its reason: it found a fault of its own,
/// or the machine has no memory left for a realm, though the limits hold. Any thread may be the one
/// that calls, in the midst of what it does: say it, and ask nothing of Kittiwake. Only the first
/// call of a process counts. Where V8 cannot reserve the room for one more realm, it tells nobody.
pub fn on_engine_failure(tell: fn(why: &str)) {
    if ENDING.set(tell).is_ok() {
        v8::V8::set_fatal_error_handler(hear_failure);
    }
}

/// Has this thread wait for ever when V8 fails on it, once `tell` has heard why, instead of ending
/// the process. Once in a thread.
pub(crate) fn outlive_engine(tell: FailureHook) {
    let is_first = OUTLIVED.with(|outlived| outlived.set(tell)).is_ok();
    assert!(is_first, "a thread runs one shard");
    v8::V8::set_fatal_error_handler(hear_failure);
}

fn hear_failure(_: &str, _: i32, why: &str) {
    OUTLIVED.with(|outlived| {
        if let Some(tell) = outlived.get() {
            tell(why);
            loop {
                std::thread::park();
            }
        }
    });
    if let Some(tell) = ENDING.get() {
        tell(why);
    }
}

/// Whether V8 takes no flags any more. It ends the process when it is given some, and its bindings
/// panic when they are asked, so V8's own function is.
#[expect(unsafe_code, reason = "asks V8 what its bindings do not tell")]
fn is_initialised() -> bool {
    unsafe extern "C" {
        /// `v8::internal::FlagList::IsFrozen`
        #[cfg_attr(not(windows), link_name = "_ZN2v88internal8FlagList8IsFrozenEv")]
        #[cfg_attr(windows, link_name = "?IsFrozen@FlagList@internal@v8@@SA_NXZ")]
        fn is_frozen() -> bool;
    }
    // SAFETY: it reads an atomic, at any time and on any thread.
    unsafe { is_frozen() }
}
