//! Scripts that never let go of the thread, or of an event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kittiwake::Limit;

use crate::world::{TURN_MS, World, attack};

/// The attack's realm ends when its turn has lasted too long.
#[track_caller]
fn is_terminated(script: &str) {
    assert_eq!(attack(&[(Limit::Turn, TURN_MS)], script), ["turn terminated"]);
}

#[test]
fn an_endless_loop_ends_its_realm_alone() {
    is_terminated("for (;;);");
}

#[test]
fn a_regular_expression_without_end_ends_its_realm_alone() {
    is_terminated("/^(a+)+$/.test('a'.repeat(50) + 'b')");
}

#[test]
fn a_storm_of_microtasks_ends_its_realm_alone() {
    is_terminated("(function again() { Promise.resolve().then(again); })()");
}

#[test]
fn a_storm_of_queued_microtasks_ends_its_realm_alone() {
    is_terminated("(function again() { queueMicrotask(again); })()");
}

#[test]
fn a_webassembly_loop_ends_its_realm_alone() {
    // (module (func (loop br 0)) (start 0))
    is_terminated(
        "new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0,
           0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 8, 1, 0, 10, 9, 1, 7, 0, 3, 64, 12, 0, 11, 11])))",
    );
}

#[test]
fn a_comparator_that_never_returns_ends_its_realm_alone() {
    is_terminated("[2, 1].sort(() => { for (;;); })");
}

#[test]
fn a_proxy_that_never_returns_ends_its_realm_alone() {
    is_terminated("({ ...new Proxy({}, { ownKeys() { for (;;); } }) })");
}

#[test]
fn a_getter_that_never_returns_while_an_error_is_described_ends_its_realm_alone() {
    is_terminated(
        "throw new (class extends Error { get name() { for (;;); } get stack() { for (;;); } })()",
    );
}

#[test]
fn a_stack_that_is_prepared_for_ever_ends_its_realm_alone() {
    is_terminated("Error.prepareStackTrace = () => { for (;;); }; new Error().stack");
}

#[test]
fn a_module_that_never_returns_is_not_registered() {
    let world = World::start(&[(Limit::Turn, TURN_MS)]);
    let script = "export {}; for (;;);";
    let error = world.register_module("module", script).expect_err("it never ends").to_string();
    assert!(error.contains("was terminated"), "{error}");
    world.end_unharmed();
}

#[test]
fn a_number_that_is_too_large_ends_its_realm_alone() {
    is_terminated("const number = (1n << 2n ** 28n) - 1n; for (;;) number.toString()");
}

#[test]
fn a_turn_in_a_builtin_that_cannot_be_interrupted_is_told_once() {
    let told: Arc<AtomicU32> = Arc::default();
    let count = told.clone();
    let world = World::with(&[(Limit::Turn, TURN_MS)], |builder| {
        builder.on_stuck_turn(Duration::from_millis(100), move || {
            count.fetch_add(1, Ordering::Relaxed);
        })
    });
    // Some seconds of V8's, in which it looks for no interrupt.
    world.attack(
        "const length = Number.MAX_SAFE_INTEGER;
         Array.prototype.includes.call({ length }, 0, length - 4e6);
         console.log('went on');",
    );
    assert_eq!(world.hears(), ["turn terminated"]);
    assert_eq!(told.load(Ordering::Relaxed), 1);
    world.end_unharmed();
}

#[test]
fn an_event_that_burns_the_processor_ends_its_worker() {
    let world = World::start(&[(Limit::EventCpu, 200)]);
    world.register(
        "burner",
        "onmessage = (event) => event.waitUntil(new Promise(() => setInterval(() => {
           for (let i = 0; i < 1e5; i++) Math.sqrt(i);
         })));",
    );
    world.post("burner", "go");
    world.pass(Duration::from_secs(60));
    assert_eq!(world.hears(), ["event-cpu terminated"]);
    world.end_unharmed();
}

#[test]
fn an_event_that_never_ends_is_waited_for_as_long_as_its_limit() {
    let world = World::start(&[(Limit::Event, 10_000)]);
    world.register("waiter", "onmessage = (event) => event.waitUntil(new Promise(() => {}));");
    world.post("waiter", "go");
    world.pass(Duration::from_millis(9_999));
    assert_eq!(world.hears(), [""; 0]);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.hears(), ["event timed-out"]);
    world.end_unharmed();
}
