//! Debuggers: the Chrome DevTools protocol for every realm of the runtimes that are given an
//! [`Inspector`]. <https://chromedevtools.github.io/devtools-protocol/>
//!
//! Invariant: a realm is a target from before its first script until it ends; nobody reaches it
//! but by the id that the list of targets tells.

mod debugged;
mod limits;
mod server;
mod session;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use deno_core::InspectorSessionProxy;
use deno_core::futures::channel::mpsc::UnboundedSender;
use kittiwake_ops::{ConsoleLevel, RealmId};
use serde_json::json;
use tokio::sync::{broadcast, watch};

use crate::doors::secret;
pub(crate) use debugged::{Debugged, now};

/// So many lines of a console are kept for whoever enables it.
const CONSOLE_LINES: usize = 256;

/// Serves the Chrome DevTools protocol, for [`Builder::inspector`](crate::Builder::inspector).
///
/// Clones are handles to the same server: give it to many runtimes. `GET /json/list` lists a target
/// for each worker and page that runs, with the address of its WebSocket; Chromium finds them at
/// `chrome://inspect`. The server ends with [`Inspector::close`] or with the last handle, those of
/// runtimes included.
///
/// **Whoever can connect runs code as your scripts**, and through them reaches what they reach:
/// their storage, and the network. So listen at a loopback address, unless everybody on the network
/// may do that. A web page in a browser on this machine cannot: targets have ids that nobody
/// guesses, no other origin may read the list, and a request that names the server by a host other
/// than `localhost` or an IP address is refused, so that no name server can lend it one.
///
/// A realm that is paused blocks its host thread, and with it all realms of its runtime. As in
/// Chromium, nothing is ended for taking too long, or for having nothing to do, while a debugger is
/// attached to any realm of its runtime. In a simulation time stands still meanwhile, so limits
/// of virtual time are kept; and a debugger is answered while a command runs.
#[derive(Clone)]
pub struct Inspector {
    server: Arc<Server>,
}

/// What a realm does before its first script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InspectorStart {
    /// It runs.
    Run,
    /// It waits for a debugger, and pauses at the first statement.
    Break,
}

/// A realm as debuggers find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectorTarget {
    /// Names it, and cannot be guessed.
    pub id: String,
    /// Whether it is a worker or a page, and its URL.
    pub title: String,
    /// The URL of the worker's script, or of the page.
    pub url: String,
    /// Where a debugger connects.
    pub web_socket_url: String,
}

/// Ends the server with its last handle.
struct Server {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the server's thread knows too.
pub(crate) struct Shared {
    address: SocketAddr,
    start: InspectorStart,
    /// By number, in the order in which they were made.
    targets: Mutex<BTreeMap<u64, Target>>,
    closed: watch::Sender<bool>,
    on_wait: Mutex<OnWait>,
}

type OnWait = Option<Box<dyn Fn(&InspectorTarget) + Send>>;

#[derive(Clone)]
struct Target {
    id: String,
    title: String,
    url: String,
    sessions: UnboundedSender<InspectorSessionProxy>,
    debugged: Arc<Debugged>,
    realm: RealmId,
    /// What the script wrote to its console, as the protocol tells it.
    console: broadcast::Sender<Arc<str>>,
}

/// A realm that debuggers find for as long as this lives.
pub(crate) struct Inspected {
    inspector: Inspector,
    number: u64,
    has_started: AtomicBool,
}

impl Inspector {
    /// Listens at an address; port 0 is any that is free. Blocks until it does.
    ///
    /// # Errors
    ///
    /// The system's, if the address is not to be had or no thread is.
    pub fn listen(address: SocketAddr, start: InspectorStart) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            address: listener.local_addr()?,
            start,
            targets: Mutex::default(),
            closed: watch::Sender::new(false),
            on_wait: Mutex::default(),
        });
        let thread = server::start(listener, shared.clone())?;
        let server = Server { shared, thread: Mutex::new(Some(thread)) };
        Ok(Inspector { server: Arc::new(server) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.shared.address
    }

    /// The realms that run, the oldest first.
    pub fn targets(&self) -> Vec<InspectorTarget> {
        let shared = &self.server.shared;
        let host = shared.address.to_string();
        shared.lock().values().map(|target| target.told(&host)).collect()
    }

    /// Calls `tell` for each realm that waits for a debugger, on its host thread.
    pub fn on_wait(&self, tell: impl Fn(&InspectorTarget) + Send + 'static) {
        let mut on_wait = self.server.shared.on_wait.lock().expect(UNPOISONED);
        *on_wait = Some(Box::new(tell));
    }

    /// Ends every session, lets every realm go on that is paused or waits, and stops listening. A
    /// runtime that is paused answers nothing until then.
    pub fn close(&self) {
        self.server.close();
    }

    /// Makes a realm known.
    pub(crate) fn add(
        &self,
        title: String,
        url: String,
        sessions: UnboundedSender<InspectorSessionProxy>,
        (realm, debugged): (RealmId, Arc<Debugged>),
    ) -> Inspected {
        let id = secret().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut targets = self.server.shared.lock();
        let number = targets.last_key_value().map_or(0, |(last, _)| last + 1);
        let console = broadcast::Sender::new(CONSOLE_LINES);
        let target = Target { id, title, url, sessions, debugged, realm, console };
        targets.insert(number, target);
        Inspected { inspector: self.clone(), number, has_started: AtomicBool::new(false) }
    }
}

impl Inspector {
    /// Shows what a realm wrote to its console to its debuggers. The console is not the engine's.
    pub(crate) fn console(
        &self,
        (realm, debugged): (RealmId, &Arc<Debugged>),
        level: ConsoleLevel,
        text: &str,
        now_ms: i64,
    ) {
        let kind = match level {
            ConsoleLevel::Debug => "debug",
            ConsoleLevel::Log => "log",
            ConsoleLevel::Info => "info",
            ConsoleLevel::Warn => "warning",
            ConsoleLevel::Error => "error",
        };
        let targets = self.server.shared.lock();
        let is_own = |each: &&Target| each.realm == realm && Arc::ptr_eq(&each.debugged, debugged);
        if let Some(target) = targets.values().find(is_own) {
            let event = json!({ "method": "Runtime.consoleAPICalled", "params": {
                "type": kind,
                "args": [{ "type": "string", "value": text }],
                "executionContextId": 1,
                "timestamp": now_ms,
            } });
            // Nobody may be listening.
            let _ = target.console.send(event.to_string().into());
        }
    }
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspector").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Inspected {
    /// Whether the realm has to wait for a debugger now: before its first script. A module of
    /// Kittiwake's own is none.
    pub(crate) fn has_to_wait(&self, script: &str) -> bool {
        let shared = &self.inspector.server.shared;
        shared.start == InspectorStart::Break
            && !*shared.closed.borrow()
            && !script.starts_with("kittiwake:")
            && !self.has_started.swap(true, Ordering::Relaxed)
    }

    /// Tells whoever wants to know that it waits.
    pub(crate) fn tell_waiting(&self) {
        let shared = &self.inspector.server.shared;
        let told =
            shared.lock().get(&self.number).map(|each| each.told(&shared.address.to_string()));
        let on_wait = shared.on_wait.lock().expect(UNPOISONED);
        if let (Some(tell), Some(target)) = (&*on_wait, told) {
            tell(&target);
        }
    }
}

impl Drop for Inspected {
    fn drop(&mut self) {
        self.inspector.server.shared.lock().remove(&self.number);
    }
}

impl Server {
    fn close(&self) {
        self.shared.closed.send_replace(true);
        for target in self.shared.lock().values() {
            session::let_go(target);
        }
        let thread = self.thread.lock().expect(UNPOISONED).take();
        if let Some(thread) = thread
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Target>> {
        self.targets.lock().expect(UNPOISONED)
    }

    /// The target of this id.
    fn target(&self, id: &str) -> Option<Target> {
        self.lock().values().find(|target| target.id == id).cloned()
    }
}

impl Target {
    /// As somebody hears of it who knows the server as `host`.
    fn told(&self, host: &str) -> InspectorTarget {
        InspectorTarget {
            id: self.id.clone(),
            title: self.title.clone(),
            url: self.url.clone(),
            web_socket_url: format!("ws://{host}/{}", self.id),
        }
    }
}

const UNPOISONED: &str = "invariant: nothing panics while it holds this";
