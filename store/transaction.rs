//! One transaction of the database.
//!
//! Invariant: what was not committed is rolled back.

use rusqlite::Connection;

/// Rolled back when it is dropped, unless it was committed. Unlike rusqlite's, it does not compile
/// its statements anew each time.
pub(crate) struct Transaction<'a>(&'a Connection);

impl<'a> Transaction<'a> {
    /// Immediate: a transaction that began by reading could not always go on to write.
    pub(crate) fn begin(connection: &'a Connection) -> rusqlite::Result<Self> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Transaction(connection))
    }

    pub(crate) fn commit(self) -> rusqlite::Result<()> {
        self.0.prepare_cached("COMMIT")?.execute([]).map(drop)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // It is over if it was committed, or if SQLite itself rolled it back.
        if !self.0.is_autocommit() {
            // What fails here is a failing disk, which the caller hears of already.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}
