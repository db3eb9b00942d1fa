//! `kittiwake storage`: what scripts have stored in a state folder.
//!
//! Invariant: nothing of it changes, and a folder without state stays as it is.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use kittiwake::{StoredDatabase, stored_databases};
use serde_json::json;

use crate::Refusal;
use crate::output::Format;

/// The options of `kittiwake storage`.
#[derive(clap::Args)]
pub struct StorageOptions {
    /// The folder of an earlier `kittiwake run --state`; no process may be using it
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Lines for people, or one JSON object a line and database
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Lists databases with their object stores, by origin and name.
pub fn list(options: &StorageOptions) -> Result<ExitCode, Refusal> {
    let databases = stored_databases(&options.state).map_err(Refusal::failure)?;
    let describe = match options.format {
        Format::Json => json_line,
        Format::Text => text,
    };
    let mut stdout = anstream::stdout().lock();
    // Whoever reads it may have had enough.
    let _ = databases.iter().try_for_each(|database| writeln!(stdout, "{}", describe(database)));
    let _ = stdout.flush();
    Ok(ExitCode::SUCCESS)
}

fn json_line(database: &StoredDatabase) -> String {
    let object_stores = database.object_stores.iter().map(
        |store| json!({ "name": store.name, "records": store.records, "indexes": store.indexes }),
    );
    let line = json!({
        "kind": "indexed-db",
        "origin": database.origin,
        "bucket": database.bucket,
        "name": database.name,
        "version": database.version,
        "bytes": database.bytes,
        "path": database.path,
        "object_stores": object_stores.collect::<Vec<_>>(),
    });
    line.to_string()
}

/// Names are quoted, for they may be empty, have blanks, or mean something to a terminal.
fn text(database: &StoredDatabase) -> String {
    let StoredDatabase { origin, name, version, bytes, .. } = database;
    let bucket = database.bucket.as_ref().map_or(String::new(), |name| format!("  bucket {name}"));
    let mut text = format!("{origin}{bucket}  {name:?}  version {version}  {bytes} bytes");
    for store in &database.object_stores {
        text += &format!("\n  {:?}  {} records", store.name, store.records);
        if !store.indexes.is_empty() {
            text += &format!("  indexes {:?}", store.indexes);
        }
    }
    text
}
