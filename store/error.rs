//! What can go wrong with durable state, in the words that an operator reads.
//! Invariant: each message names the thing, the place and the remedy.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::caches::CacheId;
use crate::periodic::IllegalPeriodicTransition;
use crate::registrations::{RegistrationId, VersionId, VersionState};
use crate::sync::IllegalTransition;

/// Every failure of a [`Store`](crate::Store). After any of them the store holds what the last
/// successful call committed, and no part of the call that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The state folder's path names something that is not a folder.
    #[error(
        "state folder {} is not a folder: move the file away, or choose another state folder",
        folder.display()
    )]
    NotAFolder {
        /// The path that was to be the state folder.
        folder: PathBuf,
    },

    /// There is no such state folder, and it was not to be made.
    #[error(
        "there is no state folder {}: give the folder that `--state` named in an earlier run",
        folder.display()
    )]
    NoFolder {
        /// The path that was to be the state folder.
        folder: PathBuf,
    },

    /// The state folder cannot be created, read or written.
    #[error(
        "state folder {} cannot be used ({source}): make it a folder that this user may read and \
         write, or choose another state folder",
        folder.display()
    )]
    FolderUnusable {
        /// The state folder.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// Another runtime, in this process or another, has the state folder open.
    #[error(
        "state folder {} is in use by {holder}: stop that one, or choose another state folder",
        folder.display()
    )]
    Locked {
        /// The state folder.
        folder: PathBuf,
        /// Who has it, as far as the lock file tells.
        holder: LockHolder,
    },

    /// The database file holds something other than an SQLite database.
    #[error(
        "{} is not an SQLite database: move it away, or choose another state folder",
        database.display()
    )]
    NotADatabase {
        /// The database file.
        database: PathBuf,
    },

    /// The database file is an SQLite database of another program.
    #[error(
        "{} belongs to another program (application_id {application_id:#010x}): \
         move it away, or choose another state folder",
        database.display()
    )]
    ForeignDatabase {
        /// The database file.
        database: PathBuf,
        /// The mark of that program; 0 if it leaves none.
        application_id: i32,
    },

    /// The database was written by a later Kittiwake.
    #[error(
        "{} has schema version {found}, and this Kittiwake knows versions up to {newest}: \
         run the Kittiwake that wrote it or a later one, or choose another state folder",
        database.display()
    )]
    NewerSchema {
        /// The database file.
        database: PathBuf,
        /// The version that the database says.
        found: i32,
        /// The newest version that this build can read.
        newest: i32,
    },

    /// The state folder is divided over another number of shards than was asked for.
    #[error(
        "state folder {} is divided over {found} shard{}, not {asked}: start it with {found} or \
         without a number, or choose another state folder",
        folder.display(), if *found == 1 { "" } else { "s" }
    )]
    Shards {
        /// The state folder.
        folder: PathBuf,
        /// How many it has.
        found: usize,
        /// How many were asked for.
        asked: usize,
    },

    /// The database contradicts itself. Usually a failing disk, or a copy of a database in use.
    #[error(
        "{} is damaged ({source}): restore the state folder from a backup, \
         or move it away to begin with an empty one",
        database.display()
    )]
    Corrupt {
        /// The database file.
        database: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },

    /// As [`StoreError::Corrupt`] or [`StoreError::NotADatabase`], of a database of a script's: it
    /// has another name from now on, with every byte, and the script may begin anew.
    #[error(
        "{} is damaged ({reason}): it is kept as {}, and whoever opens it next finds an empty \
         one; restore the state folder from a backup, or delete what was kept",
        database.display(), aside.display()
    )]
    SetAside {
        /// Where the database was.
        database: PathBuf,
        /// Where it is now.
        aside: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// No room to write. Reading, and writing after room was made, still work.
    #[error("no space left for {}: free some space on that disk and try again", place.display())]
    DiskFull {
        /// The file or folder that could not grow.
        place: PathBuf,
    },

    /// The database file is there, but cannot be read or written.
    #[error(
        "{} cannot be read or written ({source}): check the disk, and that this user may write \
         the file and its folder",
        database.display()
    )]
    DatabaseUnusable {
        /// The database file.
        database: PathBuf,
        /// What the operating system or SQLite said.
        source: Box<dyn Error + Send + Sync>,
    },

    /// SQLite refused a statement for a reason that a correct Kittiwake never gives it.
    #[error("{} refused a statement ({source}): please report this bug", database.display())]
    Statement {
        /// The database file.
        database: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },

    /// `register()` on a registration without an active worker, or one that was unregistered
    /// meanwhile. Scripts see `InvalidStateError` (Background Sync, `register(tag)`, step 2).
    #[error(
        "service worker registration {registration} has no active worker: \
         wait until its worker is activating before it registers a sync"
    )]
    NoActiveWorker {
        /// The registration that was asked.
        registration: RegistrationId,
    },

    /// A tag is longer than the policy allows. Chromium shows scripts `InvalidAccessError`.
    #[error("a sync tag may have {max_bytes} bytes of UTF-8, and this one has {bytes}: shorten it")]
    TagTooLong {
        /// The tag's length in bytes of UTF-8.
        bytes: usize,
        /// The policy's limit in bytes of UTF-8.
        max_bytes: usize,
    },

    /// The sync registration is not in a state in which this may happen to it. A bug of the caller.
    #[error(
        "sync tag {tag:?} of service worker registration {registration} refused an event \
         ({source}): please report this bug"
    )]
    IllegalTransition {
        /// The service worker registration.
        registration: RegistrationId,
        /// The sync registration's tag.
        tag: String,
        /// The state and the event.
        source: IllegalTransition,
    },

    /// The same, of a periodic sync registration.
    #[error(
        "periodic sync tag {tag:?} of service worker registration {registration} refused an event \
         ({source}): please report this bug"
    )]
    IllegalPeriodicTransition {
        /// The service worker registration.
        registration: RegistrationId,
        /// The periodic sync registration's tag.
        tag: String,
        /// The state and the event.
        source: IllegalPeriodicTransition,
    },

    /// The file of a body in the Cache API, or of a Blob in IndexedDB, cannot be read or written.
    #[error(
        "the file {} of a cached body or a blob cannot be used ({source}): check the disk, and \
         that this user may write the file and its folder",
        file.display()
    )]
    BodyUnusable {
        /// The body's file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// What is to be kept would exceed the origin's quota. Scripts see `QuotaExceededError`.
    #[error(
        "{origin} may keep {quota_bytes} bytes, and this would make it {needed_bytes}: \
         delete some of what it stores, or give it a larger quota"
    )]
    QuotaExceeded {
        /// The origin, or the file of its database.
        origin: String,
        /// Its quota.
        quota_bytes: u64,
        /// What it would use.
        needed_bytes: u64,
    },

    /// Two requests of one `addAll()` match each other. Scripts see `InvalidStateError`.
    #[error("two requests for {url} answer each other: add one of them")]
    DuplicateRequests {
        /// The second request's URL.
        url: String,
    },

    /// The cache was discarded: nobody has it open any more.
    #[error("there is no cache {cache}: open it again by its name")]
    NoCache {
        /// The cache that was asked.
        cache: CacheId,
    },

    /// The service worker version is not in the state that the step starts from.
    #[error(
        "service worker version {version} must be {expected} for this, and {}: \
         read the registration again",
        found.map_or_else(|| "is gone".into(), |state| format!("is {state}"))
    )]
    VersionState {
        /// The version that was asked.
        version: VersionId,
        /// The state that the step starts from.
        expected: VersionState,
        /// The state that it is in; `None` if it was replaced or unregistered.
        found: Option<VersionState>,
    },
}

impl StoreError {
    /// Whether the bytes of a database are at fault, and reading them again would not help.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::NotADatabase { .. })
    }
}

/// What the operating system said of one of the store's files.
pub(crate) fn file_error(file: &Path, source: io::Error) -> StoreError {
    let file = file.to_path_buf();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            StoreError::DiskFull { place: file }
        }
        _ => StoreError::BodyUnusable { file, source },
    }
}

/// Who holds the lock of a state folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockHolder {
    /// The process with this identifier, which it wrote into the lock file.
    Process(u32),
    /// A process that left no identifier, or has the database open without Kittiwake's lock.
    Unknown,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(id) => write!(formatter, "process {id}"),
            Self::Unknown => formatter.write_str("another process"),
        }
    }
}

/// A failure inside a transaction, which does not know yet where its database is.
#[derive(Debug)]
pub(crate) enum Failure {
    Sqlite(rusqlite::Error),
    Refused(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    pub(crate) fn at(self, database: &Path) -> StoreError {
        let source = match self {
            Self::Refused(error) => return error,
            Self::Sqlite(source) => source,
        };
        let database = database.to_path_buf();
        match &source {
            rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DatabaseCorrupt => StoreError::Corrupt { database, source },
                ErrorCode::NotADatabase => StoreError::NotADatabase { database },
                ErrorCode::DiskFull => StoreError::DiskFull { place: database },
                // Kittiwake's lock is held by now, so this is a stray tool, such as the sqlite3
                // shell.
                ErrorCode::DatabaseBusy => StoreError::Locked {
                    folder: database.parent().unwrap_or(&database).to_path_buf(),
                    holder: LockHolder::Unknown,
                },
                ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly
                | ErrorCode::SystemIoFailure => {
                    StoreError::DatabaseUnusable { database, source: Box::new(source) }
                }
                _ => StoreError::Statement { database, source },
            },
            // A value that this build never writes.
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..) => StoreError::Corrupt { database, source },
            _ => StoreError::Statement { database, source },
        }
    }
}
