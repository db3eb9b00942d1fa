//! What an op may throw, and how an uncaught exception is described.
//!
//! Invariant: every variant of [`OpError`] names its JavaScript class; messages are Chromium's.

use deno_core::error::JsError;
use deno_core::v8;
use serde::Serialize;

/// The script's fault, or what a script may learn of the world's.
#[derive(Clone, Debug, thiserror::Error, deno_error::JsError)]
pub enum OpError {
    /// `register()` of either kind of sync before there is an active worker.
    #[class("DOMExceptionInvalidStateError")]
    #[error(
        "Failed to execute 'register' on '{interface}': Registration failed - no active Service \
         Worker"
    )]
    NoActiveWorker {
        /// `SyncManager` or `PeriodicSyncManager`.
        interface: &'static str,
    },
    /// `register()` of either kind of sync without the permission.
    #[class("DOMExceptionNotAllowedError")]
    #[error("Permission denied.")]
    PermissionDenied,
    /// A tag of more than 10,240 bytes (Chromium has one message for this and a missing window).
    #[class("DOMExceptionInvalidAccessError")]
    #[error("Attempted to register a sync event without a window or registration tag too long.")]
    SyncTagTooLong,
    /// The store failed; its error is in the trace, a script must not read paths.
    #[class("DOMExceptionUnknownError")]
    #[error("Background Sync is disabled.")]
    SyncDisabled,
    /// `clients.claim()` by a worker that is not active.
    #[class("DOMExceptionInvalidStateError")]
    #[error("Only the active worker can claim clients.")]
    ClaimByInactiveWorker,
    /// The cause is for the trace: a script must not learn why a request failed.
    #[class(type)]
    #[error("Failed to fetch")]
    FailedToFetch,
    /// The request that was made ahead of a fetch event got no response.
    #[class("DOMExceptionNetworkError")]
    #[error(
        "The service worker navigation preload request failed due to a network error. This may \
         have been an actual network error, or caused by the browser simulating offline to see \
         if the page works offline: see https://w3c.github.io/manifest/#installability-signals"
    )]
    PreloadFailed,
    /// Navigation preload of a registration without an active worker. JavaScript says what it is.
    #[class("DOMExceptionInvalidStateError")]
    #[error("The registration does not have an active worker.")]
    NoPreload,
    /// `addRoutes()` when the worker is installed.
    #[class("DOMExceptionInvalidStateError")]
    #[error(
        "Failed to execute 'addRoutes' on 'InstallEvent': The event handler is already finished \
         and no extend lifetime promises are outstanding."
    )]
    RoutesAfterInstall,
    /// The caller aborted; JavaScript rejects with the signal's own reason.
    #[class("DOMExceptionAbortError")]
    #[error("The user aborted a request.")]
    Aborted,
    /// An imported script that cannot be had.
    #[class("DOMExceptionNetworkError")]
    #[error(
        "Failed to execute 'importScripts' on 'WorkerGlobalScope': The script at '{url}' failed \
         to load."
    )]
    ImportFailed {
        /// The script's URL.
        url: String,
    },
    /// `navigator.serviceWorker.register()` failed: the script could not be had, or threw. The
    /// text is Chromium's.
    #[class(type)]
    #[error("{0}")]
    RegistrationFailed(String),
    /// `navigator.serviceWorker.register()` asked for what the origin or the script's path forbids.
    #[class("DOMExceptionSecurityError")]
    #[error("{0}")]
    RegistrationForbidden(String),
    /// `update()` of a registration that is gone, or by a worker that installs.
    #[class("DOMExceptionInvalidStateError")]
    #[error("{0}")]
    UpdateInInvalidState(String),
    /// More locks, or longer names of them, than one origin may have.
    #[class("DOMExceptionQuotaExceededError")]
    #[error("Failed to execute 'request' on 'LockManager': {0}")]
    TooManyLocks(&'static str),
    /// A notification whose text and data would fill the host's memory.
    #[class(type)]
    #[error(
        "Failed to execute 'showNotification' on 'ServiceWorkerRegistration': The notification is \
         larger than 1 MiB."
    )]
    NotificationTooLarge,
    /// `PushManager.subscribe()` with a key that is no point of the curve.
    #[class("DOMExceptionInvalidAccessError")]
    #[error(
        "Failed to execute 'subscribe' on 'PushManager': The provided applicationServerKey is not \
         valid."
    )]
    PushKeyInvalid,
    /// `PushManager.subscribe()` with another key than the subscription that there is.
    #[class("DOMExceptionInvalidStateError")]
    #[error(
        "Registration failed - A subscription with a different applicationServerKey (or \
         gcm_sender_id) already exists; to change the applicationServerKey, unsubscribe then \
         resubscribe."
    )]
    PushKeyDiffers,
    /// `PushManager.subscribe()` without the permission, or for messages that nobody sees.
    #[class("DOMExceptionNotAllowedError")]
    #[error("Registration failed - permission denied")]
    PushDenied,
    /// `PushManager.subscribe()` before there is an active worker.
    #[class("DOMExceptionAbortError")]
    #[error("Subscription failed - no active Service Worker")]
    PushWithoutWorker,
    /// The store failed while it read or wrote a subscription.
    #[class("DOMExceptionAbortError")]
    #[error("Registration failed - could not be stored")]
    PushFailed,
    /// A worker asked for a window without a person's click.
    #[class("DOMExceptionInvalidAccessError")]
    #[error("Not allowed to {verb} a window.")]
    NoInteraction {
        /// `focus` or `open`.
        verb: &'static str,
    },
    /// A client that is gone, or another origin's.
    #[class("DOMExceptionNotFoundError")]
    #[error("The client was not found.")]
    ClientNotFound,
    /// `WindowClient.navigate()` of a client that another worker controls, or none.
    #[class(type)]
    #[error("This service worker is not the client's active service worker.")]
    NotItsWorker,
    /// A window could not go where it was to go.
    #[class(type)]
    #[error("Cannot navigate to URL: {url}")]
    NavigationFailed {
        /// Where to.
        url: String,
    },
    /// The page of a new window could not be loaded.
    #[class(type)]
    #[error("Something went wrong while trying to open the window.")]
    WindowNotOpened,
    /// A state that would fill the host's memory.
    #[class("DOMExceptionDataCloneError")]
    #[error("Data cannot be cloned: the state of a history entry may have 2 MiB.")]
    HistoryStateTooLarge,
    /// More messages that nobody has received than one origin may have.
    #[class("DOMExceptionDataCloneError")]
    #[error(
        "The message could not be posted: messages of {limit} that nobody has received wait \
         already."
    )]
    TooManyMessages {
        /// How many bytes.
        limit: String,
    },
    /// More open ports than one origin may have.
    #[class("DOMExceptionQuotaExceededError")]
    #[error("Failed to construct 'MessageChannel': {limit} message ports are open already.")]
    TooManyPorts {
        /// How many.
        limit: usize,
    },
    /// More background syncs than one origin may have.
    #[class("DOMExceptionQuotaExceededError")]
    #[error("Failed to execute 'register' on '{interface}': {limit} syncs are registered already.")]
    TooManySyncs {
        /// `SyncManager` or `PeriodicSyncManager`.
        interface: &'static str,
        /// How many.
        limit: u64,
    },
    /// More bytes in memory than a realm or its origin may have there.
    #[class(range)]
    #[error("Array buffer allocation failed")]
    NoMemory,
    /// A message to a worker or client that is gone.
    #[class("DOMExceptionInvalidStateError")]
    #[error("ServiceWorker is in an invalid state.")]
    RecipientGone,
    /// What is to be kept would exceed the origin's quota, or there is no room on the disk.
    #[class("DOMExceptionQuotaExceededError")]
    #[error("Quota exceeded.")]
    QuotaExceeded,
    /// Two requests of one `addAll()` match each other.
    #[class("DOMExceptionInvalidStateError")]
    #[error("Failed to execute 'addAll' on 'Cache': Cache.addAll(): duplicate requests ({url})")]
    DuplicateRequests {
        /// The second request's URL.
        url: String,
    },
    /// The store failed while it read or wrote a cache.
    #[class("DOMExceptionUnknownError")]
    #[error("Unexpected internal error.")]
    CacheFailed,
    /// The store failed while a storage bucket was read or written.
    #[class("DOMExceptionUnknownError")]
    #[error("Unknown error occurred while using storage.")]
    StorageUnusable,
    /// A cookie that may not be set, or a URL whose cookies the realm may not see. The text is
    /// Chromium's.
    #[class(type)]
    #[error("{0}")]
    CookieRefused(String),
    /// A subscription without an active worker.
    #[class("DOMExceptionUnknownError")]
    #[error("An unknown error occurred while subscribing to cookie changes.")]
    CookieSubscriptionFailed,
    /// `BackgroundFetchManager.fetch()` without the permission.
    #[class(type)]
    #[error("This origin does not have permission to start a fetch.")]
    BackgroundFetchDenied,
    /// `BackgroundFetchManager.fetch()` before there is an active worker.
    #[class(type)]
    #[error(
        "Failed to execute 'fetch' on 'BackgroundFetchManager': No active registration available \
         on the ServiceWorkerRegistration."
    )]
    BackgroundFetchWithoutWorker,
    /// `BackgroundFetchManager.fetch()` with the id of one that is active.
    #[class(type)]
    #[error("There already is a registration for the given id.")]
    BackgroundFetchExists,
    /// `BackgroundFetchManager.fetch()` of what another protocol has the port of.
    #[class(type)]
    #[error(
        "Failed to execute 'fetch' on 'BackgroundFetchManager': Refused to fetch '{url}' because \
         that port is not allowed."
    )]
    BackgroundFetchBadPort {
        /// The URL.
        url: String,
    },
    /// More background fetches at a time than one origin may have.
    #[class(type)]
    #[error("There are too many active fetches for this origin.")]
    TooManyBackgroundFetches,
    /// What a background fetch kept is gone. JavaScript says of what it was asked.
    #[class("DOMExceptionInvalidStateError")]
    #[error("The records associated with this background fetch are no longer available.")]
    NoRecords,
    /// A record whose request had not ended when its background fetch was aborted.
    #[class("DOMExceptionAbortError")]
    #[error("The fetch was aborted before the record was processed.")]
    RecordAborted,
    /// A record whose request got no response that may be seen.
    #[class(type)]
    #[error("The response is not available.")]
    RecordWithoutResponse,
    /// The store failed while a background fetch was read or written.
    #[class(type)]
    #[error("Failed to store the background fetch.")]
    BackgroundFetchFailed,
    /// `ContentIndex.add()` of what cannot be an entry.
    #[class(type)]
    #[error("Failed to execute '{operation}' on 'ContentIndex': {why}")]
    ContentRefused {
        /// The operation.
        operation: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// The store failed while a registration was written.
    #[class("DOMExceptionUnknownError")]
    #[error("The service worker registration could not be stored.")]
    StorageFailed,
}

/// An exception or rejection that a script did not handle, with its place in the script's source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScriptException {
    /// The exception as text: `Error: outbox said 503`.
    pub message: String,
    /// The URL of the script, when the engine knows it.
    pub file: Option<String>,
    /// 1-based.
    pub line: Option<i64>,
    /// 1-based.
    pub column: Option<i64>,
    /// The stack as the engine writes it, without frames of Kittiwake's own scripts.
    pub stack: Option<String>,
}

impl ScriptException {
    /// Describes any thrown value. May run the script's own getters (`name`, `stack`).
    pub fn from_v8<'s>(scope: &mut v8::PinScope<'s, '_>, thrown: v8::Local<'s, v8::Value>) -> Self {
        Self::from_js_error(&JsError::from_v8_exception(scope, thrown))
    }

    /// Describes what the engine reported.
    pub fn from_js_error(error: &JsError) -> Self {
        let place = error
            .frames
            .iter()
            .find(|frame| frame.file_name.as_deref().is_some_and(|name| !name.starts_with("ext:")));
        let message = error.exception_message.trim_start_matches("Uncaught ");
        ScriptException {
            message: message.trim_start_matches("(in promise) ").to_owned(),
            file: place.and_then(|frame| frame.file_name.clone()),
            line: place.and_then(|frame| frame.line_number),
            column: place.and_then(|frame| frame.column_number),
            stack: error.stack.as_deref().map(without_own_frames),
        }
    }
}

impl std::fmt::Display for ScriptException {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match (&self.file, self.line, self.column) {
            (Some(file), Some(line), Some(column)) => write!(f, " ({file}:{line}:{column})"),
            (Some(file), _, _) => write!(f, " ({file})"),
            _ => Ok(()),
        }
    }
}

fn without_own_frames(stack: &str) -> String {
    let kept: Vec<&str> = stack.lines().filter(|line| !line.contains("ext:")).collect();
    kept.join("\n")
}
