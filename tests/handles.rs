//! Handles of one runtime: who may end it, and what the others hear then.

use futures::StreamExt;
use futures::executor::block_on;
use kittiwake::{Builder, Error, LastChance, NetworkState, PageSource, Runtime};
use url::Url;

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

#[test]
fn whatever_is_asked_of_a_runtime_that_has_ended_is_a_typed_error() {
    let runtime = Runtime::builder().start().expect("a runtime starts");
    let url = Url::parse("https://app.test/").expect("a URL");
    let source = PageSource::Script(url.clone(), String::new());
    let page = block_on(runtime.open_page(url.clone(), source.clone())).expect("it opens");
    let ended = runtime.clone();
    let mut events = ended.trace_events(16);
    block_on(runtime.shut_down()).expect("nothing is under way");
    block_on(async {
        let script = url.join("sw.js").expect("a URL");
        let answers = [
            ended.register(script.clone(), None).await.map(drop),
            ended.register_module(script, None).await.map(drop),
            ended.open_page(url.clone(), source).await.map(drop),
            ended.post_message(None, "hello".into()).await.map(drop),
            ended.dispatch_sync(None, "mail", LastChance::No).await.map(drop),
            ended.unregister(url.clone()).await.map(drop),
            ended.registrations().await.map(drop),
            ended.realms().await.map(drop),
            ended.counts().await.map(drop),
            ended.usage().await.map(drop),
            ended.pages().await.map(drop),
            ended.reload_page(page).await,
            ended.close_page(page).await,
            ended.navigate_page(page, url).await,
            ended.idle().await,
            ended.drain().await,
            ended.shut_down().await,
        ];
        for (number, answer) in answers.into_iter().enumerate() {
            assert!(matches!(answer, Err(Error::Stopped)), "{number}: {answer:?}");
        }
        // What was told before is still there, and then nothing more.
        while events.next().await.is_some() {}
    });
}
