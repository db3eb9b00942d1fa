//! `register()`, `update()` and `unregister()`, as scripts call them.
//!
//! Invariant: a realm reaches registrations of its own origin only; what goes on in another realm
//! goes on in the task of the job queue.

use std::rc::Rc;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use kittiwake_ops::{OpError, RealmId, RegisterWorker, RegistrationState};
use kittiwake_store::{ScriptType, UpdateViaCache};
use url::Url;

use crate::host::Shard;
use crate::lifecycle::{
    Done, Job, Refusal, RegisterError, RegisterRequest, Registration, refused, registration_of,
};

impl Shard {
    /// <https://w3c.github.io/ServiceWorker/#dom-serviceworkercontainer-register>
    pub(crate) fn register_for(
        &self,
        realm: RealmId,
        options: RegisterWorker,
    ) -> LocalBoxFuture<'static, Result<RegistrationState, OpError>> {
        let request = match self.register_request(realm, options) {
            Ok(request) => request,
            Err(error) => return ready(Err(error)).boxed_local(),
        };
        let (shard, registered) = (self.me(), self.register(request));
        async move { shard.described(registered.await.map(|(registration, _)| registration)) }
            .boxed_local()
    }

    /// <https://w3c.github.io/ServiceWorker/#dom-serviceworkerregistration-update>
    pub(crate) fn update_for(
        &self,
        realm: RealmId,
        scope: &str,
        number: u32,
    ) -> LocalBoxFuture<'static, Result<RegistrationState, OpError>> {
        let registration = self.own_registration(realm, scope);
        let registration = registration.filter(|found| found.number == number);
        let Some(asking) = self.realm_owner(realm) else {
            return ready(Err(OpError::Aborted)).boxed_local();
        };
        let updated = match self.update_job(registration.as_ref(), scope, &asking) {
            Ok(job) => self.schedule(scope, job),
            Err(error) => return ready(Err(error.into())).boxed_local(),
        };
        let shard = self.me();
        async move {
            let updated = registration_of(updated.await);
            shard.described(updated.map(|(registration, _)| registration))
        }
        .boxed_local()
    }

    /// <https://w3c.github.io/ServiceWorker/#dom-serviceworkerregistration-unregister>
    pub(crate) fn unregister_for(
        &self,
        realm: RealmId,
        scope: &str,
    ) -> LocalBoxFuture<'static, Result<bool, OpError>> {
        let origin = Url::parse(scope).map(|url| url.origin().ascii_serialization());
        if origin.ok() != self.origin_of(realm) {
            return ready(Ok(false)).boxed_local();
        }
        let unregistered = self.schedule(scope, Job::Unregister);
        async move { Ok(matches!(unregistered.await?, Done::Unregistered(true))) }.boxed_local()
    }

    /// What the script may know of the outcome; the rest is for the trace.
    fn described(
        &self,
        result: Result<Rc<Registration>, RegisterError>,
    ) -> Result<RegistrationState, OpError> {
        if let Err(RegisterError::Refused { cause: Some(cause), .. }) = &result {
            self.trace_exception(*cause.clone());
        }
        Ok(result?.describe())
    }

    fn register_request(
        &self,
        realm: RealmId,
        options: RegisterWorker,
    ) -> Result<RegisterRequest, OpError> {
        let origin = self.origin_of(realm);
        let unparsable = |error: url::ParseError| OpError::RegistrationFailed(error.to_string());
        let script = Url::parse(&options.script_url).map_err(unparsable)?;
        let scope = options.scope_url.map(|scope| Url::parse(&scope)).transpose();
        let scope = scope.map_err(unparsable)?;
        let script_origin = script.origin().ascii_serialization();
        let is_http = matches!(script.scheme(), "http" | "https");
        if is_http && origin.as_ref() != Some(&script_origin) {
            let reason = format!(
                "The origin of the provided scriptURL ('{script_origin}') does not match the \
                 current origin ('{}').",
                origin.unwrap_or_default()
            );
            return Err(refused(Refusal::SecurityError, reason).into());
        }
        Ok(RegisterRequest {
            script,
            scope,
            script_type: match options.script_type.as_str() {
                "module" => ScriptType::Module,
                _ => ScriptType::Classic,
            },
            update_via_cache: match options.update_via_cache.as_str() {
                "all" => UpdateViaCache::All,
                "none" => UpdateViaCache::None,
                _ => UpdateViaCache::Imports,
            },
            referrer: self.client_url(realm),
        })
    }
}
