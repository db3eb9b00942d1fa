//! Background fetches as scripts see them: begun, looked for, aborted, their records read.
//! <https://wicg.github.io/background-fetch/>
//!
//! A task drives each one (`transfer.rs`), and dispatches its event in the end (`event.rs`).
//!
//! Invariant: a realm reaches background fetches of its own origin only; a promise that changes one
//! resolves after the change is on disk; one that is kept has a task in this process, or waits for
//! one at its start.

mod begin;
mod event;
mod transfer;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::rc::Rc;

use deno_core::futures::FutureExt;
use deno_core::futures::future::LocalBoxFuture;
use kittiwake_ops::{
    BackgroundFetchServices, BackgroundFetchSnapshot, CacheMatch, CacheQuery, KeptRequest,
    MatchedRecord, NewBackgroundFetch, OpError, RealmId,
};
use kittiwake_store::{
    self as store, BackgroundFetchId, BackgroundFetchState, EntryRequest, RecordResult,
    RegistrationId, StoreError,
};
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Duration, Instant};

use crate::activity::Busy;
use crate::host::Shard;
use crate::lifecycle::Registration;
use crate::quiet::let_others_run;
use crate::realm::Call;
use crate::trace::{BackgroundFetchTraceState, TraceKind};

/// So many of one origin may be active at a time; Chromium's limit.
const MAX_ACTIVE: usize = 5;

/// Progress is told so often at most; the end of a request and of the whole always is.
const PROGRESS_PERIOD: Duration = Duration::from_millis(100);

/// What a shard knows of its background fetches beside the store.
#[derive(Default)]
pub(crate) struct BackgroundFetches {
    kept: RefCell<BTreeMap<BackgroundFetchId, Rc<BackgroundFetch>>>,
    /// Origins whose requests' bodies are on their way to the disk, once for each fetch.
    beginning: RefCell<Vec<(RegistrationId, String)>>,
    /// Tasks that wait for the network.
    waiting: RefCell<Vec<oneshot::Sender<Busy>>>,
    /// Those whose event is under way.
    firing: RefCell<BTreeSet<BackgroundFetchId>>,
}

/// One that is kept.
struct BackgroundFetch {
    id: BackgroundFetchId,
    registration: RegistrationId,
    origin: String,
    scope: String,
    name: String,
    title: RefCell<String>,
    download_total: u64,
    upload_total: u64,
    interruptions: u32,
    state: Cell<BackgroundFetchState>,
    records_available: Cell<bool>,
    records: Vec<Record>,
    /// Who hears of its progress.
    watchers: RefCell<BTreeSet<RealmId>>,
    told_at: Cell<Option<Instant>>,
    /// Told when a record or the whole has another state.
    changed: Notify,
    /// The work that follows its last transfer.
    handed: RefCell<Option<Busy>>,
}

/// One of its requests.
struct Record {
    request: KeptRequest,
    upload_bytes: u64,
    uploaded: Cell<bool>,
    downloaded: Cell<u64>,
    result: Cell<Option<RecordResult>>,
    vary: RefCell<Vec<String>>,
}

/// A script hears that it has aborted a fetch, before the worker hears so; or the realm has ended.
struct Answered(Rc<BackgroundFetch>);

impl Drop for Answered {
    fn drop(&mut self) {
        self.0.changed.notify_waiters();
    }
}

impl BackgroundFetches {
    fn of_origin(&self, origin: &str) -> Vec<Rc<BackgroundFetch>> {
        let kept = self.kept.borrow();
        kept.values().filter(|fetch| fetch.origin == origin).cloned().collect()
    }

    fn active(&self, registration: RegistrationId, name: &str) -> Option<Rc<BackgroundFetch>> {
        let kept = self.kept.borrow();
        let is_it = |fetch: &&Rc<BackgroundFetch>| {
            fetch.registration == registration && fetch.name == name && fetch.is_active()
        };
        kept.values().find(is_it).cloned()
    }
}

impl BackgroundFetch {
    fn from_store(stored: store::BackgroundFetch, registration: &Registration) -> Rc<Self> {
        let record = |record: store::FetchRecord| {
            let request = serde_json::from_str(&record.request);
            Record {
                request: request.expect("invariant: a request is kept as it was written"),
                upload_bytes: record.upload_bytes,
                uploaded: Cell::new(record.result.is_some()),
                downloaded: Cell::new(record.response_bytes),
                result: Cell::new(record.result),
                vary: RefCell::new(vary_of(&record.response_headers)),
            }
        };
        Rc::new(BackgroundFetch {
            id: stored.id,
            registration: stored.registration,
            origin: registration.origin.clone(),
            scope: registration.scope.clone(),
            name: stored.name,
            title: RefCell::new(stored.title),
            download_total: stored.download_total,
            upload_total: stored.upload_total,
            interruptions: stored.interruptions,
            state: Cell::new(stored.state),
            records_available: Cell::new(true),
            records: stored.records.into_iter().map(record).collect(),
            watchers: RefCell::default(),
            told_at: Cell::default(),
            changed: Notify::new(),
            handed: RefCell::default(),
        })
    }

    fn is_active(&self) -> bool {
        self.state.get() == BackgroundFetchState::Active
    }

    fn downloaded(&self) -> u64 {
        self.records.iter().map(|record| record.downloaded.get()).sum()
    }

    fn uploaded(&self) -> u64 {
        let sent = self.records.iter().filter(|record| record.uploaded.get());
        sent.map(|record| record.upload_bytes).sum()
    }

    fn snapshot(&self) -> BackgroundFetchSnapshot {
        let (result, failure_reason) = match self.state.get() {
            BackgroundFetchState::Active => ("", ""),
            BackgroundFetchState::Success => ("success", ""),
            failure => ("failure", failure.as_str()),
        };
        BackgroundFetchSnapshot {
            number: self.id.0 as f64,
            id: self.name.clone(),
            upload_total: self.upload_total as f64,
            uploaded: self.uploaded() as f64,
            download_total: self.download_total as f64,
            downloaded: self.downloaded() as f64,
            result,
            failure_reason,
            records_available: self.records_available.get(),
        }
    }

    fn line(
        &self,
        state: BackgroundFetchTraceState,
        delay_ms: Option<u64>,
        text: Option<&str>,
    ) -> TraceKind {
        TraceKind::BackgroundFetch {
            id: self.name.clone(),
            scope: self.scope.clone(),
            state,
            requests: self.records.len(),
            downloaded: self.downloaded(),
            delay_ms,
            text: text.map(str::to_owned),
        }
    }
}

impl BackgroundFetchServices for Shard {
    fn background_fetch_begin(
        &self,
        realm: RealmId,
        scope: &str,
        fetch: NewBackgroundFetch,
    ) -> LocalBoxFuture<'static, Result<BackgroundFetchSnapshot, OpError>> {
        let (registration, id) = match self.registration_that_may_fetch(realm, scope, &fetch) {
            Ok(registration) => registration,
            Err(error) => return ready(Err(error)).boxed_local(),
        };
        let key = (id, fetch.id.clone());
        self.background_fetches.beginning.borrow_mut().push(key.clone());
        let (shard, busy) = (self.me(), self.activity.begin());
        // In a task of the host's: the engine polls an op's future where no task can be spawned.
        let begun = spawn_local(async move {
            let begun = shard.begin_background_fetch(&registration, id, fetch, busy).await;
            let mut beginning = shard.background_fetches.beginning.borrow_mut();
            if let Some(at) = beginning.iter().position(|other| *other == key) {
                beginning.remove(at);
            }
            begun
        });
        async move { begun.await.expect("beginning does not panic") }.boxed_local()
    }

    fn background_fetch_get(
        &self,
        realm: RealmId,
        scope: &str,
        id: &str,
    ) -> Option<BackgroundFetchSnapshot> {
        let registration = self.own_registration(realm, scope)?.id.get()?;
        let fetch = self.background_fetches.active(registration, id)?;
        fetch.watchers.borrow_mut().insert(realm);
        Some(fetch.snapshot())
    }

    fn background_fetch_watch(
        &self,
        realm: RealmId,
        number: i64,
    ) -> Option<BackgroundFetchSnapshot> {
        let fetch = self.own_background_fetch(realm, number)?;
        fetch.watchers.borrow_mut().insert(realm);
        Some(fetch.snapshot())
    }

    fn background_fetch_ids(&self, realm: RealmId, scope: &str) -> Vec<String> {
        let registration = self.own_registration(realm, scope).and_then(|found| found.id.get());
        let Some(registration) = registration else { return vec![] };
        let kept = self.background_fetches.kept.borrow();
        let own = kept.values().filter(|each| each.registration == registration);
        let mut ids: Vec<_> =
            own.filter(|each| each.is_active()).map(|each| each.name.clone()).collect();
        ids.sort();
        ids
    }

    fn background_fetch_abort(
        &self,
        realm: RealmId,
        number: i64,
    ) -> LocalBoxFuture<'static, Result<bool, OpError>> {
        let fetch = self.own_background_fetch(realm, number).filter(|fetch| fetch.is_active());
        let Some(fetch) = fetch else { return ready(Ok(false)).boxed_local() };
        let aborted = self.settle_background_fetch(&fetch, BackgroundFetchState::Aborted);
        let aborted = aborted.map_err(|error| self.background_fetch_error(&error));
        let answered = Answered(fetch);
        // The realm's calls come first: whoever reads `result` now finds it.
        async move {
            let_others_run().await;
            drop(answered);
            aborted
        }
        .boxed_local()
    }

    fn background_fetch_match(
        &self,
        realm: RealmId,
        number: i64,
        query: Option<CacheQuery>,
        ignore_method: bool,
        limit: usize,
    ) -> Result<Vec<MatchedRecord>, OpError> {
        let fetch = self.own_background_fetch(realm, number).ok_or(OpError::NoRecords)?;
        let query = query.map(crate::caches::to_query);
        let matches = |record: &Record| {
            let request = &record.request;
            let entry = EntryRequest { url: request.url.clone(), headers: request.headers.clone() };
            let is_same =
                query.as_ref().is_none_or(|query| query.matches(&entry, &record.vary.borrow()));
            is_same && (ignore_method || request.method == "GET")
        };
        let matching = fetch.records.iter().enumerate().filter(|(_, record)| matches(record));
        let found = matching.take(limit).map(|(position, record)| {
            let upload = self.store.background_fetch_upload(fetch.id, position);
            let upload = upload.map_err(|error| self.background_fetch_error(&error))?;
            let body = self.to_matched_body(upload)?;
            Ok(MatchedRecord { position: position as u32, request: record.request.clone(), body })
        });
        found.collect()
    }

    fn background_fetch_response(
        &self,
        realm: RealmId,
        number: i64,
        position: u32,
    ) -> LocalBoxFuture<'static, Result<CacheMatch, OpError>> {
        let (shard, fetch) = (self.me(), self.own_background_fetch(realm, number));
        async move {
            let fetch = fetch.ok_or(OpError::NoRecords)?;
            let position = position as usize;
            let record = fetch.records.get(position).ok_or(OpError::NoRecords)?;
            loop {
                let changed = fetch.changed.notified();
                match (record.result.get(), fetch.state.get()) {
                    (Some(RecordResult::Success | RecordResult::BadStatus), _) => break,
                    (Some(_), _) => return Err(OpError::RecordWithoutResponse),
                    (None, BackgroundFetchState::Active) => changed.await,
                    (None, BackgroundFetchState::Aborted) => return Err(OpError::RecordAborted),
                    (None, _) => return Err(OpError::RecordWithoutResponse),
                }
            }
            let found = shard.store.background_fetch_response(fetch.id, position);
            let found = found.map_err(|error| shard.background_fetch_error(&error))?;
            shard.to_match(found.ok_or(OpError::NoRecords)?)
        }
        .boxed_local()
    }

    fn background_fetch_update_ui(&self, realm: RealmId, number: i64, title: &str) {
        let Some(fetch) = self.own_background_fetch(realm, number) else { return };
        *fetch.title.borrow_mut() = title.to_owned();
        self.trace_background_fetch(&fetch, BackgroundFetchTraceState::Titled, Some(title));
    }
}

impl Shard {
    /// Goes on with what an earlier process left. Once, before anything else begins.
    pub(crate) fn resume_background_fetches(&self) -> Result<(), StoreError> {
        for stored in self.store.background_fetches()? {
            let Some(registration) = self.registration_by_id(stored.registration) else { continue };
            self.keep_background_fetch(BackgroundFetch::from_store(stored, &registration));
        }
        Ok(())
    }

    /// A registration is gone: so are its background fetches, and nobody hears of them.
    pub(crate) fn forget_background_fetches(&self, registration: RegistrationId) {
        let mut kept = self.background_fetches.kept.borrow_mut();
        kept.retain(|_, fetch| {
            if fetch.registration == registration && fetch.is_active() {
                fetch.state.set(BackgroundFetchState::Aborted);
                fetch.changed.notify_waiters();
            }
            fetch.registration != registration
        });
    }

    /// It is on disk; from now on a task drives it.
    fn keep_background_fetch(&self, fetch: Rc<BackgroundFetch>) {
        self.background_fetches.kept.borrow_mut().insert(fetch.id, fetch.clone());
        let (shard, busy) = (self.me(), self.activity.begin());
        spawn_local(async move { shard.drive_background_fetch(&fetch, busy).await });
    }

    /// Its transfers are over, which is on disk when this returns; whether they were not before.
    fn settle_background_fetch(
        &self,
        fetch: &BackgroundFetch,
        state: BackgroundFetchState,
    ) -> Result<bool, StoreError> {
        if !self.store.background_fetch_settle(fetch.id, state)? {
            return Ok(false);
        }
        fetch.state.set(state);
        *fetch.handed.borrow_mut() = Some(self.activity.begin());
        let (told, reason) = match state {
            BackgroundFetchState::Success => (BackgroundFetchTraceState::Succeeded, None),
            BackgroundFetchState::Aborted => (BackgroundFetchTraceState::Aborted, None),
            failure => (BackgroundFetchTraceState::Failed, Some(failure.as_str())),
        };
        self.trace_background_fetch(fetch, told, reason);
        self.tell_background_fetch(fetch);
        Ok(true)
    }

    /// Realms that have an object of it hear what it is at.
    fn tell_background_fetch(&self, fetch: &BackgroundFetch) {
        fetch.told_at.set(Some(Instant::now()));
        for realm in fetch.watchers.borrow().iter() {
            self.call_realm(*realm, Call::ChangeBackgroundFetch(fetch.snapshot()));
        }
    }

    fn tell_progress(&self, fetch: &BackgroundFetch) {
        let is_due = fetch.told_at.get().is_none_or(|told| told.elapsed() >= PROGRESS_PERIOD);
        if is_due && fetch.is_active() {
            self.tell_background_fetch(fetch);
        }
    }

    fn own_background_fetch(&self, realm: RealmId, number: i64) -> Option<Rc<BackgroundFetch>> {
        let origin = self.origin_of(realm)?;
        let kept = self.background_fetches.kept.borrow();
        kept.get(&BackgroundFetchId(number)).filter(|fetch| fetch.origin == origin).cloned()
    }

    /// What a script learns of a failure.
    fn background_fetch_error(&self, error: &StoreError) -> OpError {
        match error {
            StoreError::QuotaExceeded { .. } => OpError::QuotaExceeded,
            error => {
                self.trace_store_error(error);
                OpError::BackgroundFetchFailed
            }
        }
    }

    fn trace_background_fetch(
        &self,
        fetch: &BackgroundFetch,
        state: BackgroundFetchTraceState,
        text: Option<&str>,
    ) {
        self.trace(fetch.line(state, None, text));
    }

    fn trace_waiting(&self, fetch: &BackgroundFetch, delay: Option<Duration>, reason: &str) {
        let delay_ms = delay.map(|delay| delay.as_millis() as u64);
        self.trace(fetch.line(BackgroundFetchTraceState::Waiting, delay_ms, Some(reason)));
    }
}

/// The names in a `Vary` header: <https://httpwg.org/specs/rfc9110.html#field.vary>
fn vary_of(headers: &[(String, String)]) -> Vec<String> {
    let own = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("vary"));
    let names = own.flat_map(|(_, value)| value.split(',')).map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_lowercase).collect()
}
