//! Storing and deleting records: <https://w3c.github.io/IndexedDB/#object-store-storage-operation>.
//!
//! Invariant: an index has an entry if and only if the record that it names says so; a step looks
//! for what it would break before it writes.

use std::sync::{Arc, LazyLock};

use rusqlite::OptionalExtension;

use super::blobs::{BlobContents, BlobFile, BlobFolder, BlobPart, NewBlobPart};
use super::error::{IndexedDbError, Interrupted};
use super::key::{Key, after};
use super::retrieval::Range;
use super::{Generator, IndexedDatabase, entries};
use crate::error::file_error;

/// 2^53: <https://w3c.github.io/IndexedDB/#generate-a-key>
const LAST_GENERATED: i64 = 1 << 53;

/// What is to be stored.
pub struct Put {
    /// Where.
    pub object_store: u32,
    /// `None` lets the key generator give one.
    pub key: Option<Key>,
    /// What V8's serialiser wrote.
    pub value: Vec<u8>,
    /// The contents of its Blob and File objects.
    pub blobs: Vec<NewBlobPart>,
    /// One for each index of the object store.
    pub indexes: Vec<IndexKeys>,
    /// Whether a record with this key may be there already.
    pub overwrite: bool,
}

impl Put {
    /// Bytes of the value and of what it refers to.
    pub(super) fn bytes(&self) -> u64 {
        let blobs = self.blobs.iter().map(|blob| blob.source.bytes());
        self.value.len() as u64 + blobs.sum::<u64>()
    }
}

/// A record's keys in one index.
#[derive(Debug)]
pub struct IndexKeys {
    /// The index.
    pub index: u32,
    /// Whether a key belongs to one record only.
    pub unique: bool,
    /// Without duplicates; more than one only in an index with multiple entries.
    pub keys: Vec<Key>,
}

/// By which damage to a record shows.
pub(super) fn checksum(key: &[u8], value: &[u8]) -> u32 {
    // A new one asks the processor for what it can do.
    static NEW: LazyLock<crc32fast::Hasher> = LazyLock::new(crc32fast::Hasher::new);
    let mut checksum = NEW.clone();
    checksum.update(key);
    checksum.update(value);
    checksum.finalize()
}

impl IndexedDatabase {
    pub(super) fn put(&mut self, put: &Put) -> Result<Key, Interrupted> {
        let generator = *self.generator(put.object_store)?;
        let stored = self.put_record(put);
        if stored.is_err() {
            // A step that fails changes nothing, the generator neither.
            self.generators.insert(put.object_store, generator);
        }
        stored
    }

    fn put_record(&mut self, put: &Put) -> Result<Key, Interrupted> {
        let key = self.key_of(put)?;
        let primary = key.encode();
        let (entries, mut added) = self.entries_of(&primary, &put.indexes, &key)?;
        let has_blobs = !put.blobs.is_empty();
        let checksum = checksum(&primary, &put.value);
        let row = (put.object_store, &primary, &put.value, &entries, has_blobs, checksum);
        // Most records are new: then there is nothing to forget.
        let sql = "INSERT OR IGNORE INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        if self.connection.prepare_cached(sql)?.execute(row)? == 0 {
            if !put.overwrite {
                let text = "Key already exists in the object store.";
                return Err(IndexedDbError::Constraint(text).into());
            }
            if self.forget_other_entries(put.object_store, &primary, entries.as_deref())? {
                added.clear();
            }
            let sql = "UPDATE records SET value = ?3, entries = ?4, has_blobs = ?5, checksum = ?6
                       WHERE object_store = ?1 AND key = ?2";
            self.connection.prepare_cached(sql)?.execute(row)?;
        }
        for (index, entry, key_length) in added {
            let sql = "INSERT INTO index_entries VALUES (?1, ?2, ?3)";
            self.connection.prepare_cached(sql)?.execute((index, entry, key_length))?;
        }
        if self.has_blobs {
            self.delete_blobs(put.object_store, &primary, &after(&primary))?;
        }
        for blob in &put.blobs {
            self.put_blob(put.object_store, &primary, blob)?;
        }
        Ok(key)
    }

    fn put_blob(
        &mut self,
        object_store: u32,
        primary: &[u8],
        NewBlobPart { part, source }: &NewBlobPart,
    ) -> Result<(), Interrupted> {
        self.has_blobs = true;
        self.require_room(source.bytes())?;
        let mut bytes = Vec::new();
        let file = match &mut self.blobs {
            Some(blobs) if blobs.wants(&**source) => {
                let written = blobs.write(&**source, self.durability);
                Some((written.map_err(IndexedDbError::Store)?, source.bytes().cast_signed()))
            }
            _ => {
                let unreadable = |error| file_error(&self.path, error);
                source.write_to(&mut bytes).map_err(unreadable).map_err(IndexedDbError::Store)?;
                None
            }
        };
        let sql = "INSERT INTO blob_parts VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let (file, size) = file.unzip();
        let row = (object_store, primary, part, bytes, file, size);
        self.connection.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    fn delete_blobs(
        &mut self,
        object_store: u32,
        low: &[u8],
        high: &[u8],
    ) -> Result<(), Interrupted> {
        if let Some(blobs) = &mut self.blobs {
            let sql = "SELECT file, size FROM blob_parts
                       WHERE object_store = ?1 AND key >= ?2 AND key < ?3 AND file IS NOT NULL";
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query((object_store, low, high))?;
            while let Some(row) = rows.next()? {
                blobs.unname(row.get(0)?, row.get(1)?);
            }
        }
        let sql = "DELETE FROM blob_parts WHERE object_store = ?1 AND key >= ?2 AND key < ?3";
        self.connection.prepare_cached(sql)?.execute((object_store, low, high))?;
        Ok(())
    }

    /// The contents that a record's value names.
    pub(super) fn blobs_of(
        &self,
        object_store: u32,
        primary: &[u8],
    ) -> Result<Vec<BlobPart>, Interrupted> {
        let sql = "SELECT part, bytes, file, size FROM blob_parts
                   WHERE object_store = ?1 AND key = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((object_store, primary))?;
        let mut parts = Vec::new();
        while let Some(row) = rows.next()? {
            let contents = match row.get(2)? {
                None => BlobContents::Bytes(row.get(1)?),
                Some(file) => BlobContents::File(self.blob_file(file, row.get(3)?)?),
            };
            parts.push(BlobPart { part: row.get(0)?, contents });
        }
        Ok(parts)
    }

    fn blob_file(&self, file: i64, bytes: i64) -> Result<Arc<BlobFile>, Interrupted> {
        let bytes = bytes.cast_unsigned();
        let held = match &self.blobs {
            Some(blobs) => blobs.hold(file, bytes),
            None => BlobFolder::hold_beside(&self.path, file, bytes),
        };
        if held.is_whole() { Ok(held) } else { Err(IndexedDbError::BlobGone.into()) }
    }

    /// Gives a key if there is none, and lets the generator follow the one that there is.
    fn key_of(&mut self, put: &Put) -> Result<Key, Interrupted> {
        let generator = self.generator(put.object_store)?;
        let Some(next) = generator.next else {
            let key = put.key.clone();
            return Ok(key.expect("invariant: JavaScript refuses a record without a key"));
        };
        match &put.key {
            None if next > LAST_GENERATED => {
                let text = "Maximum key generator value reached.";
                Err(IndexedDbError::Constraint(text).into())
            }
            None => {
                generator.next = Some(next + 1);
                generator.changed = true;
                Ok(Key::Number(next as f64))
            }
            Some(key) => {
                // https://w3c.github.io/IndexedDB/#possibly-update-the-key-generator
                if let Key::Number(number) = key
                    && number.floor() >= next as f64
                {
                    let value = number.floor().min(LAST_GENERATED as f64) as i64;
                    generator.next = Some(value + 1);
                    generator.changed = true;
                }
                Ok(key.clone())
            }
        }
    }

    fn generator(&mut self, object_store: u32) -> Result<&mut Generator, Interrupted> {
        if !self.generators.contains_key(&object_store) {
            let sql = "SELECT next_key FROM object_stores WHERE id = ?1";
            let mut statement = self.connection.prepare_cached(sql)?;
            let next = statement.query_row([object_store], |row| row.get(0))?;
            self.generators.insert(object_store, Generator { next, changed: false });
        }
        Ok(self.generators.get_mut(&object_store).expect("it was just inserted"))
    }

    /// What the indexes will have of a record, if no unique index refuses it.
    #[expect(clippy::type_complexity, reason = "the columns of two tables")]
    fn entries_of(
        &self,
        primary: &[u8],
        indexes: &[IndexKeys],
        generated: &Key,
    ) -> Result<(Option<Vec<u8>>, Vec<(u32, Vec<u8>, u32)>), Interrupted> {
        let mut entries = None;
        let mut added = Vec::new();
        for IndexKeys { index, unique, keys } in indexes {
            for key in keys {
                let mut entry = key.encode_with(generated);
                if *unique && self.is_taken(*index, &entry, primary)? {
                    let text = "Unable to add key to index: at least one key does not satisfy \
                                the uniqueness requirements.";
                    return Err(IndexedDbError::Constraint(text).into());
                }
                entries::write(entries.get_or_insert_with(Vec::new), *index, &entry);
                let key_length = entry.len() as u32;
                entry.extend_from_slice(primary);
                added.push((*index, entry, key_length));
            }
        }
        Ok((entries, added))
    }

    /// Whether another record has this key in an index.
    fn is_taken(&self, index: u32, key: &[u8], primary: &[u8]) -> Result<bool, Interrupted> {
        let sql = "SELECT substr(entry, key_length + 1) FROM index_entries
                   WHERE index_id = ?1 AND entry >= ?2 AND entry < ?3 LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let holder: Option<Vec<u8>> =
            statement.query_row((index, key, after(key)), |row| row.get(0)).optional()?;
        Ok(holder.is_some_and(|holder| holder != primary))
    }

    /// Takes a record out of the indexes, unless they have it under the same keys already.
    fn forget_other_entries(
        &self,
        object_store: u32,
        primary: &[u8],
        new: Option<&[u8]>,
    ) -> Result<bool, Interrupted> {
        let sql = "SELECT entries FROM records WHERE object_store = ?1 AND key = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((object_store, primary))?;
        let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let old = row.get_ref(0)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
        if old == new {
            return Ok(true);
        }
        self.delete_entries(old.unwrap_or_default(), primary)?;
        Ok(false)
    }

    fn delete_entries(&self, mut entries: &[u8], primary: &[u8]) -> Result<(), Interrupted> {
        while let Some((index, key)) = entries::read(&mut entries)? {
            let sql = "DELETE FROM index_entries WHERE index_id = ?1 AND entry = ?2";
            let entry = [key, primary].concat();
            self.connection.prepare_cached(sql)?.execute((index, entry))?;
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, object_store: u32, range: &Range) -> Result<(), Interrupted> {
        let (low, high) = range.bounds();
        let sql = "SELECT key, entries FROM records
                   WHERE object_store = ?1 AND key >= ?2 AND key < ?3 AND entries IS NOT NULL";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((object_store, &low, &high))?;
        while let Some(row) = rows.next()? {
            let primary = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            let entries = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            self.delete_entries(entries, primary)?;
        }
        drop(rows);
        drop(statement);
        let sql = "DELETE FROM records WHERE object_store = ?1 AND key >= ?2 AND key < ?3";
        self.connection.prepare_cached(sql)?.execute((object_store, &low, &high))?;
        if self.has_blobs {
            self.delete_blobs(object_store, &low, &high)?;
        }
        Ok(())
    }

    pub(super) fn clear(&mut self, object_store: u32) -> Result<(), Interrupted> {
        for sql in [
            "DELETE FROM index_entries
             WHERE index_id IN (SELECT id FROM indexes WHERE object_store = ?1)",
            "DELETE FROM records WHERE object_store = ?1",
        ] {
            self.connection.prepare_cached(sql)?.execute([object_store])?;
        }
        self.delete_blobs(object_store, &[], &after(&[]))
    }

    /// Adds what a new index has of records that are there.
    pub(super) fn add_index_entries(
        &self,
        object_store: u32,
        records: &[(Key, IndexKeys)],
    ) -> Result<(), Interrupted> {
        for (key, index) in records {
            let primary = key.encode();
            let (new, added) = self.entries_of(&primary, std::slice::from_ref(index), key)?;
            let Some(new) = new else { continue };
            let sql = "SELECT entries FROM records WHERE object_store = ?1 AND key = ?2";
            let mut statement = self.connection.prepare_cached(sql)?;
            let old: Option<Vec<u8>> =
                statement.query_row((object_store, &primary), |row| row.get(0))?;
            let entries = [old.unwrap_or_default(), new].concat();
            let sql = "UPDATE records SET entries = ?3 WHERE object_store = ?1 AND key = ?2";
            self.connection.prepare_cached(sql)?.execute((object_store, &primary, entries))?;
            for (index, entry, key_length) in added {
                let sql = "INSERT INTO index_entries VALUES (?1, ?2, ?3)";
                self.connection.prepare_cached(sql)?.execute((index, entry, key_length))?;
            }
        }
        Ok(())
    }
}
