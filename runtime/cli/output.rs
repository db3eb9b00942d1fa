//! What people and machines read: the trace, what is left, and errors.
//!
//! Invariant: the trace and listings go to standard output, everything else to standard error.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use kittiwake::{ConsoleLevel, SyncState, SyncTraceState, TraceEvent, TraceKind, UnsettledSync};

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const DIM: Style = Style::new().dimmed();

/// How the trace or a listing is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

/// Prints each event as it happens, and counts the syncs that were given up.
pub fn printer(
    format: Format,
    gave_up: Arc<AtomicUsize>,
) -> impl FnMut(&TraceEvent) + Send + 'static {
    let mut stdout = anstream::stdout();
    move |event| {
        if matches!(event.kind, TraceKind::Sync { state: SyncTraceState::GaveUp, .. }) {
            gave_up.fetch_add(1, Ordering::Relaxed);
        }
        if let TraceKind::Console { level, text } = &event.kind {
            let style = match level {
                ConsoleLevel::Error => RED,
                ConsoleLevel::Warn => YELLOW,
                _ => DIM,
            };
            let name = format!("{level:?}").to_lowercase();
            let _ = writeln!(anstream::stderr(), "{style}{name}:{style:#} {text}");
        }
        let line = match format {
            Format::Json => serde_json::to_string(event).expect("a trace event serialises"),
            Format::Text if matches!(event.kind, TraceKind::Console { .. }) => return,
            Format::Text => event.to_string(),
        };
        let style = match &event.kind {
            TraceKind::Error { .. }
            | TraceKind::Limit { .. }
            | TraceKind::Sync { state: SyncTraceState::GaveUp, .. } => RED,
            TraceKind::Sync { state: SyncTraceState::Waiting, .. } => YELLOW,
            _ => Style::new(),
        };
        // Whoever read the trace may have had enough; the run goes on for its state's sake.
        let line = format!("{style}{line}{style:#}\n");
        let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    }
}

/// Says what is left, and answers the exit code.
pub fn report(unsettled: &[UnsettledSync], gave_up: usize) -> ExitCode {
    for sync in unsettled {
        let _ = writeln!(anstream::stderr(), "{YELLOW}left:{YELLOW:#} {}", left(sync));
    }
    ExitCode::from(u8::from(!unsettled.is_empty() || gave_up > 0))
}

/// What a sync that is left waits for.
pub fn left(sync: &UnsettledSync) -> String {
    let state = match sync.state {
        SyncState::Waiting => "waits for its next attempt",
        _ => "waits for the network",
    };
    format!("{:?} of {} {state}", sync.tag, sync.scope)
}

/// Says what failed, and answers the exit code.
pub fn fail(error: &str) -> ExitCode {
    let _ = writeln!(anstream::stderr(), "{RED}error:{RED:#} {error}");
    ExitCode::from(1)
}
