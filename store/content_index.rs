//! The content index on disk: <https://wicg.github.io/content-index/spec/>
//!
//! Invariant: a registration has one entry of each id, and they go with it.

use crate::{RegistrationId, Store, StoreError};

impl Store {
    /// Keeps an entry, in the place of the registration's earlier one with its id.
    ///
    /// # Errors
    ///
    /// As every method that writes.
    pub fn content_add(
        &self,
        registration: RegistrationId,
        id: &str,
        description: &str,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            let sql = "INSERT OR REPLACE INTO content_index (registration_id, id, description)
                       VALUES (?1, ?2, ?3)";
            transaction.prepare_cached(sql)?.execute((registration, id, description))?;
            Ok(())
        })
    }

    /// Deletes an entry; whether there was one.
    ///
    /// # Errors
    ///
    /// As every method that writes.
    pub fn content_delete(
        &self,
        registration: RegistrationId,
        id: &str,
    ) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let sql = "DELETE FROM content_index WHERE registration_id = ?1 AND id = ?2";
            Ok(transaction.prepare_cached(sql)?.execute((registration, id))? > 0)
        })
    }

    /// The descriptions of a registration's entries, by the bytes of their ids.
    ///
    /// # Errors
    ///
    /// As every method that reads.
    pub fn contents(&self, registration: RegistrationId) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let sql =
                "SELECT description FROM content_index WHERE registration_id = ?1 ORDER BY id";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([registration], |row| row.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}
