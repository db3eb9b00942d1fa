//! What people and machines read: the trace, what is left, and errors.
//!
//! Invariant: the trace and listings go to standard output, everything else to standard error.

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use kittiwake::{
    Builder, ConsoleLevel, SyncState, SyncTraceState, TraceEvent, TraceKind, UnsettledSync,
};

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

/// The trace on standard output, as it happens. Clones print to the same place.
///
/// A line of a request waits until the next line of another kind, or until nothing is left to run:
/// a script that asks one server after the other has the next request on its way first, and those
/// that come together take one write.
#[derive(Clone)]
pub struct Printer(Arc<Mutex<Lines>>);

struct Lines {
    format: Format,
    /// How many syncs were given up.
    gave_up: Arc<AtomicUsize>,
    waiting: Vec<u8>,
}

/// How much waits at most.
const WAITING_BYTES: usize = 32 << 10;

impl Printer {
    pub fn new(format: Format, gave_up: Arc<AtomicUsize>) -> Printer {
        Printer(Arc::new(Mutex::new(Lines { format, gave_up, waiting: Vec::new() })))
    }

    /// Has a runtime print its trace.
    pub fn install(&self, builder: Builder) -> Builder {
        let (printer, resting) = (self.clone(), self.clone());
        builder.on_trace(move |event| printer.print(event)).on_rest(move || resting.rest())
    }

    /// Prints an event, and counts the syncs that were given up.
    pub fn print(&self, event: &TraceEvent) {
        self.lines().print(event);
    }

    /// Nothing is left to run: what waits is written.
    pub fn rest(&self) {
        self.lines().write();
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn print(&mut self, event: &TraceEvent) {
        if matches!(event.kind, TraceKind::Sync { state: SyncTraceState::GaveUp, .. }) {
            self.gave_up.fetch_add(1, Ordering::Relaxed);
        }
        if let TraceKind::Console { level, text } = &event.kind {
            // What came before it stands above it in a terminal.
            self.write();
            let style = match level {
                ConsoleLevel::Error => RED,
                ConsoleLevel::Warn => YELLOW,
                _ => DIM,
            };
            let name = format!("{level:?}").to_lowercase();
            let _ = writeln!(anstream::stderr(), "{style}{name}:{style:#} {text}");
        }
        let line = match self.format {
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
        let _ = writeln!(self.waiting, "{style}{line}{style:#}");
        let may_wait = matches!(event.kind, TraceKind::Fetch { .. });
        if !may_wait || self.waiting.len() >= WAITING_BYTES {
            self.write();
        }
    }

    fn write(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let mut stdout = anstream::stdout();
        // Whoever read the trace may have had enough; the run goes on for its state's sake.
        let _ = stdout.write_all(&self.waiting).and_then(|()| stdout.flush());
        self.waiting.clear();
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
