//! What a database has of object stores and indexes.
//! <https://w3c.github.io/IndexedDB/#database-construct>
//!
//! Invariant: identifiers are given by whoever upgrades, from the metadata's next ones on, and
//! never twice.

use rusqlite::Connection;

use super::error::Interrupted;
use super::{IndexedDatabase, IndexedDbError, Operation};

/// What a connection is told of its database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// 0 if the database was never upgraded: then it does not exist for scripts.
    pub version: u64,
    /// By identifier.
    pub object_stores: Vec<ObjectStoreMetadata>,
    /// The identifier that the next object store gets.
    pub next_object_store: u32,
    /// The identifier that the next index gets.
    pub next_index: u32,
}

/// What a connection is told of an object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectStoreMetadata {
    /// Given once only.
    pub id: u32,
    /// UTF-16.
    pub name: Vec<u16>,
    /// As JSON.
    pub key_path: String,
    /// Whether it has a key generator.
    pub auto_increment: bool,
    /// By identifier.
    pub indexes: Vec<IndexMetadata>,
}

/// What a connection is told of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexMetadata {
    /// Given once only.
    pub id: u32,
    /// UTF-16.
    pub name: Vec<u16>,
    /// As JSON.
    pub key_path: String,
    /// Whether a key belongs to one record only.
    pub unique: bool,
    /// Whether a key that is an array is an entry for each element.
    pub multi_entry: bool,
}

impl IndexedDatabase {
    /// What the database has. Within a transaction, what it will have.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn metadata(&mut self) -> Result<Metadata, IndexedDbError> {
        self.run(|this| read_metadata(&this.connection))
    }

    pub(super) fn change_schema(&mut self, change: &Operation) -> Result<(), Interrupted> {
        let connection = &self.connection;
        match change {
            Operation::SetVersion(version) => {
                connection.execute("UPDATE info SET version = ?1", [version.cast_signed()])?;
            }
            Operation::CreateObjectStore { id, name, key_path, auto_increment } => {
                let next_key = auto_increment.then_some(1);
                let sql = "INSERT INTO object_stores VALUES (?1, ?2, ?3, ?4)";
                connection.execute(sql, (id, bytes_of(name), key_path, next_key))?;
                connection.execute("UPDATE info SET next_object_store = ?1", [id + 1])?;
            }
            Operation::RenameObjectStore { id, name } => {
                let sql = "UPDATE object_stores SET name = ?2 WHERE id = ?1";
                connection.execute(sql, (id, bytes_of(name)))?;
            }
            Operation::DeleteObjectStore(id) => {
                self.clear(*id)?;
                self.generators.remove(id);
                self.connection.execute("DELETE FROM object_stores WHERE id = ?1", [id])?;
            }
            Operation::CreateIndex { object_store, index } => {
                let sql = "INSERT INTO indexes VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                let name = bytes_of(&index.name);
                let flags = (index.unique, index.multi_entry);
                let row = (index.id, object_store, name, &index.key_path, flags.0, flags.1);
                connection.execute(sql, row)?;
                connection.execute("UPDATE info SET next_index = ?1", [index.id + 1])?;
            }
            Operation::RenameIndex { id, name } => {
                let sql = "UPDATE indexes SET name = ?2 WHERE id = ?1";
                connection.execute(sql, (id, bytes_of(name)))?;
            }
            Operation::DeleteIndex(id) => {
                connection.execute("DELETE FROM index_entries WHERE index_id = ?1", [id])?;
                connection.execute("DELETE FROM indexes WHERE id = ?1", [id])?;
            }
            _ => unreachable!("`execute` sends only changes of the schema here"),
        }
        Ok(())
    }
}

fn read_metadata(connection: &Connection) -> Result<Metadata, Interrupted> {
    let sql = "SELECT version, next_object_store, next_index FROM info";
    let mut metadata = connection.query_row(sql, [], |row| {
        Ok(Metadata {
            version: row.get::<_, i64>(0)?.cast_unsigned(),
            object_stores: vec![],
            next_object_store: row.get(1)?,
            next_index: row.get(2)?,
        })
    })?;
    let sql = "SELECT id, name, key_path, next_key IS NOT NULL FROM object_stores ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        metadata.object_stores.push(ObjectStoreMetadata {
            id: row.get(0)?,
            name: units_of(&row.get::<_, Vec<u8>>(1)?),
            key_path: row.get(2)?,
            auto_increment: row.get(3)?,
            indexes: vec![],
        });
    }
    let sql = "SELECT id, name, key_path, is_unique, is_multi_entry FROM indexes
               WHERE object_store = ?1 ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    for object_store in &mut metadata.object_stores {
        let mut rows = statement.query([object_store.id])?;
        while let Some(row) = rows.next()? {
            object_store.indexes.push(IndexMetadata {
                id: row.get(0)?,
                name: units_of(&row.get::<_, Vec<u8>>(1)?),
                key_path: row.get(2)?,
                unique: row.get(3)?,
                multi_entry: row.get(4)?,
            });
        }
    }
    Ok(metadata)
}

/// UTF-16, big endian: its bytes have the order of its units.
pub(super) fn bytes_of(name: &[u16]) -> Vec<u8> {
    name.iter().flat_map(|unit| unit.to_be_bytes()).collect()
}

pub(super) fn units_of(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks().0.iter().map(|unit| u16::from_be_bytes(*unit)).collect()
}
