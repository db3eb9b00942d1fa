//! The one thread that initialises V8, and the parent of all host threads.
//!
//! Invariant: every thread that runs an isolate descends from the thread that initialised V8. With
//! memory protection keys a thread has the rights of its parent, and V8 crashes without them.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
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

/// Starts a host thread that runs `main`. The first call of the process initialises V8.
pub(crate) fn spawn_host_thread(main: Main) -> io::Result<JoinHandle<()>> {
    static ENGINE: OnceLock<Result<Sender<Request>, String>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| start_engine_thread().map_err(|error| error.to_string()));
    let engine = engine.as_ref().map_err(|cause| io::Error::other(cause.clone()))?;
    let (reply, spawned) = sync_channel(1);
    engine.send((main, reply)).expect("the engine thread lives as long as the process");
    spawned.recv().expect("the engine thread answers every request")
}

fn start_engine_thread() -> io::Result<Sender<Request>> {
    let (requests, incoming) = channel::<Request>();
    Builder::new().name("kittiwake-engine".into()).spawn(move || {
        v8::V8::set_flags_from_string(&format!("--wasm-max-mem-pages={WASM_PAGES}"));
        v8::V8::set_flags_from_string(ONE_COPY_OF_BUILTINS);
        v8::V8::set_flags_from_string(ROBUST_JSON);
        JsRuntime::init_platform(None);
        for (main, reply) in incoming {
            let spawned = Builder::new().name("kittiwake-host".into()).spawn(main);
            // Whoever asked may be gone by now; its thread then finds that out itself.
            let _ = reply.send(spawned);
        }
    })?;
    Ok(requests)
}
