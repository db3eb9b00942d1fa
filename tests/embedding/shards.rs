//! Origins that are divided over shards: a user sees one runtime, and one state folder.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use futures::executor::block_on;
use kittiwake::{
    Builder, Error, NetworkState, PageSource, Runtime, StoreError, SyncState, SyncTraceState,
    TraceItem, TraceKind, blocking, stored_syncs,
};

use crate::world::{Site, origin, script};

/// Enough for each of a few shards to have some.
const ORIGINS: usize = 8;

/// Registers a sync when it is activated. Those of odd origins hang.
const WORKER: &str = r#"
onactivate = (event) => event.waitUntil(registration.sync.register("mail"));
onsync = (event) => {
  console.log(`${registration.scope} sends`);
  if (/app[13579]/.test(registration.scope)) event.waitUntil(new Promise(() => {}));
};
"#;

fn builder(state: &Path) -> Builder {
    Runtime::builder().http(Site::new(&[("/sw.js", WORKER)])).state_folder(state)
}

/// A runtime whose workers all wait for the network.
fn registered(builder: Builder) -> blocking::Runtime {
    let runtime = blocking::Runtime::from(builder.start().expect("it starts"));
    for number in 0..ORIGINS {
        runtime.set_network(NetworkState::Online).expect("it runs");
        runtime.register(script(number), None).expect("it registers");
    }
    runtime
}

fn scopes(runtime: &blocking::Runtime) -> Vec<String> {
    let registrations = runtime.registrations().expect("it runs");
    registrations.iter().map(|each| each.scope.to_string()).collect()
}

fn all_scopes() -> Vec<String> {
    (0..ORIGINS).map(|number| origin(number).to_string()).collect()
}

#[test]
fn many_shards_are_one_runtime_to_whoever_lists_fires_and_stops() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = registered(builder(folder.path()).shards(3).hold_syncs());
    assert_eq!(scopes(&runtime), all_scopes());
    assert_eq!(runtime.unsettled_syncs().expect("it runs").len(), ORIGINS);
    assert!(runtime.usage().expect("it runs").workers > 0);
    runtime.shut_down().expect("it ends");

    // Each event begins, on whichever shard; those that hang are given back by the stop.
    // None fires before somebody watches.
    let builder = builder(folder.path()).await_network_signal();
    let runtime = builder.start().expect("it starts with as many as before");
    let mut trace = runtime.trace_events(1000);
    block_on(async {
        runtime.set_network(NetworkState::Online).await.expect("it runs");
        let mut done = BTreeSet::new();
        let mut firing = BTreeSet::new();
        let mut last_ms = 0;
        while done.len() < ORIGINS / 2 || firing.len() < ORIGINS {
            let Some(TraceItem::Event(event)) = trace.next().await else { panic!("it has ended") };
            assert!(event.at_ms >= last_ms, "times of all shards are in one order");
            last_ms = event.at_ms;
            if let TraceKind::Sync { scope, state, .. } = event.kind {
                match state {
                    SyncTraceState::Firing => firing.insert(scope),
                    SyncTraceState::Done => done.insert(scope),
                    other => panic!("{scope} is {other:?}"),
                };
            }
        }
        runtime.shut_down().await.expect("it ends");
        while trace.next().await.is_some() {}
    });
    let stored = stored_syncs(folder.path()).expect("it can be read").syncs;
    let left: Vec<_> = stored.iter().map(|sync| (sync.scope.clone(), sync.state)).collect();
    let odd = (1..ORIGINS).step_by(2).map(|number| origin(number).to_string());
    assert_eq!(left, odd.map(|scope| (scope, SyncState::Pending)).collect::<Vec<_>>());
}

#[test]
fn a_folder_keeps_its_number_of_shards_and_another_one_is_refused_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    registered(builder(folder.path()).shards(2).hold_syncs()).shut_down().expect("it ends");
    for asked in [1, 3] {
        let refused = builder(folder.path()).shards(asked).start().err();
        let Some(Error::Store(error)) = &refused else { panic!("{asked}: {refused:?}") };
        let StoreError::Shards { found: 2, asked: named, .. } = &**error else { panic!("{error}") };
        assert_eq!(*named, asked);
        assert!(error.to_string().contains("is divided over 2 shards, not"), "{error}");
    }
    for builder in [builder(folder.path()), builder(folder.path()).shards(2)] {
        let runtime = blocking::Runtime::from(builder.hold_syncs().start().expect("it starts"));
        assert_eq!(scopes(&runtime), all_scopes());
        runtime.shut_down().expect("it ends");
    }
}

#[test]
fn a_folder_from_before_there_was_a_number_has_one_shard() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    registered(builder(folder.path()).hold_syncs()).shut_down().expect("it ends");
    let refused = builder(folder.path()).shards(2).start().err();
    assert!(matches!(refused, Some(Error::Store(_))), "{refused:?}");
    let runtime = builder(folder.path()).hold_syncs().start().expect("it starts");
    assert_eq!(scopes(&runtime.into()), all_scopes());
}

#[test]
fn every_shard_hears_of_the_network_and_a_switch_reaches_all() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = told.clone();
    let page = "addEventListener('online', () => console.log(location.host, navigator.onLine));";
    let builder = Runtime::builder().shards(2).on_trace(move |event| {
        if let TraceKind::Console { text, .. } = &event.kind {
            sink.lock().expect("no holder panics").push(text.clone());
        }
    });
    let runtime = blocking::Runtime::from(builder.start().expect("it starts"));
    runtime.set_network(NetworkState::Offline).expect("it runs");
    let mut pages = BTreeSet::new();
    for number in 0..ORIGINS {
        let source = PageSource::Script(origin(number), page.to_owned());
        pages.insert(runtime.open_page(origin(number), source).expect("it opens"));
    }
    assert_eq!(runtime.pages().expect("it runs").len(), ORIGINS);
    assert_eq!(pages.len(), ORIGINS, "each has a name of its own");
    runtime.set_network(NetworkState::Online).expect("it runs");
    runtime.idle().expect("it runs");
    let mut told = told.lock().expect("no holder panics").clone();
    told.sort();
    let expected = (0..ORIGINS).map(|number| format!("app{number}.test true"));
    assert_eq!(told, expected.collect::<Vec<_>>());
    for page in pages {
        runtime.close_page(page).expect("it runs");
    }
    assert!(runtime.pages().expect("it runs").is_empty());
    runtime.shut_down().expect("it ends");
}

#[test]
fn a_simulation_has_one_shard_and_no_runtime_has_none() {
    for builder in [Runtime::builder().shards(0), Runtime::builder().simulated(1).shards(2)] {
        let refused = builder.start().err();
        assert!(matches!(refused, Some(Error::Shards { .. })), "{refused:?}");
    }
    assert!(Runtime::builder().simulated(1).shards(1).start().is_ok());
}

#[test]
fn a_handle_of_a_runtime_that_has_ended_says_so() {
    let runtime = Runtime::builder().shards(2).start().expect("it starts");
    let other = blocking::Runtime::from(runtime.clone());
    block_on(runtime.shut_down()).expect("it ends");
    assert!(matches!(other.registrations(), Err(Error::Stopped)));
    assert!(matches!(other.register(script(0), None), Err(Error::Stopped)));
    assert!(matches!(other.idle(), Err(Error::Stopped)));
    assert!(other.trace_events(1).next().is_none());
    assert!(matches!(other.shut_down(), Err(Error::Stopped)));
}
