//! What a runtime is made of, and how it starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kittiwake_ops::{Permission, PermissionState};
use kittiwake_store::{Store, SyncPolicy};
use tokio::time::Instant;
use url::Url;

use super::starting::Starting;
use super::thread::{RestHook, ShardPlace};
use super::{Error, Runtime};
use crate::coverage::Coverage;
use crate::door_guard::DoorFaults;
use crate::doors::{Clock, Entropy};
use crate::engine::FailureHook;
use crate::fetch::Cors;
use crate::host::TraceSink;
use crate::http::{HttpDoor, NetworkPolicy};
use crate::inspector::Inspector;
use crate::limits::{Limit, LimitSetting, Limits};
use crate::measure::{MeasureSink, Measurement};
use crate::permissions::PermissionPolicy;
use crate::policy::require_forward_time;
use crate::residency::{Pace, ResidencyLimits};
use crate::simulation::ScriptedServers;
use crate::trace::TraceEvent;
use crate::trace_hub::TraceHub;
use crate::turnstile::{Admissions, Turnstile};
use crate::watchdog::StuckHook;

/// What a [`Runtime`] is made of. See each method for what holds without it.
#[derive(Clone)]
pub struct Builder {
    pub(super) state: Option<PathBuf>,
    pub(super) shards: Option<usize>,
    pub(super) time: Time,
    pub(super) signal_is_known: bool,
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(super) entropy: Option<Arc<dyn Entropy>>,
    pub(super) http: Option<Arc<dyn HttpDoor>>,
    pub(super) servers: Option<ScriptedServers>,
    /// What comes before files.
    pub(super) servers_first: Option<ScriptedServers>,
    pub(super) files: Vec<(Url, PathBuf)>,
    pub(super) upstreams: Vec<(Url, Url)>,
    pub(super) cors: Cors,
    pub(super) network_policy: NetworkPolicy,
    pub(super) routes: BTreeMap<String, SocketAddr>,
    pub(super) policy: SyncPolicy,
    pub(super) permissions: PermissionPolicy,
    pub(super) limits: Limits,
    pub(super) pace: Pace,
    pub(super) user_agent: String,
    pub(super) push_service: Url,
    pub(super) coverage: Option<Coverage>,
    pub(super) inspector: Option<Inspector>,
    admissions: Admissions,
    trace: Arc<Mutex<TraceSink>>,
    pub(super) rest: RestHook,
    pub(super) measure: Arc<Mutex<MeasureSink>>,
    pub(super) on_stuck: Option<StuckHook>,
    pub(super) outlive_engine: Option<FailureHook>,
}

#[derive(Clone, Copy)]
pub(super) enum Time {
    Real,
    Simulated { seed: u64 },
}

impl Default for Builder {
    fn default() -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Builder {
            state: None,
            shards: None,
            time: Time::Real,
            signal_is_known: true,
            clock: None,
            entropy: None,
            http: None,
            servers: None,
            servers_first: None,
            files: Vec::new(),
            upstreams: Vec::new(),
            cors: Cors::default(),
            network_policy: NetworkPolicy::default(),
            routes: BTreeMap::new(),
            policy: SyncPolicy::default(),
            permissions: PermissionPolicy::default(),
            limits: Limits::default(),
            pace: Pace::default(),
            user_agent: format!("Mozilla/5.0 (X11; Linux x86_64) Kittiwake/{version}"),
            push_service: Url::parse("https://push.kittiwake.invalid/").expect("a URL"),
            coverage: None,
            inspector: None,
            admissions: Admissions::default(),
            trace: Arc::new(Mutex::new(Box::new(|_| {}))),
            rest: Arc::new(|| {}),
            measure: Arc::new(Mutex::new(Box::new(|_| {}))),
            on_stuck: None,
            outlive_engine: None,
        }
    }
}

impl Builder {
    /// Keeps state in this folder, which is made if it is missing, and locked by this process.
    /// Without it, state is in memory and ends with the runtime.
    pub fn state_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.state = Some(folder.into());
        self
    }

    /// Divides origins over so many host threads, so that they use so many cores: whatever is of
    /// one origin is on one of them, and the threads have nothing in common. A state folder is
    /// divided in the same way for ever: without a number, it is what the folder says, or 1.
    ///
    /// Limits of realms, of memory, of kept code and of sync events are for all together, and each
    /// shard has its part; every shard has a page in front of its own.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Simulates: time stands still but for waits, which take no time at all; dates start at
    /// 2025-01-01, random numbers follow `seed`, and requests go to the scripted servers only.
    pub fn simulated(mut self, seed: u64) -> Self {
        self.time = Time::Simulated { seed };
        self
    }

    /// Asks this clock what time it is, instead of the machine's: for `Date`, for due times, for
    /// what expires. Timers and limits count real time all the same, and a clock that is set ahead
    /// is noticed within five seconds. Not in a simulation, whose clock moves with its timers
    /// ([`Error::ClockInSimulation`]).
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Takes the numbers of `Math.random` from here, in a simulation too. Keys and identifiers come
    /// from the crypto library all the same.
    pub fn entropy(mut self, entropy: impl Entropy + 'static) -> Self {
        self.entropy = Some(Arc::new(entropy));
        self
    }

    /// Sends requests by this door instead of by the network: those of scripts and those that
    /// Kittiwake loads itself. [`Builder::serve`] and [`Builder::upstream`] come before it;
    /// WebSockets find no server. Of a [`NetworkPolicy`] it keeps what is about names and bodies;
    /// the addresses are the door's own to check.
    pub fn http(mut self, door: impl HttpDoor) -> Self {
        self.http = Some(Arc::new(door));
        self
    }

    /// Fires no sync before a network signal is followed, by [`Runtime::set_network`] and its like;
    /// requests pass meanwhile. Without it, the network counts as online from the start.
    pub fn await_network_signal(mut self) -> Self {
        self.signal_is_known = false;
        self
    }

    /// Sends requests to these servers instead of the network. In a simulation without any, each
    /// request outside [`Builder::serve`] fails.
    pub fn servers(mut self, servers: ScriptedServers) -> Self {
        self.servers = Some(servers);
        self
    }

    /// As [`Builder::servers`], for the world of a test: what they script at an origin that is
    /// served from files comes before the files.
    pub(crate) fn test_servers(self, servers: ScriptedServers) -> Self {
        Builder { servers: Some(servers.clone()), servers_first: Some(servers), ..self }
    }

    /// Answers requests to the origin of `origin` with the files under `folder`. Like all requests,
    /// these fail while the network signal is offline.
    pub fn serve(mut self, origin: Url, folder: impl Into<PathBuf>) -> Self {
        self.files.push((origin, folder.into()));
        self
    }

    /// Sends requests to the origin of `origin` to the server of `upstream`, an `http` or `https`
    /// URL, as a reverse proxy does: it sees itself as their host, and its redirects to itself are
    /// redirects to the origin. Files that [`Builder::serve`] has for the origin come first; what
    /// is no file, or asks for more than to read one, goes upstream. A network policy is about
    /// `upstream`.
    pub fn upstream(mut self, origin: Url, upstream: Url) -> Self {
        self.upstreams.push((origin, upstream));
        self
    }

    /// Which servers may be reached, and what these may cost: of `fetch()` and of everything that
    /// Kittiwake loads itself, on every redirect. Folders that are served by [`Builder::serve`] are
    /// no servers. By default everything is allowed.
    pub fn network_policy(mut self, policy: NetworkPolicy) -> Self {
        self.network_policy = policy;
        self
    }

    /// Whether servers decide what another origin's scripts may read of them. By default they are
    /// not asked ([`Cors::Relax`]).
    pub fn cors(mut self, cors: Cors) -> Self {
        self.cors = cors;
        self
    }

    /// Sends requests to the origin of `origin` to `address` instead, over plain HTTP whatever the
    /// origin's scheme is, and asks no name server: a test server stands in for a site. The `host`
    /// header stays the origin's. Without effect in a simulation or beside [`Builder::servers`].
    pub fn route(mut self, origin: &Url, address: SocketAddr) -> Self {
        self.routes.insert(origin.origin().ascii_serialization(), address);
        self
    }

    /// The rules of background sync. By default Chromium's.
    pub fn sync_policy(mut self, policy: SyncPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// How many pages may be open, those that scripts open included; each takes some megabytes. By
    /// default 1000.
    pub fn page_limit(self, pages: usize) -> Self {
        self.limit(Limit::Pages, pages as u64)
    }

    /// Where the endpoints of push subscriptions are: a folder's URL, at which you answer with
    /// [`Runtime::receive_push`]. Without it, `https://push.kittiwake.invalid/`, which no server
    /// has. Subscriptions keep the last part of their endpoint when this changes.
    pub fn push_service(mut self, folder: Url) -> Self {
        self.push_service = folder;
        self
    }

    /// Grants or denies a feature to every origin. By default both kinds of sync are granted:
    /// nobody can be asked, and a tool for tests should not need to be. A browser grants
    /// `periodic-background-sync` to installed apps only. While that is denied, no periodic sync
    /// fires; `background-sync` is asked for by `register()` alone, as in Chromium.
    pub fn permission(mut self, permission: Permission, state: PermissionState) -> Self {
        self.permissions.set(permission, state);
        self
    }

    /// How many sync events may be under way at once, in all and of one registration; the others
    /// wait; origins take turns, and the registrations of each. By default 256 and 64; Chromium has
    /// no bounds.
    pub fn sync_concurrency(mut self, total: usize, per_registration: usize) -> Self {
        self.pace.syncs = total.max(1);
        self.pace.syncs_per_registration = per_registration.max(1);
        self
    }

    /// How much may be under way at once of what handles ask for (registrations, requests until
    /// their head is there, sync and push events), in all and of one origin. Whoever asks for more
    /// waits, in the caller's own future, and origins that wait take turns. By default 1024 and
    /// 256.
    pub fn request_concurrency(mut self, total: usize, per_origin: usize) -> Self {
        let (total, per_origin) = (total.max(1), per_origin.max(1));
        self.admissions = Admissions { total, per_origin };
        self
    }

    /// Fires no registered sync, whatever the network: on disk each stays as it is.
    /// [`Runtime::dispatch_sync`] still dispatches.
    pub fn hold_syncs(mut self) -> Self {
        self.pace.syncs = 0;
        self
    }

    /// How much scripts may have of something, in its unit: bytes, milliseconds or a number;
    /// `u64::MAX` for no limit. [`Limit`] says what each is about and what happens when a script
    /// wants more, [`Limits::default`] what holds otherwise. What strikes is in the trace.
    pub fn limit(mut self, limit: Limit, amount: u64) -> Self {
        self.limits.set(LimitSetting { limit, amount });
        self
    }

    /// Real time that one turn of JavaScript may take before its realm is terminated. By default
    /// 10 s.
    pub fn turn_limit(self, limit: Duration) -> Self {
        self.limit(Limit::Turn, limit.as_millis().try_into().unwrap_or(u64::MAX))
    }

    /// Bytes that the JavaScript heap of one realm may have before the realm is terminated. By
    /// default 256 MiB. Array buffers are outside it, and have [`Limit::Buffers`].
    pub fn heap_limit(self, bytes: usize) -> Self {
        self.limit(Limit::Heap, bytes as u64)
    }

    /// Bytes that one origin may keep in its caches: `quota` of `navigator.storage.estimate()`.
    /// What would exceed it rejects with `QuotaExceededError`. By default 10 GiB; nothing is ever
    /// evicted.
    pub fn storage_quota(self, bytes: u64) -> Self {
        self.limit(Limit::Storage, bytes)
    }

    /// Bytes that the state folder may have of what V8 made of workers' scripts, so that workers
    /// start faster: what was kept first makes room. It is made after a worker's first event that
    /// went well. By default 512 MiB; with 0 nothing is kept. Without a state folder nothing ever
    /// is.
    pub fn code_cache_limit(mut self, bytes: u64) -> Self {
        self.pace.code.total_bytes = bytes;
        self
    }

    /// How many realms stay in memory (workers and pages), and how many bytes they may have: where
    /// one more is to start, the workers that have been idle for longest are stopped, and their
    /// next events start them again. Workers that have an event, and pages, are never stopped for
    /// room. By default 256 realms and 2 GiB. In a simulation bytes are not counted.
    pub fn resident_limit(mut self, realms: usize, bytes: usize) -> Self {
        self.pace.residency = ResidencyLimits { realms, bytes };
        self
    }

    /// Whether a blank realm may wait in memory for the worker or page that is needed next, which
    /// then starts in a fraction of the time. A shard makes one when a worker was started for an
    /// event and the thread has had nothing to do for a moment, and another when it is taken. It
    /// takes about 4 MB, counts as one of the realms of [`Builder::resident_limit`], and goes when
    /// memory is short; [`Runtime::idle`] waits for one that is about to be made. By default
    /// `true`, which fits what lives long; in a simulation there never is one.
    pub fn spare_realm(mut self, is_kept: bool) -> Self {
        self.pace.spare = is_kept;
        self
    }

    /// Time without an event after which a worker is stopped; its next event starts it again. By
    /// default 30 s, as in Chromium.
    pub fn idle_limit(mut self, limit: Duration) -> Self {
        self.pace.idle = limit;
        self
    }

    /// Counts what the scripts of workers and pages run. What happens stays the same, and takes
    /// longer. With `None`, as by default, nothing is counted and nothing is slower.
    pub fn coverage(mut self, coverage: impl Into<Option<Coverage>>) -> Self {
        self.coverage = coverage.into();
        self
    }

    /// Lets debuggers at the workers and pages. Whoever can connect runs code as they do: see
    /// [`Inspector`]. With `None`, as by default, nobody can.
    pub fn inspector(mut self, inspector: impl Into<Option<Inspector>>) -> Self {
        self.inspector = inspector.into();
        self
    }

    /// Calls `watch` for each event, in order, on a host thread: what blocks it, blocks all. For a
    /// reader that may be slow there is [`Runtime::trace_events`].
    pub fn on_trace(mut self, watch: impl FnMut(&TraceEvent) + Send + 'static) -> Self {
        self.trace = Arc::new(Mutex::new(Box::new(watch)));
        self
    }

    /// Calls `measure` for each event and each commit when it is over, on a host thread: what
    /// blocks it, blocks all.
    pub fn on_measurement(mut self, measure: impl FnMut(Measurement) + Send + 'static) -> Self {
        self.measure = Arc::new(Mutex::new(Box::new(measure)));
        self
    }

    /// Calls `tell`, on another thread, when a turn of JavaScript has not ended `patience` after it
    /// was told to: it is in a function of V8's that cannot be interrupted, and all realms of its
    /// thread wait for it, perhaps for ever. There is nothing to be done but to end the process; a
    /// stop at any moment loses nothing that was told as kept. Half a minute is a good patience.
    /// Without it, nobody is told.
    pub fn on_stuck_turn(
        mut self,
        patience: Duration,
        tell: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        self.on_stuck = Some(StuckHook { patience, tell: Arc::new(tell) });
        self
    }

    /// When V8 fails on a host thread, the process lives on: `tell` hears why, and the thread is
    /// lost. So may be what it shared with others, which is good enough for tests.
    pub(crate) fn outlive_engine(mut self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.outlive_engine = Some(Arc::new(tell));
        self
    }

    /// Opens the store and starts the host threads. Blocks until both are done.
    ///
    /// The first start of a process initialises V8, on this thread. A program that uses V8 by
    /// itself too does so after that, on this thread or on those that it starts from then on.
    ///
    /// # Errors
    ///
    /// [`Error::Policy`], [`Error::Limit`], [`Error::Store`], [`Error::Files`], [`Error::Thread`],
    /// [`Error::Shards`], [`Error::ClockInSimulation`], [`Error::Door`] and, where V8 has been
    /// initialised by somebody else, [`Error::EngineTaken`]. What is on disk is as it was then.
    pub fn start(self) -> Result<Runtime, Error> {
        require_forward_time(&self.policy)?;
        self.limits.check()?;
        let is_simulated = matches!(self.time, Time::Simulated { .. });
        if is_simulated && self.clock.is_some() {
            return Err(Error::ClockInSimulation);
        }
        if let Some(shards) = self.shards.filter(|shards| *shards == 0 || *shards > SHARDS_AT_MOST)
        {
            return Err(Error::Shards { shards });
        }
        let (store, shards) = self.open_first_store()?;
        if is_simulated && shards > 1 {
            return Err(Error::Shards { shards });
        }
        let faults = DoorFaults::new();
        let watch = self.trace.clone();
        let tell = move |event: &TraceEvent| {
            let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
            (*watch)(event);
        };
        let trace = TraceHub::new(Box::new(tell), shards);
        // In a simulation, the only shard has a time of its own.
        let started = (shards > 1).then(Instant::now);
        let mut starting = Starting::default();
        let mut first_store = Some(store);
        for number in 0..shards {
            let place = ShardPlace {
                number,
                shards,
                store: first_store.take(),
                faults: faults.clone(),
                trace: trace.clone(),
                started,
            };
            starting.start(self.clone(), place, &faults)?;
        }
        Ok(Runtime {
            shards: starting.commands.into(),
            threads: Arc::new(Mutex::new(starting.threads)),
            faults,
            trace,
            turnstile: Turnstile::new(self.admissions),
        })
    }

    /// The first shard's store says how many there are.
    fn open_first_store(&self) -> Result<(Store, usize), Error> {
        let Some(folder) = &self.state else {
            return Ok((Store::in_memory()?, self.shards.unwrap_or(1)));
        };
        let store = Store::open(folder)?;
        let shards = store.divide(folder, self.shards)?;
        Ok((store, shards))
    }
}

/// More than machines have cores; each takes threads, files and memory.
const SHARDS_AT_MOST: usize = 1024;
