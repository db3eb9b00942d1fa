//! IndexedDB on disk: one SQLite file for each database of an origin.
//! <https://w3c.github.io/IndexedDB/>
//!
//! Invariant: one connection serves a file, and one read/write transaction at a time; the caller
//! starts no transaction whose scope overlaps that of a live one that writes, so that what a
//! transaction reads is a snapshot.

mod blobs;
mod entries;
mod error;
mod file;
mod folder;
mod found;
mod key;
mod quota;
mod records;
mod retrieval;
mod schema;

use std::collections::BTreeMap;
use std::path::PathBuf;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use self::blobs::{BlobFolder, HeldFiles};
use crate::error::{Failure, StoreError};

pub use self::blobs::{BlobContents, BlobFile, BlobPart, BlobSource, NewBlobPart};
pub use self::error::IndexedDbError;
pub use self::file::{IndexedDbFile, IndexedDbFolder};
pub use self::found::{Record, Records, StoredValue, Values};
pub use self::key::{Key, MAX_DEPTH, NotAKey};
pub use self::records::{IndexKeys, Put};
pub use self::retrieval::{CursorFrom, Direction, Query, Range, Retrieved, Source};
pub use self::schema::{IndexMetadata, Metadata, ObjectStoreMetadata};

/// When a commit may be told: <https://w3c.github.io/IndexedDB/#transaction-durability-hint>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When it is on disk.
    #[default]
    Strict,
    /// When the operating system has it. A crash of the process loses nothing, a power cut may
    /// lose the last of such commits; never a part of one.
    Relaxed,
}

/// One database. `Send`, not `Sync`: it lives on one thread at a time.
#[derive(Debug)]
pub struct IndexedDatabase {
    connection: Connection,
    path: PathBuf,
    /// The key generators that the transaction has used: written when it commits.
    generators: BTreeMap<u32, Generator>,
    durability: Durability,
    /// Whether a record may have parts of blobs: most databases have none, and need not look.
    has_blobs: bool,
    /// `None` where all is in memory.
    blobs: Option<BlobFolder>,
    /// How many bytes it may have, its files included.
    limit_bytes: u64,
    /// How many pages of the database that leaves; 0 before [`IndexedDatabase::limit`].
    limit_pages: u64,
}

/// <https://w3c.github.io/IndexedDB/#key-generator-construct>
#[derive(Clone, Copy, Debug)]
struct Generator {
    /// `None` if the object store has no generator.
    next: Option<i64>,
    changed: bool,
}

/// One step of a transaction.
pub enum Operation {
    /// Sets the database's version.
    SetVersion(u64),
    /// Adds an object store.
    CreateObjectStore {
        /// Given once only.
        id: u32,
        /// UTF-16.
        name: Vec<u16>,
        /// As JSON.
        key_path: String,
        /// Whether it has a key generator.
        auto_increment: bool,
    },
    /// Renames an object store.
    RenameObjectStore {
        /// The object store.
        id: u32,
        /// UTF-16.
        name: Vec<u16>,
    },
    /// Removes an object store with its indexes and records.
    DeleteObjectStore(u32),
    /// Adds an index, which has no entries yet.
    CreateIndex {
        /// Whose index it is.
        object_store: u32,
        /// The index.
        index: IndexMetadata,
    },
    /// Renames an index.
    RenameIndex {
        /// The index.
        id: u32,
        /// UTF-16.
        name: Vec<u16>,
    },
    /// Removes an index with its entries.
    DeleteIndex(u32),
    /// Adds entries of a new index for records that are there.
    AddIndexEntries {
        /// Whose index it is.
        object_store: u32,
        /// The records' keys, and what the index has for each.
        records: Vec<(Key, IndexKeys)>,
    },
    /// Stores a record.
    Put(Put),
    /// Deletes records.
    Delete {
        /// From where.
        object_store: u32,
        /// Which.
        range: Range,
    },
    /// Deletes every record; the key generator goes on.
    Clear(u32),
    /// Reads records.
    Retrieve(Query),
    /// Counts records.
    Count {
        /// Where.
        source: Source,
        /// Which.
        range: Range,
    },
}

/// What a step answers.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// The key under which the record is stored.
    Stored(Key),
    /// The records that were found.
    Found(Records),
    /// Their values, where nothing else was wanted.
    FoundValues(Values),
    /// How many there are.
    Counted(u64),
}

impl IndexedDatabase {
    /// Lets it keep files beside its own, and removes those that a crash has left.
    fn with_files(mut self, held: HeldFiles) -> Result<Self, StoreError> {
        let named = || -> rusqlite::Result<BTreeMap<i64, i64>> {
            let sql = "SELECT file, size FROM blob_parts WHERE file IS NOT NULL";
            let mut statement = self.connection.prepare(sql)?;
            let named = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            named.collect()
        };
        let named = named().map_err(|error| Failure::from(error).at(&self.path))?;
        self.blobs = Some(BlobFolder::open(&self.path, held, &named)?);
        Ok(self)
    }

    /// Begins a read/write transaction. There is none for reading: see the module's invariant.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn begin(&mut self, durability: Durability) -> Result<(), IndexedDbError> {
        self.generators.clear();
        self.run(|this| {
            this.end_reading()?;
            if this.durability != durability {
                let level = if durability == Durability::Strict { "FULL" } else { "NORMAL" };
                this.connection.pragma_update(None, "synchronous", level)?;
                this.durability = durability;
            }
            Ok(this.connection.execute_batch("BEGIN IMMEDIATE")?)
        })
    }

    /// Commits the read/write transaction. With [`Durability::Strict`] it is on disk when this
    /// returns `Ok`. After `Err`, the caller rolls back.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn commit(&mut self) -> Result<(), IndexedDbError> {
        self.run(|this| {
            for (id, generator) in std::mem::take(&mut this.generators) {
                if generator.changed {
                    let sql = "UPDATE object_stores SET next_key = ?2 WHERE id = ?1";
                    this.connection.prepare_cached(sql)?.execute((id, generator.next))?;
                }
            }
            if let Some(blobs) = &this.blobs {
                blobs.before_commit(this.durability).map_err(IndexedDbError::Store)?;
            }
            this.connection.execute_batch("COMMIT")?;
            if let Some(blobs) = &mut this.blobs {
                blobs.after_commit();
            }
            Ok(())
        })
    }

    /// Takes back what the transaction did. Nothing is left of it even if this fails.
    pub fn roll_back(&mut self) {
        self.generators.clear();
        if !self.connection.is_autocommit() {
            // It fails only where SQLite has rolled back on its own, because of the same disk.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        if let Some(blobs) = &mut self.blobs {
            blobs.after_roll_back();
        }
    }

    /// Closes a damaged database without another write to its file.
    pub fn abandon(self) {
        // Whether it succeeds or not, the connection is closed.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }

    /// Makes one step. A step that fails changes nothing, and the transaction may go on, but for
    /// failures of the disk, after which it must be rolled back.
    ///
    /// # Errors
    ///
    /// [`IndexedDbError::Constraint`], [`IndexedDbError::TooLarge`], or what the disk says.
    pub fn execute(&mut self, operation: &Operation) -> Result<Outcome, IndexedDbError> {
        self.execute_in_parts(operation, None)
    }

    /// As [`execute`](Self::execute), with values handed to `part` as they are found, so that
    /// somebody can go on with them meanwhile: those that the answer has not come first. If it
    /// fails, they are of no use.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn execute_in_parts(
        &mut self,
        operation: &Operation,
        part: Option<&mut dyn FnMut(Values)>,
    ) -> Result<Outcome, IndexedDbError> {
        self.run(|this| {
            this.step(operation, part).map_err(|error| this.tell_quota(operation, error))
        })
    }

    /// Lets reads that follow each other share one of SQLite's transactions: to begin one costs as
    /// much as to find a record. It stays until the next one that writes, which is the only thing
    /// that could make a difference.
    fn begin_reading(&self) -> rusqlite::Result<()> {
        if self.connection.is_autocommit() {
            self.connection.prepare_cached("BEGIN")?.execute([])?;
        }
        Ok(())
    }

    fn end_reading(&self) -> rusqlite::Result<()> {
        if !self.connection.is_autocommit() {
            self.connection.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(())
    }

    fn step(
        &mut self,
        operation: &Operation,
        part: Option<&mut dyn FnMut(Values)>,
    ) -> Result<Outcome, error::Interrupted> {
        self.begin_reading()?;
        match operation {
            Operation::Put(put) => self.put(put).map(Outcome::Stored),
            Operation::Retrieve(query) => self.retrieve(query, part),
            Operation::Count { source, range } => self.count(source, range).map(Outcome::Counted),
            Operation::Delete { object_store, range } => {
                self.delete(*object_store, range).map(|()| Outcome::Done)
            }
            Operation::Clear(id) => self.clear(*id).map(|()| Outcome::Done),
            Operation::AddIndexEntries { object_store, records } => {
                self.add_index_entries(*object_store, records).map(|()| Outcome::Done)
            }
            change => self.change_schema(change).map(|()| Outcome::Done),
        }
    }

    fn run<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, error::Interrupted>,
    ) -> Result<T, IndexedDbError> {
        work(self).map_err(|interrupted| match interrupted {
            error::Interrupted::Known(error) => error,
            error::Interrupted::Sqlite(error) => {
                IndexedDbError::Store(match Failure::from(error).at(&self.path) {
                    // Rows that contradict each other: those that this build writes do not.
                    StoreError::Statement { database, source } if is_contradiction(&source) => {
                        StoreError::Corrupt { database, source }
                    }
                    error => error,
                })
            }
        })
    }
}

fn is_contradiction(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::QueryReturnedNoRows)
        || error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}
