//! A program that uses V8 by itself too, beside Kittiwake.
//!
//! Invariant: who comes first decides for the whole process, so each order has a process of its
//! own, which is this executable once more with one test.

use std::process::Command;

use deno_core::{JsRuntime, RuntimeOptions};
use futures::executor::block_on;
use kittiwake::{Error, EventOutcome, LastChance, Runtime};

use super::world::{Site, origin, script};

/// Says to this executable that it is the process in which the test happens.
const IN_OWN_PROCESS: &str = "KITTIWAKE_TEST_IN_OWN_PROCESS";

/// Does it in a process of its own, in which no other test has started anything.
fn in_own_process(test: &str, happen: fn()) {
    #[expect(clippy::disallowed_methods, reason = "no runtime sees how a test tells its child")]
    if std::env::var(IN_OWN_PROCESS).is_ok() {
        return happen();
    }
    let own = std::env::current_exe().expect("a process knows its executable");
    let mut child = Command::new(own);
    child.args(["--exact", &format!("other_engine::{test}")]).env(IN_OWN_PROCESS, "yes");
    let child = child.output().expect("it starts once more");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{child:#?}");
}

/// Has somebody else's isolate evaluate a script.
fn evaluate_elsewhere() {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let tokio = tokio.expect("the system gives a timer");
    let _in_tokio = tokio.enter();
    let mut other = JsRuntime::new(RuntimeOptions::default());
    let script = "if ([1, 2].map((each) => each * 21).at(-1) !== 42) throw new Error('no');";
    other.execute_script("other.js", script).expect("it counts");
}

#[test]
fn a_start_after_another_use_of_v8_is_refused_and_hurts_nobody() {
    in_own_process("a_start_after_another_use_of_v8_is_refused_and_hurts_nobody", || {
        evaluate_elsewhere();
        for _ in 0..2 {
            let refused = Runtime::builder().start();
            let Err(error @ Error::EngineTaken) = refused else { panic!("{:?}", refused.err()) };
            let text = error.to_string();
            assert!(text.contains("start a runtime of Kittiwake before it"), "{text}");
        }
        evaluate_elsewhere();
    });
}

#[test]
fn v8_may_be_used_beside_a_runtime_that_was_started_first() {
    in_own_process("v8_may_be_used_beside_a_runtime_that_was_started_first", || {
        let site = Site::new(&[("/sw.js", "onsync = () => {};")]);
        let runtime = Runtime::builder().http(site).start().expect("it starts");
        evaluate_elsewhere();
        std::thread::spawn(evaluate_elsewhere).join().expect("on another thread too");
        let dispatched = block_on(async {
            runtime.register(script(0), None).await?;
            let outcome = runtime.dispatch_sync(Some(origin(0)), "mail", LastChance::No).await?;
            runtime.shut_down().await?;
            Ok::<_, Error>(outcome)
        });
        assert_eq!(dispatched.expect("it runs"), EventOutcome::Fulfilled);
        evaluate_elsewhere();
    });
}
