//! What embedders and operators are told when something fails.

use std::path::PathBuf;
use std::sync::Arc;

use kittiwake_ops::ScriptException;
use kittiwake_store::StoreError;
use url::Url;

use crate::door_guard::{Door, DoorFault};
use crate::engine::EngineError;
use crate::limits::LimitError;
use crate::network::RealSignalError;
use crate::policy::PolicyError;

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
    /// A rule of background sync that cannot be kept.
    #[error("{0}")]
    Policy(#[from] PolicyError),
    /// A limit that nothing could run with.
    #[error("{0}")]
    Limit(#[from] LimitError),
    /// V8 takes its flags before it is initialised, and something else in this process has done
    /// that: another runtime that is made of V8. See [`Builder::start`](super::Builder::start).
    #[error(
        "something else in this process has initialised V8, without the flags that Kittiwake \
         needs; start a runtime of Kittiwake before it, or run one of both in a process of its own"
    )]
    EngineTaken,
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
        cause: Option<Box<ScriptException>>,
    },
    /// A promise of the install event was rejected, or the event took too long.
    #[error("{script} was not installed: {cause}")]
    Install {
        /// The script's URL.
        script: String,
        /// The rejection.
        cause: Box<ScriptException>,
    },
    /// A page, or what it is to be made from, cannot be had.
    #[error("the page {url} was not opened: {reason}")]
    PageLoad {
        /// The page.
        url: Url,
        /// Why.
        reason: String,
    },
    /// More pages than may be open: each takes some megabytes.
    #[error("{limit} pages are open; close some, or allow more with `Builder::page_limit`")]
    TooManyPages {
        /// How many may be.
        limit: usize,
    },
    /// A page that was closed.
    #[error("the page is not open any more; open it again")]
    NoPage,
    /// A notification that is not shown any more.
    #[error("the notification is not shown any more")]
    NoNotification,
    /// A background fetch that is over, or never was.
    #[error("there is no background fetch `{id}`; give the id that the script began it with")]
    NoBackgroundFetch {
        /// The script's id.
        id: String,
    },
    /// An entry of the content index that is not there.
    #[error("the content index has no `{id}`; give the id that the script added it with")]
    NoContent {
        /// The script's id.
        id: String,
    },
    /// A script of a page threw.
    #[error("{url}: {cause}")]
    Page {
        /// The page.
        url: Url,
        /// What it threw.
        cause: Box<ScriptException>,
    },
    /// A client's request got a network error, or its response's body broke.
    #[error("{url}: {reason}")]
    Fetch {
        /// What was asked for.
        url: Url,
        /// Why, as in the trace.
        reason: String,
    },
    /// A message or event for a scope that has no worker.
    #[error("no service worker is active for {scope}; register one first")]
    NoWorker {
        /// The scope, or `any scope`.
        scope: String,
    },
    /// An event for the only worker, though there are several.
    #[error("there are several service workers; choose one of their scopes: {}", scopes.join(", "))]
    ManyWorkers {
        /// Their scopes.
        scopes: Vec<String>,
    },
    /// The real network signal cannot be watched.
    #[error("{0}")]
    Network(Arc<RealSignalError>),
    /// Real network with a simulated clock: every time-out would strike at once.
    #[error(
        "a simulated clock needs scripted servers or a manual network signal, not the real one"
    )]
    RealNetworkInSimulation,
    /// A clock of the embedder's in a simulation, whose clock has to move with its timers.
    #[error("a simulation has a clock of its own; leave out `Builder::clock` or the simulation")]
    ClockInSimulation,
    /// More shards than one in a simulation, whose runs are the same each time; or none.
    #[error("{shards} shards cannot be: give 1 or more, and 1 in a simulation")]
    Shards {
        /// How many were asked for.
        shards: usize,
    },
    /// A door that the embedder brought panicked, blocks, or answers what is no answer. Nothing can
    /// be told of the runtime any more.
    #[error("the {door} is out of order: {fault}; mend it, and start another runtime")]
    Door {
        /// Which.
        door: Door,
        /// What it did.
        fault: DoorFault,
    },
    /// A script of a test's world holds its thread. The world is given up; its thread works on
    /// until the process ends.
    #[error(
        "a script does not come back from a function of V8's that nobody can interrupt, on a huge \
         length, say; its world is given up"
    )]
    Stuck,
    /// V8 has failed in a test's world, as [`on_engine_failure`](crate::on_engine_failure) says.
    /// The world is given up; its thread waits until the process ends.
    #[error("V8 failed ({0}); its world is given up")]
    EngineFailed(String),
    /// The host thread has ended.
    #[error("the runtime has been shut down")]
    Stopped,
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Error::Store(Arc::new(error))
    }
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Taken => Error::EngineTaken,
            EngineError::Thread(cause) => Error::Thread(cause),
        }
    }
}

fn cause_text(cause: &Option<Box<ScriptException>>) -> String {
    cause.as_ref().map_or(String::new(), |cause| format!(": {cause}"))
}
