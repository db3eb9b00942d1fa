//! The host thread's main function: opens the shard, then serves commands until the last handle is
//! gone.
//!
//! Invariant: in a simulation time passes only while a command runs.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};

use kittiwake_store::{Store, shard_folder};
use tokio::runtime::{Builder as TokioBuilder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::Instant;
use url::{Origin, Url};

use super::builder::Time;
use super::{Builder, Command, Error};
use crate::buckets::Buckets;
use crate::door_guard::{DoorFaults, DoorGuard};
use crate::doors::{
    Clock, Entropy, HostDoors, SeededEntropy, SimulatedClock, SystemClock, SystemEntropy,
};
use crate::embedders_doors::{EmbeddersClock, EmbeddersEntropy};
use crate::engine::outlive_engine;
use crate::helper::Helper;
use crate::host::{Shard, ShardParts};
use crate::http::{
    EmbeddersHttp, Gate, Http, Link, NetworkPolicy, OriginFiles, Policed, ReqwestHttp, Root,
    Upstream,
};
use crate::indexed_db::{IndexedDbs, Threads};
use crate::limits::{Limit, LimitSetting, Limits};
use crate::measure::Gauge;
use crate::network::{Conditions, NetworkState};
use crate::quiet::{on_thread_park, quiet};
use crate::scheduler;
use crate::simulation::{ScriptedServers, ServersFirst};
use crate::time_jumps;
use crate::trace_hub::TraceHub;

/// One shard among others.
pub(super) struct ShardPlace {
    pub(super) number: usize,
    pub(super) shards: usize,
    /// The first shard's is open already.
    pub(super) store: Option<Store>,
    pub(super) faults: DoorFaults,
    pub(super) trace: Arc<TraceHub>,
    pub(super) started: Option<Instant>,
}

/// What is called before a host thread waits.
pub(super) type RestHook = Arc<dyn Fn() + Send + Sync>;

impl Builder {
    /// Calls `rest` on a host thread each time when nothing is left to run there, before it waits,
    /// and when it ends: then is due what [`Builder::on_trace`] has put off. A call that finds
    /// nothing due should cost nothing.
    pub fn on_rest(mut self, rest: impl Fn() + Send + Sync + 'static) -> Self {
        self.rest = Arc::new(rest);
        self
    }
}

/// Tells the trace when a shard has ended, however it ends.
struct Ended {
    trace: Arc<TraceHub>,
    rest: RestHook,
}

impl Drop for Ended {
    fn drop(&mut self) {
        (self.rest)();
        self.trace.shard_has_ended();
    }
}

pub(super) fn run_host_thread(
    builder: Builder,
    place: ShardPlace,
    incoming: mpsc::Receiver<Command>,
    report: std::sync::mpsc::SyncSender<Result<(), Error>>,
) {
    if let Some(tell) = builder.outlive_engine.clone() {
        outlive_engine(tell);
    }
    let time = builder.time;
    let rest = builder.rest.clone();
    let _ended = Ended { trace: place.trace.clone(), rest: rest.clone() };
    let serve = serve(builder, place, incoming, report.clone());
    let mut tokio = TokioBuilder::new_current_thread();
    tokio.enable_all().on_thread_park(move || {
        on_thread_park();
        rest();
    });
    let served = match time {
        Time::Simulated { .. } => {
            let helper = Helper::install(&mut tokio);
            tokio.start_paused(true).build().map(|tokio| {
                // Dropped before `tokio`, also by a panic.
                let _helper = helper;
                LocalSet::new().block_on(&tokio, serve);
            })
        }
        // Its one queue has the tasks of realms and those of connections. A `LocalSet` has its own,
        // and between the two the thread asks the system each time whether something has come.
        Time::Real => tokio.build_local(LocalOptions::default()).map(|tokio| tokio.block_on(serve)),
    };
    if let Err(error) = served {
        let _ = report.send(Err(Error::Thread(Arc::new(error))));
    }
}

/// Opens the shard, reports how that went, and serves until nobody commands any more.
async fn serve(
    builder: Builder,
    place: ShardPlace,
    incoming: mpsc::Receiver<Command>,
    report: std::sync::mpsc::SyncSender<Result<(), Error>>,
) {
    let time = builder.time;
    let shard = match open_shard(builder, place) {
        Ok(shard) => shard,
        Err(error) => {
            let _ = report.send(Err(error));
            return;
        }
    };
    tokio::task::spawn_local(scheduler::run(shard.clone()));
    tokio::task::spawn_local(shard.clone().remove_released_bodies());
    let _ = report.send(Ok(()));
    match time {
        Time::Real => {
            tokio::task::spawn_local(time_jumps::watch(shard.clone()));
            if shard.keeps_spare() {
                tokio::task::spawn_local(shard.clone().keep_spare());
            }
            serve_commands(&shard, incoming).await;
        }
        Time::Simulated { .. } => serve_commands_in_turn(&shard, incoming).await,
    }
    if let Err(error) = shard.shut_down() {
        shard.trace_store_error(&error);
    }
}

fn open_shard(mut builder: Builder, place: ShardPlace) -> Result<Rc<Shard>, Error> {
    if let Some(folder) = &mut builder.state {
        *folder = shard_folder(folder, place.number);
    }
    builder.pace = builder.pace.part_of(place.shards);
    builder.network_policy = bounded(builder.network_policy, &mut builder.limits);
    let store = match (place.store, &builder.state) {
        (Some(store), _) => store,
        (None, Some(folder)) => Store::open(folder)?,
        (None, None) => Store::in_memory()?,
    };
    store.cache_recover()?;
    let buckets = Buckets::recover(&store, builder.state.as_deref())?;
    let guard = DoorGuard::new(place.faults, builder.limits.time(Limit::Turn));
    let host_doors = host_doors(&builder);
    let network = Rc::new(Cell::new(NetworkState::Online));
    let conditions = Rc::new(RefCell::new(Conditions::default()));
    let (clock, entropy, seed) = time_and_chance(&builder, &guard);
    let threads = if seed.is_some() { Threads::HostOnly } else { Threads::Blocking };
    let servers = servers_of(&mut builder, &guard);
    let measure = Box::new(move |measurement| {
        let mut measure = builder.measure.lock().unwrap_or_else(PoisonError::into_inner);
        (*measure)(measurement);
    });
    let (http, served) = with_own_origins(servers, builder.upstreams, builder.files)?;
    let http = with_servers_first(http, builder.servers_first);
    let link = Link::new(conditions.clone(), fate_of_the_link(seed), Rc::from(http));
    let shard = Shard::new(ShardParts {
        store,
        clock,
        entropy,
        host_doors,
        door_guard: guard,
        http: Rc::new(Gate::new(network.clone(), Box::new(link))),
        cors: builder.cors,
        network,
        conditions,
        signal_is_known: builder.signal_is_known,
        served,
        policy: builder.policy,
        permissions: builder.permissions,
        user_agent: builder.user_agent,
        seed,
        // Code that was compiled without counters counts nothing.
        keeps_code: builder.state.is_some()
            && builder.coverage.is_none()
            && builder.pace.code.total_bytes > 0,
        coverage: builder.coverage,
        inspector: builder.inspector,
        debugged: Arc::default(),
        // Memory is not waited for.
        sync_threads: if builder.state.is_some() { threads } else { Threads::HostOnly },
        limits: builder.limits,
        pace: builder.pace,
        indexed_db: IndexedDbs::new(builder.state, threads),
        push_service: builder.push_service,
        buckets,
        trace: place.trace,
        on_stuck: builder.on_stuck,
        gauge: Gauge::new(measure),
        started: place.started,
    });
    scheduler::recover(&shard)?;
    shard.resume_background_fetches()?;
    shard.activate_stored()?;
    shard.wake.wake(&shard.activity);
    Ok(shard)
}

/// A response is bounded by the network policy and by [`Limit::Response`], whichever is less.
fn bounded(policy: NetworkPolicy, limits: &mut Limits) -> NetworkPolicy {
    let amount = policy.response_bytes.unwrap_or(u64::MAX).min(limits.of(Limit::Response));
    limits.set(LimitSetting { limit: Limit::Response, amount });
    NetworkPolicy { response_bytes: (amount < u64::MAX).then_some(amount), ..policy }
}

/// Scripts ask the host where the engine would tell something else.
fn host_doors(builder: &Builder) -> HostDoors {
    let is_simulated = matches!(builder.time, Time::Simulated { .. });
    HostDoors {
        clock: is_simulated || builder.clock.is_some(),
        entropy: is_simulated || builder.entropy.is_some(),
    }
}

type TimeAndChance = (Rc<dyn Clock>, Rc<dyn Entropy>, Option<u64>);

/// Clock and entropy, and the seed of a simulation.
fn time_and_chance(builder: &Builder, guard: &DoorGuard) -> TimeAndChance {
    let (clock, entropy, seed): TimeAndChance = match builder.time {
        Time::Real => (Rc::new(SystemClock), Rc::new(SystemEntropy::default()), None),
        Time::Simulated { seed } => {
            (Rc::new(SimulatedClock::default()), Rc::new(SeededEntropy::new(seed)), Some(seed))
        }
    };
    let clock = builder
        .clock
        .as_ref()
        .map_or(clock, |own| Rc::new(EmbeddersClock::new(own.clone(), guard.clone())));
    let entropy = builder
        .entropy
        .as_ref()
        .map_or(entropy, |own| Rc::new(EmbeddersEntropy::new(own.clone(), guard.clone())));
    (clock, entropy, seed)
}

/// Whoever answers what no folder and no other server does.
fn servers_of(builder: &mut Builder, guard: &DoorGuard) -> Box<dyn Http> {
    let policy = Arc::new(builder.network_policy.clone());
    let is_simulated = matches!(builder.time, Time::Simulated { .. });
    let servers: Rc<dyn Http> = match (builder.servers.take(), builder.http.take()) {
        (Some(servers), _) => Rc::new(servers),
        (None, Some(door)) => Rc::new(EmbeddersHttp::new(door, guard.clone(), is_simulated)),
        (None, None) if is_simulated => Rc::new(ScriptedServers::default()),
        (None, None) => {
            let routes = Arc::new(std::mem::take(&mut builder.routes));
            Rc::new(ReqwestHttp::new(&builder.user_agent, routes, policy.clone()))
        }
    };
    Box::new(Policed::new(policy, servers))
}

/// A sequence of its own, so that a lossy network leaves the scripts' random numbers alone.
fn fate_of_the_link(seed: Option<u64>) -> Rc<dyn Entropy> {
    match seed {
        None => Rc::new(SystemEntropy::default()),
        Some(seed) => Rc::new(SeededEntropy::new(!seed)),
    }
}

/// The door before the one that was given, and the origins that are served from files.
type OwnOrigins = (Box<dyn Http>, Vec<(Origin, Root)>);

/// Origins that are served from another server or from files come before the network.
fn with_own_origins(
    mut http: Box<dyn Http>,
    upstreams: Vec<(Url, Url)>,
    files: Vec<(Url, PathBuf)>,
) -> Result<OwnOrigins, Error> {
    let mut served = Vec::new();
    let proxied: Vec<_> = upstreams.iter().map(|(origin, _)| origin.origin()).collect();
    for (origin, upstream) in upstreams {
        http = Box::new(Upstream::new(origin, upstream, http));
    }
    for (origin, folder) in files {
        let files = OriginFiles::new(&origin, &folder, http)
            .map_err(|cause| Error::Files { folder, cause: Arc::new(cause) })?;
        served.push((origin.origin(), files.root()));
        http = Box::new(match proxied.contains(&origin.origin()) {
            true => files.in_front_of_upstream(),
            false => files,
        });
    }
    Ok((http, served))
}

/// A test scripts routes of the app's own server too.
fn with_servers_first(http: Box<dyn Http>, first: Option<ScriptedServers>) -> Box<dyn Http> {
    match first {
        Some(servers) => Box::new(ServersFirst::new(servers, http)),
        None => http,
    }
}

/// In real time, commands run beside each other.
async fn serve_commands(shard: &Rc<Shard>, mut incoming: mpsc::Receiver<Command>) {
    loop {
        let command = tokio::select! {
            command = incoming.recv() => command,
            () = shard.stopped.notified() => None,
        };
        // Without a command there is no handle left, or one of them has shut everything down.
        let Some(command) = command else { break };
        tokio::task::spawn_local(command(shard.clone()));
    }
}

/// In a simulation, one command runs after the other, each from a quiet shard; and while none runs
/// the thread is blocked, so that time stands still until somebody asks for something.
async fn serve_commands_in_turn(shard: &Rc<Shard>, mut incoming: mpsc::Receiver<Command>) {
    loop {
        quiet().await;
        let Some(command) = deno_core::futures::executor::block_on(incoming.recv()) else {
            break;
        };
        command(shard.clone()).await;
        if shard.is_stopping() {
            break;
        }
    }
}
