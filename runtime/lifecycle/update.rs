//! Updating a worker: <https://w3c.github.io/ServiceWorker/#update-algorithm>
//!
//! Invariant: a worker is replaced only by one whose script ran; bytes that are the same change
//! nothing.

use std::rc::Rc;
use std::time::Duration;

use kittiwake_ops::WorkerState;
use kittiwake_store::{ScriptResource, ScriptType, UpdateViaCache};
use tokio::task::spawn_local;
use url::Url;

use super::jobs::{Done, Job, Queued};
use super::refusal::{About, RegisterError};
use super::register::RegisterJob;
use super::script::{is_javascript, mime_essence, resource};
use super::{Registration, Worker};
use crate::fetch::{CacheMode, Credentials, Mode, RedirectMode, Referrer, Request, fetch, header};
use crate::host::{RealmOwner, Shard};
use crate::http::Loaded;
use crate::navigation::request_of;
use crate::realm::RealmError;

/// <https://w3c.github.io/ServiceWorker/#dfn-stale>
const STALE_MS: i64 = 86_400_000;

/// How long after its last event a worker is compared, if there was a navigation: Chromium's.
const AFTER_NAVIGATION: Duration = Duration::from_secs(1);

const EVALUATION_FAILED: &str = "ServiceWorker script evaluation failed";

/// `update()`: which worker was the newest when somebody asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpdateJob {
    script: String,
    script_type: ScriptType,
    /// Who asks, if it is not the runtime itself.
    referrer: Option<String>,
}

impl UpdateJob {
    /// `None` if the registration has no worker.
    pub(super) fn of(registration: &Registration, referrer: Option<String>) -> Option<UpdateJob> {
        let newest = registration.newest()?;
        let (script, script_type) = (newest.script_url.clone(), newest.script_type);
        Some(UpdateJob { script, script_type, referrer })
    }
}

/// How an update is made.
pub(super) struct Comparison {
    pub(super) about: About,
    /// Whether the HTTP cache is asked for nothing.
    pub(super) bypasses_cache: bool,
}

impl Shard {
    /// `ServiceWorkerRegistration.update()`, of a page or of a worker.
    /// <https://w3c.github.io/ServiceWorker/#dom-serviceworkerregistration-update>
    pub(crate) fn update_job(
        &self,
        registration: Option<&Rc<Registration>>,
        scope: &str,
        asking: &RealmOwner,
    ) -> Result<Job, RegisterError> {
        let (worker, referrer) = match asking {
            RealmOwner::Worker(worker) => (Some(worker), worker.script_url.clone()),
            RealmOwner::Page(page) => (None, page.url.to_string()),
        };
        let job = registration.and_then(|found| UpdateJob::of(found, Some(referrer)));
        let job = job.ok_or_else(|| About::updating(scope, "Unknown").invalid_state())?;
        if worker.is_some_and(|worker| worker.is_installing()) {
            return Err(About::updating(scope, &job.script).invalid_state());
        }
        Ok(Job::Update(job))
    }

    pub(super) async fn run_update(&self, scope: &str, job: &UpdateJob, queued: &Queued) {
        let about = About::updating(scope, &job.script);
        let registration = self.registration(scope);
        let newest = registration.as_ref().and_then(|found| found.newest());
        let (Some(registration), Some(newest)) = (registration, newest) else {
            let reason = "The registration was unregistered.";
            return queued.settle(Err(about.failed(reason, None)));
        };
        if newest.script_url != job.script {
            let reason = "A newer worker has another script.";
            return queued.settle(Err(about.failed(reason, None)));
        }
        let job = RegisterJob {
            script: job.script.clone(),
            script_type: job.script_type,
            update_via_cache: registration.update_via_cache.get(),
            referrer: job.referrer.clone(),
        };
        let comparison = Comparison { about, bypasses_cache: self.is_stale(&registration) };
        self.update_with(&registration, &job, comparison, queued).await;
    }

    /// Fetches, compares, and installs what is new.
    pub(super) async fn update_with(
        &self,
        registration: &Rc<Registration>,
        job: &RegisterJob,
        comparison: Comparison,
        queued: &Queued,
    ) {
        let worker = match self.changed_worker(registration, job, &comparison).await {
            Ok(Some(worker)) => worker,
            Ok(None) => {
                self.set_update_via_cache(registration, job.update_via_cache);
                return queued.settle(Ok(Done::Registration(registration.clone(), None)));
            }
            Err(error) => return queued.settle(Err(error)),
        };
        registration.update_via_cache.set(job.update_via_cache);
        self.install(registration, worker, queued).await;
    }

    /// A worker that has run the new script; `None` if nothing is new.
    async fn changed_worker(
        &self,
        registration: &Rc<Registration>,
        job: &RegisterJob,
        comparison: &Comparison,
    ) -> Result<Option<Rc<Worker>>, RegisterError> {
        let newest = registration.newest().filter(|newest| {
            newest.script_url == job.script && newest.script_type == job.script_type
        });
        let bypasses = comparison.bypasses_cache || self.is_stale(registration);
        let main = self.fetch_script(registration, job, comparison, bypasses).await?;
        registration.update_checked_ms.set(Some(self.now_ms()));
        self.keep_update_check(registration);
        let bypasses = bypasses || job.update_via_cache == UpdateViaCache::None;
        if let Some(newest) = newest
            && self.is_up_to_date(&newest, &main, bypasses).await
        {
            return Ok(None);
        }
        self.evaluate_new(registration, job, main, &comparison.about).await.map(Some)
    }

    async fn fetch_script(
        &self,
        registration: &Registration,
        job: &RegisterJob,
        Comparison { about, .. }: &Comparison,
        bypasses_cache: bool,
    ) -> Result<ScriptResource, RegisterError> {
        let url = Url::parse(&job.script).expect("checked before");
        if let Some(script) = self.script_of_test_worker(&url) {
            return Ok(script);
        }
        let mut request = request_of(url.clone(), "serviceworker", Mode::SameOrigin);
        request.headers.push(("service-worker".to_owned(), "script".to_owned()));
        request.credentials = match job.script_type {
            ScriptType::Classic => Credentials::SameOrigin,
            ScriptType::Module => Credentials::Omit,
        };
        request.redirect = RedirectMode::Error;
        if let Some(referrer) = job.referrer.as_deref().and_then(|text| Url::parse(text).ok()) {
            request.referrer = Referrer::Url(referrer);
        }
        if bypasses_cache || job.update_via_cache != UpdateViaCache::All {
            request.cache = CacheMode::NoCache;
        }
        let environment = self.fetch_environment(&url, None);
        let response = fetch(&environment, request).await;
        let response = response.map_err(|error| about.unfetched(&error))?;
        let allowed = header(&response.headers, "service-worker-allowed");
        let loaded = response.into_loaded().await;
        let loaded = loaded.map_err(|error| about.unfetched(&error.into()))?;
        if !(200..300).contains(&loaded.status) {
            let status = loaded.status;
            let reason = format!(
                "A bad HTTP response code ({status}) was received when fetching the script."
            );
            return Err(about.failed(&reason, None));
        }
        if !is_javascript(&loaded) {
            return Err(about.forbidden(&match mime_essence(&loaded) {
                "" => "The script does not have a MIME type.".to_owned(),
                essence => format!("The script has an unsupported MIME type ('{essence}')."),
            }));
        }
        check_scope(&url, &registration.scope, allowed.as_deref())
            .map_err(|reason| about.forbidden(&reason))?;
        Ok(resource(&job.script, loaded))
    }

    /// Byte for byte, the main script; imported scripts are compared only if it is the same.
    async fn is_up_to_date(
        &self,
        newest: &Worker,
        main: &ScriptResource,
        bypasses_cache: bool,
    ) -> bool {
        let Some(version) = newest.version.get() else {
            let resources = newest.resources.borrow();
            return resources.get(&main.url).is_some_and(|known| known.body == main.body);
        };
        let stored = match self.store.script_resources(version) {
            Ok(stored) => stored,
            Err(error) => {
                self.trace_store_error(&error);
                return true;
            }
        };
        for known in stored {
            if known.url == main.url {
                if known.body != main.body {
                    return false;
                }
            } else if self.import_has_changed(newest, &known, bypasses_cache).await {
                return false;
            }
        }
        true
    }

    /// A response that is bad, or does not come, is ignored.
    async fn import_has_changed(
        &self,
        worker: &Worker,
        known: &ScriptResource,
        bypasses_cache: bool,
    ) -> bool {
        let Ok(url) = Url::parse(&known.url) else { return false };
        let Ok(main) = Url::parse(&worker.script_url) else { return false };
        match self.fetch_import(worker, &main, url, bypasses_cache).await {
            Some(loaded) => loaded.body != known.body,
            None => false,
        }
    }

    async fn fetch_import(
        &self,
        worker: &Worker,
        main: &Url,
        url: Url,
        bypasses_cache: bool,
    ) -> Option<Loaded> {
        let is_module = worker.script_type == ScriptType::Module;
        let mut request: Request =
            request_of(url, "script", if is_module { Mode::Cors } else { Mode::NoCors });
        request.origin = main.origin();
        request.referrer = Referrer::Url(main.clone());
        if is_module {
            request.credentials = Credentials::SameOrigin;
        }
        if bypasses_cache {
            request.cache = CacheMode::NoCache;
        }
        let environment = self.fetch_environment(main, None);
        let loaded = fetch(&environment, request).await.ok()?.into_loaded().await.ok()?;
        (200..300).contains(&loaded.status).then_some(loaded)
    }

    /// <https://w3c.github.io/ServiceWorker/#run-service-worker>, for the first time
    async fn evaluate_new(
        &self,
        registration: &Rc<Registration>,
        job: &RegisterJob,
        main: ScriptResource,
        about: &About,
    ) -> Result<Rc<Worker>, RegisterError> {
        let worker = self.new_worker(registration, job.script.clone(), job.script_type);
        worker.resources.borrow_mut().insert(job.script.clone(), main);
        self.ensure_running(&worker).await.map_err(|error| {
            let (reason, cause) = match error {
                RealmError::CannotStart(exception) => {
                    ("ServiceWorker cannot be started", exception)
                }
                RealmError::Exception(exception) => (EVALUATION_FAILED, exception),
                ended => (EVALUATION_FAILED, super::plain_exception(ended.to_string())),
            };
            worker.state.set(WorkerState::Redundant);
            about.failed(reason, Some(cause))
        })?;
        Ok(worker)
    }

    /// Writes when the registration was last compared, if the store knows it.
    pub(super) fn keep_update_check(&self, registration: &Registration) {
        if let (Some(id), Some(ms)) = (registration.id.get(), registration.update_checked_ms.get())
            && let Err(error) = self.store.update_checked(id, ms)
        {
            self.trace_store_error(&error);
        }
    }

    fn set_update_via_cache(&self, registration: &Registration, mode: UpdateViaCache) {
        if registration.update_via_cache.replace(mode) == mode {
            return;
        }
        if let Some(id) = registration.id.get()
            && let Err(error) = self.store.set_update_via_cache(id, mode)
        {
            self.trace_store_error(&error);
        }
        self.tell_registration(registration, false);
    }

    // --- soft updates ---

    /// <https://w3c.github.io/ServiceWorker/#dfn-stale>
    pub(super) fn is_stale(&self, registration: &Registration) -> bool {
        let checked = registration.update_checked_ms.get();
        checked.is_some_and(|checked_ms| self.now_ms() - checked_ms > STALE_MS)
    }

    /// A soft update for the event or the request that has just met the registration, if a day has
    /// passed since the last one.
    pub(crate) fn update_if_stale(&self, registration: &Registration) {
        if self.is_stale(registration) {
            self.soft_update(registration);
        }
    }

    /// Compares the newest worker with its server's; nobody hears of a failure.
    /// <https://w3c.github.io/ServiceWorker/#soft-update>
    pub(super) fn soft_update(&self, registration: &Registration) {
        if registration.unregistered.get() {
            return;
        }
        if let Some(job) = UpdateJob::of(registration, None) {
            // The job runs all the same.
            drop(self.schedule(&registration.scope, Job::Update(job)));
        }
    }

    /// A soft update for the navigation that has just met the registration, as soon as its worker
    /// has rested for a second, which keeps a busy server from being asked each time.
    pub(crate) fn plan_soft_update(&self, registration: &Rc<Registration>) {
        if registration.update_planned.replace(true) {
            return;
        }
        let (shard, registration) = (self.me(), registration.clone());
        spawn_local(async move {
            loop {
                tokio::time::sleep(AFTER_NAVIGATION).await;
                let is_at_rest = |worker: Rc<Worker>| {
                    worker.events_under_way.get() == 0
                        && worker.last_event_ended.get().elapsed() >= AFTER_NAVIGATION
                };
                if registration.active().is_none_or(is_at_rest) {
                    break;
                }
            }
            registration.update_planned.set(false);
            shard.soft_update(&registration);
        });
    }
}

/// <https://w3c.github.io/ServiceWorker/#path-restriction>
fn check_scope(script: &Url, scope: &str, allowed: Option<&str>) -> Result<(), String> {
    let scope = Url::parse(scope).expect("checked before");
    let widest = script.join(allowed.unwrap_or("./")).unwrap_or_else(|_| script.clone());
    if widest.origin() == scope.origin() && scope.path().starts_with(widest.path()) {
        return Ok(());
    }
    Err(format!(
        "The path of the provided scope ('{}') is not under the max scope allowed ('{}'). Adjust \
         the scope, move the Service Worker script, or use the Service-Worker-Allowed HTTP header \
         to allow the scope.",
        scope.path(),
        widest.path()
    ))
}
