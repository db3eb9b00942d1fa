//! Databases without a file.
//!
//! Invariant: each has the whole schema from the start, and no data of another.

use std::path::Path;
use std::sync::Mutex;

use rusqlite::Connection;
use rusqlite::backup::Backup;

use crate::error::Failure;
use crate::prepare;

/// As SQLite says it.
const ALL_PAGES: i32 = -1;

/// A copy of the process's first one, which nobody writes to: a tenth of the work of the schema's
/// steps. A run of tests makes thousands.
pub(crate) fn open(database: &Path) -> Result<Connection, Failure> {
    static FIRST: Mutex<Option<Connection>> = Mutex::new(None);
    let mut first = FIRST.lock().expect("no holder of this lock panics");
    let first = match &mut *first {
        Some(first) => first,
        none => none.insert(prepare(Connection::open_in_memory()?, database)?),
    };
    let mut copy = Connection::open_in_memory()?;
    Backup::new(first, &mut copy)?.step(ALL_PAGES)?;
    Ok(copy)
}
