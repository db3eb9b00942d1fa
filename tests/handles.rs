//! Handles of one runtime: who may end it, and what the others hear then.

use futures::executor::block_on;
use kittiwake::{Builder, Error, NetworkState, Runtime};

fn shut_down_beside_another_handle(builder: Builder) {
    let runtime = builder.start().expect("a runtime starts");
    let other = runtime.clone();
    block_on(runtime.shut_down()).expect("nothing is under way");
    let answer = block_on(other.set_network(NetworkState::Online));
    assert!(matches!(answer, Err(Error::Stopped)), "{answer:?}");
}

#[test]
fn any_handle_ends_the_runtime_and_the_others_are_told() {
    shut_down_beside_another_handle(Runtime::builder());
}

#[test]
fn any_handle_ends_a_simulation_and_the_others_are_told() {
    shut_down_beside_another_handle(Runtime::builder().simulated(1));
}

#[test]
fn who_waits_when_the_runtime_ends_is_told() {
    let runtime = Runtime::builder().start().expect("a runtime starts");
    let other = runtime.clone();
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    let (waited, ended) =
        block_on(async { futures::join!(other.run_for(day), runtime.shut_down()) });
    ended.expect("nothing is under way");
    assert!(matches!(waited, Err(Error::Stopped)), "{waited:?}");
}
