//! The host thread's main function: opens the shard, then serves commands until the last handle is
//! gone.
//!
//! Invariant: in a simulation time passes only while a command runs.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use kittiwake_store::Store;
use tokio::runtime::Builder as TokioBuilder;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use url::{Origin, Url};

use super::builder::Time;
use super::{Builder, Command, Error};
use crate::buckets::Buckets;
use crate::doors::{Clock, Entropy, SeededEntropy, SimulatedClock, SystemClock, SystemEntropy};
use crate::helper::Helper;
use crate::host::{Shard, ShardParts};
use crate::http::{Gate, Http, Link, OriginFiles, Policed, ReqwestHttp, Root, Upstream};
use crate::indexed_db::{IndexedDbs, Threads};
use crate::measure::Gauge;
use crate::network::{Conditions, NetworkState};
use crate::quiet::{on_thread_park, quiet};
use crate::scheduler;
use crate::simulation::{ScriptedServers, ServersFirst};
use crate::time_jumps;

pub(super) fn run_host_thread(
    builder: Builder,
    incoming: mpsc::Receiver<Command>,
    report: std::sync::mpsc::SyncSender<Result<(), Error>>,
) {
    let time = builder.time;
    let mut tokio = TokioBuilder::new_current_thread();
    tokio.enable_all().on_thread_park(on_thread_park);
    let helper = match time {
        Time::Simulated { .. } => Some(Helper::install(&mut tokio)),
        Time::Real => None,
    };
    let tokio = match tokio.start_paused(matches!(time, Time::Simulated { .. })).build() {
        Ok(tokio) => tokio,
        Err(error) => {
            let _ = report.send(Err(Error::Thread(Arc::new(error))));
            return;
        }
    };
    // Dropped before `tokio`, also by a panic.
    let _helper = helper;
    LocalSet::new().block_on(&tokio, async move {
        let shard = match open_shard(builder) {
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
                serve_commands(&shard, incoming).await;
            }
            Time::Simulated { .. } => serve_commands_in_turn(&shard, incoming).await,
        }
        if let Err(error) = shard.shut_down() {
            shard.trace_store_error(&error);
        }
    });
}

fn open_shard(builder: Builder) -> Result<Rc<Shard>, Error> {
    let store = match &builder.state {
        Some(folder) => Store::open(folder),
        None => Store::in_memory(),
    };
    let store = store?;
    store.cache_recover()?;
    let buckets = Buckets::recover(&store, builder.state.as_deref())?;
    let network = Rc::new(Cell::new(NetworkState::Online));
    let policy = Arc::new(builder.network_policy);
    let servers: Rc<dyn Http> = match (builder.servers, builder.time) {
        (Some(servers), _) => Rc::new(servers),
        (None, Time::Simulated { .. }) => Rc::new(ScriptedServers::default()),
        (None, Time::Real) => {
            let routes = Arc::new(builder.routes);
            Rc::new(ReqwestHttp::new(&builder.user_agent, routes, policy.clone()))
        }
    };
    let http = Box::new(Policed::new(policy, servers));
    let (http, served) = with_own_origins(http, builder.upstreams, builder.files)?;
    let http = with_servers_first(http, builder.servers_first);
    let (clock, entropy, seed): (Rc<dyn Clock>, Rc<dyn Entropy>, _) = match builder.time {
        Time::Real => (Rc::new(SystemClock), Rc::new(SystemEntropy::default()), None),
        Time::Simulated { seed } => {
            (Rc::new(SimulatedClock::default()), Rc::new(SeededEntropy::new(seed)), Some(seed))
        }
    };
    let keeps_code = builder.state.is_some() && builder.limits.code.total_bytes > 0;
    let threads = if seed.is_some() { Threads::HostOnly } else { Threads::Blocking };
    // A sequence of its own, so that a lossy network leaves the scripts' random numbers alone.
    let fate: Rc<dyn Entropy> = match seed {
        None => Rc::new(SystemEntropy::default()),
        Some(seed) => Rc::new(SeededEntropy::new(!seed)),
    };
    let conditions = Rc::new(RefCell::new(Conditions::default()));
    let link = Link::new(conditions.clone(), fate, Rc::from(http));
    let shard = Shard::new(ShardParts {
        store,
        clock,
        entropy,
        http: Rc::new(Gate::new(network.clone(), Box::new(link))),
        cors: builder.cors,
        network,
        conditions,
        signal_is_known: builder.signal_is_known,
        served,
        policy: builder.policy,
        permissions: builder.permissions,
        limits: builder.limits,
        user_agent: builder.user_agent,
        seed,
        coverage: builder.coverage,
        inspector: builder.inspector,
        // Memory is not waited for.
        sync_threads: if builder.state.is_some() { threads } else { Threads::HostOnly },
        indexed_db: IndexedDbs::new(builder.state, threads),
        push_service: builder.push_service,
        buckets,
        keeps_code,
        trace: builder.trace,
        gauge: Gauge::new(builder.measure),
    });
    scheduler::recover(&shard)?;
    shard.resume_background_fetches()?;
    shard.activate_stored()?;
    shard.wake.wake(&shard.activity);
    Ok(shard)
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
