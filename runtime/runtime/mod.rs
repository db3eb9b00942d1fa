//! The handle that people embed: [`Runtime`], and the [`Builder`] that starts one.
//!
//! Invariant: a handle holds nothing but a way to send commands to the host threads, and to hear
//! that they can answer no more; all state is there.

mod asking;
mod builder;
mod control;
mod error;
mod events;
mod inspect;
mod network;
mod pages;
mod starting;
mod thread;
mod usage;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::future::{LocalBoxFuture, join_all};
use kittiwake_ops::ScriptException;
use kittiwake_store::{ScriptType, SyncState, UpdateViaCache};
use tokio::sync::{mpsc, oneshot};
use url::Url;

use crate::client_fetch::{ClientRequest, ClientResponse};
use crate::dispatch::{EventOutcome, LastChance};
use crate::door_guard::DoorFaults;
use crate::host::Shard;
use crate::lifecycle::{RegisterError, RegisterRequest, plain_exception};
use crate::pages::PageSource;
use crate::realm::{Message, MessageSource, RealmError};
use crate::trace_hub::{TraceHub, TraceStream};
use crate::turnstile::Turnstile;

pub use builder::Builder;
pub use error::Error;
pub use events::{NotificationId, NotificationInfo};
pub use inspect::{
    Counts, NetworkStatus, RealmInfo, RealmOwnerKind, RegistrationDetail, RegistrationPage,
    SyncPage, SyncQuery, WorkerDetail,
};
pub use pages::OpenPage;
pub use usage::Usage;

/// Virtual time after which a simulation that never becomes idle counts as idle anyway: a page
/// with an interval, for example.
pub(crate) const SIMULATION_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

type Command = Box<dyn FnOnce(Rc<Shard>) -> LocalBoxFuture<'static, ()> + Send>;

/// A running Kittiwake: a host thread, or several ([`Builder::shards`]), each with its store, its
/// realms and its scheduler.
///
/// Clones are handles to the same threads. They end, in order, with [`Runtime::shut_down`] or with
/// the last handle. Every method works in any async runtime, and without one: see
/// [`blocking`](crate::blocking). Each answers [`Error::Stopped`] once the runtime has ended, and
/// [`Error::Door`] once a door of yours is out of order.
#[derive(Clone)]
pub struct Runtime {
    /// Each host thread's commands.
    shards: Arc<[mpsc::Sender<Command>]>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    faults: DoorFaults,
    trace: Arc<TraceHub>,
    turnstile: Turnstile,
}

/// Names an open page: its window, which may go from one document to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId {
    shard: usize,
    window: u32,
}

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
        let classic = ScriptType::Classic;
        let origin = script.clone();
        let command = move |shard| async move { register(&shard, script, scope, classic).await };
        self.ask_in_turn(&origin, command).await?
    }

    /// As [`Runtime::register`], for a worker whose script is a module: `{ type: "module" }`. Its
    /// static imports are fetched with it and kept with it.
    ///
    /// # Errors
    ///
    /// Those of [`Runtime::register`]; a module that is not to be had is [`Error::Registration`].
    pub async fn register_module(
        &self,
        script: Url,
        scope: Option<Url>,
    ) -> Result<RegistrationInfo, Error> {
        let module = ScriptType::Module;
        let origin = script.clone();
        let command = move |shard| async move { register(&shard, script, scope, module).await };
        self.ask_in_turn(&origin, command).await?
    }

    /// Opens a page and runs its scripts. Answers when they have run; what they started goes on.
    ///
    /// # Errors
    ///
    /// [`Error::PageLoad`]; [`Error::Page`] with the first exception, though the page is open then.
    pub async fn open_page(&self, url: Url, source: PageSource) -> Result<PageId, Error> {
        let number = self.shard_for(&url);
        let opened = self.ask_shard(number, move |shard| async move {
            let (window, result) = shard.open_page(url.clone(), source).await?;
            result.map_err(|error| Error::Page { url, cause: Box::new(exception_of(error)) })?;
            Ok(PageId { shard: number, window: window.id })
        });
        opened.await?
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
        let number = self.shard_to_ask(scope.as_ref()).await?;
        self.ask_shard(number, move |shard| async move {
            let scope = scope.map(|scope| scope.to_string());
            let registration = match &scope {
                Some(scope) => shard.registration(scope),
                None => shard.all_registrations()?.into_iter().next(),
            };
            let worker = registration.and_then(|registration| registration.active());
            let scope = scope.unwrap_or_else(|| "any scope".to_owned());
            let worker = worker.ok_or(Error::NoWorker { scope })?;
            let text = match &message {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let source = MessageSource::default();
            shard.send_to_worker(worker, Message::Json(message), source, text);
            Ok(())
        })
        .await?
    }

    /// Fetches as a browser would for a page: by a `fetch` event at the controller, if there is
    /// one, else or if it does not respond from the network. Answers when the head is there; the
    /// body follows. Dropping this future or the body ends the exchange. In a simulation the next
    /// command waits until the body has been read or dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Fetch`] for a network error.
    pub async fn fetch(&self, request: ClientRequest) -> Result<ClientResponse, Error> {
        let (answer, answered) = oneshot::channel();
        let shard = self.shard_for(&request.url);
        // Until the head is there: from then on, whoever reads the body holds the worker back.
        let _admission = self.enter(&request.url).await?;
        let command: Command =
            Box::new(move |shard| Box::pin(shard.answer_client(request, answer)));
        self.hear(shard, command, answered).await?
    }

    /// Dispatches one `sync` event at the active worker of `scope`, or of the only registration,
    /// and waits for its end. As DevTools' `dispatchSyncEvent`: whether the tag is registered does
    /// not
    /// matter, no registration is made, changed or removed, and neither is a retry; the network
    /// signal is not asked. What it was goes to the trace.
    ///
    /// # Errors
    ///
    /// [`Error::NoWorker`], [`Error::ManyWorkers`]. A rejection is an outcome, not an error.
    pub async fn dispatch_sync(
        &self,
        scope: Option<Url>,
        tag: &str,
        last_chance: LastChance,
    ) -> Result<EventOutcome, Error> {
        let (tag, chance) = (tag.to_owned(), last_chance);
        let command = |scope| {
            move |shard: Rc<Shard>| async move { shard.dispatch_sync(scope, tag, chance).await }
        };
        match scope {
            Some(scope) => self.ask_in_turn(&scope.clone(), command(Some(scope))).await?,
            None => self.ask_shard(self.shard_to_ask(None).await?, command(None)).await?,
        }
    }

    /// Serves the files under `folder` at the origin of `origin` from now on, instead of those that
    /// [`Builder::serve`] or an earlier call named: a new version of a site, say.
    ///
    /// # Errors
    ///
    /// [`Error::Files`]: then the origin is served as before.
    pub async fn deploy(&self, origin: Url, folder: impl Into<PathBuf>) -> Result<(), Error> {
        let folder = folder.into();
        // Requests of other origins meet its files too.
        let deployed = self.ask_all(move |shard| async move {
            let mut served = shard.served.iter().filter(|(each, _)| *each == origin.origin());
            let set = match served.next() {
                Some((_, root)) => root.set(&folder),
                None => Err(std::io::Error::other(format!("no files are served at {origin}"))),
            };
            set.map_err(|cause| Error::Files { folder, cause: Arc::new(cause) })
        });
        deployed.await?.into_iter().collect()
    }

    /// Waits until nothing is left to do: no event, timer or request is under way, every sync is
    /// settled or waits for a network that will not come, and the timeline has ended. A simulation
    /// gives up waiting after 24 hours of its time.
    pub async fn idle(&self) -> Result<(), Error> {
        let idle = (0..self.shards.len()).map(|number| self.wait(number, wait_until_idle));
        join_all(idle).await.into_iter().collect()
    }

    /// Lets `duration` pass, by the runtime's clock.
    pub async fn run_for(&self, duration: Duration) -> Result<(), Error> {
        self.wait(0, move |_| tokio::time::sleep(duration)).await
    }

    /// The background syncs that are not settled, by registration and tag.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn unsettled_syncs(&self) -> Result<Vec<UnsettledSync>, Error> {
        let unsettled = self.ask_all(|shard| async move {
            shard.flush_commits();
            let syncs = shard.store.sync_registrations()?;
            shard.all_registrations()?;
            Ok::<Vec<_>, Error>(
                syncs
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
                    .collect(),
            )
        });
        merged(unsettled.await?)
    }

    /// The registrations that have an active worker.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub async fn registrations(&self) -> Result<Vec<RegistrationInfo>, Error> {
        let registrations = self.ask_all(|shard| async move {
            let registrations = shard.all_registrations()?;
            let active = registrations.iter().filter_map(|registration| {
                let worker = registration.active()?;
                let scope = Url::parse(&registration.scope).ok()?;
                Some(RegistrationInfo { scope, script: Url::parse(&worker.script_url).ok()? })
            });
            Ok::<Vec<_>, Error>(active.collect())
        });
        let mut registrations = merged(registrations.await?)?;
        if self.shards.len() > 1 {
            registrations.sort_by(|a, b| a.scope.as_str().cmp(b.scope.as_str()));
        }
        Ok(registrations)
    }

    /// What happens from now on. The stream keeps `capacity` events for a reader that is slow, and
    /// then says how many are missing; it ends with the runtime.
    pub fn trace_events(&self, capacity: usize) -> TraceStream {
        self.trace.read(capacity)
    }

    /// Ends the runtime: syncs whose event is under way are given back uncounted, and all is on
    /// disk when this returns. Other handles get [`Error::Stopped`] from then on.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if giving back failed; the next start then treats those events as cut off
    /// by a crash. [`Error::Door`] if a host thread is in a call of a door that does not come back:
    /// it is left there, and the process has to end.
    pub async fn shut_down(self) -> Result<(), Error> {
        let ended: Vec<_> = (0..self.shards.len()).map(|number| self.end_shard(number)).collect();
        let results = join_all(ended).await;
        if let Some((door, fault)) = self.is_blocked() {
            return Err(Error::Door { door, fault });
        }
        let Runtime { shards, threads, .. } = self;
        drop(shards);
        let threads = std::mem::take(&mut *threads.lock().expect("no holder of this lock panics"));
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        results.into_iter().collect()
    }

    /// A door that has panicked does not keep a shard from its orderly end.
    async fn end_shard(&self, number: usize) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let command: Command = Box::new(move |shard| {
            Box::pin(async move {
                // Nobody may wait any more.
                let _ = reply.send(shard.shut_down().map_err(Error::from));
            })
        });
        let blocked = async {
            loop {
                let fault = self.faults.fault().await;
                if self.is_blocked().is_some() {
                    return fault;
                }
                std::future::pending::<()>().await;
            }
        };
        let asked = async {
            self.shards[number].send(command).await.map_err(|_| Error::Stopped)?;
            answer.await.map_err(|_| Error::Stopped)?
        };
        tokio::select! {
            biased;
            ended = asked => ended,
            (door, fault) = blocked => Err(Error::Door { door, fault }),
        }
    }

    /// Asks a shard for a wait, which ends when the caller no longer waits for it.
    async fn wait<F>(
        &self,
        number: usize,
        command: impl FnOnce(Rc<Shard>) -> F + Send + 'static,
    ) -> Result<(), Error>
    where
        F: Future<Output = ()> + 'static,
    {
        let (waiting, abandoned) = oneshot::channel::<()>();
        let asked = self.ask_shard(number, move |shard| async move {
            tokio::select! {
                () = command(shard) => {}
                _ = abandoned => {}
            }
        });
        let result = asked.await;
        drop(waiting);
        result
    }
}

async fn wait_until_idle(shard: Rc<Shard>) {
    match shard.seed {
        None => shard.activity.idle().await,
        Some(_) => {
            let idle = shard.activity.idle();
            // A page with an interval never is.
            let _ = tokio::time::timeout(SIMULATION_LIMIT, idle).await;
        }
    }
}

/// What the shards answered, in their order.
fn merged<T>(answers: Vec<Result<Vec<T>, Error>>) -> Result<Vec<T>, Error> {
    let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(answers.into_iter().flatten().collect())
}

async fn register(
    shard: &Rc<Shard>,
    script: Url,
    scope: Option<Url>,
    script_type: ScriptType,
) -> Result<RegistrationInfo, Error> {
    let script_url = script.to_string();
    let request = RegisterRequest {
        script: script.clone(),
        scope,
        script_type,
        update_via_cache: UpdateViaCache::default(),
        referrer: None,
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
    let (registration, installation) = shard.register_or_update(request).await.map_err(failed)?;
    if let Some(mut installation) = installation {
        let ended = installation.wait_for(Option::is_some).await.map_err(|_| Error::Stopped)?;
        let result = ended.clone().expect("waited for it");
        drop(ended);
        result.map_err(failed)?;
    }
    registration.activated_worker().await;
    let scope = Url::parse(&registration.scope).expect("a scope is a URL");
    Ok(RegistrationInfo { scope, script })
}

fn exception_of(error: RealmError) -> ScriptException {
    match error {
        RealmError::Exception(exception) | RealmError::CannotStart(exception) => exception,
        terminated => plain_exception(terminated.to_string()),
    }
}
