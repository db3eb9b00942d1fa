//! The schema, step by step.
//! Invariant: a step is taken whole or not at all, and each once.

use rusqlite::Connection;

use crate::APPLICATION_ID;
use crate::error::Failure;
use crate::transaction::Transaction;

/// Every step of the schema, oldest first; the schema's version is how many were taken. A step
/// that was released never changes: databases that took it would differ from those that will.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("schema_fetch.sql"),
    include_str!("caches/schema.sql"),
    include_str!("buckets_schema.sql"),
    include_str!("schema_start.sql"),
    include_str!("schema_lifecycle.sql"),
    include_str!("push/schema.sql"),
    include_str!("cookie_subscriptions.sql"),
    include_str!("script_code.sql"),
    include_str!("background_fetch/schema.sql"),
    include_str!("content_index.sql"),
    include_str!("shards.sql"),
    include_str!("sync/turns.sql"),
];

/// Takes the steps that the database has not taken, each in a transaction of its own.
pub(crate) fn migrate(connection: &Connection, migrations: &[&str]) -> Result<(), Failure> {
    let taken: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (index, sql) in migrations.iter().enumerate() {
        let version = version_of(index + 1);
        if version <= taken {
            continue;
        }
        let transaction = Transaction::begin(connection)?;
        connection.execute_batch(sql)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        connection.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// The schema version that this build writes, and the newest that it reads.
pub(crate) fn newest_schema() -> i32 {
    version_of(MIGRATIONS.len())
}

fn version_of(migrations: usize) -> i32 {
    i32::try_from(migrations).expect("invariant: migrations are written by hand")
}
