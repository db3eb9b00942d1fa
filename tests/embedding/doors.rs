//! Doors that an embedder brings: they are what scripts see, and one that is out of order is a
//! typed error for everybody who waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::executor::block_on;
use futures::future::LocalBoxFuture;
use futures::{FutureExt, StreamExt};
use kittiwake::{
    Builder, Clock, Door, DoorAnswer, DoorBody, DoorError, DoorFault, DoorRequest, DoorResponse,
    Entropy, Error, HttpDoor, LastChance, NetworkSignal, NetworkState, Outlook, Runtime,
    SeededEntropy, SimulatedClock, SystemClock, SystemEntropy, TraceKind, blocking, conformance,
};

use crate::world::{Site, origin, script};

const WORKER: &str = r#"
onsync = (event) => event.waitUntil(tell(event.tag));

async function tell(tag) {
  if (tag === "time") console.log(new Date().toISOString(), Date.now());
  if (tag === "dice") console.log(Math.random(), Math.random());
  if (tag === "fetch") console.log(await (await fetch("/data")).text());
}
"#;

fn site() -> Site {
    Site::new(&[("/sw.js", WORKER), ("/data", "from the door")])
}

/// A door by a client that many people have.
struct ByReqwest(reqwest::Client);

impl HttpDoor for ByReqwest {
    fn exchange(&self, request: DoorRequest) -> DoorAnswer {
        let method = reqwest::Method::from_bytes(request.method.as_bytes()).expect("a method");
        let mut sent = self.0.request(method, request.url);
        for (name, value) in request.headers {
            let bytes: Vec<u8> = value.chars().map(|c| c as u8).collect();
            sent = sent.header(name, bytes);
        }
        sent = match request.body {
            DoorBody::Empty => sent,
            DoorBody::Whole(bytes) => sent.body(bytes),
            DoorBody::Stream(chunks) => {
                let chunks = chunks.map(|chunk| chunk.map_err(std::io::Error::other));
                sent.body(reqwest::Body::wrap_stream(chunks))
            }
        };
        async move {
            let response = sent.send().await.map_err(|error| match error.is_connect() {
                true => DoorError::Refused,
                false => DoorError::Broken(error.to_string()),
            })?;
            let latin1 = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect();
            let own = response.headers().iter();
            let headers = own.map(|(name, value)| (name.to_string(), latin1(value.as_bytes())));
            Ok(DoorResponse {
                status: response.status().as_u16(),
                status_text: String::new(),
                headers: headers.collect(),
                body: response.bytes_stream().map(|chunk| chunk.map_err(|e| e.to_string())).boxed(),
            })
        }
        .boxed()
    }
}

#[tokio::test]
async fn every_door_of_ours_keeps_what_the_suites_ask() {
    conformance::clock(&SystemClock);
    conformance::clock(&SimulatedClock::default());
    conformance::entropy(&SystemEntropy::default());
    conformance::entropy(&SeededEntropy::new(7));
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    conformance::http(&ByReqwest(client.build().expect("a client"))).await;
}

#[test]
#[should_panic(expected = "nothing is followed")]
fn a_suite_says_what_a_door_does_not_keep() {
    let tokio = tokio::runtime::Runtime::new().expect("a tokio");
    // It follows redirects by itself.
    tokio.block_on(conformance::http(&ByReqwest(reqwest::Client::new())));
}

/// Nine seconds past midnight, and one more at each look.
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now_ms(&self) -> f64 {
        1_000_000_000_000.0 + self.0.fetch_add(1, Ordering::Relaxed) as f64
    }
}

struct Half;

impl Entropy for Half {
    fn random(&self) -> f64 {
        0.5
    }
}

/// Runs events with these tags, and answers what the worker printed.
fn printed(builder: Builder, tags: &[&str]) -> Vec<String> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = lines.clone();
    let builder = builder.on_trace(move |event| {
        if let TraceKind::Console { text, .. } = &event.kind {
            sink.lock().expect("no holder panics").push(text.clone());
        }
    });
    let runtime = blocking::Runtime::from(builder.start().expect("it starts"));
    runtime.register(script(0), None).expect("it registers");
    for tag in tags {
        runtime.dispatch_sync(Some(origin(0)), tag, LastChance::No).expect("it is there");
    }
    runtime.shut_down().expect("it ends");
    std::mem::take(&mut *lines.lock().expect("no holder panics"))
}

#[test]
fn scripts_see_the_doors_that_the_embedder_brought() {
    let site = site();
    let builder = Runtime::builder().clock(Ticking(AtomicU64::new(9_000))).entropy(Half);
    let printed = printed(builder.http(site.clone()), &["time", "dice", "fetch"]);
    assert!(printed[0].starts_with("2001-09-09T01:46:49."), "{printed:?}");
    assert_eq!(printed[1..], ["0.5 0.5", "from the door"]);
    let asked = ["GET https://app0.test/sw.js", "GET https://app0.test/data"];
    assert_eq!(site.asked(), asked);
}

#[test]
fn a_simulation_takes_entropy_and_an_http_door_but_no_clock() {
    let builder = Runtime::builder().simulated(1).entropy(Half).http(site());
    assert_eq!(printed(builder, &["dice", "fetch"]), ["0.5 0.5", "from the door"]);
    let refused = Runtime::builder().simulated(1).clock(SystemClock).start();
    assert!(matches!(refused.err(), Some(Error::ClockInSimulation)));
}

/// What a door does once it is told so.
#[derive(Clone, Copy)]
enum Deed {
    Panic,
    Block,
    Nonsense,
}

/// Keeps order until the switch is thrown.
struct Unruly {
    deed: Deed,
    thrown: Arc<std::sync::atomic::AtomicBool>,
    release: Mutex<Receiver<()>>,
}

struct Switch {
    thrown: Arc<std::sync::atomic::AtomicBool>,
    /// Dropped, it lets whoever is blocked go on.
    _release: Sender<()>,
}

fn unruly(deed: Deed) -> (Unruly, Switch) {
    let thrown = Arc::<std::sync::atomic::AtomicBool>::default();
    let (release, blocked) = channel();
    let door = Unruly { deed, thrown: thrown.clone(), release: Mutex::new(blocked) };
    (door, Switch { thrown, _release: release })
}

impl Switch {
    fn throw(&self) {
        self.thrown.store(true, Ordering::Relaxed);
    }
}

impl Unruly {
    /// Whether it is to answer nonsense.
    fn act(&self) -> bool {
        if !self.thrown.load(Ordering::Relaxed) {
            return false;
        }
        match self.deed {
            Deed::Panic => panic!("as the test asked"),
            Deed::Block => {
                let _ = self.release.lock().expect("no holder panics").recv();
                false
            }
            Deed::Nonsense => true,
        }
    }
}

impl Clock for Unruly {
    fn now_ms(&self) -> f64 {
        if self.act() { f64::NAN } else { 0.0 }
    }
}

impl Entropy for Unruly {
    fn random(&self) -> f64 {
        if self.act() { 2.0 } else { 0.0 }
    }
}

impl HttpDoor for Unruly {
    fn exchange(&self, request: DoorRequest) -> DoorAnswer {
        let status = if self.act() { 42 } else { 200 };
        let answer = site().exchange(request);
        async move { answer.await.map(|answer| DoorResponse { status, ..answer }) }.boxed()
    }
}

impl NetworkSignal for Unruly {
    fn next(&mut self) -> LocalBoxFuture<'_, Option<NetworkState>> {
        self.act();
        std::future::ready(Some(NetworkState::Online)).boxed_local()
    }

    fn outlook(&self) -> Outlook {
        Outlook::Fixed
    }
}

/// What a handle is told of a door that does so, and how the runtime ends then.
fn told(door: Door, deed: Deed) -> (Error, Result<(), Error>) {
    let (unruly, switch) = unruly(deed);
    // Long for any call here that ends, on a busy machine too; a panic takes a while to be printed.
    let limit = Duration::from_secs(if matches!(deed, Deed::Block) { 2 } else { 120 });
    let builder = Runtime::builder().turn_limit(limit).http(site());
    let (builder, signal) = match door {
        Door::Clock => (builder.clock(unruly), None),
        Door::Entropy => (builder.entropy(unruly), None),
        Door::Http => (builder.http(unruly), None),
        Door::NetworkSignal => (builder, Some(unruly)),
    };
    let runtime = builder.start().expect("it starts");
    let told = block_on(async {
        runtime.register(script(0), None).await.expect("it registers");
        switch.throw();
        if let Some(signal) = signal {
            return runtime.follow_network(signal).await.and(runtime.usage().await.map(drop));
        }
        let tag = match door {
            Door::Clock => "time",
            Door::Entropy => "dice",
            _ => "fetch",
        };
        // A door that panics or answers nonsense may let this one event end.
        let first = runtime.dispatch_sync(Some(origin(0)), tag, LastChance::No).await;
        first.and(runtime.usage().await.map(drop))
    });
    let ended = block_on(runtime.shut_down());
    drop(switch);
    (told.expect_err("the door is out of order"), ended)
}

#[test]
fn a_door_that_panics_is_a_typed_error_and_the_runtime_still_ends_in_order() {
    for door in [Door::Clock, Door::Entropy, Door::Http, Door::NetworkSignal] {
        let (error, ended) = told(door, Deed::Panic);
        let Error::Door { door: named, fault } = &error else { panic!("{error}") };
        assert_eq!((*named, fault), (door, &DoorFault::Panicked("as the test asked".to_owned())));
        assert!(error.to_string().contains("is out of order: it panicked"), "{error}");
        assert!(ended.is_ok(), "{door}: {ended:?}");
    }
}

#[test]
fn a_door_that_answers_nonsense_is_a_typed_error() {
    for (door, said) in
        [(Door::Clock, "NaN ms"), (Door::Entropy, "2"), (Door::Http, "the status 42")]
    {
        let (error, ended) = told(door, Deed::Nonsense);
        let Error::Door { fault, .. } = &error else { panic!("{error}") };
        assert_eq!(*fault, DoorFault::Invalid(said.to_owned()));
        assert!(ended.is_ok(), "{door}: {ended:?}");
    }
}

#[test]
fn a_door_that_blocks_keeps_nobody_waiting() {
    for door in [Door::Clock, Door::Entropy, Door::Http, Door::NetworkSignal] {
        let (error, ended) = told(door, Deed::Block);
        for error in [Err(error), ended] {
            let Err(Error::Door { door: named, fault }) = &error else { panic!("{error:?}") };
            assert_eq!((*named, fault), (door, &DoorFault::Blocked(Duration::from_secs(2))));
        }
    }
}

#[test]
fn a_clock_that_blocks_from_the_first_is_told_by_the_start() {
    let (unruly, switch) = unruly(Deed::Block);
    switch.throw();
    let limit = Duration::from_millis(100);
    let started = Runtime::builder().turn_limit(limit).clock(unruly).start();
    let Some(Error::Door { door, fault }) = started.err() else { panic!("it has started") };
    assert_eq!((door, fault), (Door::Clock, DoorFault::Blocked(limit)));
}

/// Never says anything.
struct Mute;

impl NetworkSignal for Mute {
    fn next(&mut self) -> LocalBoxFuture<'_, Option<NetworkState>> {
        std::future::pending().boxed_local()
    }

    fn outlook(&self) -> Outlook {
        Outlook::Open
    }
}

#[test]
fn a_signal_that_says_no_state_is_told_to_whoever_follows_it() {
    let runtime = Runtime::builder().simulated(1).start().expect("it starts");
    let followed = block_on(async {
        runtime.follow_network(Mute).await?;
        runtime.usage().await
    });
    let Err(Error::Door { door: Door::NetworkSignal, fault: DoorFault::Invalid(_) }) = followed
    else {
        panic!("{followed:?}")
    };
    block_on(runtime.shut_down()).expect("it ends");
}
