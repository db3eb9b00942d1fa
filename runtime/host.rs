//! The host thread: owns the store, the realms and the scheduler of one shard.
//!
//! Invariant: everything here runs on one thread, between turns of JavaScript; nothing is held
//! borrowed across an `await`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use kittiwake_ops::{RealmId, ScriptException, ScriptSource, Services};
use kittiwake_store::{RegistrationId, Store, SyncPolicy, SyncType};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::Instant;
use url::{Origin, Url};

use crate::accounts::Accounts;
use crate::activity::{Activity, Busy};
use crate::background_fetch::BackgroundFetches;
use crate::buckets::Buckets;
use crate::caches::Caches;
use crate::commits::Commits;
use crate::coverage::Coverage;
use crate::door_guard::DoorGuard;
use crate::doors::{Clock, Entropy, HostDoors};
use crate::drive::{Command, drive};
use crate::extension::OriginShare;
use crate::fetch::{Cors, Jar, PreflightCache};
use crate::fetch_events::UnansweredFetch;
use crate::http::{Http, Root};
use crate::indexed_db::{IndexedDbs, Threads};
use crate::inspector::{Debugged, Inspector};
use crate::keepalive::KeepaliveBytes;
use crate::lifecycle::{Jobs, ScopeMap, Worker};
use crate::limits::{Limit, Limits};
use crate::locks::Locks;
use crate::measure::Gauge;
use crate::message_ports::MessagePorts;
use crate::meter::Meter;
use crate::network::{Conditions, NetworkSignal, NetworkState, Outlook};
use crate::notifications::Shown;
use crate::pages::Page;
use crate::permissions::PermissionPolicy;
use crate::push::HeldPush;
use crate::realm::{Call, ExtendableInit, RealmError, RealmOptions, StartOptions};
use crate::residency::Pace;
use crate::revalidations::Revalidations;
use crate::scheduler::Wake;
use crate::spare::Spare;
use crate::testing::{TestPage, Turns};
use crate::time_jumps::TimeOfDay;
use crate::trace::{TraceEvent, TraceKind};
use crate::trace_hub::TraceHub;
use crate::watchdog::{StuckHook, Watchdog};
use crate::windows::Windows;

/// Whoever watches the trace.
pub(crate) type TraceSink = Box<dyn FnMut(&TraceEvent) + Send>;

/// One host thread's state.
pub(crate) struct Shard {
    me: Weak<Shard>,
    pub(crate) store: Arc<Store>,
    pub(crate) clock: Rc<dyn Clock>,
    pub(crate) entropy: Rc<dyn Entropy>,
    pub(crate) host_doors: HostDoors,
    pub(crate) door_guard: DoorGuard,
    pub(crate) http: Rc<dyn Http>,
    pub(crate) cors: Cors,
    pub(crate) preflights: Rc<RefCell<PreflightCache>>,
    pub(crate) keepalive: KeepaliveBytes,
    pub(crate) revalidations: Revalidations,
    /// By origin.
    pub(crate) jars: RefCell<BTreeMap<String, Rc<RefCell<Jar>>>>,
    pub(crate) network: Rc<Cell<NetworkState>>,
    pub(crate) conditions: Rc<RefCell<Conditions>>,
    pub(crate) outlook: Cell<Outlook>,
    /// Whether syncs may fire: not while nobody has said what the network is.
    pub(crate) signal_is_known: Cell<bool>,
    /// Nor while the signal looks anew after a jump of time, of which its task hears here.
    pub(crate) looking_anew: Cell<bool>,
    pub(crate) time_jumped: Notify,
    pub(crate) time_of_day: TimeOfDay,
    pub(crate) signal: RefCell<Option<tokio::task::JoinHandle<()>>>,
    /// One that has started and is about to be followed.
    pub(crate) prepared_signal: RefCell<Option<Box<dyn NetworkSignal>>>,
    /// The origins that are served from this machine's files, and where these are.
    pub(crate) served: Vec<(Origin, Root)>,
    pub(crate) policy: SyncPolicy,
    pub(crate) permissions: RefCell<PermissionPolicy>,
    pub(crate) limits: Limits,
    pub(crate) accounts: Accounts,
    pub(crate) pace: Pace,
    pub(crate) user_agent: String,
    /// Set in a simulation.
    pub(crate) seed: Option<u64>,
    /// Who counts what scripts run.
    coverage: Option<Coverage>,
    pub(crate) inspector: Option<Inspector>,
    pub(crate) debugged: Arc<Debugged>,
    pub(crate) activity: Activity,
    pub(crate) wake: Wake,
    pub(crate) commits: Commits,
    pub(crate) indexed_db: IndexedDbs,
    pub(crate) background_fetches: BackgroundFetches,
    pub(crate) caches: Caches,
    pub(crate) buckets: Buckets,
    /// Whether the code of workers' scripts is kept beside them.
    pub(crate) keeps_code: bool,
    pub(crate) scope_map: ScopeMap,
    pub(crate) jobs: Jobs,
    pub(crate) pages: RefCell<BTreeMap<RealmId, Rc<Page>>>,
    pub(crate) windows: Windows,
    pub(crate) firing: RefCell<BTreeSet<(SyncType, RegistrationId, String)>>,
    pub(crate) locks: RefCell<Locks>,
    pub(crate) message_ports: MessagePorts,
    pub(crate) notifications: RefCell<Vec<Shown>>,
    /// Where endpoints of push subscriptions are.
    pub(crate) push_service: Url,
    pub(crate) held_pushes: RefCell<Vec<HeldPush>>,
    /// Set in the world of a test.
    pub(crate) test: RefCell<Option<Rc<TestPage>>>,
    pub(crate) turns: Turns,
    trace: Arc<TraceHub>,
    pub(crate) gauge: Gauge,
    pub(crate) started: Instant,
    watchdog: Rc<Watchdog>,
    pub(crate) realms: RefCell<BTreeMap<RealmId, RealmHandle>>,
    events: RefCell<BTreeMap<(RealmId, u32), Settle>>,
    pub(crate) fetch_events: RefCell<BTreeMap<u32, UnansweredFetch>>,
    pub(crate) shares: RefCell<BTreeMap<String, OriginShare>>,
    pub(crate) resident_bytes: Cell<usize>,
    pub(crate) spare: Spare,
    /// How often a worker's last event under way has ended.
    pub(crate) events_ended: Cell<u64>,
    last_id: Cell<u32>,
    /// Set once events have been given back: none fires and none is settled any more.
    pub(crate) stopping: Cell<bool>,
    /// Told then.
    pub(crate) stopped: Notify,
}

/// Takes the first rejection of an event's promises, if there was one.
type Settle = oneshot::Sender<Option<ScriptException>>;

/// What a shard is made of.
pub(crate) struct ShardParts {
    pub(crate) store: Store,
    pub(crate) clock: Rc<dyn Clock>,
    pub(crate) entropy: Rc<dyn Entropy>,
    pub(crate) host_doors: HostDoors,
    pub(crate) door_guard: DoorGuard,
    pub(crate) http: Rc<dyn Http>,
    pub(crate) cors: Cors,
    pub(crate) network: Rc<Cell<NetworkState>>,
    pub(crate) conditions: Rc<RefCell<Conditions>>,
    pub(crate) signal_is_known: bool,
    pub(crate) served: Vec<(Origin, Root)>,
    pub(crate) policy: SyncPolicy,
    pub(crate) permissions: PermissionPolicy,
    pub(crate) limits: Limits,
    pub(crate) pace: Pace,
    pub(crate) user_agent: String,
    pub(crate) seed: Option<u64>,
    pub(crate) coverage: Option<Coverage>,
    pub(crate) inspector: Option<Inspector>,
    pub(crate) debugged: Arc<Debugged>,
    /// Where commits of syncs wait for the disk.
    pub(crate) sync_threads: Threads,
    pub(crate) indexed_db: IndexedDbs,
    pub(crate) push_service: Url,
    pub(crate) buckets: Buckets,
    pub(crate) keeps_code: bool,
    pub(crate) trace: Arc<TraceHub>,
    /// When the runtime started, if that was not just now: the same for all shards.
    pub(crate) started: Option<Instant>,
    pub(crate) gauge: Gauge,
    pub(crate) on_stuck: Option<StuckHook>,
}

/// How an extendable event ended.
#[derive(Clone, Debug)]
pub(crate) enum EventEnd {
    Fulfilled,
    Rejected(ScriptException),
    TimedOut,
    Terminated,
}

pub(crate) struct RealmHandle {
    pub(crate) commands: mpsc::UnboundedSender<(Command, Busy)>,
    pub(crate) owner: RealmOwner,
    pub(crate) created: Instant,
    pub(crate) meter: Rc<Meter>,
    /// Whether the code of its scripts is to be kept after an event that went well.
    pub(crate) wants_code: Cell<bool>,
    /// What it had of memory when it was last asked.
    pub(crate) bytes: Cell<usize>,
}

/// Whose global scope a realm is.
#[derive(Clone)]
pub(crate) enum RealmOwner {
    Worker(Rc<Worker>),
    Page(Rc<Page>),
}

impl Shard {
    pub(crate) fn new(parts: ShardParts) -> Rc<Self> {
        Rc::new_cyclic(|me| Shard {
            me: me.clone(),
            store: Arc::new(parts.store),
            time_of_day: TimeOfDay::new(&*parts.clock),
            clock: parts.clock,
            entropy: parts.entropy,
            host_doors: parts.host_doors,
            door_guard: parts.door_guard,
            http: parts.http,
            cors: parts.cors,
            preflights: Rc::default(),
            keepalive: KeepaliveBytes::default(),
            revalidations: Revalidations::default(),
            jars: RefCell::default(),
            network: parts.network,
            conditions: parts.conditions,
            outlook: Cell::new(Outlook::Fixed),
            signal_is_known: Cell::new(parts.signal_is_known),
            looking_anew: Cell::new(false),
            time_jumped: Notify::default(),
            signal: RefCell::default(),
            prepared_signal: RefCell::default(),
            served: parts.served,
            policy: parts.policy,
            permissions: RefCell::new(parts.permissions),
            limits: parts.limits,
            accounts: Accounts::default(),
            pace: parts.pace,
            user_agent: parts.user_agent,
            seed: parts.seed,
            coverage: parts.coverage,
            inspector: parts.inspector,
            debugged: parts.debugged.clone(),
            activity: Activity::default(),
            wake: Wake::default(),
            commits: Commits::new(parts.sync_threads),
            indexed_db: parts.indexed_db,
            background_fetches: BackgroundFetches::default(),
            caches: Caches::default(),
            buckets: parts.buckets,
            keeps_code: parts.keeps_code,
            scope_map: ScopeMap::default(),
            jobs: Jobs::default(),
            pages: RefCell::default(),
            windows: Windows::default(),
            firing: RefCell::default(),
            locks: RefCell::default(),
            message_ports: MessagePorts::default(),
            notifications: RefCell::default(),
            push_service: parts.push_service,
            held_pushes: RefCell::default(),
            test: RefCell::default(),
            turns: Turns::default(),
            trace: parts.trace,
            gauge: parts.gauge,
            started: parts.started.unwrap_or_else(Instant::now),
            watchdog: Rc::new(Watchdog::start(parts.debugged, parts.on_stuck)),
            realms: RefCell::default(),
            events: RefCell::default(),
            fetch_events: RefCell::default(),
            shares: RefCell::default(),
            resident_bytes: Cell::default(),
            spare: Spare::default(),
            events_ended: Cell::default(),
            last_id: Cell::new(0),
            stopping: Cell::new(false),
            stopped: Notify::new(),
        })
    }

    pub(crate) fn me(&self) -> Rc<Shard> {
        self.me.upgrade().expect("whoever calls a method holds the shard")
    }

    /// A number that names one thing in this process.
    pub(crate) fn next_id(&self) -> u32 {
        self.last_id.set(self.last_id.get() + 1);
        self.last_id.get()
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms() as i64
    }

    pub(crate) fn may_fire_syncs(&self) -> bool {
        self.signal_is_known.get()
            && !self.looking_anew.get()
            && self.is_online()
            && !self.stopping.get()
    }

    /// How many more sync events of either type may be under way.
    pub(crate) fn free_sync_slots(&self) -> usize {
        self.pace.syncs.saturating_sub(self.firing.borrow().len())
    }

    pub(crate) fn trace(&self, kind: TraceKind) {
        self.trace.tell(|| self.elapsed_ms(), kind);
    }

    /// Since the runtime started, by its clock.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    // --- realms ---

    /// Creates a realm and the task that drives it.
    pub(crate) fn create_realm(&self, owner: RealmOwner, start: StartOptions) -> RealmId {
        let id = RealmId(self.next_id());
        let services: Rc<dyn Services> = self.me();
        let share = self.shares.borrow_mut().entry(start.origin.clone()).or_default().clone();
        let (commands, incoming) = mpsc::unbounded_channel();
        let created = Instant::now();
        let resolver = self.resolver_of(&owner);
        let wants_code = Cell::new(self.keeps_code && matches!(owner, RealmOwner::Worker(_)));
        let meter = Rc::new(Meter::new(self.limits.time(Limit::EventCpu)));
        let (bytes, counted) = (Cell::default(), meter.clone());
        let handle = RealmHandle { commands, owner, created, meter, wants_code, bytes };
        self.realms.borrow_mut().insert(id, handle);
        let realm = self.blank_for(id).start(RealmOptions {
            id,
            services,
            share,
            resolver,
            watchdog: self.watchdog.clone(),
            turn_limit: self.limits.time(Limit::Turn),
            meter: counted,
            coverage: self.coverage.clone(),
            inspector: self.inspector.clone().map(|each| (each, self.debugged.clone())),
            start,
        });
        spawn_local(drive(self.me(), id, realm, incoming));
        id
    }

    /// Ends a realm; its events end as terminated.
    pub(crate) fn drop_realm(&self, id: RealmId) {
        let handle = self.realms.borrow_mut().remove(&id);
        if let Some(handle) = &handle {
            self.resident_bytes.set(self.resident_bytes.get() - handle.bytes.get());
        }
        if let Some(RealmHandle { owner: RealmOwner::Worker(worker), .. }) = handle {
            worker.has_stopped();
        }
        let page = self.pages.borrow_mut().remove(&id);
        self.revalidations.end_of(id);
        self.drop_databases_of(id);
        self.release_locks_of(id);
        self.close_caches_of(id);
        self.end_watching(id);
        self.end_ports_of(id);
        self.drop_interactions(id);
        self.close_console_of(id);
        // It may have registered a sync and not lived to see its promise resolve.
        self.wake.wake(&self.activity);
        // Dropping the senders tells whoever waits.
        let mut events = self.events.borrow_mut();
        let ended: Vec<_> = events.range((id, 0)..=(id, u32::MAX)).map(|(key, _)| *key).collect();
        for key in ended {
            events.remove(&key);
        }
        drop(events);
        // A worker may have waited for the page to go.
        if let Some(controller) = page.and_then(|page| page.controller.take()) {
            self.has_left(&controller.registration);
        }
    }

    pub(crate) fn realm_owner(&self, id: RealmId) -> Option<RealmOwner> {
        self.realms.borrow().get(&id).map(|handle| handle.owner.clone())
    }

    /// Calls into a realm at its next turn; a realm that is gone takes no calls.
    pub(crate) fn call_realm(&self, id: RealmId, call: Call) {
        self.command_realm(id, Command::Call(call));
    }

    /// Has a realm do something at its next turn; one that is gone does nothing.
    pub(crate) fn command_realm(&self, id: RealmId, command: Command) {
        if let Some(handle) = self.realms.borrow().get(&id) {
            // The task may have ended in this very moment: then the realm is gone too.
            let _ = handle.commands.send((command, self.activity.begin()));
        }
    }

    /// Runs a classic script in a realm.
    pub(crate) async fn evaluate(
        &self,
        id: RealmId,
        url: &str,
        script: ScriptSource,
    ) -> Result<(), RealmError> {
        let url = url.to_owned();
        self.ask_realm(id, |done| Command::Evaluate { url, script, done }).await
    }

    /// Has a realm do something that it answers.
    pub(crate) async fn ask_realm<T>(
        &self,
        id: RealmId,
        command: impl FnOnce(oneshot::Sender<Result<T, RealmError>>) -> Command,
    ) -> Result<T, RealmError> {
        let (done, answer) = oneshot::channel();
        if let Some(handle) = self.realms.borrow().get(&id) {
            let _ = handle.commands.send((command(done), self.activity.begin()));
        }
        answer.await.unwrap_or(Err(RealmError::Gone))
    }

    // --- extendable events ---

    /// Dispatches an extendable event and waits for its end, `limit` at most.
    pub(crate) async fn dispatch(
        &self,
        realm: RealmId,
        init: ExtendableInit,
        limit: Duration,
    ) -> EventEnd {
        let event = self.next_id();
        let (settle, settled) = oneshot::channel();
        self.events.borrow_mut().insert((realm, event), settle);
        let _busy = self.activity.begin();
        let noted = self.note_event(realm, &init);
        let meter = self.realms.borrow().get(&realm).map(|handle| handle.meter.clone());
        if let Some(meter) = &meter {
            meter.begin_event(event);
            self.call_realm(realm, Call::DispatchExtendable { event, init });
        } else {
            self.events.borrow_mut().remove(&(realm, event));
        }
        let end = match self.within(limit, settled).await {
            Ok(Ok(None)) => EventEnd::Fulfilled,
            Ok(Ok(Some(rejection))) => EventEnd::Rejected(rejection),
            Ok(Err(_)) => EventEnd::Terminated,
            Err(_) => {
                self.events.borrow_mut().remove(&(realm, event));
                self.strike_event(realm, limit);
                self.call_realm(realm, Call::TimeOutEvent { event });
                EventEnd::TimedOut
            }
        };
        if let Some(meter) = meter {
            meter.end_event(event);
        }
        self.note_end(noted, &end);
        end
    }

    pub(crate) fn settle_event(
        &self,
        realm: RealmId,
        event: u32,
        rejection: Option<ScriptException>,
    ) {
        if let Some(settle) = self.events.borrow_mut().remove(&(realm, event)) {
            // Nobody waits any more if the event timed out in this very moment.
            let _ = settle.send(rejection);
        }
    }
}
