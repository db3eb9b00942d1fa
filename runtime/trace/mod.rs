//! The vocabulary of observable events. Its text form is the fixtures' golden format, its JSON
//! form is what machines read.
//!
//! Invariant: both forms are made from one value and share their words; the JSON form has what a
//! person does not need besides: scopes, stacks, the attempt on each line of a sync, and how long a
//! fetch took.

mod text;

use kittiwake_ops::{ConsoleLevel, ScriptException};
use kittiwake_store::SyncType;
use serde::{Serialize, Serializer};

use crate::fetch::ResponseSource;
use crate::limits::{Limit, LimitOutcome, LimitSubject};
use crate::network::NetworkState;
use crate::realm::RealmError;

pub(crate) use text::duration_text;

/// Something that happened, and when.
#[derive(Clone, Debug, Serialize)]
pub struct TraceEvent {
    /// Milliseconds since the runtime started, by its clock.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: TraceKind,
}

/// What can happen.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TraceKind {
    /// A worker entered a state, or a page was opened.
    Lifecycle {
        /// What it happened to.
        subject: LifecycleSubject,
        /// The worker's script, or the page's URL.
        url: String,
        /// `installing`, `installed`, `activating`, `activated`, `redundant`; `opened`.
        state: &'static str,
        /// Which worker of its script it is: versions of one script have one URL.
        #[serde(skip_serializing_if = "Option::is_none")]
        worker: Option<u32>,
        /// The scope of the worker's registration.
        #[serde(skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
    },
    /// A background sync entered a state.
    Sync {
        /// Of which kind it is. The text says `sync` or `periodic`; JSON has it if it is periodic.
        #[serde(skip_serializing_if = "is_one_shot", serialize_with = "sync_type_word")]
        sync_type: SyncType,
        /// The tag.
        tag: String,
        /// The scope of its registration.
        scope: String,
        /// The state.
        state: SyncTraceState,
        /// The attempt that is under way or was the last; 0 before the first.
        attempt: u32,
        /// Whether that attempt is the last that the policy grants; never of a periodic sync, which
        /// goes on with its next period.
        last_chance: bool,
        /// For `waiting`: the time until the next attempt is due. Of a periodic sync, for the other
        /// states too: the time until its next period.
        #[serde(skip_serializing_if = "Option::is_none")]
        delay_ms: Option<u64>,
        /// For `waiting` and `gave-up`: why the attempt failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A sync event that somebody wished for, beside the registrations.
    Dispatch {
        /// The event's tag.
        tag: String,
        /// The scope of its worker.
        scope: String,
        /// How far it is.
        state: DispatchTraceState,
        /// The event's `lastChance`.
        last_chance: bool,
        /// For `rejected`: the rejection.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A request of a script got its response, or failed.
    Fetch {
        /// The method.
        method: String,
        /// The URL, without its fragment.
        url: String,
        /// The status, if there was a response.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Who made it; JSON says so if it was a service worker.
        #[serde(skip_serializing_if = "ResponseSource::is_network")]
        source: ResponseSource,
        /// Why there was none. Scripts learn only "Failed to fetch".
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Milliseconds from the request to this, by the runtime's clock. JSON leaves out 0.
        #[serde(skip_serializing_if = "is_none_passed")]
        elapsed_ms: u64,
    },
    /// The network signal changed.
    Network {
        /// To what.
        state: NetworkState,
        /// What requests meet from now on, as a timeline writes it.
        #[serde(skip_serializing_if = "Option::is_none")]
        conditions: Option<String>,
    },
    /// A script wrote to its console.
    Console {
        /// How severe.
        level: ConsoleLevel,
        /// The text, as `console` formats it.
        text: String,
    },
    /// An exception or rejection that no script caught.
    Error {
        /// The exception, with its place.
        #[serde(flatten)]
        exception: ScriptException,
    },
    /// A script wanted more than a limit allows. Told once a second of one realm and one limit.
    Limit {
        /// Which limit.
        limit: Limit,
        /// How much it allows, in its unit.
        amount: u64,
        /// Who wanted more.
        subject: LimitSubject,
        /// The worker's script, the page's URL, or the origin.
        url: String,
        /// What became of it.
        outcome: LimitOutcome,
    },
    /// A message was posted.
    Message {
        /// To whom.
        to: MessageRecipient,
        /// The message as a person reads it.
        text: String,
    },
    /// Something happened to a push subscription.
    Push {
        /// The scope of its registration, or the endpoint of a message that was refused.
        scope: String,
        /// What happened.
        state: PushTraceState,
        /// More about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// A background fetch entered a state.
    BackgroundFetch {
        /// The script's id.
        id: String,
        /// The scope of its registration.
        scope: String,
        /// The state.
        state: BackgroundFetchTraceState,
        /// How many requests it has.
        requests: usize,
        /// How many bytes of responses it has.
        downloaded: u64,
        /// For `waiting`: the time until the request is made again, if it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        delay_ms: Option<u64>,
        /// For `begun` and `titled`: the title; otherwise why.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// An app's badge changed.
    Badge {
        /// Whose.
        origin: String,
        /// The number that it shows; 0 for none, nothing for a mark.
        #[serde(skip_serializing_if = "Option::is_none")]
        number: Option<u64>,
    },
    /// The content index changed.
    Content {
        /// The scope of its registration.
        scope: String,
        /// How.
        state: ContentTraceState,
        /// The script's id.
        id: String,
        /// The entry's title, when it is added.
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<String>,
    },
    /// A notification was shown or taken away.
    Notification {
        /// Which of them.
        state: NotificationTraceState,
        /// Its title.
        title: String,
        /// Its text; may be empty.
        body: String,
        /// Its tag; may be empty.
        tag: String,
    },
}

/// What the trace says of push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PushTraceState {
    /// A subscription is on disk; the text is its endpoint.
    Subscribed,
    /// A script ended its subscription.
    Unsubscribed,
    /// The push service ended a subscription.
    Expired,
    /// The push service did not take a message, or dropped it; the text says why.
    Refused,
    /// A message is dispatched; the text is its data.
    Delivered,
}

/// What the trace says of a background fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackgroundFetchTraceState {
    /// It is on disk, and its requests are made.
    Begun,
    /// A request waits for the network.
    Waiting,
    /// All responses came.
    Succeeded,
    /// One did not, or was not good.
    Failed,
    /// A script ended it.
    Aborted,
    /// A script gave it another title.
    Titled,
    /// A person clicked at it.
    Clicked,
    /// Its event has ended, and nothing of it is kept.
    Done,
    /// Its event was never dispatched whole.
    GaveUp,
}

/// What the trace says of the content index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContentTraceState {
    /// A script added an entry.
    Added,
    /// A script took one away.
    Removed,
    /// A person deleted one.
    Deleted,
}

/// What the trace says of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotificationTraceState {
    /// A person would see it.
    Shown,
    /// A script closed it.
    Closed,
    /// A person clicked at it.
    Clicked,
    /// A person took it away.
    Dismissed,
}

/// What a lifecycle event happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LifecycleSubject {
    /// A service worker.
    Worker,
    /// A window client.
    Page,
}

/// Who gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageRecipient {
    /// A service worker.
    Worker,
    /// A window client.
    Page,
}

/// What the trace says of a background sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncTraceState {
    /// A new registration is on disk.
    Registered,
    /// The same tag was registered while its event was under way.
    Reregistered,
    /// Its event is dispatched.
    Firing,
    /// Its event failed; it fires again later.
    Waiting,
    /// Its event succeeded.
    Done,
    /// Its last attempt failed.
    GaveUp,
    /// A script ended it. Periodic syncs only.
    Unregistered,
}

/// What the trace says of a sync event beside the registrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DispatchTraceState {
    /// It begins.
    Dispatched,
    /// It succeeded.
    Fulfilled,
    /// A promise that it waits for was rejected.
    Rejected,
    /// It took too long.
    TimedOut,
    /// Its worker was stopped.
    Terminated,
}

impl TraceKind {
    /// What a script did not catch, or why it was ended.
    pub(crate) fn failure(&self) -> Option<ScriptException> {
        match self {
            TraceKind::Error { exception } => Some(exception.clone()),
            TraceKind::Limit { limit, url, outcome: LimitOutcome::Terminated, .. } => {
                let message = RealmError::Terminated(*limit).to_string();
                let (line, column, stack) = (None, None, None);
                Some(ScriptException { message, file: Some(url.clone()), line, column, stack })
            }
            _ => None,
        }
    }
}

fn is_one_shot(sync_type: &SyncType) -> bool {
    *sync_type == SyncType::OneShot
}

fn is_none_passed(elapsed_ms: &u64) -> bool {
    *elapsed_ms == 0
}

fn sync_type_word<S: Serializer>(sync_type: &SyncType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(sync_type.as_str())
}
