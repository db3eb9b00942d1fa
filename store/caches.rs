//! The Cache API on disk: caches of an origin, and the requests and responses in them. The caches
//! of a storage bucket are those of an origin that is spelt as its storage key.
//! Invariant: an entry is put whole or not at all; no sum of entries exceeds its origin's quota.

mod bodies;
mod entry;
mod rows;

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension};

use crate::error::Failure;
use crate::{Store, StoreError};

use self::entry::are_duplicates;
use self::rows::{delete_matching, insert, responses, select};

pub(crate) use self::bodies::Bodies;
pub use self::bodies::{BodyFolder, NewBody};
pub use self::entry::{
    BodyId, CacheEntry, CacheId, CacheQuery, EntryBody, EntryRequest, EntryResponse, HeaderList,
    ResponseType,
};
pub(crate) use self::rows::{entry_size, insert as insert_entry, response_of, to_headers};

/// What a row counts against the quota beside its texts and its body, so that empty ones are not
/// free.
pub(crate) const ROW_BYTES: u64 = 128;

/// Entries that are put into a cache at once, all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheWrite {
    /// The cache.
    pub cache: CacheId,
    /// The entries, in the order in which they are put.
    pub entries: Vec<CacheEntry>,
}

/// Bodies that no entry names any more. Their files are the caller's to remove, when nobody reads
/// them; after a crash, [`Store::cache_recover`] removes them.
pub type Released = Vec<BodyId>;

impl Store {
    /// Discards what a crash left: caches that were deleted while open, and files that no entry
    /// names. To be called once, before any other method of the Cache API.
    ///
    /// # Errors
    ///
    /// [`StoreError::BodyUnusable`] and the failures of the database.
    pub fn cache_recover(&self) -> Result<(), StoreError> {
        let left = "SELECT EXISTS \
                    (SELECT 1 FROM caches WHERE name IS NULL AND background_fetch_id IS NULL)";
        if self.read(|connection| Ok(connection.query_row(left, [], |row| row.get(0))?))? {
            self.write(|transaction| {
                let sql = "DELETE FROM caches WHERE name IS NULL AND background_fetch_id IS NULL";
                transaction.execute(sql, [])?;
                Ok(())
            })?;
        }
        let kept: BTreeSet<BodyId> = self.read(|connection| {
            let sql = "SELECT body_file FROM cache_entries WHERE body_file IS NOT NULL";
            let mut statement = connection.prepare(sql)?;
            let ids = statement.query_map([], |row| row.get(0))?;
            Ok(ids.collect::<Result<_, _>>()?)
        })?;
        self.bodies.sweep(&kept)
    }

    /// The caches of an origin by name, in the order of their creation. A name is UTF-16, and may
    /// be ill-formed.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn cache_names(&self, origin: &str) -> Result<Vec<Vec<u16>>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT name FROM caches WHERE origin = ?1 AND name IS NOT NULL ORDER BY id";
            let mut statement = connection.prepare_cached(sql)?;
            let names =
                statement.query_map([origin], |row| Ok(to_utf16(row.get_ref(0)?.as_blob()?)))?;
            Ok(names.collect::<Result<_, _>>()?)
        })
    }

    /// The cache of this name, if there is one.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn cache_find(&self, origin: &str, name: &[u16]) -> Result<Option<CacheId>, StoreError> {
        self.read(|connection| find(connection, origin, name))
    }

    /// The cache of this name, which is made if there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::QuotaExceeded`] and the failures of the database.
    pub fn cache_open(
        &self,
        origin: &str,
        name: &[u16],
        quota_bytes: impl Fn(&str) -> u64,
    ) -> Result<CacheId, StoreError> {
        if let Some(found) = self.cache_find(origin, name)? {
            return Ok(found);
        }
        self.write(|transaction| {
            let name = from_utf16(name);
            let size = ROW_BYTES + name.len() as u64;
            require_quota(transaction, origin, size, quota_bytes(origin))?;
            let sql = "INSERT INTO caches (origin, name, size_bytes) VALUES (?1, ?2, ?3)";
            transaction.prepare_cached(sql)?.execute((origin, name, size as i64))?;
            Ok(CacheId(transaction.last_insert_rowid()))
        })
    }

    /// Deletes the name of a cache, so that whoever has the cache open can go on using it.
    /// [`Store::cache_discard`] deletes the rest.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn cache_forget_name(&self, cache: CacheId) -> Result<(), StoreError> {
        self.write(|transaction| {
            let sql = "UPDATE caches SET name = NULL WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute([cache])?;
            Ok(())
        })
    }

    /// Deletes a cache with everything in it.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn cache_discard(&self, cache: CacheId) -> Result<Released, StoreError> {
        self.write(|transaction| {
            let sql = "SELECT body_file FROM cache_entries \
                       WHERE cache_id = ?1 AND body_file IS NOT NULL";
            let mut statement = transaction.prepare_cached(sql)?;
            let released =
                statement.query_map([cache], |row| row.get(0))?.collect::<Result<_, _>>();
            transaction.prepare_cached("DELETE FROM caches WHERE id = ?1")?.execute([cache])?;
            Ok(released?)
        })
    }

    /// Puts entries, with all other writes of the batch in one commit; each takes the place of
    /// entries that its request matches, and each write succeeds or fails alone:
    /// <https://w3c.github.io/ServiceWorker/#batch-cache-operations-algorithm>
    ///
    /// `quota_bytes` is asked for what the caches of an origin may have, before each write; it must
    /// not ask this store.
    ///
    /// # Errors
    ///
    /// The failures of the database; then nothing of any write was put. Of one write alone:
    /// [`StoreError::QuotaExceeded`], [`StoreError::DuplicateRequests`], [`StoreError::NoCache`].
    pub fn cache_put_all(
        &self,
        writes: &[CacheWrite],
        quota_bytes: impl Fn(&str) -> u64,
    ) -> Result<Vec<Result<Released, StoreError>>, StoreError> {
        self.write(|transaction| {
            let one = |write| match put(transaction, write, &quota_bytes) {
                Ok(released) => Ok(Ok(released)),
                Err(Failure::Refused(refusal)) => Ok(Err(refusal)),
                Err(failure) => Err(failure),
            };
            writes.iter().map(one).collect()
        })
    }

    /// The responses of matching entries in the order in which they were put, `limit` at most. All
    /// entries match without a query.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn cache_match(
        &self,
        cache: CacheId,
        query: Option<&CacheQuery>,
        limit: usize,
    ) -> Result<Vec<EntryResponse>, StoreError> {
        self.read(|connection| responses(connection, cache, query, limit))
    }

    /// The first response in any of the origin's caches, which are asked in the order of their
    /// creation: <https://w3c.github.io/ServiceWorker/#cache-storage-match>
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn cache_match_any(
        &self,
        origin: &str,
        query: &CacheQuery,
    ) -> Result<Option<EntryResponse>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT id FROM caches WHERE origin = ?1 AND name IS NOT NULL ORDER BY id";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([origin])?;
            while let Some(row) = rows.next()? {
                let mut found = responses(connection, row.get(0)?, Some(query), 1)?;
                if let Some(response) = found.pop() {
                    return Ok(Some(response));
                }
            }
            Ok(None)
        })
    }

    /// The requests of matching entries in the order in which they were put.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn cache_requests(
        &self,
        cache: CacheId,
        query: Option<&CacheQuery>,
    ) -> Result<Vec<EntryRequest>, StoreError> {
        self.read(|connection| rows::requests(connection, cache, query))
    }

    /// Deletes matching entries: how many they were, and which bodies they leave.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn cache_delete_entries(
        &self,
        cache: CacheId,
        query: &CacheQuery,
    ) -> Result<(usize, Released), StoreError> {
        if self.read(|connection| select(connection, cache, Some(query), 1))?.is_empty() {
            return Ok((0, vec![]));
        }
        self.write(|transaction| {
            let mut released = vec![];
            let deleted = delete_matching(transaction, cache, query, &mut released)?;
            Ok((deleted, released))
        })
    }

    /// Bytes that the origin's caches count against its quota: texts, bodies, and something for
    /// each row. Caches that were deleted while open count until they are discarded.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn cache_usage(&self, origin: &str) -> Result<u64, StoreError> {
        self.read(|connection| usage(connection, origin))
    }

    /// The storage key that the cache belongs to, named or not.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn cache_storage_key(&self, cache: CacheId) -> Result<Option<String>, StoreError> {
        self.read(|connection| storage_key_of(connection, cache))
    }

    /// Begins a body that is too large for a row. It may be sent to a thread that writes it.
    ///
    /// # Errors
    ///
    /// [`StoreError::BodyUnusable`] if a store in memory gets no temporary folder.
    pub fn cache_new_body(&self) -> Result<NewBody, StoreError> {
        self.bodies.begin()
    }

    /// The folder that has the bodies.
    ///
    /// # Errors
    ///
    /// As [`Store::cache_new_body`].
    pub fn cache_bodies(&self) -> Result<BodyFolder, StoreError> {
        self.bodies.folder()
    }
}

fn find(connection: &Connection, origin: &str, name: &[u16]) -> Result<Option<CacheId>, Failure> {
    let sql = "SELECT id FROM caches WHERE origin = ?1 AND name = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row((origin, from_utf16(name)), |row| row.get(0)).optional()?)
}

fn storage_key_of(connection: &Connection, cache: CacheId) -> Result<Option<String>, Failure> {
    let mut statement = connection.prepare_cached("SELECT origin FROM caches WHERE id = ?1")?;
    Ok(statement.query_row([cache], |row| row.get(0)).optional()?)
}

fn put(
    transaction: &Connection,
    write: &CacheWrite,
    quota_bytes: impl Fn(&str) -> u64,
) -> Result<Released, Failure> {
    let cache = write.cache;
    for (index, entry) in write.entries.iter().enumerate() {
        if write.entries[..index].iter().any(|before| are_duplicates(before, entry)) {
            return Err(StoreError::DuplicateRequests { url: entry.request.url.clone() }.into());
        }
    }
    let origin = storage_key_of(transaction, cache)?.ok_or(StoreError::NoCache { cache })?;
    // Before anything is written, so that a refusal changes nothing. Entries that are replaced make
    // room only afterwards: a body that is being read stays on disk.
    let size = write.entries.iter().map(entry_size).sum();
    require_quota(transaction, &origin, size, quota_bytes(&origin))?;
    let mut released = vec![];
    for entry in &write.entries {
        let query =
            CacheQuery { request: entry.request.clone(), ignore_search: false, ignore_vary: false };
        delete_matching(transaction, cache, &query, &mut released)?;
        insert(transaction, cache, entry)?;
    }
    Ok(released)
}

fn usage(connection: &Connection, origin: &str) -> Result<u64, Failure> {
    let sql = "SELECT coalesce(sum(size_bytes), 0) FROM caches WHERE origin = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let sum: i64 = statement.query_row([origin], |row| row.get(0))?;
    Ok(sum.try_into().unwrap_or(0))
}

pub(crate) fn require_quota(
    connection: &Connection,
    origin: &str,
    more_bytes: u64,
    quota_bytes: u64,
) -> Result<(), Failure> {
    let needed_bytes = usage(connection, origin)?.saturating_add(more_bytes);
    if needed_bytes <= quota_bytes {
        return Ok(());
    }
    let origin = origin.to_owned();
    Err(StoreError::QuotaExceeded { origin, quota_bytes, needed_bytes }.into())
}

fn from_utf16(name: &[u16]) -> Vec<u8> {
    name.iter().flat_map(|unit| unit.to_le_bytes()).collect()
}

fn to_utf16(name: &[u8]) -> Vec<u16> {
    name.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect()
}
