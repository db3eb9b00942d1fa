//! The event of a background fetch, and its end; a person's click at one.
//! <https://wicg.github.io/background-fetch/#perform-a-background-fetch>
//!
//! Invariant: a background fetch is kept until its event has ended, so that it is dispatched once
//! at least; what it kept goes with it.

use std::rc::Rc;

use kittiwake_ops::RealmId;
use kittiwake_store::BackgroundFetchState;

use super::BackgroundFetch;
use crate::dispatch::EventOutcome;
use crate::host::{EventEnd, Shard};
use crate::lifecycle::{Registration, plain_exception};
use crate::realm::ExtendableInit;
use crate::runtime::Error;
use crate::trace::BackgroundFetchTraceState;

/// So often the process may die in an event: a script that kills it must not do so for ever.
const MAX_INTERRUPTIONS: u32 = 3;

impl Shard {
    /// Dispatches the event, and forgets the fetch.
    pub(super) async fn end_background_fetch(&self, fetch: &Rc<BackgroundFetch>) {
        if fetch.interruptions >= MAX_INTERRUPTIONS {
            let reason = "the process died in its event, time and again";
            self.trace_background_fetch(fetch, BackgroundFetchTraceState::GaveUp, Some(reason));
            return self.forget_background_fetch(fetch);
        }
        let registration = self.registration_by_id(fetch.registration);
        let worker = match &registration {
            Some(registration) => registration.activated_worker().await,
            None => None,
        };
        let (Some(worker), false) = (worker, self.is_stopping()) else { return };
        if let Err(error) = self.store.background_fetch_firing(fetch.id) {
            return self.trace_store_error(&error);
        }
        self.background_fetches.firing.borrow_mut().insert(fetch.id);
        if let Ok(realm) = self.ensure_running(&worker).await {
            fetch.watchers.borrow_mut().insert(realm);
        }
        let init = event_init(fetch, type_of(fetch.state.get()));
        let end = self.dispatch_functional(&worker, init, self.event_limit()).await;
        // A graceful stop has given it back.
        if !self.background_fetches.firing.borrow_mut().remove(&fetch.id) || self.is_stopping() {
            return;
        }
        if matches!(end, EventEnd::TimedOut) {
            self.stop_worker(&worker);
            let text = "the event took longer than its limit".to_owned();
            self.trace_exception(plain_exception(text));
        }
        self.trace_rejection(end);
        fetch.records_available.set(false);
        self.tell_background_fetch(fetch);
        self.forget_background_fetch(fetch);
        self.trace_background_fetch(fetch, BackgroundFetchTraceState::Done, None);
    }

    fn forget_background_fetch(&self, fetch: &BackgroundFetch) {
        match self.store.background_fetch_end(fetch.id) {
            Ok(released) => self.release_bodies(released),
            Err(error) => self.trace_store_error(&error),
        }
        self.background_fetches.kept.borrow_mut().remove(&fetch.id);
    }

    /// Events that a graceful stop cuts off are no interruption.
    pub(crate) fn give_background_fetches_back(&self) -> Result<(), kittiwake_store::StoreError> {
        let firing: Vec<_> = self.background_fetches.firing.take().into_iter().collect();
        self.store.background_fetch_hand_back(&firing)
    }

    /// A realm has ended.
    pub(crate) fn end_watching(&self, realm: RealmId) {
        for fetch in self.background_fetches.kept.borrow().values() {
            fetch.watchers.borrow_mut().remove(&realm);
        }
    }

    /// A person clicks at what is shown of the newest background fetch with this id, also once its
    /// transfers are over. <https://wicg.github.io/background-fetch/#fire-a-background-fetch-click-event>
    pub(crate) async fn click_background_fetch(
        &self,
        registration: &Rc<Registration>,
        id: &str,
    ) -> Result<EventOutcome, Error> {
        let newest = {
            let kept = self.background_fetches.kept.borrow();
            let is_it = |fetch: &&Rc<BackgroundFetch>| {
                registration.id.get() == Some(fetch.registration) && fetch.name == id
            };
            kept.values().rfind(is_it).cloned()
        };
        let fetch = newest.ok_or_else(|| Error::NoBackgroundFetch { id: id.to_owned() })?;
        self.trace_background_fetch(&fetch, BackgroundFetchTraceState::Clicked, None);
        let worker = self.worker_to_ask(registration).await?;
        if let Ok(realm) = self.ensure_running(&worker).await {
            fetch.watchers.borrow_mut().insert(realm);
            self.allow_interaction(realm);
        }
        self.dispatch_and_tell(registration, event_init(&fetch, "backgroundfetchclick")).await
    }
}

fn event_init(fetch: &BackgroundFetch, name: &'static str) -> ExtendableInit {
    ExtendableInit::BackgroundFetch { name, fetch: Box::new(fetch.snapshot()) }
}

fn type_of(state: BackgroundFetchState) -> &'static str {
    match state {
        BackgroundFetchState::Active => unreachable!("invariant: its transfers are over"),
        BackgroundFetchState::Success => "backgroundfetchsuccess",
        BackgroundFetchState::Aborted => "backgroundfetchabort",
        BackgroundFetchState::BadStatus
        | BackgroundFetchState::FetchError
        | BackgroundFetchState::QuotaExceeded
        | BackgroundFetchState::DownloadTotalExceeded => "backgroundfetchfail",
    }
}
