//! State that is divided over shards: origin by origin, each shard with a store of its own. The
//! first has the state folder itself, the others folders within it.
//! Invariant: where an origin's state is follows from the origin and the number of shards, which
//! never changes once there is state.

use std::path::{Path, PathBuf};

use rusqlite::OptionalExtension;

use crate::indexed_db::IndexedDbFolder;
use crate::{Store, StoreError};

/// The folder of a shard's state, by the shard's number from 0 on.
pub fn shard_folder(folder: &Path, shard: usize) -> PathBuf {
    match shard {
        0 => folder.to_owned(),
        other => folder.join("shards").join(other.to_string()),
    }
}

/// Which of so many shards has the state of an origin. FNV-1a: it must never change.
pub fn shard_of_origin(origin: &str, shards: usize) -> usize {
    let hash = origin.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    usize::try_from(hash % shards.max(1) as u64).expect("less than a usize")
}

impl Store {
    /// How many shards the folder is divided over: what was said first, once and for all. `asked`
    /// says it if nobody has; without it there is one. Durable when it returns. For the first
    /// shard's store.
    ///
    /// # Errors
    ///
    /// [`StoreError::Shards`] if something else is asked than was said; nothing is changed then.
    pub fn divide(&self, folder: &Path, asked: Option<usize>) -> Result<usize, StoreError> {
        let said = self.shards()?;
        // Databases that were made before there were shards.
        let is_one = said.is_none() && !IndexedDbFolder::list_all(folder).is_empty();
        let count = said.or(is_one.then_some(1)).or(asked).unwrap_or(1);
        if let Some(asked) = asked.filter(|asked| *asked != count) {
            let folder = folder.to_owned();
            return Err(StoreError::Shards { folder, found: count, asked });
        }
        self.write(|transaction| {
            let sql = "INSERT INTO shards SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM shards)";
            transaction.prepare_cached(sql)?.execute([count as i64])?;
            Ok(count)
        })
    }

    /// How many shards were said; `None` if nobody has.
    ///
    /// # Errors
    ///
    /// Only failures of the disk.
    pub fn shards(&self) -> Result<Option<usize>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT count FROM shards")?;
            let count: Option<u32> = statement.query_row([], |row| row.get(0)).optional()?;
            Ok(count.map(|count| count as usize))
        })
    }
}
