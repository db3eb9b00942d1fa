//! Makes the empty database that stores without a folder begin with.

use std::error::Error;
use std::path::PathBuf;

use rusqlite::Connection;

#[path = "schema.rs"]
mod schema;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=schema.rs");
    let mut connection = Connection::open_in_memory()?;
    for step in schema::MIGRATIONS {
        connection.execute_batch(step)?;
    }
    connection.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", i64::try_from(schema::MIGRATIONS.len())?)?;
    #[expect(clippy::disallowed_methods, reason = "cargo names the folder this way")]
    let folder = std::env::var("OUT_DIR")?;
    std::fs::write(PathBuf::from(folder).join("empty.sqlite"), &*connection.serialize("main")?)?;
    Ok(())
}
