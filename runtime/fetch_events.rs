//! Fetch events: a client's request on its way through the client's controller.
//! <https://w3c.github.io/ServiceWorker/#handle-fetch>
//!
//! Invariant: a request is answered once: by the worker, by the network, or by nobody.

use std::mem;
use std::rc::Rc;

use futures::future::{Either, LocalBoxFuture, select};
use futures::{FutureExt, StreamExt};
use kittiwake_ops::{
    FetchAnswer, RealmId, RequestBody, RouterSource, RouterSourceEnum, WorkerResponse,
};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use url::Url;

use crate::fetch::{
    Body, CacheMode, Credentials, FetchError, Interceptor, Mode, RedirectMode, Referrer,
    ReferrerPolicy, Request, Response, ResponseSource, ResponseType, ServiceWorkersMode, fetch,
    shortened, tee,
};
use crate::host::{EventEnd, RealmOwner, Shard};
use crate::http::{HttpError, whole_body};
use crate::lifecycle::{FetchListeners, Worker};
use crate::navigation_preload::Preloading;
use crate::realm::ExtendableInit;

/// What a fetch event says besides its request.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventClient {
    /// The client whose request it is; empty for a navigation.
    pub(crate) client_id: String,
    /// The client that a navigation makes; empty otherwise.
    pub(crate) resulting_client_id: String,
}

/// What `js/fetch_event.js` makes an event of.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FetchEventInit {
    id: u32,
    request: InterceptedRequest,
    #[serde(flatten)]
    client: EventClient,
    /// Whether there is a response that was asked for ahead.
    preload: bool,
}

impl FetchEventInit {
    /// What is asked for.
    pub(crate) fn url(&self) -> &str {
        &self.request.url
    }
}

/// A request, in the words of the Fetch Standard; its body comes by an op.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InterceptedRequest {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    mode: Mode,
    credentials: Credentials,
    cache: CacheMode,
    redirect: RedirectMode,
    referrer: String,
    referrer_policy: ReferrerPolicy,
    integrity: String,
    keepalive: bool,
    destination: String,
    reload: bool,
    has_body: bool,
}

/// A fetch event that the worker has not answered.
pub(crate) struct UnansweredFetch {
    worker: u32,
    body: Body,
    preload: Option<(Preloading, String)>,
    answer: oneshot::Sender<FetchAnswer>,
}

/// The worker that a client's requests go through.
pub(crate) struct Controller {
    pub(crate) shard: Rc<Shard>,
    pub(crate) worker: Rc<Worker>,
    pub(crate) client: EventClient,
}

impl Interceptor for Controller {
    fn handle<'a>(
        &'a self,
        request: &'a mut Request,
    ) -> LocalBoxFuture<'a, Result<Option<Response>, FetchError>> {
        async move {
            let Controller { shard, worker, .. } = self;
            if request.mode == Mode::Navigate {
                shard.plan_soft_update(&worker.registration);
            }
            let is_running = worker.realm.get().is_some();
            let source = worker.router.borrow().source_of(request, is_running).cloned();
            match source {
                None | Some(RouterSource::Named(RouterSourceEnum::FetchEvent)) => {
                    self.ask_worker(request).await
                }
                Some(RouterSource::Named(RouterSourceEnum::Network)) => Ok(None),
                Some(RouterSource::Named(RouterSourceEnum::Cache)) => {
                    Ok(shard.cached_response(&worker.origin, None, request))
                }
                Some(RouterSource::Cache { cache_name }) => {
                    Ok(shard.cached_response(&worker.origin, Some(&cache_name), request))
                }
                Some(RouterSource::Named(RouterSourceEnum::RaceNetworkAndFetchHandler)) => {
                    self.race(request).await
                }
            }
        }
        .boxed_local()
    }
}

impl Controller {
    /// Dispatches the fetch event, and waits for what becomes of it. A worker that does not listen
    /// is not started for it: <https://w3c.github.io/ServiceWorker/#should-skip-event-algorithm>
    async fn ask_worker(&self, request: &mut Request) -> Result<Option<Response>, FetchError> {
        if self.worker.fetch_listeners.get() == FetchListeners::None {
            self.shard.update_if_stale(&self.worker.registration);
            return Ok(None);
        }
        let preload = self.shard.preload(&self.worker, request);
        let preload = preload.map(|preloading| (preloading, shortened(request.url())));
        let (body, for_worker) = tee(mem::replace(&mut request.body, Body::Empty));
        request.body = body;
        let (answer, answered) = oneshot::channel();
        let init = FetchEventInit {
            id: self.shard.next_id(),
            request: InterceptedRequest::new(request, &for_worker),
            client: self.client.clone(),
            preload: preload.is_some(),
        };
        let worker = self.worker.id;
        let unanswered = UnansweredFetch { worker, body: for_worker, preload, answer };
        self.shard.fetch_events.borrow_mut().insert(init.id, unanswered);
        // In a task of its own: the client's isolate may be entered now.
        spawn_local(self.shard.me().dispatch_fetch(self.worker.clone(), init));
        match answered.await.expect("invariant: a fetch event is answered") {
            FetchAnswer::Response(response) => self.converted(request, response).map(Some),
            FetchAnswer::Fallback => Ok(None),
            FetchAnswer::Failed(reason) => Err(FetchError::Intercepted { reason }),
        }
    }

    /// The worker or the network, whichever has a response first; one of the network counts if its
    /// status is good. <https://w3c.github.io/ServiceWorker/#handle-fetch>
    async fn race(&self, request: &mut Request) -> Result<Option<Response>, FetchError> {
        if !matches!(request.body, Body::Empty) {
            // It could be sent once only.
            return self.ask_worker(request).await;
        }
        let mut alone = request.without_body();
        alone.service_workers = ServiceWorkersMode::None;
        let client = Url::parse(&self.worker.script_url).expect("a worker's script has a URL");
        let environment = self.shard.fetch_environment(&client, None);
        let network = fetch(&environment, alone).boxed_local();
        let is_good = |response: &Response| (200..300).contains(&response.status);
        match select(network, self.ask_worker(request).boxed_local()).await {
            Either::Left((Ok(response), _)) if is_good(&response) => Ok(Some(response)),
            Either::Left((_, worker)) => worker.await,
            Either::Right((Ok(None), network)) => network.await.map(Some),
            Either::Right((Ok(response), _)) => Ok(response),
            Either::Right((Err(error), network)) => match network.await {
                Ok(response) if is_good(&response) => Ok(Some(response)),
                _ => Err(error),
            },
        }
    }

    fn converted(
        &self,
        request: &Request,
        response: WorkerResponse,
    ) -> Result<Response, FetchError> {
        let WorkerResponse { head, body } = response;
        let parsed = head.url_list.iter().map(|url| Url::parse(url));
        let mut url_list = parsed.collect::<Result<Vec<_>, _>>().map_err(|error| {
            FetchError::Intercepted { reason: format!("the response has no good URL: {error}") }
        })?;
        if url_list.is_empty() {
            url_list.clone_from(&request.url_list);
        }
        let body = match body {
            RequestBody::Empty => None,
            RequestBody::Whole(bytes) => Some(whole_body(bytes)),
            // The worker makes it still, and runs for as long.
            RequestBody::Stream(chunks) => {
                let under_way = self.shard.event_under_way(&self.worker);
                let chunks = chunks.map(move |chunk| {
                    let _ = &under_way;
                    chunk.map_err(|cause| HttpError::BodyBroken { cause })
                });
                Some(chunks.boxed_local())
            }
        };
        Ok(Response {
            kind: match head.r#type.as_str() {
                "cors" => ResponseType::Cors,
                "opaque" => ResponseType::Opaque,
                "opaqueredirect" => ResponseType::OpaqueRedirect,
                // As in Chromium, also for one that the script made.
                _ => ResponseType::Basic,
            },
            status: head.status,
            status_text: head.status_text,
            headers: head.headers,
            url_list,
            body,
            source: ResponseSource::ServiceWorker,
        })
    }
}

impl InterceptedRequest {
    fn new(request: &Request, body: &Body) -> Self {
        let mut headers = request.headers.clone();
        if !request.has_header("accept") {
            headers.push(("accept".to_owned(), "*/*".to_owned()));
        }
        InterceptedRequest {
            method: request.method.clone(),
            url: request.url().to_string(),
            headers,
            mode: request.mode,
            credentials: request.credentials,
            cache: request.cache,
            redirect: request.redirect,
            referrer: match &request.referrer {
                Referrer::None => "no-referrer".to_owned(),
                Referrer::Url(url) => url.to_string(),
            },
            referrer_policy: request.referrer_policy,
            integrity: request.integrity.clone(),
            keepalive: request.keepalive,
            destination: request.destination.clone(),
            reload: request.reload,
            has_body: !matches!(body, Body::Empty),
        }
    }
}

impl Shard {
    async fn dispatch_fetch(self: Rc<Self>, worker: Rc<Worker>, init: FetchEventInit) {
        let _busy = self.activity.begin();
        worker.activation().await;
        let id = init.id;
        let init = ExtendableInit::Fetch(Box::new(init));
        let end = self.dispatch_functional(&worker, init, self.event_limit()).await;
        let unanswered = self.fetch_events.borrow_mut().remove(&id);
        if let Some(UnansweredFetch { answer, .. }) = unanswered {
            let reason = match &end {
                EventEnd::Rejected(cause) => format!("the worker did not start: {cause}"),
                EventEnd::TimedOut => "the worker did not answer in time".to_owned(),
                EventEnd::Fulfilled | EventEnd::Terminated => {
                    "the worker ended before it answered".to_owned()
                }
            };
            // The client may have gone, or have aborted its request.
            let _ = answer.send(FetchAnswer::Failed(reason));
        }
        self.trace_rejection(end);
    }

    /// The body of a fetch event's request, for the event's own worker.
    pub(crate) fn take_fetch_event_body(&self, realm: RealmId, event: u32) -> RequestBody {
        let mut unanswered = self.fetch_events.borrow_mut();
        let own = unanswered.get_mut(&event).filter(|each| self.is_realm_of(realm, each.worker));
        match own.map_or(Body::Empty, |each| mem::replace(&mut each.body, Body::Empty)) {
            Body::Empty => RequestBody::Empty,
            Body::Whole(bytes) => RequestBody::Whole(bytes),
            Body::Stream(chunks) => {
                let told = |chunk: Result<_, HttpError>| chunk.map_err(|error| error.to_string());
                RequestBody::Stream(chunks.map(told).boxed_local())
            }
        }
    }

    /// What was asked for ahead of a fetch event, for the event's own worker; with its URL.
    pub(crate) fn take_preload(&self, realm: RealmId, event: u32) -> Option<(Preloading, String)> {
        let mut unanswered = self.fetch_events.borrow_mut();
        let own = unanswered.get_mut(&event).filter(|each| self.is_realm_of(realm, each.worker));
        own?.preload.take()
    }

    pub(crate) fn answer_fetch_event(&self, realm: RealmId, event: u32, answer: FetchAnswer) {
        let mut unanswered = self.fetch_events.borrow_mut();
        let is_own = |each: &UnansweredFetch| self.is_realm_of(realm, each.worker);
        if unanswered.get(&event).is_some_and(is_own)
            && let Some(own) = unanswered.remove(&event)
        {
            // The client may have gone, or have aborted its request.
            let _ = own.answer.send(answer);
        }
    }

    fn is_realm_of(&self, realm: RealmId, id: u32) -> bool {
        matches!(self.realm_owner(realm), Some(RealmOwner::Worker(worker)) if worker.id == id)
    }
}
