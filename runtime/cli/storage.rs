//! `kittiwake storage`: what scripts have stored in a state folder.
//!
//! Invariant: nothing of it changes, and a folder without state stays as it is.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use kittiwake::{StoredDatabase, dump_databases, stored_databases};
use serde_json::{Value, json};
use url::Url;

use crate::Refusal;
use crate::output::Format;

/// The options of `kittiwake storage`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct StorageOptions {
    /// The folder of an earlier `kittiwake run --state`; no process may be using it
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Only what this origin has stored, such as `https://app.test`
    #[arg(long, value_name = "URL")]
    origin: Option<Url>,
    /// Writes every record too, as JSON: a line for each database, then one for each of its records
    #[arg(long)]
    dump: bool,
    /// Lines for people, or one JSON object a line and database
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const EXAMPLES: &str = "Examples:
  kittiwake storage --state ./state
  kittiwake storage --state ./state --dump --origin https://app.test
  kittiwake storage --state ./state --dump | jq 'select(.object_store == \"outbox\") | .value'

What JSON has no word for is an object with a member that begins with $, in keys and values:
{\"$date\": 0}, {\"$bytes\": \"00ff\"}, {\"$undefined\": true}, {\"$map\": [[\"key\", \"value\"]]}";

/// Lists databases with their object stores, by origin and name, or writes all that is in them.
pub fn list(options: &StorageOptions) -> Result<ExitCode, Refusal> {
    let origin = options.origin.as_ref().map(|url| url.origin().ascii_serialization());
    let mut stdout = anstream::stdout().lock();
    if options.dump {
        // Whoever reads it may have had enough.
        let mut each = |line: Value| writeln!(stdout, "{line}").is_ok();
        let dumped = dump_databases(&options.state, origin.as_deref(), &mut each);
        let _ = stdout.flush();
        return dumped.map(|()| ExitCode::SUCCESS).map_err(Refusal::failure);
    }
    let mut databases = stored_databases(&options.state).map_err(Refusal::failure)?;
    databases.retain(|database| origin.as_ref().is_none_or(|origin| *origin == database.origin));
    let describe = match options.format {
        Format::Json => json_line,
        Format::Text => text,
    };
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
