//! What an app shows outside of its pages: its badge, which the trace tells, and its content index.
//! <https://w3c.github.io/badging/>, <https://wicg.github.io/content-index/spec/>
//!
//! Invariant: a realm reaches the entries of its own origin's registrations only; a promise
//! resolves after the change is on disk.

use std::rc::Rc;

use kittiwake_ops::{Badge, ContentDescription, ContentServices, OpError, RealmId};
use kittiwake_store::{RegistrationId, StoreError};

use crate::dispatch::EventOutcome;
use crate::host::Shard;
use crate::lifecycle::Registration;
use crate::realm::ExtendableInit;
use crate::runtime::Error;
use crate::trace::{ContentTraceState, TraceKind};

/// A script could fill the disk with entries, or with one.
const MAX_ENTRIES: usize = 1024;
const MAX_ENTRY_BYTES: usize = 64 << 10;

impl ContentServices for Shard {
    fn badge_set(&self, realm: RealmId, badge: Badge) {
        let Some(origin) = self.origin_of(realm) else { return };
        let number = match badge {
            Badge::Nothing => Some(0),
            Badge::Flag => None,
            Badge::Number(number) => Some(number as u64),
        };
        self.trace(TraceKind::Badge { origin, number });
    }

    fn content_add(
        &self,
        realm: RealmId,
        scope: &str,
        description: ContentDescription,
    ) -> Result<(), OpError> {
        let refused = |why| OpError::ContentRefused { operation: "add", why };
        let registration = self.own_registration(realm, scope);
        let active = registration.filter(|found| found.active().is_some());
        let id = active.as_ref().and_then(|found| found.id.get());
        let no_worker = "No active registration available on the ServiceWorkerRegistration.";
        let (registration, id) = active.zip(id).ok_or_else(|| refused(no_worker))?;
        let ContentDescription { id: name, title, description: text, .. } = &description;
        for (value, why) in [
            (name, "ID cannot be empty"),
            (title, "Title cannot be empty"),
            (text, "Description cannot be empty"),
            (&description.url, "Invalid launch URL provided"),
        ] {
            if value.is_empty() {
                return Err(refused(why));
            }
        }
        let launched = self.match_registration(&description.launch_url);
        if !launched.is_some_and(|found| Rc::ptr_eq(&found, &registration)) {
            return Err(refused("Launch URL must belong to the Service Worker's scope"));
        }
        let json = serde_json::to_string(&description).expect("a description is JSON");
        let known = self.contents_of(id).map_err(|error| self.content_error(&error, "add"))?;
        let is_new = known.iter().all(|other| other.id != *name);
        if json.len() > MAX_ENTRY_BYTES || (is_new && known.len() >= MAX_ENTRIES) {
            return Err(OpError::QuotaExceeded);
        }
        let added = self.store.content_add(id, name, &json);
        added.map_err(|error| self.content_error(&error, "add"))?;
        self.trace_content(scope, ContentTraceState::Added, name, Some(title));
        Ok(())
    }

    fn content_delete(&self, realm: RealmId, scope: &str, id: &str) -> Result<(), OpError> {
        let registration = self.own_registration(realm, scope).and_then(|found| found.id.get());
        let Some(registration) = registration else { return Ok(()) };
        let deleted = self.store.content_delete(registration, id);
        if deleted.map_err(|error| self.content_error(&error, "delete"))? {
            self.trace_content(scope, ContentTraceState::Removed, id, None);
        }
        Ok(())
    }

    fn contents(&self, realm: RealmId, scope: &str) -> Result<Vec<ContentDescription>, OpError> {
        let registration = self.own_registration(realm, scope).and_then(|found| found.id.get());
        let contents = registration.map_or(Ok(vec![]), |id| self.contents_of(id));
        contents.map_err(|error| self.content_error(&error, "getAll"))
    }
}

impl Shard {
    /// A person deletes an entry.
    /// <https://wicg.github.io/content-index/spec/#delete-a-content-index-entry>
    pub(crate) async fn delete_content(
        &self,
        registration: &Rc<Registration>,
        id: &str,
    ) -> Result<EventOutcome, Error> {
        let known = registration.id.get();
        let deleted = match known {
            Some(registration) => self.store.content_delete(registration, id)?,
            None => false,
        };
        if !deleted {
            return Err(Error::NoContent { id: id.to_owned() });
        }
        self.trace_content(&registration.scope, ContentTraceState::Deleted, id, None);
        let init = ExtendableInit::ContentDelete { id: id.to_owned() };
        self.dispatch_and_tell(registration, init).await
    }

    fn contents_of(&self, id: RegistrationId) -> Result<Vec<ContentDescription>, StoreError> {
        let read = |json: String| {
            serde_json::from_str(&json).expect("invariant: an entry is kept as it was written")
        };
        Ok(self.store.contents(id)?.into_iter().map(read).collect())
    }

    /// What a script learns of a failure.
    fn content_error(&self, error: &StoreError, operation: &'static str) -> OpError {
        self.trace_store_error(error);
        OpError::ContentRefused { operation, why: "The content index cannot be used." }
    }

    fn trace_content(
        &self,
        scope: &str,
        state: ContentTraceState,
        id: &str,
        title: Option<&String>,
    ) {
        let (scope, id) = (scope.to_owned(), id.to_owned());
        self.trace(TraceKind::Content { scope, state, id, title: title.cloned() });
    }
}
