//! What a database of the store is made of. The build script reads this too.
//!
//! Invariant: a step that was released never changes: databases that took it would differ from
//! those that will.

/// "KTWK": tells Kittiwake's databases from those of other programs.
pub(crate) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"KTWK");

/// Every step of the schema, oldest first; the schema's version is how many were taken.
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
