//! Navigation preload: a navigation's request is made while its worker starts.
//! <https://w3c.github.io/ServiceWorker/#handle-fetch>
//!
//! Invariant: a realm reaches registrations and fetch events of its own only; what is enabled is on
//! disk.

use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use kittiwake_ops::{
    FetchResponse, NavigationPreloadServices, NavigationPreloadState, OpError, RealmId,
};
use kittiwake_store::NavigationPreload;
use tokio::sync::oneshot;

use crate::fetch::{
    Body, FetchError, Mode, Request, Response, ServiceWorkersMode, fetch, shortened,
};
use crate::host::Shard;
use crate::lifecycle::Worker;

/// The response that was asked for ahead, when it comes.
pub(crate) type Preloading = oneshot::Receiver<Result<Preloaded, FetchError>>;

/// A response, and when it was asked for, in milliseconds since the start.
pub(crate) type Preloaded = (Response, u64);

impl NavigationPreloadServices for Shard {
    fn preload_state(&self, realm: RealmId, scope: &str) -> NavigationPreloadState {
        let registration = self.own_registration(realm, scope);
        registration.map_or_else(NavigationPreloadState::default, |registration| {
            let NavigationPreload { enabled, header } = registration.preload.borrow().clone();
            NavigationPreloadState { enabled, header_value: header }
        })
    }

    fn set_preload_state(
        &self,
        realm: RealmId,
        scope: &str,
        state: NavigationPreloadState,
    ) -> Result<(), OpError> {
        let registration = self.own_registration(realm, scope);
        let registration = registration.filter(|found| found.active().is_some());
        let registration = registration.ok_or(OpError::NoPreload)?;
        let id = registration.id.get().ok_or(OpError::NoPreload)?;
        let NavigationPreloadState { enabled, header_value: header } = state;
        let preload = NavigationPreload { enabled, header };
        self.store.set_navigation_preload(id, &preload).map_err(|error| {
            self.trace_store_error(&error);
            OpError::StorageFailed
        })?;
        *registration.preload.borrow_mut() = preload;
        Ok(())
    }

    fn fetch_event_preload(
        &self,
        realm: RealmId,
        event: u32,
    ) -> LocalBoxFuture<'static, Result<FetchResponse, OpError>> {
        let Some((preloading, request)) = self.take_preload(realm, event) else {
            return ready(Err(OpError::PreloadFailed)).boxed_local();
        };
        let shard = self.me();
        async move {
            match preloading.await {
                Ok(Ok((response, started_ms))) => {
                    Ok(shard.to_fetch_response(response, started_ms, "GET".into(), request))
                }
                // The trace has why.
                Ok(Err(_)) | Err(_) => Err(OpError::PreloadFailed),
            }
        }
        .boxed_local()
    }
}

impl Shard {
    /// Makes the request of a navigation, if its registration wants it to be made ahead.
    pub(crate) fn preload(&self, worker: &Worker, request: &Request) -> Option<Preloading> {
        let preload = worker.registration.preload.borrow();
        let is_wanted =
            preload.enabled && request.mode == Mode::Navigate && request.method == "GET";
        if !is_wanted || !matches!(request.body, Body::Empty) {
            return None;
        }
        let mut request = request.without_body();
        let header = ("service-worker-navigation-preload".to_owned(), preload.header.clone());
        request.headers.push(header);
        request.service_workers = ServiceWorkersMode::None;
        let environment = self.fetch_environment(request.url(), None);
        let (done, preloading) = oneshot::channel();
        let (shard, busy) = (self.me(), self.activity.begin());
        tokio::task::spawn_local(async move {
            let (method, url) = (request.method.clone(), shortened(request.url()));
            let started = shard.elapsed_ms();
            let fetched = fetch(&environment, request).await;
            let traced = fetched.as_ref().map(|response| (response.status, response.source));
            shard.trace_fetch(started, method, url, traced);
            // The event may be over.
            let _ = done.send(fetched.map(|response| (response, started)));
            drop(busy);
        });
        Some(preloading)
    }
}
