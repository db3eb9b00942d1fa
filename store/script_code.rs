//! What V8 made of a worker's scripts when it compiled them, beside the scripts.
//! Invariant: code that is read equals the code that was kept, or is not there; there are never
//! more bytes of it than its limits say.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Failure;
use crate::registrations::VersionId;
use crate::{Store, StoreError};

/// How much code may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptCodeLimits {
    /// Bytes of one script's code.
    pub script_bytes: u64,
    /// Bytes of the code of all scripts.
    pub total_bytes: u64,
}

impl Default for ScriptCodeLimits {
    fn default() -> Self {
        ScriptCodeLimits { script_bytes: 16 << 20, total_bytes: 512 << 20 }
    }
}

impl Store {
    /// The code of one script of a version; none if it was never kept, has gone to make room, or is
    /// damaged.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn script_code(
        &self,
        version: VersionId,
        url: &str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT code, checksum FROM script_code WHERE version_id = ?1 AND url = ?2";
            let kept: Option<(Vec<u8>, i64)> = connection
                .prepare_cached(sql)?
                .query_row((version, url), |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            Ok(kept.filter(|(code, sum)| checksum(code) == *sum).map(|(code, _)| code))
        })
    }

    /// Keeps the code of scripts of a version, by their URLs, in the place of what was kept of
    /// them; the code that was kept first makes room for it. Nothing is kept of a script that the
    /// version does not have, or whose code exceeds the limits. A power cut may undo it.
    ///
    /// # Errors
    ///
    /// As every method that writes.
    pub fn keep_script_code(
        &self,
        version: VersionId,
        codes: &[(String, Vec<u8>)],
        limits: ScriptCodeLimits,
    ) -> Result<(), StoreError> {
        self.write_soon(|transaction| {
            for (url, code) in codes {
                let sql = "DELETE FROM script_code WHERE version_id = ?1 AND url = ?2";
                transaction.prepare_cached(sql)?.execute((version, url))?;
                if code.len() as u64 > limits.script_bytes.min(limits.total_bytes) {
                    continue;
                }
                let sql = "INSERT INTO script_code (version_id, url, code, checksum, bytes) \
                     SELECT version_id, url, ?3, ?4, ?5 FROM script_resources \
                     WHERE version_id = ?1 AND url = ?2";
                let (sum, bytes) = (checksum(code), signed(code.len() as u64));
                let values = params![version, url, code, sum, bytes];
                transaction.prepare_cached(sql)?.execute(values)?;
            }
            make_room(transaction, limits.total_bytes)
        })
    }
}

/// Forgets what was kept first until the rest fits.
fn make_room(transaction: &Connection, total_bytes: u64) -> Result<(), Failure> {
    let mut sum = transaction.prepare_cached("SELECT coalesce(sum(bytes), 0) FROM script_code")?;
    let mut oldest =
        transaction.prepare_cached("SELECT id, bytes FROM script_code ORDER BY id LIMIT 1")?;
    let mut forget = transaction.prepare_cached("DELETE FROM script_code WHERE id = ?1")?;
    let mut held: i64 = sum.query_row([], |row| row.get(0))?;
    while held > signed(total_bytes) {
        let (id, bytes): (i64, i64) = oldest.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        forget.execute([id])?;
        held -= bytes;
    }
    Ok(())
}

fn checksum(code: &[u8]) -> i64 {
    i64::from(crc32fast::hash(code))
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
