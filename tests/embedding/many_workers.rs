//! More workers than memory has room for: who idles makes room, and starts again for its next
//! event.

use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use kittiwake::{Builder, EventOutcome, LastChance, PageSource, Runtime, TraceKind};
use url::Url;

/// Says when it starts. Events called `long` take a minute.
const WORKER: &str = r#"
console.log(`${registration.scope} starts`);
onsync = (event) => {
  if (event.tag === "long") {
    event.waitUntil(new Promise((resolve) => setTimeout(resolve, 60_000)));
  }
};
"#;

fn origin(number: usize) -> Url {
    Url::parse(&format!("https://app{number}.test/")).expect("a URL")
}

/// How often each worker has started since somebody asked last.
#[derive(Clone, Default)]
struct Starts(Arc<Mutex<Vec<String>>>);

impl Starts {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no holder panics"))
    }
}

struct World {
    runtime: Runtime,
    starts: Starts,
    _site: tempfile::TempDir,
}

/// Workers of as many origins, registered one after the other.
async fn world(builder: Builder, workers: usize) -> World {
    let site = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(site.path().join("sw.js"), WORKER).expect("a file in a temporary folder");
    let starts = Starts::default();
    let told = starts.0.clone();
    let builder = (0..workers)
        .fold(builder, |builder, number| builder.serve(origin(number), site.path()))
        .on_trace(move |event| {
            if let TraceKind::Console { text, .. } = &event.kind {
                told.lock().expect("no holder panics").push(text.clone());
            }
        });
    let runtime = builder.start().expect("it starts");
    for number in 0..workers {
        let script = origin(number).join("sw.js").expect("a URL");
        runtime.register(script, None).await.expect("it registers");
    }
    starts.take();
    World { runtime, starts, _site: site }
}

async fn wake(world: &World, number: usize, tag: &str) -> EventOutcome {
    let scope = Some(origin(number));
    world.runtime.dispatch_sync(scope, tag, LastChance::No).await.expect("it is registered")
}

#[test]
fn workers_that_idle_make_room_and_start_again_for_their_next_event() {
    const WORKERS: usize = 60;
    block_on(async {
        let builder = Runtime::builder().simulated(1).resident_limit(8, usize::MAX);
        let world = world(builder, WORKERS).await;
        assert_eq!(world.runtime.usage().await.unwrap().workers, 8);
        for number in 0..WORKERS {
            assert_eq!(wake(&world, number, "mail").await, EventOutcome::Fulfilled, "{number}");
            assert!(world.runtime.usage().await.unwrap().workers <= 8);
        }
        assert_eq!(world.runtime.registrations().await.unwrap().len(), WORKERS);
        world.runtime.shut_down().await.unwrap();
    });
}

#[test]
fn the_worker_that_had_no_event_for_longest_goes_first() {
    block_on(async {
        let builder = Runtime::builder().simulated(1).resident_limit(2, usize::MAX);
        let world = world(builder, 3).await;
        // The first was stopped for the third.
        wake(&world, 1, "mail").await;
        assert_eq!(world.starts.take(), Vec::<String>::new());
        wake(&world, 0, "mail").await;
        assert_eq!(world.starts.take(), ["https://app0.test/ starts"]);
        // For it, the third was.
        wake(&world, 1, "mail").await;
        assert_eq!(world.starts.take(), Vec::<String>::new());
        world.runtime.shut_down().await.unwrap();
    });
}

#[test]
fn a_worker_at_work_and_a_page_are_never_stopped_for_room() {
    block_on(async {
        let builder = Runtime::builder().simulated(1).resident_limit(1, usize::MAX);
        let world = world(builder, 3).await;
        let page = origin(2).join("page").expect("a URL");
        let source = PageSource::Script(page.clone(), "setInterval(() => {}, 1000)".to_owned());
        world.runtime.open_page(page, source).await.expect("it opens");
        assert_eq!(wake(&world, 0, "long").await, EventOutcome::Fulfilled);
        assert_eq!(world.runtime.pages().await.unwrap().len(), 1);
        world.runtime.shut_down().await.unwrap();
    });
}

#[test]
fn memory_is_a_budget_as_well_as_a_number() {
    block_on(async {
        // A realm takes more than a megabyte: there is room for a few of ten.
        let builder = Runtime::builder().resident_limit(usize::MAX, 20 << 20);
        let world = world(builder, 10).await;
        for number in 0..10 {
            assert_eq!(wake(&world, number, "mail").await, EventOutcome::Fulfilled);
        }
        let usage = world.runtime.usage().await.unwrap();
        assert!(usage.workers < 10, "{usage:?}");
        assert!(usage.memory_bytes <= 24 << 20, "{usage:?}");
        world.runtime.shut_down().await.unwrap();
    });
}
