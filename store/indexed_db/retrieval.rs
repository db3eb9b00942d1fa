//! Reading records: <https://w3c.github.io/IndexedDB/#retrieval-operation> and the cursors'
//! <https://w3c.github.io/IndexedDB/#iterate-a-cursor>.
//!
//! Invariant: a query holds nothing open when it has answered: a cursor is where it stands, so that
//! it sees what its transaction has changed meanwhile.

use rusqlite::{OptionalExtension, Row};

use super::error::{IndexedDbError, Interrupted, OtherChecksum};
use super::found::{Record, Records, Values};
use super::key::{Key, after};
use super::records::checksum;
use super::{IndexedDatabase, Outcome};

/// What one answer may hold, so that a script cannot fill the host's memory.
const ANSWER_BYTES: usize = 256 << 20;

/// So many values are a part of an answer.
const PART_VALUES: usize = 1024;
const PART_BYTES: usize = 256 << 10;

/// <https://w3c.github.io/IndexedDB/#key-range>
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Range {
    /// The lower bound.
    pub lower: Option<Key>,
    /// The upper bound.
    pub upper: Option<Key>,
    /// Whether the lower bound is outside.
    pub lower_open: bool,
    /// Whether the upper bound is outside.
    pub upper_open: bool,
}

impl Range {
    /// As bytes: from the first on, up to but without the second. It holds for entries of indexes
    /// too, which only begin with their key.
    pub(super) fn bounds(&self) -> (Vec<u8>, Vec<u8>) {
        let low = match &self.lower {
            Some(key) if self.lower_open => after(&key.encode()),
            Some(key) => key.encode(),
            None => vec![],
        };
        let high = match &self.upper {
            Some(key) if self.upper_open => key.encode(),
            Some(key) => after(&key.encode()),
            None => after(&[]),
        };
        (low, high)
    }
}

/// An object store, or one of its indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The object store.
    pub object_store: u32,
    /// Its index, if that is meant.
    pub index: Option<u32>,
}

/// <https://w3c.github.io/IndexedDB/#cursor-direction>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending.
    Next,
    /// Ascending, the first record of each key.
    NextUnique,
    /// Descending.
    Prev,
    /// Descending, the first record of each key.
    PrevUnique,
}

/// Where a cursor goes on, in its direction.
#[derive(Clone, Debug, PartialEq)]
pub enum CursorFrom {
    /// At the first record with this key.
    Key(Key),
    /// Behind every record with this key.
    PastKey(Key),
    /// At this key and primary key of an index.
    Entry(Key, Key),
    /// Behind this key and primary key of an index.
    PastEntry(Key, Key),
}

/// What is wanted of each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retrieved {
    /// Its keys.
    Keys,
    /// Its keys and its value.
    Records,
    /// Its value.
    Values,
}

/// A question for records.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Where to look.
    pub source: Source,
    /// Which keys.
    pub range: Range,
    /// In which order.
    pub direction: Direction,
    /// Where a cursor stands.
    pub from: Option<CursorFrom>,
    /// How many to leave out at first.
    pub skip: u32,
    /// How many at most.
    pub limit: Option<u32>,
    /// After how many bytes no more are looked for.
    pub enough: Option<usize>,
    /// What of them.
    pub retrieved: Retrieved,
}

impl IndexedDatabase {
    /// `part`, if there is one, is given values as they are found, but for the last ones.
    pub(super) fn retrieve(
        &self,
        query: &Query,
        part: Option<&mut dyn FnMut(Values)>,
    ) -> Result<Outcome, Interrupted> {
        let mut found = Answer { part, ..Answer::default() };
        match (query.source.index, query.direction) {
            (Some(index), Direction::NextUnique | Direction::PrevUnique) => {
                self.retrieve_unique(query, index, &mut found)?;
            }
            _ => self.retrieve_all(query, &mut found)?,
        }
        Ok(match query.retrieved {
            Retrieved::Values => Outcome::FoundValues(found.records.values),
            Retrieved::Keys | Retrieved::Records => Outcome::Found(found.records),
        })
    }

    /// The record of a key: what most scripts ask for, and cheaper than a range.
    fn retrieve_one(
        &self,
        query: &Query,
        key: &Key,
        found: &mut Answer<'_>,
    ) -> Result<(), Interrupted> {
        let sql = "SELECT key, value, has_blobs, checksum FROM records
                   WHERE object_store = ?1 AND key = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query((query.source.object_store, key.encode()))?;
        if let Some(row) = rows.next()? {
            self.add_record(row, query, found)?;
        }
        Ok(())
    }

    fn retrieve_all(&self, query: &Query, found: &mut Answer<'_>) -> Result<(), Interrupted> {
        if let (None, Some(key)) = (query.source.index, query.only()) {
            return self.retrieve_one(query, key, found);
        }
        let descending = matches!(query.direction, Direction::Prev | Direction::PrevUnique);
        let (low, high) = query.bounds();
        let mut statement =
            self.connection.prepare_cached(match (query.source.index, descending) {
                (None, false) => {
                    "SELECT key, value, has_blobs, checksum FROM records WHERE object_store = ?1
                 AND key >= ?2 AND key < ?3 ORDER BY key"
                }
                (None, true) => {
                    "SELECT key, value, has_blobs, checksum FROM records WHERE object_store = ?1
                 AND key >= ?2 AND key < ?3 ORDER BY key DESC"
                }
                (Some(_), false) => {
                    "SELECT entry, key_length FROM index_entries WHERE index_id = ?1 AND entry >= ?2
                 AND entry < ?3 ORDER BY entry"
                }
                (Some(_), true) => {
                    "SELECT entry, key_length FROM index_entries WHERE index_id = ?1 AND entry >= ?2
                 AND entry < ?3 ORDER BY entry DESC"
                }
            })?;
        let id = query.source.index.unwrap_or(query.source.object_store);
        // SQLite's own LIMIT and OFFSET are counted for each row.
        let mut rows = statement.query((id, low, high))?;
        for _ in 0..query.skip {
            if rows.next()?.is_none() {
                return Ok(());
            }
        }
        while !found.is_full(query)
            && let Some(row) = rows.next()?
        {
            match query.source.index {
                None => self.add_record(row, query, found)?,
                Some(_) => self.add_indexed_record(row, query, found)?,
            }
            if found.is_enough(query) {
                break;
            }
        }
        Ok(())
    }

    /// The first record of each key of an index.
    fn retrieve_unique(
        &self,
        query: &Query,
        index: u32,
        found: &mut Answer<'_>,
    ) -> Result<(), Interrupted> {
        let ascending = "SELECT entry, key_length FROM index_entries
             WHERE index_id = ?1 AND entry >= ?2 AND entry < ?3 ORDER BY entry LIMIT 1";
        let descending = "SELECT entry, key_length FROM index_entries
             WHERE index_id = ?1 AND entry >= ?2 AND entry < ?3 ORDER BY entry DESC LIMIT 1";
        let (mut low, mut high) = query.bounds();
        let mut skip = query.skip;
        while !found.is_full(query) {
            let sql = if query.direction == Direction::NextUnique { ascending } else { descending };
            let mut statement = self.connection.prepare_cached(sql)?;
            let key = statement.query_row((index, &low, &high), index_key).optional()?;
            let Some(key) = key else { break };
            if skip > 0 {
                skip -= 1;
            } else {
                let mut statement = self.connection.prepare_cached(ascending)?;
                let mut rows = statement.query((index, &key, after(&key)))?;
                let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
                self.add_indexed_record(row, query, found)?;
                if found.is_enough(query) {
                    break;
                }
            }
            match query.direction {
                Direction::NextUnique => low = after(&key),
                _ => high = key,
            }
        }
        Ok(())
    }

    fn add_indexed_record(
        &self,
        row: &Row<'_>,
        query: &Query,
        found: &mut Answer<'_>,
    ) -> Result<(), Interrupted> {
        let entry = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        let key_length: u32 = row.get(1)?;
        let primary = entry.get(key_length as usize..).unwrap_or_default();
        if query.retrieved != Retrieved::Values {
            let (key, _) = Key::decode_first(entry)?;
            found.records.keys.push(key);
            Key::decode_to(primary, &mut found.records.primary_keys)?;
        }
        if query.retrieved != Retrieved::Keys {
            let sql = "SELECT key, value, has_blobs, checksum FROM records
                       WHERE object_store = ?1 AND key = ?2";
            let mut statement = self.connection.prepare_cached(sql)?;
            let store = query.source.object_store;
            let mut rows = statement.query((store, primary))?;
            let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            self.add_value(row, store, primary, found)?;
        }
        found.has_one_more()
    }

    fn add_record(
        &self,
        row: &Row<'_>,
        query: &Query,
        found: &mut Answer<'_>,
    ) -> Result<(), Interrupted> {
        let primary = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        if query.retrieved != Retrieved::Values {
            Key::decode_to(primary, &mut found.records.keys)?;
        }
        if query.retrieved != Retrieved::Keys {
            self.add_value(row, query.source.object_store, primary, found)?;
        }
        found.has_one_more()
    }

    /// Of a row of key, value, whether it has blobs, and checksum.
    fn add_value(
        &self,
        row: &Row<'_>,
        object_store: u32,
        primary: &[u8],
        found: &mut Answer<'_>,
    ) -> Result<(), Interrupted> {
        let bytes = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let written: Option<i64> = row.get(3)?;
        if written.is_some_and(|written| written != i64::from(checksum(primary, bytes))) {
            return Err(OtherChecksum.into());
        }
        let has_blobs = self.has_blobs && row.get(2)?;
        let blobs = if has_blobs { self.blobs_of(object_store, primary)? } else { vec![] };
        found.bytes += bytes.len();
        found.bytes += blobs.iter().map(|blob| blob.contents.held_bytes()).sum::<usize>();
        found.records.values.push(bytes, blobs);
        Ok(())
    }

    pub(super) fn count(&self, source: &Source, range: &Range) -> Result<u64, Interrupted> {
        let (low, high) = range.bounds();
        let (sql, id) = match source.index {
            None => (
                "SELECT count(*) FROM records WHERE object_store = ?1 AND key >= ?2 AND key < ?3",
                source.object_store,
            ),
            Some(index) => (
                "SELECT count(*) FROM index_entries
                 WHERE index_id = ?1 AND entry >= ?2 AND entry < ?3",
                index,
            ),
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let count: i64 = statement.query_row((id, low, high), |row| row.get(0))?;
        Ok(count.cast_unsigned())
    }
}

impl Query {
    /// The key that is meant, if that is one.
    fn only(&self) -> Option<&Key> {
        let Range { lower, upper, lower_open, upper_open } = &self.range;
        let is_one = lower == upper && !lower_open && !upper_open;
        lower.as_ref().filter(|_| is_one && self.from.is_none() && self.skip == 0)
    }

    /// The bytes of the range, from where the cursor stands.
    fn bounds(&self) -> (Vec<u8>, Vec<u8>) {
        let (low, high) = self.range.bounds();
        let Some(from) = &self.from else { return (low, high) };
        let (key, past) = match from {
            CursorFrom::Key(key) => (key.encode(), false),
            CursorFrom::PastKey(key) => (key.encode(), true),
            CursorFrom::Entry(key, primary) => ([key.encode(), primary.encode()].concat(), false),
            CursorFrom::PastEntry(key, primary) => {
                ([key.encode(), primary.encode()].concat(), true)
            }
        };
        let descending = matches!(self.direction, Direction::Prev | Direction::PrevUnique);
        let place = if past == descending { key } else { after(&key) };
        if descending { (low, high.min(place)) } else { (low.max(place), high) }
    }
}

fn index_key(row: &Row<'_>) -> rusqlite::Result<Vec<u8>> {
    let entry = row.get_ref(0)?.as_blob()?;
    let key_length: u32 = row.get(1)?;
    Ok(entry.get(..key_length as usize).unwrap_or(entry).to_vec())
}

/// Records up to a size, or values alone.
#[derive(Default)]
struct Answer<'a> {
    records: Records,
    part: Option<&'a mut dyn FnMut(Values)>,
    /// How many were found, and how much memory they take or took.
    count: usize,
    bytes: usize,
}

impl Answer<'_> {
    fn is_full(&self, query: &Query) -> bool {
        query.limit.is_some_and(|limit| self.count >= limit as usize)
    }

    fn is_enough(&self, query: &Query) -> bool {
        query.enough.is_some_and(|enough| self.bytes >= enough)
    }

    fn has_one_more(&mut self) -> Result<(), Interrupted> {
        self.count += 1;
        self.bytes += size_of::<Record>();
        if self.bytes > ANSWER_BYTES {
            let text = "The result is too large: ask for fewer records at a time.";
            return Err(IndexedDbError::TooLarge(text).into());
        }
        let Records { keys, values, .. } = &mut self.records;
        let is_part = values.ends.len() >= PART_VALUES || values.bytes.len() >= PART_BYTES;
        if let (Some(part), true, true) = (&mut self.part, is_part, keys.is_empty()) {
            part(std::mem::take(values));
        }
        Ok(())
    }
}
