//! How much a database holds, and may hold.
//!
//! Invariant: a database never has more pages, nor files, than its limit says, but for those that
//! it had when the limit was set.

use rusqlite::ErrorCode;

use super::blobs::BlobFolder;
use super::error::Interrupted;
use super::{IndexedDatabase, IndexedDbError, Operation};
use crate::error::StoreError;

/// A page that SQLite wanted beside those of a value: for its index, its free list.
const SPARE_PAGES: u64 = 32;

impl IndexedDatabase {
    /// Bytes that the database holds, what its transaction has written included.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn bytes(&mut self) -> Result<u64, IndexedDbError> {
        self.run(|this| Ok(this.pages()? * this.page_size()? + this.blob_bytes()))
    }

    /// Lets the database hold so many bytes and no more; in between, it keeps what it has.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn limit(&mut self, bytes: u64) -> Result<(), IndexedDbError> {
        self.run(|this| {
            this.limit_bytes = bytes;
            let bytes = bytes.saturating_sub(this.blob_bytes());
            let pages = (bytes / this.page_size()?).clamp(1, u64::from(u32::MAX) - 1);
            if this.limit_pages != pages {
                this.connection.pragma_update_and_check(
                    None,
                    "max_page_count",
                    pages.cast_signed(),
                    |_| Ok(()),
                )?;
                this.limit_pages = pages;
            }
            Ok(())
        })
    }

    fn blob_bytes(&self) -> u64 {
        self.blobs.as_ref().map_or(0, BlobFolder::bytes)
    }

    /// Refuses what is too much before it is written.
    pub(super) fn require_room(&self, bytes: u64) -> Result<(), Interrupted> {
        let needed_bytes = self.pages()? * self.page_size()? + self.blob_bytes() + bytes;
        if needed_bytes <= self.limit_bytes {
            return Ok(());
        }
        let (origin, quota_bytes) = (self.path.display().to_string(), self.limit_bytes);
        let refused = StoreError::QuotaExceeded { origin, quota_bytes, needed_bytes };
        Err(IndexedDbError::Store(refused).into())
    }

    fn pages(&self) -> rusqlite::Result<u64> {
        let mut pages = self.connection.prepare_cached("PRAGMA page_count")?;
        pages.query_row([], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
    }

    fn page_size(&self) -> rusqlite::Result<u64> {
        let mut size = self.connection.prepare_cached("PRAGMA page_size")?;
        size.query_row([], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
    }

    /// SQLite has one error for a full disk and for a limit that is reached.
    pub(super) fn tell_quota(&self, operation: &Operation, error: Interrupted) -> Interrupted {
        let Interrupted::Sqlite(cause) = &error else { return error };
        if cause.sqlite_error_code() != Some(ErrorCode::DiskFull) {
            return error;
        }
        let (Ok(pages), Ok(page_size)) = (self.pages(), self.page_size()) else { return error };
        let wanted = match operation {
            Operation::Put(put) => put.bytes() / page_size,
            _ => 0,
        };
        if pages + wanted + SPARE_PAGES < self.limit_pages {
            return error;
        }
        let quota_bytes = self.limit_pages * page_size;
        let needed_bytes = (pages + wanted).max(self.limit_pages + 1) * page_size;
        let origin = self.path.display().to_string();
        Interrupted::Known(IndexedDbError::Store(StoreError::QuotaExceeded {
            origin,
            quota_bytes,
            needed_bytes,
        }))
    }
}
