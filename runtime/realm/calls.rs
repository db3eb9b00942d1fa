//! What the host calls in a realm, and what it gives along.
//!
//! Invariant: `js/bootstrap.js` has a function for each call.

use std::rc::Rc;

use deno_core::error::to_v8_error;
use deno_core::{serde_v8, v8};
use kittiwake_ops::{
    BackgroundFetchSnapshot, ClientState, CookieChanges, IndexedDbEvent, OpError,
    RegistrationState, ServiceWorkerState, Transferred, WorkerState,
};
use serde::Serialize;

use super::{Arguments, to_v8};
use crate::fetch_events::FetchEventInit;
use crate::message_ports::Posted;
use crate::notifications::NotificationEventInit;
use crate::push::OldPushSubscription;

/// A call of the host into the realm; `js/bootstrap.js` has a function for each.
pub(crate) enum Call {
    /// Dispatches an extendable event; its end comes by `Services::event_settled`.
    DispatchExtendable { event: u32, init: ExtendableInit },
    /// Has the worker, whose script has run, say what it listens to.
    TellListeners,
    /// The host no longer waits for the event.
    TimeOutEvent { event: u32 },
    /// Dispatches a plain event at the global scope.
    DispatchSimple { name: &'static str },
    /// `navigator.connection` says something else.
    ChangeConnection,
    /// The registration's workers changed.
    ChangeRegistration { registration: RegistrationState, update_found: bool },
    /// A worker's state changed.
    ChangeWorkerState { worker: u32, state: WorkerState },
    /// The page has another controller.
    ChangeController,
    /// Lets the page's next module take the way to its host: it is a test page, of one test of its
    /// file, or of all.
    LendTestDoor { wanted: Option<usize> },
    /// An answer to the test page's question of this id, or an order: id 0.
    TestMessage { id: u32, text: String },
    /// What a script asked of background sync is on disk, by its numbers.
    ResolveSyncs { numbers: Vec<u64> },
    /// Or could not be made.
    RejectSync { number: u64, error: OpError },
    /// A background fetch that the realm watches has got on.
    ChangeBackgroundFetch(BackgroundFetchSnapshot),
    /// Something happened to the page's cookies.
    ChangeCookies(CookieChanges),
    /// What a database has to say.
    IndexedDb(IndexedDbEvent),
    /// The page's window is at another entry of the same document.
    Traverse { url: String, state: Option<Vec<u8>> },
    /// A worker's message for the page.
    ClientMessage { message: Posted, source: Option<ServiceWorkerState> },
    /// An event at a notification that the page made itself.
    NotificationEvent { id: u32, name: &'static str },
    /// A message for a port of the realm.
    PortMessage { port: u32, message: Posted },
    /// The other end of a port has ended; whether the script is told.
    PortEnded { port: u32, told: bool },
}

impl Call {
    /// The function of `js/bootstrap.js`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Call::DispatchExtendable { .. } => "dispatchExtendable",
            Call::TellListeners => "tellListeners",
            Call::TimeOutEvent { .. } => "timeOutEvent",
            Call::DispatchSimple { .. } => "dispatchSimple",
            Call::ChangeConnection => "changeConnection",
            Call::ChangeRegistration { .. } => "changeRegistration",
            Call::ChangeWorkerState { .. } => "changeWorkerState",
            Call::ChangeController => "changeController",
            Call::LendTestDoor { .. } => "lendTestDoor",
            Call::TestMessage { .. } => "testMessage",
            Call::ResolveSyncs { .. } => "resolveSyncs",
            Call::RejectSync { .. } => "rejectSync",
            Call::ChangeBackgroundFetch(_) => "changeBackgroundFetch",
            Call::ChangeCookies(_) => "changeCookies",
            Call::IndexedDb(_) => "indexedDb",
            Call::Traverse { .. } => "traverse",
            Call::ClientMessage { .. } => "clientMessage",
            Call::NotificationEvent { .. } => "notificationEvent",
            Call::PortMessage { .. } => "portMessage",
            Call::PortEnded { .. } => "portEnded",
        }
    }

    /// Its arguments.
    pub(super) fn into_v8<'s>(self, scope: &mut v8::PinScope<'s, '_>) -> Arguments<'s> {
        match self {
            Call::DispatchExtendable { event, init } => {
                let (name, init) = init.into_v8(scope);
                vec![to_v8(scope, &name), to_v8(scope, &event), init]
            }
            Call::TimeOutEvent { event } => vec![to_v8(scope, &event)],
            Call::DispatchSimple { name } => vec![to_v8(scope, &name)],
            Call::ChangeRegistration { registration, update_found } => {
                vec![to_v8(scope, &registration), to_v8(scope, &update_found)]
            }
            Call::ChangeWorkerState { worker, state } => {
                vec![to_v8(scope, &worker), to_v8(scope, &state)]
            }
            Call::TellListeners | Call::ChangeConnection | Call::ChangeController => vec![],
            Call::LendTestDoor { wanted } => vec![to_v8(scope, &wanted)],
            Call::TestMessage { id, text } => vec![to_v8(scope, &id), to_v8(scope, &text)],
            Call::ResolveSyncs { numbers } => {
                let number = |number| v8::Number::new(scope, number as f64).into();
                numbers.into_iter().map(number).collect()
            }
            Call::RejectSync { number, error } => {
                vec![to_v8(scope, &number), to_v8_error(scope, &error)]
            }
            Call::ChangeBackgroundFetch(fetch) => vec![to_v8(scope, &fetch)],
            Call::ChangeCookies(changes) => vec![to_v8(scope, &changes)],
            Call::IndexedDb(event) => event.into_v8(scope),
            Call::Traverse { url, state } => {
                let state = state.map(serde_v8::ToJsBuffer::from);
                vec![to_v8(scope, &url), to_v8(scope, &state)]
            }
            Call::ClientMessage { message, source } => {
                vec![posted_to_v8(scope, &message), to_v8(scope, &source)]
            }
            Call::NotificationEvent { id, name } => vec![to_v8(scope, &id), to_v8(scope, &name)],
            Call::PortMessage { port, message } => {
                vec![to_v8(scope, &port), posted_to_v8(scope, &message)]
            }
            Call::PortEnded { port, told } => vec![to_v8(scope, &port), to_v8(scope, &told)],
        }
    }

    /// The message that it brings, whose ports become the realm's.
    pub(crate) fn message(&self) -> Option<&Posted> {
        match self {
            Call::ClientMessage { message, .. } | Call::PortMessage { message, .. } => {
                Some(message)
            }
            Call::DispatchExtendable {
                init: ExtendableInit::Message { message: Message::Posted(message), .. },
                ..
            } => Some(message),
            _ => None,
        }
    }
}

/// The events that have a lifetime.
#[derive(Clone)]
pub(crate) enum ExtendableInit {
    Install,
    Activate,
    Sync { tag: String, last_chance: bool },
    PeriodicSync { tag: String },
    BackgroundFetch { name: &'static str, fetch: Box<BackgroundFetchSnapshot> },
    ContentDelete { id: String },
    Message { message: Message, source: MessageSource },
    CookieChange(CookieChanges),
    Fetch(Box<FetchEventInit>),
    Push { data: Option<Vec<u8>> },
    PushSubscriptionChange { old: Box<OldPushSubscription> },
    NotificationClick(Box<NotificationEventInit>),
    NotificationClose(Box<NotificationEventInit>),
}

/// A message's content: of a script, or of the host.
#[derive(Clone)]
pub(crate) enum Message {
    Posted(Rc<Posted>),
    Json(serde_json::Value),
}

/// Who posted it: one of the two, or the host.
#[derive(Clone, Default, Serialize)]
pub(crate) struct MessageSource {
    pub(crate) client: Option<ClientState>,
    pub(crate) worker: Option<ServiceWorkerState>,
}

impl ExtendableInit {
    /// The event's type, as the trace and the specifications name it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            ExtendableInit::Install => "install",
            ExtendableInit::Activate => "activate",
            ExtendableInit::Sync { .. } => "sync",
            ExtendableInit::PeriodicSync { .. } => "periodicsync",
            ExtendableInit::BackgroundFetch { name, .. } => name,
            ExtendableInit::ContentDelete { .. } => "contentdelete",
            ExtendableInit::Message { .. } => "message",
            ExtendableInit::CookieChange(_) => "cookiechange",
            ExtendableInit::Fetch(_) => "fetch",
            ExtendableInit::Push { .. } => "push",
            ExtendableInit::PushSubscriptionChange { .. } => "pushsubscriptionchange",
            ExtendableInit::NotificationClick(_) => "notificationclick",
            ExtendableInit::NotificationClose(_) => "notificationclose",
        }
    }

    fn into_v8<'s>(
        self,
        scope: &mut v8::PinScope<'s, '_>,
    ) -> (&'static str, v8::Local<'s, v8::Value>) {
        #[derive(Serialize)]
        struct PeriodicSync {
            tag: String,
        }
        #[derive(Serialize)]
        struct ContentDelete {
            id: String,
        }
        let name = self.name();
        let init = match self {
            ExtendableInit::Install | ExtendableInit::Activate => v8::undefined(scope).into(),
            ExtendableInit::Sync { tag, last_chance } => to_v8(scope, &(tag, last_chance)),
            ExtendableInit::PeriodicSync { tag } => to_v8(scope, &PeriodicSync { tag }),
            ExtendableInit::BackgroundFetch { fetch, .. } => to_v8(scope, &fetch),
            ExtendableInit::ContentDelete { id } => to_v8(scope, &ContentDelete { id }),
            ExtendableInit::Message { message, source } => message_to_v8(scope, message, source),
            ExtendableInit::CookieChange(changes) => to_v8(scope, &changes),
            ExtendableInit::Fetch(init) => to_v8(scope, &init),
            ExtendableInit::Push { data } => to_v8(scope, &data.map(serde_v8::ToJsBuffer::from)),
            ExtendableInit::PushSubscriptionChange { old } => to_v8(scope, &old),
            ExtendableInit::NotificationClick(init) | ExtendableInit::NotificationClose(init) => {
                to_v8(scope, &init)
            }
        };
        (name, init)
    }
}

/// A message as `deserializeWithTransfer` in `js/structured_transfer.js` takes it.
#[derive(Serialize)]
struct Received<'a> {
    data: serde_v8::ToJsBuffer,
    transfer: &'a [Transferred],
}

impl<'a> From<&'a Posted> for Received<'a> {
    fn from(posted: &'a Posted) -> Self {
        Received { data: posted.data.take().into(), transfer: &posted.transfer }
    }
}

fn posted_to_v8<'s>(scope: &mut v8::PinScope<'s, '_>, posted: &Posted) -> v8::Local<'s, v8::Value> {
    to_v8(scope, &Received::from(posted))
}

fn message_to_v8<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    message: Message,
    source: MessageSource,
) -> v8::Local<'s, v8::Value> {
    #[derive(Serialize)]
    struct Init<'a> {
        message: Option<Received<'a>>,
        json: Option<serde_json::Value>,
        source: MessageSource,
    }
    match message {
        Message::Posted(posted) => {
            to_v8(scope, &Init { message: Some((&*posted).into()), json: None, source })
        }
        Message::Json(value) => to_v8(scope, &Init { message: None, json: Some(value), source }),
    }
}
