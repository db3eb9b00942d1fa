//! The handle that people embed: [`Runtime`], and the [`Builder`] that starts one.
//!
//! Invariant: a handle holds nothing but a way to send commands to the host thread; all state is
//! there.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use deno_core::futures::future::LocalBoxFuture;
use kittiwake_ops::{RealmId, ScriptException};
use kittiwake_store::{Store, StoreError, SyncPolicy, SyncState, UpdateViaCache};
use tokio::runtime::Builder as TokioBuilder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use url::Url;

use crate::doors::{Clock, Entropy, SeededEntropy, SimulatedClock, SystemClock, SystemEntropy};
use crate::engine::spawn_host_thread;
use crate::host::{Limits, Shard, ShardParts, TraceSink};
use crate::http::{Gate, Http, OriginFiles, ReqwestHttp};
use crate::lifecycle::{RegisterError, RegisterRequest, plain_exception};
use crate::network::{NetworkState, RealSignal, RealSignalError, Timeline};
use crate::pages::PageSource;
use crate::quiet::{on_thread_park, quiet};
use crate::realm::{Message, RealmError};
use crate::scheduler;
use crate::simulation::ScriptedServers;
use crate::trace::TraceEvent;

/// How many commands may wait before a sender has to.
const COMMAND_QUEUE: usize = 64;

/// Virtual time after which a simulation that never becomes idle counts as idle all the same: a page
/// with an interval, for example.
const SIMULATION_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

type Command = Box<dyn FnOnce(Rc<Shard>) -> LocalBoxFuture<'static, ()> + Send>;

/// A running Kittiwake: a host thread with its store, its realms and its scheduler.
///
/// Clones are handles to the same thread. It ends, in order, with [`Runtime::shut_down`] or with
/// the last handle.
#[derive(Clone)]
pub struct Runtime {
    commands: mpsc::Sender<Command>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// What a [`Runtime`] is made of. See each method for what holds without it.
pub struct Builder {
    state: Option<PathBuf>,
    time: Time,
    servers: Option<ScriptedServers>,
    files: Vec<(Url, PathBuf)>,
    policy: SyncPolicy,
    limits: Limits,
    user_agent: String,
    trace: TraceSink,
}

#[derive(Clone, Copy)]
enum Time {
    Real,
    Simulated { seed: u64 },
}

/// Names an open page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageId(RealmId);

/// Names a registered worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationInfo {
    /// The scope URL.
    pub scope: Url,
    /// The newest worker's script.
    pub script: Url,
}

/// A background sync that is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsettledSync {
    /// The scope of its registration.
    pub scope: String,
    /// Its tag.
    pub tag: String,
    /// Where it stands.
    pub state: SyncState,
    /// How many of its attempts have failed.
    pub failed_attempts: u32,
}

/// What can go wrong, in an operator's words.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The state folder, or what is in it.
    #[error("{0}")]
    Store(Arc<StoreError>),
    /// The folder to serve is not there, or cannot be read.
    #[error("cannot serve the folder {folder}: {cause}; give a folder that can be read")]
    Files {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        cause: Arc<std::io::Error>,
    },
    /// The operating system gave no thread or no event queue.
    #[error("the host thread cannot start: {0}")]
    Thread(Arc<std::io::Error>),
    /// The script could not be had, is no script, or threw.
    #[error("{script} was not registered: {reason}{}", cause_text(cause))]
    Registration {
        /// The script's URL.
        script: String,
        /// What went wrong, in Chromium's words.
        reason: String,
        /// What the script threw, or what the network said.
        cause: Option<ScriptException>,
    },
    /// A promise of the install event was rejected, or the event took too long.
    #[error("{script} was not installed: {cause}")]
    Install {
        /// The script's URL.
        script: String,
        /// The rejection.
        cause: ScriptException,
    },
    /// A page, or what it is to be made from, cannot be had.
    #[error("the page {url} was not opened: {reason}")]
    PageLoad {
        /// The page.
        url: Url,
        /// Why.
        reason: String,
    },
    /// A script of a page threw.
    #[error("{url}: {cause}")]
    Page {
        /// The page.
        url: Url,
        /// What it threw.
        cause: ScriptException,
    },
    /// A message for a scope that has no worker.
    #[error("no service worker is registered for {scope}; register one before posting to it")]
    NoWorker {
        /// The scope, or `any scope`.
        scope: String,
    },
    /// The real network signal cannot be watched.
    #[error("{0}")]
    Network(Arc<RealSignalError>),
    /// Real network with a simulated clock: every time-out would strike at once.
    #[error(
        "a simulated clock needs scripted servers or a manual network signal, not the real one"
    )]
    RealNetworkInSimulation,
    /// The host thread has ended.
    #[error("the runtime has been shut down")]
    Stopped,
}

impl Default for Builder {
    fn default() -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Builder {
            state: None,
            time: Time::Real,
            servers: None,
            files: Vec::new(),
            policy: SyncPolicy::default(),
            limits: Limits {
                turn: Duration::from_secs(30),
                event: Duration::from_secs(5 * 60),
                idle: Duration::from_secs(30),
            },
            user_agent: format!("Mozilla/5.0 (X11; Linux x86_64) Kittiwake/{version}"),
            trace: Box::new(|_| {}),
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

    /// Simulates: time stands still but for waits, which take no time at all; dates start at
    /// 2025-01-01, random numbers follow `seed`, and requests go to the scripted servers only.
    pub fn simulated(mut self, seed: u64) -> Self {
        self.time = Time::Simulated { seed };
        self
    }

    /// Sends requests to these servers instead of the network. In a simulation without any, each
    /// request outside [`Builder::serve`] fails.
    pub fn servers(mut self, servers: ScriptedServers) -> Self {
        self.servers = Some(servers);
        self
    }

    /// Answers requests to the origin of `origin` with the files under `folder`. Like all requests,
    /// these fail while the network signal is offline.
    pub fn serve(mut self, origin: Url, folder: impl Into<PathBuf>) -> Self {
        self.files.push((origin, folder.into()));
        self
    }

    /// The rules of background sync. By default Chromium's.
    pub fn sync_policy(mut self, policy: SyncPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Real time that one turn of JavaScript may take before its realm is terminated. By default
    /// 30 s.
    pub fn turn_limit(mut self, limit: Duration) -> Self {
        self.limits.turn = limit;
        self
    }

    /// Calls `watch` for each event, in order, on the host thread: what blocks it, blocks all.
    pub fn on_trace(mut self, watch: impl FnMut(&TraceEvent) + Send + 'static) -> Self {
        self.trace = Box::new(watch);
        self
    }

    /// Opens the store and starts the host thread. Blocks until both are done.
    ///
    /// # Errors
    ///
    /// [`Error::Store`], [`Error::Files`] and [`Error::Thread`]; nothing has been changed then.
    pub fn start(self) -> Result<Runtime, Error> {
        let (commands, incoming) = mpsc::channel(COMMAND_QUEUE);
        let (report, started) = std::sync::mpsc::sync_channel(1);
        let main = move || run_host_thread(self, incoming, report);
        let thread = spawn_host_thread(Box::new(main)).map_err(|e| Error::Thread(Arc::new(e)))?;
        started.recv().map_err(|_| Error::Stopped)??;
        Ok(Runtime { commands, thread: Arc::new(Mutex::new(Some(thread))) })
    }
}

impl Runtime {
    /// A builder with the defaults: state in memory, real clock, real network.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Registers a service worker and waits until it is activated, or waits for its predecessor's
    /// pages. A worker that is registered already and up to date is left as it is.
    ///
    /// # Errors
    ///
    /// [`Error::Registration`] and [`Error::Install`]: then what was there before is still there.
    pub async fn register(
        &self,
        script: Url,
        scope: Option<Url>,
    ) -> Result<RegistrationInfo, Error> {
        self.ask(move |shard| async move { register(&shard, script, scope).await }).await?
    }

    /// Opens a page and runs its scripts. Answers when they have run; what they started goes on.
    ///
    /// # Errors
    ///
    /// [`Error::PageLoad`]; [`Error::Page`] with the first exception, though the page is open then.
    pub async fn open_page(&self, url: Url, source: PageSource) -> Result<PageId, Error> {
        let opened = self.ask(move |shard| async move {
            let (url, scripts) = shard.load_page(url, source).await?;
            let (realm, result) = shard.open_page(url.clone(), scripts).await;
            result.map_err(|error| Error::Page { url, cause: exception_of(error) })?;
            Ok(PageId(realm))
        });
        opened.await?
    }

    /// Closes a page.
    pub async fn close_page(&self, page: PageId) -> Result<(), Error> {
        self.ask(move |shard| async move { shard.close_page(page.0) }).await
    }

    /// Posts a message to the active worker of `scope`, or of the only registration. Answers when
    /// the message is on its way.
    ///
    /// # Errors
    ///
    /// [`Error::NoWorker`].
    pub async fn post_message(
        &self,
        scope: Option<Url>,
        message: serde_json::Value,
    ) -> Result<(), Error> {
        self.ask(move |shard| async move {
            let scope = scope.map(|scope| scope.to_string());
            let registration = match &scope {
                Some(scope) => shard.registration(scope),
                None => shard.registrations.borrow().values().next().cloned(),
            };
            let worker = registration.and_then(|registration| registration.active());
            let scope = scope.unwrap_or_else(|| "any scope".to_owned());
            let worker = worker.ok_or(Error::NoWorker { scope })?;
            let text = match &message {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            shard.send_to_worker(worker, Message::Json(message), None, text);
            Ok(())
        })
        .await?
    }

    /// Sets the network signal, which then stays so.
    pub async fn set_network(&self, state: NetworkState) -> Result<(), Error> {
        self.play_network(Timeline::constant(state)).await
    }

    /// Follows a scripted network signal from now on.
    pub async fn play_network(&self, timeline: Timeline) -> Result<(), Error> {
        self.ask(move |shard| async move {
            shard.follow_network(Box::new(timeline));
            // The timeline's first state holds before the next command is looked at.
            tokio::task::yield_now().await;
        })
        .await
    }

    /// Follows the machine's own network: links and routes, then whether `probe` answers.
    ///
    /// # Errors
    ///
    /// [`Error::RealNetworkInSimulation`], [`Error::Network`].
    pub async fn follow_real_network(&self, probe: Option<Url>) -> Result<(), Error> {
        self.ask(move |shard| async move {
            if shard.seed.is_some() {
                return Err(Error::RealNetworkInSimulation);
            }
            let signal = RealSignal::start(probe, &shard.user_agent).await;
            let signal = signal.map_err(|error| Error::Network(Arc::new(error)))?;
            shard.follow_network(Box::new(signal));
            tokio::task::yield_now().await;
            Ok(())
        })
        .await?
    }

    /// Waits until nothing is left to do: no event, timer or request is under way, every sync is
    /// settled or waits for a network that will not come, and the timeline has ended. A simulation
    /// gives up waiting after 24 hours of its time.
    pub async fn idle(&self) -> Result<(), Error> {
        self.ask(|shard| async move {
            match shard.seed {
                None => shard.activity.idle().await,
                Some(_) => {
                    let idle = shard.activity.idle();
                    let _ = tokio::time::timeout(SIMULATION_LIMIT, idle).await;
                }
            }
        })
        .await
    }

    /// Lets `duration` pass, by the runtime's clock.
    pub async fn run_for(&self, duration: Duration) -> Result<(), Error> {
        self.ask(move |_| tokio::time::sleep(duration)).await
    }

    /// The background syncs that are not settled, by registration and tag.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn unsettled_syncs(&self) -> Result<Vec<UnsettledSync>, Error> {
        self.ask(|shard| async move {
            let syncs = shard.store.sync_registrations().map_err(store_error)?;
            Ok(syncs
                .into_iter()
                .map(|sync| UnsettledSync {
                    scope: shard
                        .registration_by_id(sync.registration)
                        .map(|registration| registration.scope.clone())
                        .unwrap_or_default(),
                    tag: sync.tag,
                    state: sync.record.state,
                    failed_attempts: sync.record.attempts,
                })
                .collect())
        })
        .await?
    }

    /// The registrations that have an active worker.
    pub async fn registrations(&self) -> Result<Vec<RegistrationInfo>, Error> {
        self.ask(|shard| async move {
            let registrations = shard.registrations.borrow();
            let active = registrations.values().filter_map(|registration| {
                let worker = registration.active()?;
                let scope = Url::parse(&registration.scope).ok()?;
                Some(RegistrationInfo { scope, script: Url::parse(&worker.script_url).ok()? })
            });
            active.collect()
        })
        .await
    }

    /// Ends the runtime: syncs whose event is under way are given back uncounted, and all is on
    /// disk when this returns. Other handles get [`Error::Stopped`] from then on.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if giving back failed; the next start then treats those events as cut off
    /// by a crash.
    pub async fn shut_down(self) -> Result<(), Error> {
        let result =
            self.ask(|shard| async move { shard.shut_down().map_err(store_error) }).await?;
        let Runtime { commands, thread } = self;
        drop(commands);
        let thread = thread.lock().expect("no holder of this lock panics").take();
        if let Some(thread) = thread
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
        result
    }

    async fn ask<R, F>(
        &self,
        command: impl FnOnce(Rc<Shard>) -> F + Send + 'static,
    ) -> Result<R, Error>
    where
        R: Send + 'static,
        F: Future<Output = R> + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let command: Command = Box::new(move |shard| {
            Box::pin(async move {
                // Whoever asked may have gone meanwhile; what was asked for is done all the same.
                let _ = reply.send(command(shard).await);
            })
        });
        self.commands.send(command).await.map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)
    }
}

fn run_host_thread(
    builder: Builder,
    incoming: mpsc::Receiver<Command>,
    report: std::sync::mpsc::SyncSender<Result<(), Error>>,
) {
    let time = builder.time;
    let mut tokio = TokioBuilder::new_current_thread();
    tokio.enable_all().on_thread_park(on_thread_park);
    let tokio = match tokio.start_paused(matches!(time, Time::Simulated { .. })).build() {
        Ok(tokio) => tokio,
        Err(error) => {
            let _ = report.send(Err(Error::Thread(Arc::new(error))));
            return;
        }
    };
    LocalSet::new().block_on(&tokio, async move {
        let shard = match open_shard(builder) {
            Ok(shard) => shard,
            Err(error) => {
                let _ = report.send(Err(error));
                return;
            }
        };
        tokio::task::spawn_local(scheduler::run(shard.clone()));
        let _ = report.send(Ok(()));
        match time {
            Time::Real => serve_commands(&shard, incoming).await,
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
    let store = store.map_err(store_error)?;
    let network = Rc::new(Cell::new(NetworkState::Online));
    let mut http: Box<dyn Http> = match (builder.servers, builder.time) {
        (Some(servers), _) => Box::new(servers),
        (None, Time::Simulated { .. }) => Box::new(ScriptedServers::default()),
        (None, Time::Real) => Box::new(ReqwestHttp::new(&builder.user_agent)),
    };
    for (origin, folder) in builder.files {
        http = Box::new(
            OriginFiles::new(&origin, &folder, http)
                .map_err(|cause| Error::Files { folder, cause: Arc::new(cause) })?,
        );
    }
    let (clock, entropy, seed): (Rc<dyn Clock>, Rc<dyn Entropy>, _) = match builder.time {
        Time::Real => (Rc::new(SystemClock), Rc::new(SystemEntropy::default()), None),
        Time::Simulated { seed } => {
            (Rc::new(SimulatedClock::default()), Rc::new(SeededEntropy::new(seed)), Some(seed))
        }
    };
    let shard = Shard::new(ShardParts {
        store,
        clock,
        entropy,
        http: Rc::new(Gate::new(network.clone(), http)),
        network,
        policy: builder.policy,
        limits: builder.limits,
        user_agent: builder.user_agent,
        seed,
        trace: builder.trace,
    });
    scheduler::recover(&shard).map_err(store_error)?;
    shard.load_registrations().map_err(store_error)?;
    shard.wake.wake(&shard.activity);
    Ok(shard)
}

/// In real time, commands run beside each other.
async fn serve_commands(shard: &Rc<Shard>, mut incoming: mpsc::Receiver<Command>) {
    while let Some(command) = incoming.recv().await {
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
    }
}

async fn register(
    shard: &Rc<Shard>,
    script: Url,
    scope: Option<Url>,
) -> Result<RegistrationInfo, Error> {
    let script_url = script.to_string();
    let request = RegisterRequest {
        script: script.clone(),
        scope,
        script_type: "classic".to_owned(),
        update_via_cache: UpdateViaCache::default(),
    };
    let failed = |error| match error {
        RegisterError::Refused { reason, cause, .. } => {
            Error::Registration { script: script_url.clone(), reason, cause }
        }
        RegisterError::InstallFailed { cause } => {
            Error::Install { script: script_url.clone(), cause }
        }
        RegisterError::Store(error) => Error::Store(error),
    };
    let (registration, installation) = shard.register(request).await.map_err(failed)?;
    if let Some(installation) = installation {
        installation.await.map_err(|_| Error::Stopped)?.map_err(failed)?;
    }
    registration.activated_worker().await;
    let scope = Url::parse(&registration.scope).expect("a scope is a URL");
    Ok(RegistrationInfo { scope, script })
}

fn exception_of(error: RealmError) -> ScriptException {
    match error {
        RealmError::Exception(exception) => exception,
        terminated => plain_exception(terminated.to_string()),
    }
}

fn store_error(error: StoreError) -> Error {
    Error::Store(Arc::new(error))
}

fn cause_text(cause: &Option<ScriptException>) -> String {
    cause.as_ref().map_or(String::new(), |cause| format!(" {cause}"))
}
