//! Registering a worker: <https://w3c.github.io/ServiceWorker/#register-algorithm>
//!
//! Invariant: a failure names its cause for the operator, and leaves what was there before.

use std::rc::Rc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use kittiwake_store::{ScriptType, UpdateViaCache};
use url::Url;

use super::Registration;
use super::jobs::{Done, Job, JobResult, Queued, Registered};
use super::refusal::{About, Refusal, RegisterError, refused};
use super::update::{Comparison, UpdateJob};
use crate::host::Shard;
use crate::limits::Limit;

/// What is to be registered.
pub(crate) struct RegisterRequest {
    pub(crate) script: Url,
    /// By default the script's folder.
    pub(crate) scope: Option<Url>,
    pub(crate) script_type: ScriptType,
    pub(crate) update_via_cache: UpdateViaCache,
    /// The page that asks.
    pub(crate) referrer: Option<Url>,
}

/// A job of that; its queue is that of its scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegisterJob {
    pub(super) script: String,
    pub(super) script_type: ScriptType,
    pub(super) update_via_cache: UpdateViaCache,
    pub(super) referrer: Option<String>,
}

impl Shard {
    /// Registers a worker. Answers when its script has run; the [`Installation`] tells how its
    /// install event ended, and is `None` if nothing is new.
    ///
    /// [`Installation`]: super::jobs::Installation
    pub(crate) fn register(&self, request: RegisterRequest) -> LocalBoxFuture<'static, Registered> {
        let scheduled =
            check(request).map(|(scope, job)| self.schedule(&scope, Job::Register(job)));
        async move { registration_of(scheduled?.await) }.boxed_local()
    }

    /// The same for somebody who has the script at hand: one that is registered already is compared
    /// with its server's, unless that cannot be reached because the network is away.
    pub(crate) async fn register_or_update(&self, request: RegisterRequest) -> Registered {
        let (registration, installation) = self.register(request).await?;
        if installation.is_some() || !self.is_online() {
            return Ok((registration, installation));
        }
        let Some(job) = UpdateJob::of(&registration, None) else { return Ok((registration, None)) };
        registration_of(self.schedule(&registration.scope, Job::Update(job)).await)
    }

    pub(super) async fn run_register(&self, scope: &str, job: &RegisterJob, queued: &Queued) {
        let registration = self.registration(scope);
        if let Some(registration) = &registration {
            let is_same = |newest: Rc<super::Worker>| {
                newest.script_url == job.script && newest.script_type == job.script_type
            };
            if registration.newest().is_some_and(is_same)
                && registration.update_via_cache.get() == job.update_via_cache
            {
                return queued.settle(Ok(Done::Registration(registration.clone(), None)));
            }
        }
        let about = About::registering(scope, &job.script);
        let registration =
            match registration.map_or_else(|| self.first_registration(scope, job), Ok) {
                Ok(registration) => registration,
                Err(reason) => return queued.settle(Err(about.failed(&reason, None))),
            };
        let comparison = Comparison { about, bypasses_cache: false };
        self.update_with(&registration, job, comparison, queued).await;
    }

    /// A registration that the origin has not yet, if it may have one more.
    fn first_registration(
        &self,
        scope: &str,
        job: &RegisterJob,
    ) -> Result<Rc<Registration>, String> {
        let script = Url::parse(&job.script).expect("checked before");
        let origin = script.origin().ascii_serialization();
        let others = self.registrations_of(&origin).len();
        match self.take_of_origin(&origin, Limit::Registrations, others) {
            Some(taken) => {
                let registration = self.new_registration(origin, scope.to_owned());
                registration.taken.replace(Some(taken));
                Ok(registration)
            }
            None => {
                let limit = self.limits.of(Limit::Registrations);
                Err(format!("The origin has {limit} registrations already."))
            }
        }
    }
}

/// What a job other than unregistering came to.
pub(crate) fn registration_of(result: JobResult) -> Registered {
    match result? {
        Done::Registration(registration, installation) => Ok((registration, installation)),
        Done::Unregistered(_) => unreachable!("invariant: a job answers what it was asked for"),
    }
}

/// What can be said before anything is fetched.
/// <https://w3c.github.io/ServiceWorker/#start-register-algorithm>
fn check(request: RegisterRequest) -> Result<(String, RegisterJob), RegisterError> {
    let RegisterRequest { mut script, scope, script_type, update_via_cache, referrer } = request;
    script.set_fragment(None);
    let mut scope = match scope {
        Some(scope) => scope,
        // What has no folder is refused below.
        None => script.join("./").unwrap_or_else(|_| script.clone()),
    };
    scope.set_fragment(None);
    let referrer = referrer.map(|url| url.to_string());
    let job = RegisterJob { script: script.to_string(), script_type, update_via_cache, referrer };
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
            script.origin().ascii_serialization()
        );
        return Err(refused(Refusal::SecurityError, reason));
    }
    Ok((scope.to_string(), job))
}
