//! The library for a program without an async runtime: each call waits on the thread that makes it.
//!
//! ```
//! use kittiwake::{NetworkState, blocking};
//!
//! let runtime = blocking::Runtime::from(kittiwake::Runtime::builder().simulated(7).start()?);
//! runtime.set_network(NetworkState::Offline)?;
//! assert!(runtime.registrations()?.is_empty());
//! runtime.shut_down()?;
//! # Ok::<(), kittiwake::Error>(())
//! ```
//!
//! Invariant: a call does what the method of the same name does, and nothing else. Do not call from
//! inside an async task: its thread would wait.

use std::time::Duration;

use bytes::Bytes;
use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt};
use url::Url;

use crate::client_fetch::{ClientRequest, ClientResponse};
use crate::dispatch::{EventOutcome, LastChance};
use crate::fetch::ResponseSource;
use crate::network::{Network, NetworkSignal, RealNetwork, Timeline};
use crate::notifications::NotificationClick;
use crate::pages::PageSource;
use crate::push::{PushRequest, PushResponse};
use crate::runtime::{
    Error, NotificationId, NotificationInfo, OpenPage, PageId, RegistrationInfo, UnsettledSync,
    Usage,
};
use crate::trace_hub::{TraceItem, TraceStream};

/// A handle whose calls wait. Clones, and the [`Runtime`](crate::Runtime) that it was made from,
/// are handles to the same.
#[derive(Clone)]
pub struct Runtime(crate::Runtime);

impl From<crate::Runtime> for Runtime {
    fn from(runtime: crate::Runtime) -> Self {
        Runtime(runtime)
    }
}

/// What a request was answered with, whole.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The status text; may be empty.
    pub status_text: String,
    /// Names and values in order; one character is one byte.
    pub headers: Vec<(String, String)>,
    /// The decoded body; empty for a null body.
    pub body: Bytes,
    /// Who answered.
    pub source: ResponseSource,
}

/// The trace as it goes on; `next` waits for it. Ends with the runtime.
#[derive(Debug)]
pub struct TraceEvents(TraceStream);

impl Iterator for TraceEvents {
    type Item = TraceItem;

    fn next(&mut self) -> Option<TraceItem> {
        block_on(self.0.next())
    }
}

/// The errors of each are those of the method of the same name of [`Runtime`](crate::Runtime).
#[allow(clippy::missing_errors_doc, reason = "said above, once")]
impl Runtime {
    /// The handle whose methods are to be awaited.
    pub fn into_async(self) -> crate::Runtime {
        self.0
    }

    /// See [`Runtime::register`](crate::Runtime::register).
    pub fn register(&self, script: Url, scope: Option<Url>) -> Result<RegistrationInfo, Error> {
        block_on(self.0.register(script, scope))
    }

    /// See [`Runtime::register_module`](crate::Runtime::register_module).
    pub fn register_module(
        &self,
        script: Url,
        scope: Option<Url>,
    ) -> Result<RegistrationInfo, Error> {
        block_on(self.0.register_module(script, scope))
    }

    /// See [`Runtime::registrations`](crate::Runtime::registrations).
    pub fn registrations(&self) -> Result<Vec<RegistrationInfo>, Error> {
        block_on(self.0.registrations())
    }

    /// See [`Runtime::unsettled_syncs`](crate::Runtime::unsettled_syncs).
    pub fn unsettled_syncs(&self) -> Result<Vec<UnsettledSync>, Error> {
        block_on(self.0.unsettled_syncs())
    }

    /// See [`Runtime::usage`](crate::Runtime::usage).
    pub fn usage(&self) -> Result<Usage, Error> {
        block_on(self.0.usage())
    }

    /// See [`Runtime::open_page`](crate::Runtime::open_page).
    pub fn open_page(&self, url: Url, source: PageSource) -> Result<PageId, Error> {
        block_on(self.0.open_page(url, source))
    }

    /// See [`Runtime::pages`](crate::Runtime::pages).
    pub fn pages(&self) -> Result<Vec<OpenPage>, Error> {
        block_on(self.0.pages())
    }

    /// See [`Runtime::close_page`](crate::Runtime::close_page).
    pub fn close_page(&self, page: PageId) -> Result<(), Error> {
        block_on(self.0.close_page(page))
    }

    /// See [`Runtime::navigate_page`](crate::Runtime::navigate_page).
    pub fn navigate_page(&self, page: PageId, url: Url) -> Result<(), Error> {
        block_on(self.0.navigate_page(page, url))
    }

    /// As [`Runtime::fetch`](crate::Runtime::fetch), with the whole body.
    pub fn fetch(&self, request: ClientRequest) -> Result<Response, Error> {
        block_on(async {
            let response = self.0.fetch(request).await?;
            let ClientResponse { status, status_text, headers, body, source } = response;
            let mut whole = Vec::new();
            if let Some(mut body) = body {
                while let Some(chunk) = body.try_next().await? {
                    whole.extend_from_slice(&chunk);
                }
            }
            Ok(Response { status, status_text, headers, body: whole.into(), source })
        })
    }

    /// See [`Runtime::post_message`](crate::Runtime::post_message).
    pub fn post_message(
        &self,
        scope: Option<Url>,
        message: serde_json::Value,
    ) -> Result<(), Error> {
        block_on(self.0.post_message(scope, message))
    }

    /// See [`Runtime::dispatch_sync`](crate::Runtime::dispatch_sync).
    pub fn dispatch_sync(
        &self,
        scope: Option<Url>,
        tag: &str,
        last_chance: LastChance,
    ) -> Result<EventOutcome, Error> {
        block_on(self.0.dispatch_sync(scope, tag, last_chance))
    }

    /// See [`Runtime::dispatch_push`](crate::Runtime::dispatch_push).
    pub fn dispatch_push(
        &self,
        scope: Option<Url>,
        data: Option<Vec<u8>>,
    ) -> Result<EventOutcome, Error> {
        block_on(self.0.dispatch_push(scope, data))
    }

    /// See [`Runtime::receive_push`](crate::Runtime::receive_push).
    pub fn receive_push(&self, request: PushRequest) -> Result<PushResponse, Error> {
        block_on(self.0.receive_push(request))
    }

    /// See [`Runtime::notifications`](crate::Runtime::notifications).
    pub fn notifications(&self) -> Result<Vec<NotificationInfo>, Error> {
        block_on(self.0.notifications())
    }

    /// See [`Runtime::click_notification`](crate::Runtime::click_notification).
    pub fn click_notification(
        &self,
        notification: NotificationId,
        click: NotificationClick,
    ) -> Result<EventOutcome, Error> {
        block_on(self.0.click_notification(notification, click))
    }

    /// See [`Runtime::set_network`](crate::Runtime::set_network).
    pub fn set_network(&self, network: impl Into<Network>) -> Result<(), Error> {
        block_on(self.0.set_network(network))
    }

    /// See [`Runtime::play_network`](crate::Runtime::play_network).
    pub fn play_network(&self, timeline: Timeline) -> Result<(), Error> {
        block_on(self.0.play_network(timeline))
    }

    /// See [`Runtime::follow_network`](crate::Runtime::follow_network).
    pub fn follow_network(&self, signal: impl NetworkSignal + Send + 'static) -> Result<(), Error> {
        block_on(self.0.follow_network(signal))
    }

    /// See [`Runtime::follow_real_network`](crate::Runtime::follow_real_network).
    pub fn follow_real_network(&self, network: RealNetwork) -> Result<(), Error> {
        block_on(self.0.follow_real_network(network))
    }

    /// See [`Runtime::idle`](crate::Runtime::idle).
    pub fn idle(&self) -> Result<(), Error> {
        block_on(self.0.idle())
    }

    /// See [`Runtime::run_for`](crate::Runtime::run_for).
    pub fn run_for(&self, duration: Duration) -> Result<(), Error> {
        block_on(self.0.run_for(duration))
    }

    /// As [`Runtime::trace_events`](crate::Runtime::trace_events): an iterator that waits.
    pub fn trace_events(&self, capacity: usize) -> TraceEvents {
        TraceEvents(self.0.trace_events(capacity))
    }

    /// See [`Runtime::shut_down`](crate::Runtime::shut_down).
    pub fn shut_down(self) -> Result<(), Error> {
        block_on(self.0.shut_down())
    }
}
