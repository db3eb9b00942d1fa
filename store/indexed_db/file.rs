//! Where databases are: a folder for each origin, a file for each database, named by digests.
//!
//! Invariant: a file that is damaged, or another program's, is set aside with every byte; no name
//! of a script's choice becomes a path.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest, Sha256};

use super::blobs::{self, HeldFiles};
use super::schema::{bytes_of, units_of};
use super::{
    CursorFrom, Direction, Durability, IndexedDatabase, IndexedDbError, ObjectStoreMetadata,
    Operation, Outcome, Query, Range, Record, Retrieved, Source,
};
use crate::error::{Failure, StoreError};
use crate::folder;

/// Beside the store's own database, in the state folder.
pub(super) const FOLDER: &str = "indexed_db";
pub(super) const ORIGIN_FILE: &str = "origin";
pub(super) const EXTENSION: &str = "sqlite";

/// "KTWI": tells these files from those of other programs.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"KTWI");
/// The version of `schema.sql`.
const SCHEMA_VERSION: i32 = 2;

/// From version 1, which had neither checksums nor files for blobs.
const FROM_VERSION_1: &str = "
    ALTER TABLE records ADD COLUMN checksum INTEGER;
    ALTER TABLE blob_parts ADD COLUMN file INTEGER;
    ALTER TABLE blob_parts ADD COLUMN size INTEGER;
    CREATE INDEX blob_files ON blob_parts (file, size) WHERE file IS NOT NULL;
";

/// The databases of one origin: files in a folder, or nothing that lasts.
#[derive(Clone, Debug)]
pub struct IndexedDbFolder {
    folder: Option<PathBuf>,
    origin: String,
    held: HeldFiles,
}

/// What a state folder has of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedDbFile {
    /// Whose it is.
    pub origin: String,
    /// UTF-16.
    pub name: Vec<u16>,
    /// Never 0.
    pub version: u64,
    /// Where it is.
    pub path: PathBuf,
}

impl IndexedDbFolder {
    /// The databases of an origin in a state folder, or in memory if there is none.
    pub fn new(state: Option<&Path>, origin: &str) -> Self {
        let folder = state.map(|state| state.join(FOLDER).join(digest(origin.as_bytes())));
        Self { folder, origin: origin.to_owned(), held: HeldFiles::default() }
    }

    pub(super) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The name of a database's file, as [`IndexedDbFolder::sizes`] has it.
    pub fn file_name(name: &[u16]) -> String {
        file_name(name)
    }

    /// Opens a database, which is created with version 0 if there is none.
    ///
    /// # Errors
    ///
    /// As [`crate::Store::open`]; a file that is damaged is [`StoreError::SetAside`], so that the
    /// next call makes a new one.
    pub fn open(&self, name: &[u16]) -> Result<IndexedDatabase, IndexedDbError> {
        let Some(folder) = &self.folder else {
            let path = PathBuf::from("in-memory database");
            let connection = Connection::open_in_memory();
            return Ok(opened(connection.map_err(Failure::from), path, name)?);
        };
        create_folder(folder, &self.origin)?;
        let path = folder.join(file_name(name));
        let opened = open_file(&path, name);
        let opened = opened.and_then(|database| database.with_files(self.held.clone()));
        opened.map_err(|error| match error {
            damage if damage.is_damage() => self.set_aside(name, damage).into(),
            error => error.into(),
        })
    }

    /// Gives a damaged file, which nobody has open, a name that nothing opens. The answer tells of
    /// `damage` and of the name.
    pub fn set_aside(&self, name: &[u16], damage: StoreError) -> StoreError {
        let Some(folder) = &self.folder else { return damage };
        let database = folder.join(file_name(name));
        match set_aside(&database) {
            Ok(aside) => {
                let reason = match damage {
                    StoreError::Corrupt { source, .. } => source.to_string(),
                    _ => "it is no SQLite database".to_owned(),
                };
                StoreError::SetAside { database, aside, reason }
            }
            Err(error) => error,
        }
    }

    /// Whether there is a file of a database.
    pub fn has(&self, name: &[u16]) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.join(file_name(name)).exists())
    }

    /// The names and versions of the origin's databases, but those that are open. Nothing if they
    /// are in memory.
    ///
    /// # Errors
    ///
    /// Files that cannot be read are errors of their own, beside those that can.
    pub fn list(&self, open: &[Vec<u16>]) -> Vec<Result<IndexedDbFile, StoreError>> {
        let Some(folder) = &self.folder else { return vec![] };
        match files_of(folder) {
            Ok(files) => {
                let open: Vec<_> = open.iter().map(|name| folder.join(file_name(name))).collect();
                let closed = files.into_iter().filter(|path| !open.contains(path));
                let listed = closed.map(|path| describe(path, &self.origin));
                // Version 0: created, and never upgraded.
                listed.filter(|file| !matches!(file, Ok(file) if file.version == 0)).collect()
            }
            Err(source) => vec![Err(folder::folder_error(folder, source))],
        }
    }

    /// Deletes a database that nobody has open.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn delete(&self, name: &[u16]) -> Result<(), IndexedDbError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let path = folder.join(file_name(name));
        // The log first: a log without its database means nothing, and the other way round it
        // would be a newer state.
        for path in [log_of(&path), path] {
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(folder::folder_error(folder, source).into()),
            }
        }
        let blobs = self.held.remove_all(&folder.join(file_name(name)));
        blobs.map_err(|source| folder::folder_error(folder, source))?;
        sync_folder(folder).map_err(|source| folder::folder_error(folder, source))?;
        Ok(())
    }

    /// The databases of every origin of a state folder, for listing.
    ///
    /// # Errors
    ///
    /// Files that cannot be read are errors of their own, beside those that can.
    pub fn list_all(state: &Path) -> Vec<Result<IndexedDbFile, StoreError>> {
        let root = state.join(FOLDER);
        let folders = match fs::read_dir(&root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return vec![],
            Err(source) => return vec![Err(folder::folder_error(&root, source))],
        };
        // By origin, so that a list is the same each time.
        let mut origins = BTreeMap::new();
        for folder in folders.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
            if let Ok(origin) = fs::read_to_string(folder.join(ORIGIN_FILE)) {
                origins.insert(origin, folder);
            }
        }
        let each = origins.into_iter();
        let each = each.map(|(origin, folder)| Self {
            folder: Some(folder),
            origin,
            held: HeldFiles::default(),
        });
        each.flat_map(|folder| folder.list(&[])).collect()
    }
}

impl IndexedDbFile {
    /// Bytes on disk, with the files of its blobs.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        let bytes = || Ok(fs::metadata(&self.path)?.len() + blobs::bytes_beside(&self.path)?);
        bytes().map_err(|source| folder::folder_error(&self.path, source))
    }

    /// Its object stores, and how many records each has. The file is not set aside if it is
    /// damaged. Nobody else may have it open.
    ///
    /// # Errors
    ///
    /// As [`crate::Store::open`].
    pub fn object_stores(&self) -> Result<Vec<(ObjectStoreMetadata, u64)>, IndexedDbError> {
        let mut database = open_file(&self.path, &self.name)?;
        let mut counted = Vec::new();
        for object_store in database.metadata()?.object_stores {
            let source = Source { object_store: object_store.id, index: None };
            let count = Operation::Count { source, range: Range::default() };
            if let Outcome::Counted(count) = database.execute(&count)? {
                counted.push((object_store, count));
            }
        }
        Ok(counted)
    }
}

impl IndexedDbFile {
    /// Gives the records of an object store to `each`, by their keys, until it wants no more. As
    /// [`IndexedDbFile::object_stores`] otherwise.
    ///
    /// # Errors
    ///
    /// As [`crate::Store::open`].
    pub fn records(
        &self,
        object_store: u32,
        each: &mut dyn FnMut(Record) -> bool,
    ) -> Result<(), IndexedDbError> {
        const PAGE_RECORDS: u32 = 64;
        let mut database = open_file(&self.path, &self.name)?;
        let mut from = None;
        loop {
            let query = Query {
                source: Source { object_store, index: None },
                range: Range::default(),
                direction: Direction::Next,
                from,
                skip: 0,
                limit: Some(PAGE_RECORDS),
                enough: Some(1 << 20),
                retrieved: Retrieved::Records,
            };
            let Outcome::Found(records) = database.execute(&Operation::Retrieve(query))? else {
                unreachable!("invariant: what is retrieved is found");
            };
            let Some(last) = records.keys.last() else { return Ok(()) };
            from = Some(CursorFrom::PastKey(last.clone()));
            if !records.into_iter().all(&mut *each) {
                return Ok(());
            }
        }
    }
}

/// Reads a file that nobody has open, without a change of it.
fn describe(path: PathBuf, origin: &str) -> Result<IndexedDbFile, StoreError> {
    let read = || -> Result<IndexedDbFile, Failure> {
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        Ok(connection.query_row("SELECT name, version FROM info", [], |row| {
            Ok(IndexedDbFile {
                origin: origin.to_owned(),
                name: units_of(&row.get::<_, Vec<u8>>(0)?),
                version: row.get::<_, i64>(1)?.cast_unsigned(),
                path: path.clone(),
            })
        })?)
    };
    read().map_err(|failure| failure.at(&path))
}

fn open_file(path: &Path, name: &[u16]) -> Result<IndexedDatabase, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags);
    opened(connection.map_err(Failure::from), path.to_owned(), name)
}

fn opened(
    connection: Result<Connection, Failure>,
    path: PathBuf,
    name: &[u16],
) -> Result<IndexedDatabase, StoreError> {
    let prepared = connection.and_then(|connection| prepare(connection, &path, name));
    let connection = prepared.map_err(|failure| match failure.at(&path) {
        // The statements are right; so the file has a schema, or a format, that none of ours has.
        StoreError::Statement { database, source } => StoreError::Corrupt { database, source },
        error => error,
    })?;
    let sql = "SELECT EXISTS (SELECT 1 FROM blob_parts)";
    let has_blobs = connection.query_row(sql, [], |row| row.get(0));
    let has_blobs = has_blobs.map_err(|error| Failure::from(error).at(&path))?;
    let durability = Durability::Strict;
    let generators = BTreeMap::new();
    let (blobs, limit_bytes, limit_pages) = (None, u64::MAX, 0);
    Ok(IndexedDatabase {
        connection,
        path,
        generators,
        durability,
        has_blobs,
        blobs,
        limit_bytes,
        limit_pages,
    })
}

/// As the store's own database: exclusive, in WAL, on disk when committed.
fn prepare(connection: Connection, path: &Path, name: &[u16]) -> Result<Connection, Failure> {
    connection.busy_timeout(Duration::ZERO)?;
    // A file that turns out to be damaged is not written to.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "fullfsync", true)?;
    // Pages that were read stay in memory, up to 16 MiB: more than SQLite's own 2 MiB.
    connection.pragma_update(None, "cache_size", -16384)?;
    // As in the store's own: else SQLite compiles most statements anew for each value bound.
    connection.set_prepared_statement_cache_capacity(64);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;

    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let database = path.to_owned();
    match (number("application_id")?, number("user_version")?) {
        (0, 0) => create_schema(&connection, name)?,
        (APPLICATION_ID, SCHEMA_VERSION) => {}
        (APPLICATION_ID, 1) => {
            let transaction = connection.unchecked_transaction()?;
            transaction.execute_batch(FROM_VERSION_1)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            transaction.commit()?;
        }
        (APPLICATION_ID, found) => {
            let newest = SCHEMA_VERSION;
            return Err(StoreError::NewerSchema { database, found, newest }.into());
        }
        (application_id, _) => {
            return Err(StoreError::ForeignDatabase { database, application_id }.into());
        }
    }
    // Meets a damaged schema now, and not in the middle of a transaction.
    connection.query_row("SELECT version FROM info", [], |_| Ok(()))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(connection)
}

fn create_schema(connection: &Connection, name: &[u16]) -> Result<(), Failure> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(include_str!("schema.sql"))?;
    transaction.execute("INSERT INTO info VALUES (?1, 0, 1, 1)", [bytes_of(name)])?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    Ok(transaction.commit()?)
}

fn create_folder(folder: &Path, origin: &str) -> Result<(), StoreError> {
    let origin_file = folder.join(ORIGIN_FILE);
    let create = || -> io::Result<()> {
        if origin_file.exists() {
            return Ok(());
        }
        folder::create_durably(folder)?;
        fs::write(&origin_file, origin)?;
        fs::File::open(&origin_file)?.sync_all()?;
        sync_folder(folder)
    };
    create().map_err(|source| folder::folder_error(folder, source))
}

/// Gives a damaged file and its log names that nothing opens.
fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let aside = (1..).map(|number| path.with_extension(format!("damaged-{number}")));
    let free = aside.into_iter().find(|path| !path.exists());
    let free = free.expect("invariant: a folder has an end");
    let mut blobs = free.clone().into_os_string();
    blobs.push(".");
    blobs.push(blobs::EXTENSION);
    let beside = [
        (log_of(path), log_of(&free)),
        (path.with_extension(blobs::EXTENSION), PathBuf::from(blobs)),
    ];
    let rename = || -> io::Result<()> {
        for (found, aside) in beside {
            if found.exists() {
                fs::rename(found, aside)?;
            }
        }
        fs::rename(path, &free)
    };
    rename().map_err(|source| folder::folder_error(path, source))?;
    Ok(free)
}

fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Makes what was created or removed in a folder last. Only Unix opens folders as files.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

fn file_name(name: &[u16]) -> String {
    format!("{}.{EXTENSION}", digest(&bytes_of(name)))
}

/// 128 bits of SHA-256, in hexadecimal digits.
fn digest(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in &Sha256::digest(bytes)[..16] {
        write!(text, "{byte:02x}").expect("a string takes all");
    }
    text
}
