//! A realm's `fetch()`, from the op to the Fetch Standard and back, with its line in the trace.
//!
//! Invariant: the request is the asking realm's: its origin, its referrer and its cookies are not
//! the script's to choose.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use deno_core::futures::future::{LocalBoxFuture, ready};
use deno_core::futures::{FutureExt, StreamExt, poll};
use kittiwake_ops::{FetchRequest, FetchResponse, OpError, RealmId, RequestBody};
use tokio::task::yield_now;
use url::Url;

use crate::accounts::Taken;
use crate::fetch::{
    Body, CacheMode, Credentials, Environment, FetchError, Interceptor, Jar, Mode, RedirectMode,
    Referrer, ReferrerPolicy, Request, Response, ResponseSource, ServiceWorkersMode, Tainting,
    fetch, shortened,
};
use crate::fetch_events::{Controller, EventClient};
use crate::host::{RealmOwner, Shard};
use crate::http::HttpError;
use crate::limits::{Limit, LimitOutcome};
use crate::trace::TraceKind;

/// However near an answer is, the turn that asked does not have it: deno_core looks at once whether
/// an op has ended.
async fn in_another_turn<T>(answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    match poll!(answer.as_mut()) {
        Poll::Ready(answer) => {
            yield_now().await;
            answer
        }
        Poll::Pending => answer.await,
    }
}

impl Shard {
    /// Fetches for a realm, and traces what became of it. The realm is asked nothing afterwards.
    pub(crate) fn fetch_for(
        &self,
        realm: RealmId,
        request: FetchRequest,
        body: RequestBody,
        interceptor: Option<Rc<dyn Interceptor>>,
    ) -> LocalBoxFuture<'static, Result<FetchResponse, OpError>> {
        let (method, started) = (request.method.clone(), self.elapsed_ms());
        let Ok(url) = Url::parse(&request.url) else {
            let url = request.url;
            let error = FetchError::InvalidUrl { url: url.clone() };
            self.trace_fetch(started, method, url, Err(&error));
            return ready(Err(OpError::FailedToFetch)).boxed_local();
        };
        let Some(client) = self.client_url(realm) else {
            return ready(Err(OpError::Aborted)).boxed_local();
        };
        let (shard, shown) = (self.me(), shortened(&url));
        let Some(under_way) = self.take_fetch(realm, &body) else {
            self.trace_fetch(started, method, shown, Err(&FetchError::TooMany));
            return ready(Err(OpError::FailedToFetch)).boxed_local();
        };
        let mut environment = self.fetch_environment(&client, interceptor);
        environment.keepalive_bytes = self.keepalive.of(realm);
        let asking = self.me();
        environment.in_background = Some(Rc::new(move |url, revalidation| {
            asking.revalidate_for(realm, url, revalidation);
        }));
        let mut request = converted(request, body, url, client);
        if environment.interceptor.is_some() {
            request.service_workers = ServiceWorkersMode::All;
        }
        async move {
            let fetched = in_another_turn(fetch(&environment, request)).await;
            match &fetched {
                Ok(response) => {
                    let answered = Ok((response.status, response.source));
                    shard.trace_fetch(started, method.clone(), shown.clone(), answered);
                }
                Err(error) => shard.trace_fetch(started, method.clone(), shown.clone(), Err(error)),
            }
            let response = fetched.map_err(|_| OpError::FailedToFetch)?;
            let response = shard.watched(realm, response, under_way);
            Ok(shard.to_fetch_response(response, started, method, shown))
        }
        .boxed_local()
    }

    /// A response whose body is under way for as long as somebody may read it: it has a connection.
    fn watched(&self, realm: RealmId, response: Response, under_way: (Taken, Taken)) -> Response {
        let shard = self.me();
        let body = response.body.map(|body| {
            body.inspect(move |chunk| {
                let _under_way = &under_way;
                if let Err(HttpError::TooLong { .. }) = chunk {
                    shard.strike(realm, Limit::Response, LimitOutcome::Refused);
                }
            })
            .boxed_local()
        });
        Response { body, ..response }
    }

    /// A request of a realm with its body, for as long as it is under way.
    pub(crate) fn take_fetch(&self, realm: RealmId, body: &RequestBody) -> Option<(Taken, Taken)> {
        let bytes = match body {
            RequestBody::Whole(bytes) => bytes.len(),
            RequestBody::Empty | RequestBody::Stream(_) => 0,
        };
        let request = self.take(realm, Limit::Fetches, 1)?;
        Some((request, self.take(realm, Limit::Uploads, bytes)?))
    }

    /// Who is asked to answer a page's requests before the network is.
    pub(crate) fn controller_of(&self, realm: RealmId) -> Option<Rc<dyn Interceptor>> {
        let Some(RealmOwner::Page(page)) = self.realm_owner(realm) else { return None };
        let worker = page.controller.borrow().clone()?;
        if worker.leaves_all_to_network() {
            self.update_if_stale(&worker.registration);
            return None;
        }
        let client = EventClient { client_id: page.id.clone(), ..EventClient::default() };
        Some(Rc::new(Controller { shard: self.me(), worker, client }))
    }

    pub(crate) fn fetch_environment(
        &self,
        client: &Url,
        interceptor: Option<Rc<dyn Interceptor>>,
    ) -> Environment {
        let (shard, origin) = (self.me(), client.origin().ascii_serialization());
        Environment {
            http: self.http.clone(),
            interceptor,
            cors: self.cors,
            preflights: self.preflights.clone(),
            store: self.store.clone(),
            jar: self.jar(&origin),
            partition: origin.as_str().into(),
            on_cookie_change: Rc::new({
                let (shard, origin) = (self.me(), origin.clone());
                move |observed| shard.tell_cookie_changes(&origin, observed)
            }),
            on_store_error: Rc::new(move |error| shard.trace_store_error(error)),
            in_background: None,
            keepalive_bytes: 0,
            now_ms: self.clock.now_ms(),
        }
    }

    /// The cookies of an origin, which are read from the store once.
    pub(crate) fn jar(&self, origin: &str) -> Rc<RefCell<Jar>> {
        if let Some(jar) = self.jars.borrow().get(origin) {
            return jar.clone();
        }
        let stored = self.store.cookies(origin, self.clock.now_ms() as i64);
        let stored = stored.inspect_err(|error| self.trace_store_error(error)).unwrap_or_default();
        let jar = Rc::new(RefCell::new(Jar::with(stored)));
        self.jars.borrow_mut().insert(origin.to_owned(), jar.clone());
        jar
    }

    pub(crate) fn client_url(&self, realm: RealmId) -> Option<Url> {
        match self.realm_owner(realm)? {
            RealmOwner::Worker(worker) => Url::parse(&worker.script_url).ok(),
            RealmOwner::Page(page) => Some(page.document_url.borrow().clone()),
        }
    }

    /// A request that was made so many milliseconds after the start has its answer, or has failed.
    pub(crate) fn trace_fetch(
        &self,
        started_ms: u64,
        method: String,
        url: String,
        outcome: Result<(u16, ResponseSource), &FetchError>,
    ) {
        let (status, source, error) = match outcome {
            Ok((status, source)) => (Some(status), source, None),
            Err(error) => (None, ResponseSource::Network, Some(error.to_string())),
        };
        let elapsed_ms = self.elapsed_ms() - started_ms;
        self.trace(TraceKind::Fetch { method, url, status, source, error, elapsed_ms });
    }

    /// The response as it crosses the border; a body that breaks later is traced then.
    pub(crate) fn to_fetch_response(
        &self,
        response: Response,
        started_ms: u64,
        method: String,
        url: String,
    ) -> FetchResponse {
        let shard = self.me();
        let body = response.body.map(|body| {
            let told = move |error: HttpError| {
                let (method, url) = (method.clone(), url.clone());
                shard.trace_fetch(started_ms, method, url, Err(&FetchError::Http(error)));
                OpError::FailedToFetch
            };
            body.map(move |chunk| chunk.map_err(&told)).boxed_local()
        });
        FetchResponse {
            kind: response.kind.name(),
            status: response.status,
            status_text: response.status_text,
            headers: response.headers,
            url_list: response.url_list.iter().map(Url::to_string).collect(),
            body,
        }
    }
}

/// The standard's request of what a script may choose.
pub(crate) fn converted(
    request: FetchRequest,
    body: RequestBody,
    url: Url,
    client: Url,
) -> Request {
    Request {
        method: request.method,
        url_list: vec![url],
        headers: request.headers,
        body: match body {
            RequestBody::Empty => Body::Empty,
            RequestBody::Whole(bytes) => Body::Whole(bytes),
            RequestBody::Stream(chunks) => {
                let broken = |cause| HttpError::BodyBroken { cause };
                Body::Stream(chunks.map(move |chunk| chunk.map_err(broken)).boxed_local())
            }
        },
        origin: client.origin(),
        mode: match request.mode.as_str() {
            "same-origin" => Mode::SameOrigin,
            "no-cors" => Mode::NoCors,
            "navigate" => Mode::Navigate,
            _ => Mode::Cors,
        },
        credentials: match request.credentials.as_str() {
            "omit" => Credentials::Omit,
            "include" => Credentials::Include,
            _ => Credentials::SameOrigin,
        },
        cache: match request.cache.as_str() {
            "no-store" => CacheMode::NoStore,
            "reload" => CacheMode::Reload,
            "no-cache" => CacheMode::NoCache,
            "force-cache" => CacheMode::ForceCache,
            "only-if-cached" => CacheMode::OnlyIfCached,
            _ => CacheMode::Default,
        },
        redirect: match request.redirect.as_str() {
            "error" => RedirectMode::Error,
            "manual" => RedirectMode::Manual,
            _ => RedirectMode::Follow,
        },
        referrer: match request.referrer.as_str() {
            "client" => Referrer::Url(client),
            "no-referrer" => Referrer::None,
            url => Url::parse(url).map_or(Referrer::None, Referrer::Url),
        },
        referrer_policy: ReferrerPolicy::parse(&request.referrer_policy)
            .unwrap_or(ReferrerPolicy::DEFAULT),
        integrity: request.integrity,
        keepalive: request.keepalive,
        destination: request.destination,
        tainting: Tainting::Basic,
        service_workers: ServiceWorkersMode::None,
        reload: false,
    }
}
