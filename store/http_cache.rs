//! The HTTP cache on disk: rows by partition and URL, least recently used first to go.
//! Invariant: it never has more bytes than its limits say; what may be reused is the runtime's to
//! say.

use std::sync::atomic::Ordering;

use rusqlite::{Connection, params};

use crate::error::Failure;
use crate::{Store, StoreError};

/// Names a row of the HTTP cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CachedResponseId(pub(crate) i64);

/// A response in the HTTP cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedResponse {
    /// What decides about its reuse, in the runtime's words.
    pub policy: String,
    /// Its status and headers, in the runtime's words.
    pub head: String,
    /// Its whole body, decoded.
    pub body: Vec<u8>,
}

/// How much the HTTP cache may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpCacheLimits {
    /// Of one response, its head included.
    pub response_bytes: u64,
    /// Of all responses of all partitions.
    pub total_bytes: u64,
}

impl Default for HttpCacheLimits {
    fn default() -> Self {
        HttpCacheLimits { response_bytes: 2 << 20, total_bytes: 64 << 20 }
    }
}

/// How many variants of one URL are kept.
const VARIANTS_AT_MOST: i64 = 16;

impl Store {
    /// The responses of a URL, newest first.
    ///
    /// # Errors
    ///
    /// As every method that reads.
    pub fn cached_responses(
        &self,
        partition: &str,
        url: &str,
    ) -> Result<Vec<(CachedResponseId, CachedResponse)>, StoreError> {
        if !self.has_http_cache.load(Ordering::Acquire) {
            return Ok(Vec::new());
        }
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, policy, head, body FROM http_cache
                 WHERE partition = ?1 AND url = ?2 ORDER BY id DESC",
            )?;
            let rows = statement.query_map(params![partition, url], |row| {
                let (policy, head, body) = (row.get(1)?, row.get(2)?, row.get(3)?);
                Ok((CachedResponseId(row.get(0)?), CachedResponse { policy, head, body }))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Keeps a response, in the place of those in `replaces`; the ones that nobody used for the
    /// longest time make room for it. A response over the limits is not kept, and those that it
    /// would replace go. A power cut may undo it.
    ///
    /// # Errors
    ///
    /// As every method that writes.
    pub fn cache_response(
        &self,
        partition: &str,
        url: &str,
        response: &CachedResponse,
        replaces: &[CachedResponseId],
        limits: HttpCacheLimits,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let lengths = [url.len(), response.policy.len(), response.head.len(), response.body.len()];
        let bytes = lengths.iter().map(|length| *length as u64).sum::<u64>();
        self.has_http_cache.store(true, Ordering::Release);
        self.write_soon(|transaction| {
            for id in replaces {
                forget(transaction, *id)?;
            }
            if bytes > limits.response_bytes.min(limits.total_bytes) {
                return Ok(());
            }
            transaction
                .prepare_cached(
                    "INSERT INTO http_cache (partition, url, policy, head, body, bytes, used_at_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    partition,
                    url,
                    response.policy,
                    response.head,
                    response.body,
                    signed(bytes),
                    now_ms,
                ])?;
            let variants = "DELETE FROM http_cache WHERE partition = ?1 AND url = ?2 AND id NOT IN
                (SELECT id FROM http_cache WHERE partition = ?1 AND url = ?2
                 ORDER BY id DESC LIMIT ?3)";
            let mut variants = transaction.prepare_cached(variants)?;
            variants.execute(params![partition, url, VARIANTS_AT_MOST])?;
            make_room(transaction, limits.total_bytes)
        })
    }

    /// Remembers that a response was used.
    ///
    /// # Errors
    ///
    /// As every method that writes.
    pub fn use_cached_response(&self, id: CachedResponseId, now_ms: i64) -> Result<(), StoreError> {
        self.write_soon(|transaction| {
            let used = "UPDATE http_cache SET used_at_ms = ?2 WHERE id = ?1 AND used_at_ms < ?3";
            // Once a minute is enough to tell what is used from what is not.
            transaction.prepare_cached(used)?.execute(params![id.0, now_ms, now_ms - 60_000])?;
            Ok(())
        })
    }

    /// Forgets every response of a URL.
    ///
    /// # Errors
    ///
    /// As every method that writes.
    pub fn forget_cached_responses(&self, partition: &str, url: &str) -> Result<(), StoreError> {
        self.write_soon(|transaction| {
            let forget = "DELETE FROM http_cache WHERE partition = ?1 AND url = ?2";
            transaction.prepare_cached(forget)?.execute(params![partition, url])?;
            Ok(())
        })
    }
}

/// Whether there is a response of anybody's.
pub(crate) fn has_any(connection: &Connection) -> Result<bool, Failure> {
    let any = "SELECT EXISTS (SELECT 1 FROM http_cache)";
    Ok(connection.query_row(any, [], |row| row.get(0))?)
}

fn forget(transaction: &Connection, id: CachedResponseId) -> Result<(), Failure> {
    transaction.prepare_cached("DELETE FROM http_cache WHERE id = ?1")?.execute([id.0])?;
    Ok(())
}

/// Forgets the least recently used until the rest fits.
fn make_room(transaction: &Connection, total_bytes: u64) -> Result<(), Failure> {
    let mut sum = transaction.prepare_cached("SELECT coalesce(sum(bytes), 0) FROM http_cache")?;
    let mut oldest = transaction
        .prepare_cached("SELECT id, bytes FROM http_cache ORDER BY used_at_ms, id LIMIT 1")?;
    let mut held: i64 = sum.query_row([], |row| row.get(0))?;
    while held > signed(total_bytes) {
        let (id, bytes): (i64, i64) = oldest.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        forget(transaction, CachedResponseId(id))?;
        held -= bytes;
    }
    Ok(())
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
