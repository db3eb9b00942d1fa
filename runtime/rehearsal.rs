//! Runs the common paths of a worker, a page and a test once while the snapshot is made, so that it
//! holds the bytecode of just the functions that run in most realms. A realm compiles none of
//! those, and reads none of the rest, which V8 compiles when they are first called.
//!
//! Only the build script includes this file, and those in the folder of its name.
//!
//! Invariant: a rehearsal leaves nothing but bytecode. It runs in a context of its own, which is
//! gone when the snapshot is written; functions share their bytecode among contexts.

use std::rc::Rc;
use std::sync::Arc;

use deno_core::{JsRuntimeForSnapshot, RuntimeOptions, v8};
use kittiwake_ops::{Host, RealmId};

use crate::extension;

#[path = "rehearsal/parts.rs"]
mod parts;
#[path = "rehearsal/stage.rs"]
mod stage;

pub(crate) use parts::make_code;

use stage::Stage;

const SCRIPTS: [&str; 3] = [
    include_str!("rehearsal/service_worker.js"),
    include_str!("rehearsal/page.js"),
    include_str!("rehearsal/test.js"),
];

/// Answers a snapshot with the same global scope as `cold`, warmed up.
pub(crate) fn rehearse(cold: Box<[u8]>) -> Vec<u8> {
    let cold: &'static [u8] = Box::leak(cold);
    // An isolate looks for one when it schedules tasks.
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let tokio = tokio.expect("the system gives a timer");
    let _in_tokio = tokio.enter();
    let mut runtime = JsRuntimeForSnapshot::new(RuntimeOptions {
        startup_snapshot: Some(cold),
        extensions: extension::extensions(Default::default(), None),
        skip_op_registration: true,
        ..Default::default()
    });
    let host = Host { realm: RealmId(0), services: Rc::new(Stage), blobs: Arc::default() };
    runtime.op_state().borrow_mut().put(host);
    for script in SCRIPTS {
        run_in_own_context(runtime.v8_isolate(), script);
    }
    with_sources_of(cold, &runtime.snapshot())
}

/// deno_core writes the sources beside V8's snapshot, in a record, but forgets those of a snapshot
/// that it started from itself. So the end of the record is taken from `cold`: the numbers of ops,
/// of sources and of further references, in 8 bytes each; then the source maps and the sources,
/// each list with its length in 4 bytes before it.
fn with_sources_of(cold: &[u8], warm: &[u8]) -> Vec<u8> {
    const COUNTS: usize = 3 * 8 + 4;
    let (_, cold, _) = parts(cold);
    let (v8, record, v8_length) = parts(warm);
    let (record, none) = record.split_at(record.len() - 4);
    assert_eq!(none, [0; 4], "deno_core forgets the sources no more");
    let (record, counts) = record.split_at(record.len() - COUNTS);
    let are_alike = |other: &&[u8]| other[..8] == counts[..8] && other[16..] == counts[16..];
    let places = cold.windows(COUNTS).enumerate().filter(|(_, window)| are_alike(window));
    let [end] = places.map(|(place, _)| place).collect::<Vec<_>>()[..] else {
        panic!("deno_core's record ends in another way than this knows");
    };
    [v8, record, &cold[end..], v8_length].concat()
}

/// V8's snapshot, deno_core's record, and the length of the first.
fn parts(snapshot: &[u8]) -> (&[u8], &[u8], &[u8; 8]) {
    let (rest, v8_length) = snapshot.split_last_chunk().expect("it ends with a length");
    let (v8, record) = rest.split_at(u64::from_le_bytes(*v8_length) as usize);
    (v8, record, v8_length)
}

fn run_in_own_context(isolate: &mut v8::Isolate, script: &str) {
    /// deno_core's place for the context that it makes realms from.
    const REALM: usize = 0;
    v8::scope!(let scope, isolate);
    let context = v8::Context::from_snapshot(scope, REALM, Default::default());
    let scope = &mut v8::ContextScope::new(scope, context.expect("the snapshot has the context"));
    run(scope, script);
}

fn run(scope: &mut v8::PinScope<'_, '_>, script: &str) {
    v8::tc_scope!(let scope, scope);
    let source = v8::String::new(scope, script).expect("a short string");
    let done = v8::Script::compile(scope, source, None).and_then(|script| script.run(scope));
    scope.perform_microtask_checkpoint();
    if let (None, Some(exception)) = (done, scope.exception()) {
        panic!("the rehearsal throws: {}", exception.to_rust_string_lossy(scope));
    }
}
