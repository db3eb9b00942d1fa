//! Storage buckets on disk: <https://wicg.github.io/storage-buckets/>
//! Invariant: what a bucket holds is kept under its storage key, which no origin and no other
//! bucket ever has; caches of a bucket go in the transaction that deletes it.

use rusqlite::params;

use crate::columns::row_id;
use crate::{Released, Store, StoreError};

row_id! {
    /// Names a storage bucket; never used again.
    BucketId
}

/// Between an origin and a bucket's number. No host has it:
/// <https://url.spec.whatwg.org/#forbidden-host-code-point>
const SEPARATOR: char = '^';

/// A storage bucket that is not an origin's default one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageBucket {
    /// Given once only.
    pub id: BucketId,
    /// Whose it is.
    pub origin: String,
    /// As [the specification](https://wicg.github.io/storage-buckets/#validate-a-bucket-name)
    /// allows it.
    pub name: String,
    /// Whether it was asked to persist.
    pub persisted: bool,
    /// How many bytes it may hold, if it was made with a limit.
    pub quota_bytes: Option<u64>,
    /// When it ends, in Unix epoch ms.
    pub expires_at_ms: Option<i64>,
}

impl StorageBucket {
    /// Where what it holds is kept.
    pub fn storage_key(&self) -> String {
        format!("{}{SEPARATOR}{}", self.origin, self.id)
    }
}

/// The origin and the bucket of a storage key; no bucket means the default one.
pub fn parse_storage_key(key: &str) -> (&str, Option<BucketId>) {
    match key.split_once(SEPARATOR) {
        Some((origin, id)) => (origin, id.parse().ok().map(BucketId)),
        None => (key, None),
    }
}

impl Store {
    /// Every bucket of every origin, in the order of their creation.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn buckets(&self) -> Result<Vec<StorageBucket>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT id, origin, name, persisted, quota_bytes, expires_at_ms
                       FROM storage_buckets ORDER BY id";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(StorageBucket {
                    id: row.get(0)?,
                    origin: row.get(1)?,
                    name: row.get(2)?,
                    persisted: row.get(3)?,
                    quota_bytes: row.get::<_, Option<i64>>(4)?.map(i64::cast_unsigned),
                    expires_at_ms: row.get(5)?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Makes a bucket, whose name no other of its origin has; the identifier that it is given is
    /// ignored. It is on disk when this returns.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn bucket_create(&self, bucket: StorageBucket) -> Result<StorageBucket, StoreError> {
        self.write(|transaction| {
            let sql = "INSERT INTO storage_buckets
                           (origin, name, persisted, quota_bytes, expires_at_ms)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let StorageBucket { origin, name, persisted, quota_bytes, expires_at_ms, .. } = &bucket;
            let quota_bytes = quota_bytes.map(u64::cast_signed);
            let row = params![origin, name, persisted, quota_bytes, expires_at_ms];
            transaction.prepare_cached(sql)?.execute(row)?;
            Ok(BucketId(transaction.last_insert_rowid()))
        })
        .map(|id| StorageBucket { id, ..bucket })
    }

    /// Changes whether a bucket persists, and when it ends.
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn bucket_change(&self, bucket: &StorageBucket) -> Result<(), StoreError> {
        self.write(|transaction| {
            let sql = "UPDATE storage_buckets SET persisted = ?2, expires_at_ms = ?3 WHERE id = ?1";
            let StorageBucket { id, persisted, expires_at_ms, .. } = bucket;
            transaction.prepare_cached(sql)?.execute((id, persisted, expires_at_ms))?;
            Ok(())
        })
    }

    /// Deletes a bucket with its caches; the bodies that they leave are the caller's to remove, and
    /// so are its databases: [`IndexedDbFolder::delete_all`](crate::indexed_db::IndexedDbFolder).
    ///
    /// # Errors
    ///
    /// The failures of the database.
    pub fn bucket_delete(&self, bucket: &StorageBucket) -> Result<Released, StoreError> {
        let key = bucket.storage_key();
        self.write(|transaction| {
            let sql = "SELECT body_file FROM cache_entries JOIN caches ON caches.id = cache_id
                       WHERE origin = ?1 AND body_file IS NOT NULL";
            let mut statement = transaction.prepare_cached(sql)?;
            let released: Result<_, _> = statement.query_map([&key], |row| row.get(0))?.collect();
            transaction.prepare_cached("DELETE FROM caches WHERE origin = ?1")?.execute([&key])?;
            let sql = "DELETE FROM storage_buckets WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute([bucket.id])?;
            Ok(released?)
        })
    }
}
