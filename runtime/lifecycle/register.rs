//! Registering and updating a worker.
//! <https://w3c.github.io/ServiceWorker/#register-algorithm>
//!
//! Invariant: a failure names its cause for the operator, and leaves what was there before.

use std::rc::Rc;
use std::sync::Arc;

use kittiwake_ops::{OpError, ScriptException, WorkerState};
use kittiwake_store::{InstalledWorker, ScriptResource, ScriptType, StoreError, UpdateViaCache};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use url::Url;

use super::script::{is_javascript, mime_essence, resource};
use super::{Registration, Worker};
use crate::host::{EventEnd, Shard};
use crate::http::{HttpError, HttpRequest, follow};
use crate::realm::{ExtendableInit, RealmError};

/// What is to be registered.
pub(crate) struct RegisterRequest {
    pub(crate) script: Url,
    /// By default the script's folder.
    pub(crate) scope: Option<Url>,
    pub(crate) script_type: ScriptType,
    pub(crate) update_via_cache: UpdateViaCache,
}

/// Why a worker was not registered.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    /// Its script cannot be had, does not run, or must not have this scope.
    #[error("{prefix}: {reason}")]
    Refused {
        kind: Refusal,
        /// `Failed to register a ServiceWorker`, and for what: Chromium says it in every message.
        prefix: String,
        /// What went wrong, in Chromium's words.
        reason: String,
        /// What only the operator may know.
        cause: Option<Box<ScriptException>>,
    },
    /// The install event failed.
    #[error("the install event failed: {cause}")]
    InstallFailed { cause: Box<ScriptException> },
    /// The store failed.
    #[error("{0}")]
    Store(Arc<StoreError>),
}

/// What a script gets for a refused registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    TypeError,
    SecurityError,
}

/// The install that goes on after `register()` resolved.
pub(crate) type Installation = oneshot::Receiver<Result<(), RegisterError>>;

const EVALUATION_FAILED: &str = "ServiceWorker script evaluation failed";

struct Job {
    script: String,
    scope: String,
    origin: String,
    script_type: ScriptType,
    update_via_cache: UpdateViaCache,
}

impl Shard {
    /// Registers a worker. Answers when its script has run; [`Installation`] tells how its install
    /// event ended, and is `None` if the worker there was up to date.
    pub(crate) async fn register(
        &self,
        request: RegisterRequest,
    ) -> Result<(Rc<Registration>, Option<Installation>), RegisterError> {
        let job = check(request)?;
        let existing = self.registration(&job.scope);
        let registration =
            existing.unwrap_or_else(|| Registration::new(job.origin.clone(), job.scope.clone()));
        let guard = registration.clone();
        let _one_at_a_time = guard.job.lock().await;
        // Another job may have registered, or cleared, this scope meanwhile.
        let registration = self.registration(&job.scope).unwrap_or(registration);

        let newest = registration.newest();
        let same_script = newest.as_ref().is_some_and(|newest| {
            newest.script_url == job.script && newest.script_type == job.script_type
        });
        let main = match self.fetch_script(&job).await {
            Ok(main) => main,
            // What is installed works without its server.
            Err(RegisterError::Refused { .. }) if same_script && !self.is_online() => {
                return Ok((registration, None));
            }
            Err(error) => return Err(error),
        };
        if same_script && self.is_up_to_date(newest.as_deref(), &main).await {
            return Ok((registration, None));
        }
        let worker = self.evaluate_new(&registration, &job, main).await?;
        registration.update_via_cache.set(job.update_via_cache);
        Ok((registration.clone(), Some(self.start_install(registration, worker))))
    }

    /// <https://w3c.github.io/ServiceWorker/#update-algorithm>
    async fn fetch_script(&self, job: &Job) -> Result<ScriptResource, RegisterError> {
        let url = Url::parse(&job.script).expect("checked before");
        let mut request = HttpRequest::get(url);
        request.headers.push(("service-worker".to_owned(), "script".to_owned()));
        let response = self.http.send(request).await.map_err(|error| job.unfetched(&error))?;
        let is_redirect = matches!(response.status, 301 | 302 | 303 | 307 | 308);
        if is_redirect {
            return Err(job.unfetched(&HttpError::RedirectForbidden { url: response.url }));
        }
        let allowed = response.header("service-worker-allowed").map(str::to_owned);
        let loaded = response.into_loaded().await.map_err(|error| job.unfetched(&error))?;
        if !(200..300).contains(&loaded.status) {
            let status = loaded.status;
            return Err(job.failed(
                format!(
                    "A bad HTTP response code ({status}) was received when fetching the script."
                ),
                None,
            ));
        }
        if !is_javascript(&loaded) {
            return Err(job.forbidden(match mime_essence(&loaded) {
                "" => "The script does not have a MIME type.".to_owned(),
                essence => format!("The script has an unsupported MIME type ('{essence}')."),
            }));
        }
        job.check_scope(allowed.as_deref())?;
        Ok(resource(&job.script, loaded))
    }

    /// Byte for byte, the main script; imported scripts are compared only if it is the same.
    async fn is_up_to_date(&self, newest: Option<&Worker>, main: &ScriptResource) -> bool {
        let Some(newest) = newest else { return false };
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
            } else if self.import_has_changed(&known).await {
                return false;
            }
        }
        true
    }

    /// A response that is bad, or does not come, is ignored.
    async fn import_has_changed(&self, known: &ScriptResource) -> bool {
        let Ok(url) = Url::parse(&known.url) else { return false };
        let Ok(response) = follow(&*self.http, url).await else { return false };
        let Ok(loaded) = response.into_loaded().await else { return false };
        (200..300).contains(&loaded.status) && loaded.body != known.body
    }

    async fn evaluate_new(
        &self,
        registration: &Rc<Registration>,
        job: &Job,
        main: ScriptResource,
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
            job.failed(reason.to_owned(), Some(cause))
        })?;
        Ok(worker)
    }

    /// <https://w3c.github.io/ServiceWorker/#installation-algorithm>
    fn start_install(&self, registration: Rc<Registration>, worker: Rc<Worker>) -> Installation {
        *registration.installing.borrow_mut() = Some(worker.clone());
        // A page that registers never sees the worker in its first state.
        self.enter_worker_state(&worker, WorkerState::Installing);
        self.add_registration(&registration);
        let (done, installed) = oneshot::channel();
        let (shard, busy) = (self.me(), self.activity.begin());
        spawn_local(async move {
            // The promise of register() resolves first, and its continuation runs.
            tokio::task::yield_now().await;
            shard.tell_worker_state(&worker);
            shard.tell_registration(&registration, true);
            let result = shard.install(&registration, &worker).await;
            if let Err(error) = &result {
                shard.discard_installing(&registration, &worker, error);
            } else {
                shard.try_activate(&registration);
            }
            // A page that registered the worker does not wait for this.
            let _ = done.send(result);
            drop(busy);
        });
        installed
    }

    async fn install(
        &self,
        registration: &Rc<Registration>,
        worker: &Rc<Worker>,
    ) -> Result<(), RegisterError> {
        let end =
            self.dispatch_functional(worker, ExtendableInit::Install, self.limits.event).await;
        let failure = match end {
            EventEnd::Fulfilled => None,
            EventEnd::Rejected(cause) => Some(cause),
            EventEnd::TimedOut => {
                Some(super::plain_exception("the event took longer than its limit".to_owned()))
            }
            EventEnd::Terminated => {
                Some(super::plain_exception("the worker was terminated".to_owned()))
            }
        };
        if let Some(cause) = failure {
            return Err(RegisterError::InstallFailed { cause: Box::new(cause) });
        }
        let resources = worker.resources.take().into_values().collect();
        let (id, version) = self
            .store
            .install(&InstalledWorker {
                origin: registration.origin.clone(),
                scope: registration.scope.clone(),
                script_url: worker.script_url.clone(),
                script_type: worker.script_type,
                update_via_cache: registration.update_via_cache.get(),
                resources,
            })
            .map_err(|error| RegisterError::Store(Arc::new(error)))?;
        self.set_registration_id(registration, id);
        worker.version.set(Some(version));
        let redundant = registration.waiting.borrow_mut().replace(worker.clone());
        registration.installing.borrow_mut().take();
        if let Some(redundant) = redundant {
            self.set_worker_state(&redundant, WorkerState::Redundant);
            self.stop_worker(&redundant);
        }
        self.tell_registration(registration, false);
        self.set_worker_state(worker, WorkerState::Installed);
        Ok(())
    }

    fn discard_installing(
        &self,
        registration: &Rc<Registration>,
        worker: &Rc<Worker>,
        error: &RegisterError,
    ) {
        match error {
            RegisterError::Store(error) => self.trace_store_error(error),
            RegisterError::InstallFailed { cause } => self.trace_exception(*cause.clone()),
            RegisterError::Refused { .. } => {}
        }
        registration.installing.borrow_mut().take();
        self.tell_registration(registration, false);
        self.set_worker_state(worker, WorkerState::Redundant);
        self.stop_worker(worker);
        if registration.newest().is_none() {
            self.remove_registration(registration);
        }
    }
}

/// What can be said before anything is fetched.
/// <https://w3c.github.io/ServiceWorker/#start-register-algorithm>
fn check(request: RegisterRequest) -> Result<Job, RegisterError> {
    let RegisterRequest { mut script, scope, script_type, update_via_cache } = request;
    script.set_fragment(None);
    let mut scope = match scope {
        Some(scope) => scope,
        None => script.join("./").expect("an http URL has a folder"),
    };
    scope.set_fragment(None);
    let job = Job {
        origin: script.origin().ascii_serialization(),
        scope: scope.to_string(),
        script: script.to_string(),
        script_type,
        update_via_cache,
    };
    for (what, url) in [("script", &script), ("scope", &scope)] {
        if !matches!(url.scheme(), "http" | "https") {
            let reason = format!("The URL protocol of the {what} ('{url}') is not supported.");
            return Err(refused(Refusal::TypeError, reason));
        }
        let path = url.path().to_ascii_lowercase();
        if path.contains("%2f") || path.contains("%5c") {
            let reason = format!(
                "The provided scope ('{scope}') or scriptURL ('{script}') includes a disallowed \
                 escape character."
            );
            return Err(refused(Refusal::TypeError, reason));
        }
    }
    if scope.origin() != script.origin() {
        let reason = format!(
            "The origin of the provided scope ('{}') does not match the current origin ('{}').",
            scope.origin().ascii_serialization(),
            job.origin
        );
        return Err(refused(Refusal::SecurityError, reason));
    }
    Ok(job)
}

impl Job {
    /// <https://w3c.github.io/ServiceWorker/#path-restriction>
    fn check_scope(&self, allowed: Option<&str>) -> Result<(), RegisterError> {
        let script = Url::parse(&self.script).expect("checked before");
        let scope = Url::parse(&self.scope).expect("checked before");
        let widest = script.join(allowed.unwrap_or("./")).unwrap_or_else(|_| script.clone());
        if widest.origin() == scope.origin() && scope.path().starts_with(widest.path()) {
            return Ok(());
        }
        Err(self.forbidden(format!(
            "The path of the provided scope ('{}') is not under the max scope allowed ('{}'). \
             Adjust the scope, move the Service Worker script, or use the Service-Worker-Allowed \
             HTTP header to allow the scope.",
            scope.path(),
            widest.path()
        )))
    }

    fn unfetched(&self, error: &HttpError) -> RegisterError {
        if matches!(error, HttpError::RedirectForbidden { .. }) {
            let reason = "The script resource is behind a redirect, which is disallowed.";
            return self.forbidden(reason.to_owned());
        }
        let cause = super::plain_exception(error.to_string());
        let reason = "An unknown error occurred when fetching the script.";
        self.failed(reason.to_owned(), Some(cause))
    }

    fn failed(&self, reason: String, cause: Option<ScriptException>) -> RegisterError {
        let (kind, prefix) = (Refusal::TypeError, self.prefix());
        RegisterError::Refused { kind, prefix, reason, cause: cause.map(Box::new) }
    }

    fn forbidden(&self, reason: String) -> RegisterError {
        let (kind, prefix) = (Refusal::SecurityError, self.prefix());
        RegisterError::Refused { kind, prefix, reason, cause: None }
    }

    fn prefix(&self) -> String {
        let Job { scope, script, .. } = self;
        format!("Failed to register a ServiceWorker for scope ('{scope}') with script ('{script}')")
    }
}

/// A refusal before the script is asked for.
pub(crate) fn refused(kind: Refusal, reason: String) -> RegisterError {
    let prefix = "Failed to register a ServiceWorker".to_owned();
    RegisterError::Refused { kind, prefix, reason, cause: None }
}

impl From<RegisterError> for OpError {
    fn from(error: RegisterError) -> Self {
        match &error {
            RegisterError::Refused { kind: Refusal::TypeError, .. } => {
                OpError::RegistrationFailed(error.to_string())
            }
            RegisterError::Refused { kind: Refusal::SecurityError, .. } => {
                OpError::RegistrationForbidden(error.to_string())
            }
            RegisterError::InstallFailed { .. } | RegisterError::Store(_) => OpError::StorageFailed,
        }
    }
}
