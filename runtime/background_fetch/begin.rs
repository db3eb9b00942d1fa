//! A background fetch that begins: who may, and what is written before its promise resolves.
//! <https://wicg.github.io/background-fetch/#dom-backgroundfetchmanager-fetch>
//!
//! Invariant: it is on disk, with all that it has to send, before a script or the trace hears of
//! it.

use std::rc::Rc;

use kittiwake_ops::{BackgroundFetchSnapshot, NewBackgroundFetch, OpError, Permission, RealmId};
use kittiwake_store::{self as store, BackgroundFetchState, RegistrationId};
use url::Url;

use super::{BackgroundFetch, MAX_ACTIVE};
use crate::activity::Busy;
use crate::caches::WrittenBody;
use crate::fetch::has_good_port;
use crate::host::Shard;
use crate::lifecycle::Registration;
use crate::trace::BackgroundFetchTraceState;

impl Shard {
    /// The registration, if it may begin this one now.
    pub(super) fn registration_that_may_fetch(
        &self,
        realm: RealmId,
        scope: &str,
        fetch: &NewBackgroundFetch,
    ) -> Result<(Rc<Registration>, RegistrationId), OpError> {
        for (request, _) in &fetch.requests {
            let url = Url::parse(&request.url).map_err(|_| OpError::FailedToFetch)?;
            if !has_good_port(&url) {
                return Err(OpError::BackgroundFetchBadPort { url: request.url.clone() });
            }
        }
        let registration = self.own_registration(realm, scope);
        let active = registration.filter(|found| found.active().is_some());
        let known = active.and_then(|found| Some((found.clone(), found.id.get()?)));
        let (registration, id) = known.ok_or(OpError::BackgroundFetchWithoutWorker)?;
        if !self.is_granted(Permission::BackgroundFetch) {
            return Err(OpError::BackgroundFetchDenied);
        }
        let fetches = &self.background_fetches;
        let beginning = fetches.beginning.borrow();
        let is_beginning = beginning.contains(&(id, fetch.id.clone()));
        if is_beginning || fetches.active(id, &fetch.id).is_some() {
            return Err(OpError::BackgroundFetchExists);
        }
        let of_origin = fetches.of_origin(&registration.origin);
        let active = of_origin.iter().filter(|fetch| fetch.is_active()).count();
        if active + beginning.iter().filter(|(other, _)| *other == id).count() >= MAX_ACTIVE {
            return Err(OpError::TooManyBackgroundFetches);
        }
        let room = self.quota_of_caches(&registration.origin);
        let used = self.store.cache_usage(&registration.origin);
        let used = used.map_err(|error| self.background_fetch_error(&error))?;
        // As Chromium, which takes what is more than a signed number has for no announcement.
        let announced = i64::try_from(fetch.download_total).unwrap_or(0).cast_unsigned();
        if used.saturating_add(announced) > room {
            return Err(OpError::QuotaExceeded);
        }
        Ok((registration, id))
    }

    /// Writes the requests with their bodies, and lets the task begin.
    pub(super) async fn begin_background_fetch(
        &self,
        registration: &Rc<Registration>,
        id: RegistrationId,
        fetch: NewBackgroundFetch,
        _busy: Busy,
    ) -> Result<BackgroundFetchSnapshot, OpError> {
        let (mut requests, mut written) = (vec![], vec![]);
        for (request, body) in fetch.requests {
            let body = match body {
                None => WrittenBody::null(),
                Some(bytes) => self.whole_body(&registration.origin, bytes).await?,
            };
            let request = serde_json::to_string(&request).expect("a request is JSON");
            requests.push(store::NewRecord { request, upload: body.column.clone() });
            written.push(body);
        }
        let bytes = requests.iter().filter_map(|each| each.upload.size());
        let new = store::NewBackgroundFetch {
            registration: id,
            name: fetch.id,
            title: fetch.title,
            download_total: fetch.download_total,
            upload_total: bytes.sum(),
            requests,
        };
        self.flush_caches();
        let quota = self.quota_of_caches(&registration.origin);
        let begun = self.store.background_fetch_begin(&new, quota);
        let begun = begun.map_err(|error| self.background_fetch_error(&error))?;
        written.into_iter().for_each(WrittenBody::keep);
        let record = |each: store::NewRecord| store::FetchRecord {
            upload_bytes: each.upload.size().unwrap_or(0),
            request: each.request,
            result: None,
            response_headers: vec![],
            response_bytes: 0,
        };
        let stored = store::BackgroundFetch {
            id: begun,
            registration: id,
            name: new.name,
            title: new.title,
            download_total: new.download_total,
            upload_total: new.upload_total,
            state: BackgroundFetchState::Active,
            interruptions: 0,
            records: new.requests.into_iter().map(record).collect(),
        };
        let fetch = BackgroundFetch::from_store(stored, registration);
        let title = fetch.title.borrow().clone();
        let title = Some(title.as_str()).filter(|title| !title.is_empty());
        self.trace_background_fetch(&fetch, BackgroundFetchTraceState::Begun, title);
        let snapshot = fetch.snapshot();
        self.keep_background_fetch(fetch);
        Ok(snapshot)
    }
}
