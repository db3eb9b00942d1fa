//! The blank realm that waits for the next worker: there when it may be, and noticed by nobody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use kittiwake::{Builder, Clock, EventOutcome, LastChance, PageSource, Runtime, TraceKind, Usage};

use crate::world::{Site, origin, script};

const WORKER: &str = r#"
const day = performance.timeOrigin > 8e9 ? "second" : "first";
console.log(`${location.origin} begins on the ${day} day`);
onsync = () => new BroadcastChannel("news").postMessage(location.origin);
"#;

const PAGE: &str = "new BroadcastChannel('news').onmessage = ({ data }) => console.log(data);";

/// Pages of some origins, then workers of three.
async fn start(builder: Builder, pages: &[usize]) -> Runtime {
    let builder = builder.http(Site::new(&[("/sw.js", WORKER)]));
    let runtime = builder.start().expect("it starts");
    for number in pages {
        let page = origin(*number).join("page").expect("a URL");
        let source = PageSource::Script(page.clone(), PAGE.to_owned());
        runtime.open_page(page, source).await.expect("it opens");
    }
    for number in 0..3 {
        runtime.register(script(number), None).await.expect("it registers");
    }
    runtime.idle().await.expect("it runs");
    runtime
}

/// Wakes a worker, and waits until nothing is left to do.
async fn wake(runtime: &Runtime, number: usize) -> Usage {
    let outcome = runtime.dispatch_sync(Some(origin(number)), "mail", LastChance::No).await;
    assert_eq!(outcome.expect("it is registered"), EventOutcome::Fulfilled);
    runtime.idle().await.expect("it runs");
    runtime.usage().await.expect("it runs")
}

#[test]
fn a_spare_realm_is_made_once_a_worker_has_woken_and_again_when_it_is_taken() {
    block_on(async {
        let runtime = start(Runtime::builder().resident_limit(2, usize::MAX), &[]).await;
        let usage = runtime.usage().await.expect("it runs");
        assert_eq!((usage.workers, usage.spare_realms), (2, 0), "nobody has woken yet");
        for number in [0, 1, 2, 0] {
            let usage = wake(&runtime, number).await;
            // It is one of the realms that there is room for.
            assert_eq!((usage.workers, usage.spare_realms), (1, 1), "{number}");
        }
        runtime.shut_down().await.expect("it ends");
    });
}

#[test]
fn there_is_no_spare_realm_without_room_nor_wish_nor_in_a_simulation() {
    let builders = [
        Runtime::builder().spare_realm(false).resident_limit(2, usize::MAX),
        Runtime::builder().resident_limit(1, usize::MAX),
        Runtime::builder().resident_limit(2, 1),
        Runtime::builder().simulated(1).resident_limit(2, usize::MAX),
    ];
    for (number, builder) in builders.into_iter().enumerate() {
        block_on(async {
            let runtime = start(builder, &[]).await;
            assert_eq!(wake(&runtime, 0).await.spare_realms, 0, "{number}");
            assert_eq!(wake(&runtime, 1).await.spare_realms, 0, "{number}");
            runtime.shut_down().await.expect("it ends");
        });
    }
}

/// Says what it was set to.
#[derive(Clone, Default)]
struct OwnClock(Arc<AtomicU64>);

impl Clock for OwnClock {
    fn now_ms(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64
    }
}

#[test]
fn a_worker_that_starts_in_a_spare_realm_is_of_its_own_origin_and_time() {
    let clock = OwnClock::default();
    clock.0.store(1_000_000_000, Ordering::Relaxed);
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = said.clone();
    let builder = Runtime::builder().clock(clock.clone()).resident_limit(4, usize::MAX).on_trace(
        move |event| {
            if let TraceKind::Console { text, .. } = &event.kind {
                heard.lock().expect("no holder panics").push(text.clone());
            }
        },
    );
    block_on(async {
        // Pages stay, and leave room for one worker and the spare.
        let runtime = start(builder, &[0, 1]).await;
        wake(&runtime, 0).await;
        assert_eq!(wake(&runtime, 2).await.spare_realms, 1);
        said.lock().expect("no holder panics").clear();
        clock.0.store(9_000_000_000, Ordering::Relaxed);
        wake(&runtime, 1).await;
        runtime.shut_down().await.expect("it ends");
    });
    let said = said.lock().expect("no holder panics").clone();
    assert_eq!(said, ["https://app1.test begins on the second day", "https://app1.test"]);
}
