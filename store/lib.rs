//! Kittiwake's durable truth: service workers, their scripts, Background Sync, and caches.
//! Invariant: no clock, network, thread or engine in here; time is an argument in Unix epoch ms.
//!
//! # The durability contract
//!
//! - **Committed means on disk.** A method that writes is one transaction. When it returns `Ok`,
//!   the change survives a crash of the process, of the operating system, and a power cut, as far
//!   as the disk honours `fsync` (WAL with `synchronous=FULL`; `fullfsync` on macOS).
//! - **All or nothing.** When it returns `Err`, or the process dies inside it, nothing of it is
//!   there. A full disk is an `Err` like any other: make room and call again.
//! - **Files follow rows.** A cached body that is a file is on disk before the row that names it,
//!   and goes after it. What a crash leaves between the two, [`Store::cache_recover`] removes.
//! - **One runtime.** One [`Store`] at a time has a state folder, over all processes. The
//!   operating system releases the lock when the process dies, so no lock is ever stale.
//! - **Refused means untouched.** A folder or database that is not usable is left as it was,
//!   except for the lock file.
//! - **What can be had again may be lost.** Cookies, the HTTP cache and the code of scripts do not
//!   wait for the disk: a power cut may undo the last of their changes, each as a whole.
//! - **Upgrades are all or nothing.** Each step of the schema is one transaction; a later schema
//!   is refused, never guessed at.
//! - **No scan at the start.** `PRAGMA quick_check` reads every page, script bodies included, so a
//!   start would take as long as the state is large, and it still would not notice a changed body.
//!   Damage is [`StoreError::Corrupt`] from the call that meets it; a damaged schema is met by
//!   [`Store::open`].
//!
//! ```
//! use kittiwake_store::{InstalledWorker, ScriptResource, ScriptType, Store, SyncPolicy};
//!
//! let store = Store::in_memory()?;
//! let (registration, version) = store.install(&InstalledWorker {
//!     origin: "https://app.test".into(),
//!     scope: "https://app.test/".into(),
//!     script_url: "https://app.test/sw.js".into(),
//!     script_type: ScriptType::Classic,
//!     update_via_cache: Default::default(),
//!     router_rules: "[]".into(),
//!     resources: vec![ScriptResource {
//!         url: "https://app.test/sw.js".into(),
//!         content_type: "text/javascript".into(),
//!         body: b"onsync = () => {}".to_vec(),
//!     }],
//! })?;
//! store.activating(version)?;
//! store.sync_register(registration, "outbox", &SyncPolicy::default(), 0)?;
//! assert_eq!(store.sync_tags(registration)?, ["outbox"]);
//! # Ok::<(), kittiwake_store::StoreError>(())
//! ```

mod background_fetch;
mod buckets;
mod caches;
mod columns;
mod content_index;
mod cookies;
mod error;
mod folder;
mod http_cache;
pub mod indexed_db;
mod memory;
mod migrations;
mod periodic;
mod push;
mod registrations;
mod schema;
mod script_code;
mod shards;
mod sync;
mod transaction;
mod write;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

use crate::caches::Bodies;
use crate::error::Failure;
use crate::folder::Contents;
use crate::migrations::migrate;
use crate::schema::MIGRATIONS;
use crate::transaction::Transaction;

pub use crate::background_fetch::{
    BackgroundFetch, BackgroundFetchId, BackgroundFetchState, FetchRecord, NewBackgroundFetch,
    NewRecord, RecordResult, outcome,
};
pub use crate::buckets::{BucketId, StorageBucket, parse_storage_key};
pub use crate::caches::{
    BodyFolder, BodyId, CacheEntry, CacheId, CacheQuery, CacheWrite, EntryBody, EntryRequest,
    EntryResponse, HeaderList, NewBody, Released, ResponseType,
};
pub use crate::cookies::{CookieChange, CookieKey, CookieSubscription, StoredCookie};
pub use crate::error::{LockHolder, StoreError};
pub use crate::http_cache::{CachedResponse, CachedResponseId, HttpCacheLimits};
pub use crate::periodic::{
    IllegalPeriodicTransition, Moment, PeriodicRegistered, PeriodicSyncEvent, PeriodicSyncRecord,
    PeriodicSyncRegistration, PeriodicSyncState, PeriodicUnregistered, next_periodic,
};
pub use crate::push::PushSubscription;
pub use crate::registrations::{
    InstalledWorker, NavigationPreload, Registration, RegistrationId, ScriptResource, ScriptType,
    Unregistered, UpdateViaCache, Version, VersionId, VersionState,
};
pub use crate::script_code::ScriptCodeLimits;
pub use crate::shards::{shard_folder, shard_of_origin};
pub use crate::sync::{
    ClaimLimits, ClaimTurns, Claimed, DueNow, HandedBack, IllegalTransition, ListedSync, Outcome,
    Profile, Recovered, Recovery, Registered, Settled, SyncEvent, SyncPlace, SyncPolicy,
    SyncRecord, SyncRegistration, SyncState, SyncType, next,
};
pub use crate::write::{SyncChange, SyncWrite, SyncWritten};

/// The database's name inside the state folder.
pub const DATABASE_FILE: &str = "kittiwake.sqlite";

/// All durable state of one runtime. See the crate's durability contract.
///
/// Threads may share it; their calls take turns.
#[derive(Debug)]
pub struct Store {
    // Fields drop in this order: the database is closed before the lock is released.
    connection: Mutex<Connection>,
    database: PathBuf,
    bodies: Bodies,
    /// Whether the HTTP cache may have anything. Most requests of an API never put anything there.
    has_http_cache: AtomicBool,
    _lock: Option<File>,
}

impl Store {
    /// Opens the state folder, which is created if it is missing, and upgrades its schema.
    ///
    /// The caller then calls [`Store::sync_recover`] once, before it claims anything.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotAFolder`], [`StoreError::FolderUnusable`], [`StoreError::Locked`],
    /// [`StoreError::NotADatabase`], [`StoreError::ForeignDatabase`], [`StoreError::NewerSchema`],
    /// [`StoreError::Corrupt`], [`StoreError::DatabaseUnusable`], [`StoreError::DiskFull`].
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        folder::create(folder)?;
        let lock = folder::lock(folder)?;
        let database = folder::refuse_by_header(folder)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&database, flags)
            .map_err(Failure::from)
            .and_then(|connection| prepare(connection, &database))
            .map_err(|failure| failure.at(&database))?;
        Self::of(connection, database, Bodies::beside(folder), Some(lock))
    }

    /// Opens the state folder only if a runtime has kept state in it: a folder without a database
    /// is `None` and stays as it is. Otherwise as [`Store::open`].
    ///
    /// # Errors
    ///
    /// [`StoreError::NoFolder`], and those of [`Store::open`].
    pub fn open_existing(folder: &Path) -> Result<Option<Self>, StoreError> {
        match folder::look(folder)? {
            Contents::State => Self::open(folder).map(Some),
            Contents::Nothing => Ok(None),
        }
    }

    /// A store without a folder, for simulations and tests. It vanishes when it is dropped.
    ///
    /// # Errors
    ///
    /// [`StoreError::Statement`] if SQLite has no memory for it.
    pub fn in_memory() -> Result<Self, StoreError> {
        let database = PathBuf::from("in-memory store");
        let connection = memory::open()
            .map_err(Failure::from)
            .and_then(|connection| prepare(connection, &database))
            .map_err(|failure| failure.at(&database))?;
        Self::of(connection, database, Bodies::temporary(), None)
    }

    fn of(
        connection: Connection,
        database: PathBuf,
        bodies: Bodies,
        lock: Option<File>,
    ) -> Result<Self, StoreError> {
        let has = http_cache::has_any(&connection).map_err(|failure| failure.at(&database))?;
        let (connection, has_http_cache) = (Mutex::new(connection), AtomicBool::new(has));
        Ok(Self { connection, database, bodies, has_http_cache, _lock: lock })
    }

    /// One statement that only reads.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        work(&self.connection()).map_err(|failure| failure.at(&self.database))
    }

    /// One transaction: committed if `work` succeeds, rolled back if it or the commit fails.
    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        commit(&self.connection(), work).map_err(|failure| failure.at(&self.database))
    }

    /// As [`Store::write`], but without waiting for the disk: a power cut may undo it, whole. The
    /// next write that does wait takes it along. For what can be had again from the network.
    pub(crate) fn write_soon<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        // Nobody else may commit meanwhile: it would not wait for the disk either.
        let connection = self.connection();
        let set = |synchronous| {
            let pragma = connection.pragma_update(None, "synchronous", synchronous);
            pragma.map_err(|error| Failure::from(error).at(&self.database))
        };
        set("NORMAL")?;
        let written = commit(&connection, work).map_err(|failure| failure.at(&self.database));
        set("FULL")?;
        written
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().expect("no holder of this lock panics")
    }
}

fn commit<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let transaction = Transaction::begin(connection)?;
    let value = work(connection)?;
    transaction.commit()?;
    Ok(value)
}

/// Makes a connection keep the crate's contract, or refuses its database.
fn prepare(connection: Connection, database: &Path) -> Result<Connection, Failure> {
    // Not SQLite's sleep and retry: nobody but a stray tool can be in the way.
    connection.busy_timeout(Duration::ZERO)?;
    // Exclusive: such a tool cannot change the state under a runtime, and WAL needs no shared
    // memory file, whose growth on a full disk would kill the process instead of failing a call.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // On macOS, fsync alone leaves data in the disk's cache. Nothing elsewhere.
    connection.pragma_update(None, "fullfsync", true)?;
    // Enough for every statement of this crate, so that each is compiled once: without the second
    // line, SQLite compiles most that sort anew for each value that is bound.
    connection.set_prepared_statement_cache_capacity(128);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;

    // A database that is refused keeps its log: closing it would move the log into the database.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    refuse_unknown_schema(&connection, database)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    // SQLite quietly opens a write-protected file for reading.
    if connection.is_readonly("main")? {
        return Err(sqlite_failure(ffi::SQLITE_READONLY, "the file is write-protected").into());
    }
    migrate(&connection, MIGRATIONS)?;
    // After the first migration, so that the file carries our mark from its first page on.
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    match mode.as_str() {
        "wal" | "memory" => Ok(connection),
        _ => Err(sqlite_failure(ffi::SQLITE_CANTOPEN, "no write-ahead log is possible").into()),
    }
}

/// Asks again what the file's first bytes said: its log may know better.
fn refuse_unknown_schema(connection: &Connection, database: &Path) -> Result<(), Failure> {
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    if pages == 0 {
        return Ok(());
    }
    let application_id: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let user_version: i32 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(folder::refuse_marks(database, application_id, user_version)?)
}

fn sqlite_failure(code: i32, message: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(message.into()))
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::migrations::newest_schema;
    use crate::schema::APPLICATION_ID;

    fn plan(store: &Store, sql: &str) -> String {
        let connection = store.connection();
        let mut statement =
            connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("valid SQL");
        // What the schedule's queries are asked with does not matter to their plan.
        for parameter in 1..=statement.parameter_count() {
            statement.raw_bind_parameter(parameter, 0).expect("a parameter of the statement");
        }
        let mut rows = statement.raw_query();
        let mut lines = Vec::new();
        while let Some(row) = rows.next().expect("a plan") {
            lines.push(row.get::<_, String>(3).expect("the plan's text"));
        }
        lines.join("; ")
    }

    #[test]
    fn the_questions_of_a_start_and_of_every_wake_are_answered_from_an_index() {
        let store = Store::in_memory().unwrap();
        let start = (registrations::TO_ACTIVATE, "versions_to_activate");
        for (sql, index) in sync::QUERIES.into_iter().chain(periodic::QUERIES).chain([start]) {
            let plan = plan(&store, sql);
            assert!(plan.contains(index), "{sql}\nuses {plan}, not {index}");
            assert!(!plan.contains("TEMP B-TREE"), "{sql}\nsorts: {plan}");
        }
    }

    #[test]
    fn a_migration_that_fails_leaves_the_version_before_it_whole() {
        let connection = Connection::open_in_memory().unwrap();
        let second = "CREATE TABLE half (id INTEGER); CREATE TABLE half (id INTEGER);";
        migrate(&connection, &["CREATE TABLE first (id INTEGER)", second]).unwrap_err();

        let version: i32 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, 1);
        assert!(connection.table_exists(None, "first").unwrap());
        assert!(!connection.table_exists(None, "half").unwrap());

        migrate(&connection, &["ignored: it was taken", "CREATE TABLE second (id)"]).unwrap();
        assert!(connection.table_exists(None, "second").unwrap());
    }

    #[test]
    fn a_folder_of_version_1_is_upgraded_and_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join(DATABASE_FILE)).unwrap();
        migrate(&connection, &MIGRATIONS[..1]).unwrap();
        let row =
            "INSERT INTO registrations VALUES (1, 'https://a.test', 'https://a.test/', 'all');
                   INSERT INTO versions VALUES (1, 1, 'sw.js', 'classic', 'activated');";
        connection.execute_batch(row).unwrap();
        drop(connection);

        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.registrations().unwrap()[0].scope, "https://a.test/");
        assert_eq!(store.cookies("https://a.test", 0).unwrap(), []);
        assert_eq!(store.cached_responses("https://a.test", "u").unwrap(), []);
        assert_eq!(store.buckets().unwrap(), []);
    }

    #[test]
    fn a_full_disk_refuses_the_call_whole_and_room_makes_it_work_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let script = |bytes: usize| InstalledWorker {
            origin: "https://app.test".into(),
            scope: "https://app.test/".into(),
            script_url: "https://app.test/sw.js".into(),
            script_type: ScriptType::Classic,
            update_via_cache: UpdateViaCache::Imports,
            router_rules: "[]".into(),
            resources: vec![ScriptResource {
                url: "https://app.test/sw.js".into(),
                content_type: "text/javascript".into(),
                body: vec![b' '; bytes],
            }],
        };
        let (registration, version) = store.install(&script(10)).unwrap();
        store.activating(version).unwrap();
        let before = store.registrations().unwrap();

        store.connection().pragma_update(None, "max_page_count", 40).unwrap();
        let error = store.install(&script(1_000_000)).unwrap_err();
        let StoreError::DiskFull { place } = &error else { panic!("{error}") };
        assert_eq!(*place, folder.path().join(DATABASE_FILE));
        assert!(error.to_string().contains("free some space"), "{error}");
        assert_eq!(store.registrations().unwrap(), before);
        // Small changes still fit: one failure does not poison the store.
        store.sync_register(registration, "outbox", &SyncPolicy::default(), 0).unwrap();

        store.connection().pragma_update(None, "max_page_count", 4_000).unwrap();
        store.install(&script(1_000_000)).unwrap();
        assert!(store.registrations().unwrap()[0].waiting.is_some());
    }

    #[test]
    fn a_commit_waits_for_the_disk_and_references_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let text = |pragma| {
            store.connection().pragma_query_value(None, pragma, |row| row.get::<_, String>(0))
        };
        let number = |pragma| {
            store.connection().pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
        };
        assert_eq!(text("journal_mode").unwrap(), "wal");
        assert_eq!(number("synchronous").unwrap(), 2, "FULL");
        assert_eq!(number("foreign_keys").unwrap(), 1);
        assert_eq!(number("user_version").unwrap(), i64::from(newest_schema()));
        assert_eq!(number("application_id").unwrap(), i64::from(APPLICATION_ID));
    }

    #[test]
    fn a_statement_is_compiled_once_whatever_it_is_asked_with() {
        let store = Store::in_memory().unwrap();
        let sql = "SELECT id FROM cache_entries WHERE cache_id = ?1 AND key_url = ?2 ORDER BY id";
        let connection = store.connection();
        let mut compiled_again = 0;
        for number in 0..3 {
            let mut statement = connection.prepare_cached(sql).unwrap();
            assert!(!statement.exists((number, "https://app.test/")).unwrap());
            compiled_again = statement.get_status(StatementStatus::RePrepare);
        }
        assert_eq!(compiled_again, 0);
    }

    #[test]
    fn the_schema_refuses_rows_that_no_transition_makes() {
        let store = Store::in_memory().unwrap();
        store
            .connection()
            .execute_batch(
                "INSERT INTO registrations (id, origin, scope, update_via_cache, origin_id)
                     VALUES (1, 'https://a.test', 'https://a.test/', 'all', 1);
                 INSERT INTO versions VALUES (1, 1, 'sw.js', 'classic', 'activated', '[]');",
            )
            .unwrap();
        for (table, impossible) in [
            ("sync_registrations", "1, 'no time', 'waiting', 1, NULL, 0, 1"),
            ("sync_registrations", "1, 'a time', 'pending', 0, 5, 0, 1"),
            ("sync_registrations", "1, 'no failure', 'waiting', 0, 5, 0, 1"),
            ("sync_registrations", "1, 'crashes', 'waiting', 1, 5, 1, 1"),
            ("sync_registrations", "1, 'unknown state', 'done', 0, NULL, 0, 1"),
            ("sync_registrations", "2, 'no parent', 'pending', 0, NULL, 0, 1"),
            ("periodic_sync_registrations", "1, 'waits', 'https://a.test', 'waiting', 0, 0, 0, 0"),
            ("periodic_sync_registrations", "1, 'past', 'https://a.test', 'firing', -1, 0, 0, 0"),
            ("periodic_sync_registrations", "2, 'none', 'https://a.test', 'firing', 0, 0, 0, 0"),
            ("versions", "2, 1, 'second active', 'classic', 'activating', '[]'"),
            ("versions", "2, 1, 'unknown state', 'classic', 'redundant', '[]'"),
        ] {
            let sql = format!("INSERT INTO {table} VALUES ({impossible})");
            let error = store.connection().execute_batch(&sql).unwrap_err();
            assert!(error.to_string().contains("constraint failed"), "{sql}: {error}");
        }
    }
}
