//! Databases without a file.
//!
//! Invariant: each has the whole schema from the start, and no data of another.

use rusqlite::Connection;
use rusqlite::backup::Backup;

/// A database that has taken every step of the schema, as the build script made it.
static EMPTY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/empty.sqlite"));

/// As SQLite says it.
const ALL_PAGES: i32 = -1;

/// Copied, not migrated: taking the steps of the schema is a tenth of a short process's time.
pub(crate) fn open() -> rusqlite::Result<Connection> {
    let mut empty = Connection::open_in_memory()?;
    empty.deserialize_bytes("main", EMPTY)?;
    let mut copy = Connection::open_in_memory()?;
    Backup::new(&empty, &mut copy)?.step(ALL_PAGES)?;
    Ok(copy)
}
