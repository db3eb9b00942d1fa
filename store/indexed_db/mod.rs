//! IndexedDB on disk: one SQLite file for each database of an origin.
//! <https://w3c.github.io/IndexedDB/>
//!
//! Invariant: one connection serves a file, and one read/write transaction at a time; the caller
//! starts no transaction whose scope overlaps that of a live one that writes, so that what a
//! transaction reads is a snapshot.

mod entries;
mod error;
mod file;
mod folder;
mod key;
mod quota;
mod records;
mod retrieval;
mod schema;

use std::collections::BTreeMap;
use std::path::PathBuf;

use rusqlite::Connection;

use crate::error::Failure;

pub use self::error::IndexedDbError;
pub use self::file::{IndexedDbFile, IndexedDbFolder};
pub use self::key::{Key, MAX_DEPTH, NotAKey};
pub use self::records::{BlobPart, IndexKeys, Put};
pub use self::retrieval::{
    CursorFrom, Direction, Query, Range, Record, Retrieved, Source, StoredValue,
};
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
    /// How many pages it may have; 0 before [`IndexedDatabase::limit`].
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
    Found(Vec<Record>),
    /// Their values, where nothing else was wanted.
    FoundValues(Vec<StoredValue>),
    /// How many there are.
    Counted(u64),
}

impl IndexedDatabase {
    /// Begins a read/write transaction. There is none for reading: see the module's invariant.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn begin(&mut self, durability: Durability) -> Result<(), IndexedDbError> {
        self.generators.clear();
        self.run(|this| {
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
            Ok(this.connection.execute_batch("COMMIT")?)
        })
    }

    /// Takes back what the transaction did. Nothing is left of it even if this fails.
    pub fn roll_back(&mut self) {
        self.generators.clear();
        if !self.connection.is_autocommit() {
            // It fails only where SQLite has rolled back on its own, because of the same disk.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    /// Makes one step. A step that fails changes nothing, and the transaction may go on, but for
    /// failures of the disk, after which it must be rolled back.
    ///
    /// # Errors
    ///
    /// [`IndexedDbError::Constraint`], [`IndexedDbError::TooLarge`], or what the disk says.
    pub fn execute(&mut self, operation: &Operation) -> Result<Outcome, IndexedDbError> {
        self.run(|this| this.step(operation).map_err(|error| this.tell_quota(operation, error)))
    }

    fn step(&mut self, operation: &Operation) -> Result<Outcome, error::Interrupted> {
        match operation {
            Operation::Put(put) => self.put(put).map(Outcome::Stored),
            Operation::Retrieve(query) => self.retrieve(query),
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
                IndexedDbError::Store(Failure::from(error).at(&self.path))
            }
        })
    }
}
