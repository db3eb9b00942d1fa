//! Service worker registrations, the versions that outlive the process, and their scripts.
//! Invariant: a registration has a waiting worker, an active worker, or one of each; never none.

mod rows;

use std::collections::BTreeSet;

use rusqlite::OptionalExtension;

use self::rows::{
    insert_waiting, load_state, require_state, save_registration, script_resource_from,
    select_registrations, set_state,
};
use crate::columns::{row_id, text_enum};
use crate::{Store, StoreError};

row_id! {
    /// A service worker registration. Never used again, even after the registration is gone.
    RegistrationId
}

row_id! {
    /// One installed service worker of a registration. Never used again.
    VersionId
}

text_enum! {
    /// When an update may be answered from the HTTP cache
    /// (<https://w3c.github.io/ServiceWorker/#enumdef-serviceworkerupdateviacache>).
    #[derive(Default)]
    UpdateViaCache {
        /// Imported scripts only.
        #[default]
        Imports = "imports",
        /// The main script and imported scripts.
        All = "all",
        /// Never.
        None = "none",
    }
}

text_enum! {
    /// How the main script is evaluated (<https://html.spec.whatwg.org/#workertype>).
    ScriptType {
        /// A classic script, which may call `importScripts`.
        Classic = "classic",
        /// A module script.
        Module = "module",
    }
}

text_enum! {
    /// The states of a worker that outlives the process
    /// (<https://w3c.github.io/ServiceWorker/#dfn-state>).
    VersionState {
        /// The waiting worker.
        Installed = "installed",
        /// The active worker, whose `activate` event has not settled. A crash in that event leaves
        /// it so; the runtime decides what follows.
        Activating = "activating",
        /// The active worker, which receives events.
        Activated = "activated",
    }
}

/// A worker whose `install` event succeeded: everything that is needed to start it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledWorker {
    /// The registration's storage key, which is its origin, serialised.
    pub origin: String,
    /// The registration's scope URL: its key.
    pub scope: String,
    /// The main script's URL.
    pub script_url: String,
    /// How the main script is evaluated.
    pub script_type: ScriptType,
    /// The registration's mode from now on.
    pub update_via_cache: UpdateViaCache,
    /// The list of router rules, as JSON: <https://w3c.github.io/ServiceWorker/#dfn-service-worker-list-of-router-rules>
    pub router_rules: String,
    /// The script resource map, with the main script under `script_url`; each URL once.
    pub resources: Vec<ScriptResource>,
}

/// One script of a version, as it was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptResource {
    /// The URL that the worker asked for.
    pub url: String,
    /// The response's `Content-Type`, as sent.
    pub content_type: String,
    /// The response's body, as sent.
    pub body: Vec<u8>,
}

/// A registration and its workers, without their scripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its identifier.
    pub id: RegistrationId,
    /// Its storage key, which is its origin, serialised.
    pub origin: String,
    /// Its scope URL.
    pub scope: String,
    /// When its updates may be answered from the HTTP cache.
    pub update_via_cache: UpdateViaCache,
    /// When its script was last compared with its server's, in Unix epoch milliseconds.
    pub update_checked_ms: Option<i64>,
    /// What its navigations ask for ahead.
    pub preload: NavigationPreload,
    /// The worker that is activating or activated.
    pub active: Option<Version>,
    /// The worker that is installed.
    pub waiting: Option<Version>,
}

/// <https://w3c.github.io/ServiceWorker/#navigation-preload-manager>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NavigationPreload {
    /// Whether they ask.
    pub enabled: bool,
    /// What the header says; one character is one byte.
    pub header: String,
}

/// One service worker of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its identifier.
    pub id: VersionId,
    /// Its main script's URL.
    pub script_url: String,
    /// How its main script is evaluated.
    pub script_type: ScriptType,
    /// Its list of router rules, as JSON.
    pub router_rules: String,
    /// Its state.
    pub state: VersionState,
}

/// What [`Store::unregister`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unregistered {
    /// The registration was there and is gone.
    Removed,
    /// There was none.
    NotFound,
}

impl Store {
    /// Records a worker whose `install` event succeeded, as the waiting worker of its scope.
    ///
    /// A new scope gets a new registration. A known scope keeps its identifier and its sync
    /// registrations, and an earlier waiting worker is deleted: it became redundant. Nothing is
    /// written before the event succeeded, so no worker is ever half-registered. Durable when it
    /// returns. <https://w3c.github.io/ServiceWorker/#installation-algorithm>
    ///
    /// # Errors
    ///
    /// [`StoreError::DiskFull`] and the other failures of the disk.
    ///
    /// # Panics
    ///
    /// If the resources are not a script resource map: no main script, or one URL twice.
    pub fn install(
        &self,
        worker: &InstalledWorker,
    ) -> Result<(RegistrationId, VersionId), StoreError> {
        assert_script_resource_map(worker);
        self.write(|transaction| {
            let registration = save_registration(transaction, worker)?;
            transaction
                .prepare_cached(
                    "DELETE FROM versions WHERE registration_id = ?1 AND (state = 'installed') = 1",
                )?
                .execute([registration])?;
            let version = insert_waiting(transaction, registration, worker)?;
            Ok((registration, version))
        })
    }

    /// Makes the waiting worker the active one, and deletes the worker that was active before. One
    /// whose `activate` event a crash cut off is activating already, and stays so for a new event.
    /// Durable when it returns. <https://w3c.github.io/ServiceWorker/#activation-algorithm>
    ///
    /// # Errors
    ///
    /// [`StoreError::VersionState`] if the version is neither waiting nor activating.
    pub fn activating(&self, version: VersionId) -> Result<(), StoreError> {
        self.write(|transaction| {
            if load_state(transaction, version)? == Some(VersionState::Activating) {
                return Ok(());
            }
            require_state(transaction, version, VersionState::Installed)?;
            transaction
                .prepare_cached(
                    "DELETE FROM versions WHERE (state = 'installed') = 0 AND registration_id = \
                     (SELECT registration_id FROM versions WHERE id = ?1)",
                )?
                .execute([version])?;
            set_state(transaction, version, VersionState::Activating)
        })
    }

    /// Records that the `activate` event has settled, in whatever way.
    /// Durable when it returns. <https://w3c.github.io/ServiceWorker/#activation-algorithm>
    ///
    /// # Errors
    ///
    /// [`StoreError::VersionState`] if the version is not activating.
    pub fn activated(&self, version: VersionId) -> Result<(), StoreError> {
        self.write(|transaction| {
            require_state(transaction, version, VersionState::Activating)?;
            set_state(transaction, version, VersionState::Activated)
        })
    }

    /// Keeps when the script was last compared with its server's. Does not wait for the disk: a
    /// power cut may undo it, and then the script is compared once more.
    /// <https://w3c.github.io/ServiceWorker/#dfn-last-update-check-time>
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn update_checked(
        &self,
        registration: RegistrationId,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.write_soon(|transaction| {
            transaction
                .prepare_cached("UPDATE registrations SET update_checked_ms = ?2 WHERE id = ?1")?
                .execute((registration, now_ms))?;
            Ok(())
        })
    }

    /// Sets when updates may be answered from the HTTP cache. Durable when it returns.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn set_update_via_cache(
        &self,
        registration: RegistrationId,
        mode: UpdateViaCache,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction
                .prepare_cached("UPDATE registrations SET update_via_cache = ?2 WHERE id = ?1")?
                .execute((registration, mode))?;
            Ok(())
        })
    }

    /// Sets what navigations ask for ahead. Durable when it returns.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn set_navigation_preload(
        &self,
        registration: RegistrationId,
        preload: &NavigationPreload,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            let sql = "UPDATE registrations SET preload_enabled = ?2, preload_header = ?3 \
                 WHERE id = ?1";
            let values = (registration, preload.enabled, &preload.header);
            transaction.prepare_cached(sql)?.execute(values)?;
            Ok(())
        })
    }

    /// Deletes a registration with its workers, their scripts and its sync registrations; the
    /// event that is being dispatched for one settles as [`crate::Settled::Gone`].
    /// Durable when it returns. <https://w3c.github.io/ServiceWorker/#clear-registration-algorithm>
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn unregister(&self, registration: RegistrationId) -> Result<Unregistered, StoreError> {
        self.write(|transaction| {
            let removed = transaction
                .prepare_cached("DELETE FROM registrations WHERE id = ?1")?
                .execute([registration])?;
            Ok(if removed == 0 { Unregistered::NotFound } else { Unregistered::Removed })
        })
    }

    /// Every registration, in the order of first registration.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn registrations(&self) -> Result<Vec<Registration>, StoreError> {
        self.read(|connection| select_registrations(connection, "ORDER BY registrations.id", []))
    }

    /// At most `limit` registrations whose scope's bytes come after those of `after`, in the order
    /// of these. Costs what it answers, not what is stored.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn registration_page(
        &self,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Registration>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let filter = "WHERE scope > ?1 ORDER BY scope LIMIT ?2";
        self.read(|connection| select_registrations(connection, filter, (after, limit)))
    }

    /// How many workers there are, by their states: those that have any.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn version_counts(&self) -> Result<Vec<(VersionState, u64)>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT state, count(*) FROM versions GROUP BY state ORDER BY state";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                let count: i64 = row.get(1)?;
                Ok((row.get(0)?, count.unsigned_abs()))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The registrations of an origin, in the order of first registration.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn registrations_of(&self, origin: &str) -> Result<Vec<Registration>, StoreError> {
        // A scope is a URL of its origin, and the index of scopes has them in a row: `0` follows
        // the slash after the origin.
        let range = (format!("{origin}/"), format!("{origin}0"));
        let filter = "WHERE scope >= ?1 AND scope < ?2 ORDER BY registrations.id";
        self.read(|connection| select_registrations(connection, filter, range))
    }

    /// Registrations with a worker that waits, or whose `activate` event has not settled: in the
    /// order of first registration.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn registrations_to_activate(&self) -> Result<Vec<Registration>, StoreError> {
        let filter = format!("WHERE registrations.id IN ({TO_ACTIVATE}) ORDER BY registrations.id");
        self.read(|connection| select_registrations(connection, &filter, []))
    }

    /// The origins that have registrations, ordered by their bytes.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn origins(&self) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT DISTINCT origin FROM registrations ORDER BY origin";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// One registration by its identifier.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn registration(&self, id: RegistrationId) -> Result<Option<Registration>, StoreError> {
        self.read(|connection| {
            let found = select_registrations(connection, "WHERE registrations.id = ?1", [id])?;
            Ok(found.into_iter().next())
        })
    }

    /// The registration whose scope URL is exactly this; no matching of client URLs.
    /// <https://w3c.github.io/ServiceWorker/#get-registration-algorithm>
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn registration_for_scope(&self, scope: &str) -> Result<Option<Registration>, StoreError> {
        self.read(|connection| {
            let found = select_registrations(connection, "WHERE scope = ?1", [scope])?;
            Ok(found.into_iter().next())
        })
    }

    /// One script of a version by its URL, or `None` if the version or the script is not there.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn script_resource(
        &self,
        version: VersionId,
        url: &str,
    ) -> Result<Option<ScriptResource>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT url, content_type, body FROM script_resources \
                 WHERE version_id = ?1 AND url = ?2",
            )?;
            Ok(statement.query_row((version, url), script_resource_from).optional()?)
        })
    }

    /// Every script of a version with its body, ordered by the bytes of its URL; empty if the
    /// version is not there.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn script_resources(&self, version: VersionId) -> Result<Vec<ScriptResource>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT url, content_type, body FROM script_resources \
                 WHERE version_id = ?1 ORDER BY url",
            )?;
            let rows = statement.query_map([version], script_resource_from)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

pub(crate) const TO_ACTIVATE: &str =
    "SELECT registration_id FROM versions WHERE state <> 'activated'";

/// The caller has just run these scripts; a map without the main one could never start again.
fn assert_script_resource_map(worker: &InstalledWorker) {
    let urls: BTreeSet<&str> = worker.resources.iter().map(|script| script.url.as_str()).collect();
    assert!(
        urls.contains(worker.script_url.as_str()),
        "invariant: the script resource map holds the main script {}",
        worker.script_url
    );
    assert_eq!(
        urls.len(),
        worker.resources.len(),
        "invariant: the script resource map of {} holds each URL once",
        worker.script_url
    );
}
