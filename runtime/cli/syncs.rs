//! `kittiwake syncs`: the background syncs that a state folder holds.
//!
//! Invariant: nothing fires, nothing is settled, and a folder without state stays as it is.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kittiwake::{StoredSync, StoredSyncs, SyncState, stored_syncs};
use serde_json::json;

use crate::Refusal;
use crate::output::Format;

/// The options of `kittiwake syncs`.
#[derive(clap::Args)]
pub struct SyncsOptions {
    /// The folder of an earlier `kittiwake run --state`; no process may be using it
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// A table for people, or one JSON object a line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Lists them, by origin, scope and tag.
pub fn list(options: &SyncsOptions) -> Result<ExitCode, Refusal> {
    let stored = stored_syncs(&options.state).map_err(Refusal::failure)?;
    let lines = match options.format {
        Format::Json => stored.syncs.iter().map(json_line).collect(),
        Format::Text => table(&stored),
    };
    let mut stdout = anstream::stdout().lock();
    // Whoever reads it may have had enough.
    let _ = lines.iter().try_for_each(|line| writeln!(stdout, "{line}"));
    let _ = io::Write::flush(&mut stdout);
    Ok(ExitCode::SUCCESS)
}

fn json_line(sync: &StoredSync) -> String {
    let line = json!({
        "origin": sync.origin,
        "scope": sync.scope,
        "tag": sync.tag,
        "kind": sync.kind.as_str(),
        "state": sync.state.to_string(),
        "failed_attempts": sync.failed_attempts,
        "next_due": sync.due_at_ms.map(rfc_3339),
    });
    line.to_string()
}

/// The rows below their headings; no headings without rows.
fn table(stored: &StoredSyncs) -> Vec<String> {
    let headings = ["ORIGIN", "SCOPE", "TAG", "KIND", "STATE", "FAILED", "NEXT DUE"];
    let mut rows = vec![headings.map(str::to_owned)];
    rows.extend(stored.syncs.iter().map(|sync| {
        [
            sync.origin.clone(),
            sync.scope.clone(),
            // Quoted, for a tag may be empty, have blanks, or mean something to a terminal.
            format!("{:?}", sync.tag),
            sync.kind.as_str().to_owned(),
            sync.state.to_string(),
            sync.failed_attempts.to_string(),
            next_due(sync, stored.now_ms),
        ]
    }));
    if rows.len() == 1 {
        return Vec::new();
    }
    let columns = 0..headings.len();
    let widths: Vec<usize> = columns
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn next_due(sync: &StoredSync, now_ms: i64) -> String {
    match (sync.state, sync.due_at_ms) {
        (_, Some(due)) => match u64::try_from(due.saturating_sub(now_ms)) {
            Ok(left) => format!("{} (in {})", rfc_3339(due), whole_seconds(left)),
            Err(_) => {
                let since = whole_seconds(now_ms.abs_diff(due));
                format!("{} (since {since})", rfc_3339(due))
            }
        },
        (SyncState::Firing | SyncState::ReregisteredWhileFiring, None) => {
            "when online (its process died in the event)".to_owned()
        }
        (SyncState::Pending | SyncState::Waiting, None) => "when online".to_owned(),
    }
}

fn whole_seconds(ms: u64) -> String {
    humantime::format_duration(Duration::from_secs(ms / 1000)).to_string()
}

/// A time of day, from Unix epoch ms.
pub fn rfc_3339(ms: i64) -> String {
    let since_epoch = Duration::from_millis(ms.unsigned_abs());
    let time: Option<SystemTime> = match ms {
        0.. => UNIX_EPOCH.checked_add(since_epoch),
        _ => UNIX_EPOCH.checked_sub(since_epoch),
    };
    // The latest time that four digits of a year can say: the wait has saturated.
    let latest = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    let time = time.unwrap_or(latest).clamp(UNIX_EPOCH, latest);
    humantime::format_rfc3339_seconds(time).to_string()
}
