//! Jumps of the time of day, on a paused tokio clock that does not jump with it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use kittiwake_store::{Store, SyncPolicy, UpdateViaCache};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};
use url::Url;

use super::*;
use crate::door_guard::{DoorFaults, DoorGuard};
use crate::doors::SystemEntropy;
use crate::engine::spawn_host_thread;
use crate::host::ShardParts;
use crate::http::Gate;
use crate::indexed_db::{IndexedDbs, Threads};
use crate::lifecycle::RegisterRequest;
use crate::limits::Limits;
use crate::measure::Gauge;
use crate::network::{NetworkSignal, NetworkState, Outlook};
use crate::residency::Pace;
use crate::scheduler;
use crate::simulation::ScriptedServers;
use crate::trace_hub::TraceHub;

/// A time of day that follows the timers but for the jumps that a test adds.
struct JumpyClock {
    started: Instant,
    ahead_ms: AtomicI64,
}

impl JumpyClock {
    fn new() -> JumpyClock {
        JumpyClock { started: Instant::now(), ahead_ms: AtomicI64::new(0) }
    }
}

impl Clock for JumpyClock {
    fn now_ms(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1000.0 + self.ahead_ms.load(Ordering::Relaxed) as f64
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_jump_ahead_is_one_and_it_counts_once() {
    let clock = JumpyClock::new();
    let time = TimeOfDay::new(&clock);
    sleep(Duration::from_secs(3600)).await;
    assert!(!time.jumped(&clock));
    clock.ahead_ms.store(1_999, Ordering::Relaxed);
    assert!(!time.jumped(&clock));
    clock.ahead_ms.store(600_000, Ordering::Relaxed);
    assert!(time.jumped(&clock));
    assert!(!time.jumped(&clock));
    clock.ahead_ms.store(-600_000, Ordering::Relaxed);
    assert!(!time.jumped(&clock));
    sleep(Duration::from_secs(1)).await;
    clock.ahead_ms.store(-598_000, Ordering::Relaxed);
    assert!(time.jumped(&clock));
}

const WORKER: &str = r#"
addEventListener("activate", (event) => event.waitUntil(registration.sync.register("mail")));
addEventListener("sync", (event) => event.waitUntil(send()));
async function send() {
  const { ok } = await fetch("https://api.test/outbox", { method: "POST" });
  if (!ok) throw new Error("not sent");
}
"#;

#[test]
fn a_retry_whose_time_came_in_sleep_fires_soon_after_waking() {
    on_a_host_thread(|| async {
        let mut night = Night::begin().await;
        night.sleep();
        let woke = Instant::now();
        night.wait_for("mail  firing  attempt 2").await;
        assert!(woke.elapsed() <= LOOK_EVERY, "it fired {:?} after waking", woke.elapsed());
        night.wait_for("mail  done").await;
    });
}

#[test]
fn after_sleep_no_attempt_is_wasted_on_a_network_that_is_gone() {
    on_a_host_thread(|| async {
        let mut night = Night::begin().await;
        night.shard.follow_network(Box::new(Moved::Home)).await;
        night.sleep();
        let woke = Instant::now();
        assert_eq!(night.wait_for("network    offline").await, [""; 0]);
        assert_eq!(night.wait_for("network    online").await, [""; 0]);
        assert!(woke.elapsed() >= Duration::from_secs(60));
        night.wait_for("mail  firing  attempt 2").await;
        night.wait_for("mail  done").await;
    });
}

/// The network of a machine that is carried away in its sleep: it finds out by and by that it has
/// none, and another a minute later.
enum Moved {
    Home,
    Away(NetworkState),
    AtWork,
}

impl NetworkSignal for Moved {
    fn next(&mut self) -> LocalBoxFuture<'_, Option<NetworkState>> {
        async {
            match self {
                Moved::Home => {
                    *self = Moved::AtWork;
                    Some(NetworkState::Online)
                }
                Moved::Away(state @ NetworkState::Online) => {
                    *state = NetworkState::Offline;
                    Some(NetworkState::Offline)
                }
                Moved::Away(NetworkState::Offline) => {
                    sleep(Duration::from_secs(60)).await;
                    *self = Moved::AtWork;
                    Some(NetworkState::Online)
                }
                Moved::AtWork => std::future::pending().await,
            }
        }
        .boxed_local()
    }

    fn outlook(&self) -> Outlook {
        Outlook::Open
    }

    fn look_anew(&mut self) -> LocalBoxFuture<'_, ()> {
        async {
            sleep(Duration::from_secs(4)).await;
            *self = Moved::Away(NetworkState::Online);
        }
        .boxed_local()
    }
}

fn on_a_host_thread<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let main = move || {
        let mut tokio = tokio::runtime::Builder::new_current_thread();
        let tokio = tokio.enable_all().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&tokio, test());
    };
    if let Err(panic) = spawn_host_thread(Box::new(main)).unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

/// A shard whose sync has failed once and waits for five minutes.
struct Night {
    clock: Rc<JumpyClock>,
    shard: Rc<Shard>,
    trace: UnboundedReceiver<String>,
}

impl Night {
    async fn begin() -> Night {
        let clock = Rc::new(JumpyClock::new());
        let (sink, trace) = unbounded_channel();
        let shard = shard(clock.clone(), sink);
        spawn_local(scheduler::run(shard.clone()));
        spawn_local(watch(shard.clone()));
        let request = RegisterRequest {
            script: Url::parse("https://app.test/sw.js").unwrap(),
            scope: None,
            script_type: kittiwake_store::ScriptType::Classic,
            update_via_cache: UpdateViaCache::default(),
            referrer: None,
        };
        shard.register(request).await.expect("the worker is registered");
        let mut night = Night { clock, shard, trace };
        night.wait_for("mail  waiting  5m").await;
        night
    }

    /// The machine sleeps for ten minutes.
    fn sleep(&self) {
        self.clock.ahead_ms.store(10 * 60 * 1000, Ordering::Relaxed);
    }

    /// Waits for a line of the trace; answers those before it.
    async fn wait_for(&mut self, part: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let line = self.trace.recv().await.expect("the shard traces");
            if line.contains(part) {
                return before;
            }
            before.push(line);
        }
    }
}

fn shard(clock: Rc<JumpyClock>, trace: UnboundedSender<String>) -> Rc<Shard> {
    let servers: ScriptedServers = serde_json::from_value(serde_json::json!({
        "https://app.test": { "GET /sw.js": {
            "status": 200, "headers": { "content-type": "text/javascript" }, "body": WORKER,
        } },
        "https://api.test": { "POST /outbox": [503, 204] },
    }))
    .unwrap();
    let network = Rc::new(Cell::new(NetworkState::Online));
    Shard::new(ShardParts {
        store: Store::in_memory().unwrap(),
        clock,
        entropy: Rc::new(SystemEntropy::default()),
        host_doors: Default::default(),
        door_guard: DoorGuard::new(DoorFaults::new(), Duration::from_secs(10)),
        http: Rc::new(Gate::new(network.clone(), Box::new(servers))),
        cors: Default::default(),
        network,
        conditions: Rc::default(),
        signal_is_known: true,
        served: Vec::new(),
        policy: SyncPolicy::default(),
        permissions: Default::default(),
        limits: Limits::default(),
        pace: Pace::default(),
        on_stuck: None,
        user_agent: "test".to_owned(),
        seed: None,
        coverage: None,
        inspector: None,
        debugged: Arc::default(),
        sync_threads: Threads::HostOnly,
        indexed_db: IndexedDbs::new(None, Threads::HostOnly),
        push_service: Url::parse("https://push.test/").expect("a URL"),
        buckets: Default::default(),
        keeps_code: false,
        trace: TraceHub::new(Box::new(move |event| drop(trace.send(event.to_string()))), 1),
        started: None,
        gauge: Gauge::new(Box::new(|_| {})),
    })
}
