//! How many sync events are under way at once: the options of the Builder.
//!
//! Invariant: what waits for its turn fires as soon as it has come, and nothing is left behind.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use kittiwake::{Builder, Runtime, SyncTraceState, TraceKind};
use url::Url;

const TAGS: usize = 4;

/// Each of its events takes a minute; the one that is called `fails` fails but for the last time.
const WORKER: &str = r#"
const tags = ["a", "b", "c", "fails"];
onactivate = (event) =>
  event.waitUntil(Promise.all(tags.map((tag) => registration.sync.register(tag))));
onsync = (event) => event.waitUntil(work(event));

async function work({ tag, lastChance }) {
  await new Promise((resolve) => setTimeout(resolve, 60_000));
  if (tag === "fails" && !lastChance) throw new Error("not yet");
}
"#;

/// What happened at most at once, in all and of one scope, and how many syncs were done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Most {
    in_all: usize,
    of_one: usize,
    done: usize,
}

/// Runs two workers to their end.
fn run(builder: Builder) -> Result<(Most, usize), Box<dyn Error>> {
    let root = tempfile::tempdir()?;
    fs::write(root.path().join("sw.js"), WORKER)?;
    let origins = [Url::parse("https://a.test")?, Url::parse("https://b.test")?];
    let seen = Arc::new(Mutex::new((Most::default(), BTreeMap::<String, usize>::new())));
    let watched = seen.clone();
    let builder = origins
        .iter()
        .fold(builder.simulated(1), |builder, origin| builder.serve(origin.clone(), root.path()));
    let builder = builder.on_trace(move |event| {
        let TraceKind::Sync { scope, state, .. } = &event.kind else { return };
        let (most, firing) = &mut *watched.lock().expect("no holder panics");
        let of_scope = firing.entry(scope.clone()).or_default();
        match state {
            SyncTraceState::Firing => *of_scope += 1,
            SyncTraceState::Done | SyncTraceState::Waiting => *of_scope -= 1,
            _ => {}
        }
        most.done += usize::from(*state == SyncTraceState::Done);
        most.of_one = most.of_one.max(*of_scope);
        most.in_all = most.in_all.max(firing.values().sum());
    });
    let runtime = builder.start()?;
    let left = block_on(async {
        for origin in &origins {
            runtime.register(origin.join("sw.js").expect("a URL"), None).await?;
        }
        runtime.idle().await?;
        let left = runtime.unsettled_syncs().await?.len();
        runtime.shut_down().await?;
        Ok::<_, kittiwake::Error>(left)
    })?;
    Ok((std::mem::take(&mut seen.lock().expect("no holder panics").0), left))
}

#[test]
fn no_more_events_are_under_way_than_the_options_say() -> Result<(), Box<dyn Error>> {
    let done = 2 * TAGS;
    for (total, of_one, expected) in [
        (256, 64, Most { in_all: 2 * TAGS, of_one: TAGS, done }),
        (3, 2, Most { in_all: 3, of_one: 2, done }),
        (1, 1, Most { in_all: 1, of_one: 1, done }),
    ] {
        let (most, left) = run(Runtime::builder().sync_concurrency(total, of_one))?;
        assert_eq!((most, left), (expected, 0), "{total} in all, {of_one} of one");
    }
    Ok(())
}

#[test]
fn a_runtime_that_holds_syncs_fires_none_and_keeps_all() -> Result<(), Box<dyn Error>> {
    let (most, left) = run(Runtime::builder().hold_syncs())?;
    assert_eq!((most, left), (Most::default(), 2 * TAGS));
    Ok(())
}
