//! The log of the daemon: structured, on standard error, for a service manager to keep.
//!
//! Invariant: nobody waits for the log: lines that its reader is too slow for are left out, and
//! counted.

use std::io::IsTerminal;
use std::sync::Arc;

use clap::ValueEnum;
use tokio::sync::oneshot;
use tracing::Level;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::timeline::{Entry, Next, Timeline};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// How much is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What went wrong.
    Error,
    /// And what nearly did: syncs that were given up.
    Warn,
    /// And what workers and syncs do.
    Info,
    /// And each request, each `console.log` and each call of the API.
    Debug,
    /// And what the libraries below say of themselves.
    Trace,
}

impl LogLevel {
    fn level(self) -> Level {
        match self {
            LogLevel::Error => Level::ERROR,
            LogLevel::Warn => Level::WARN,
            LogLevel::Info => Level::INFO,
            LogLevel::Debug => Level::DEBUG,
            LogLevel::Trace => Level::TRACE,
        }
    }
}

/// The log, until it is dropped: then the last lines are written.
pub struct Log {
    _flush: WorkerGuard,
    dropped: ErrorCounter,
}

/// Lines that may wait for standard error.
const LINES: usize = 16_384;

impl Log {
    /// Begins to write.
    pub fn start(format: LogFormat, level: LogLevel) -> Log {
        let writer = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES);
        let (writer, flush) = writer.finish(std::io::stderr());
        let dropped = writer.error_counter();
        let others = match level {
            LogLevel::Trace => Level::TRACE,
            _ => Level::WARN,
        };
        // What the libraries below say of themselves is for those who look for a fault in them.
        let targets = Targets::new().with_target("kittiwake", level.level()).with_default(others);
        let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
        let layer = match format {
            LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
            LogFormat::Json => layer.json().flatten_event(true).boxed(),
        };
        tracing_subscriber::registry().with(layer.with_filter(targets)).init();
        Log { _flush: flush, dropped }
    }

    /// Lines that were left out, as a number that grows.
    pub fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}

/// Writes the trace into the log, whole: when it has `ended`, what is there already too.
pub async fn follow_trace(timeline: Arc<Timeline>, mut ended: oneshot::Receiver<()>) {
    let mut reader = timeline.read(None);
    drop(timeline);
    loop {
        let next = tokio::select! {
            biased;
            Some(next) = reader.next() => next,
            _ = &mut ended => return,
        };
        match next {
            Next::Event(entry) => write(&entry),
            Next::Gap { missed, .. } => {
                tracing::warn!(missed, "too much happened for the log to follow");
            }
        }
    }
}

fn write(entry: &Entry) {
    let Entry { kind, scope, text, .. } = entry;
    // The line has a time of day.
    let text = text.split_once("  ").map_or(text.as_str(), |(_, rest)| rest);
    match entry.level {
        Level::ERROR => tracing::error!(kind, scope, "{text}"),
        Level::WARN => tracing::warn!(kind, scope, "{text}"),
        Level::INFO => tracing::info!(kind, scope, "{text}"),
        _ => tracing::debug!(kind, scope, "{text}"),
    }
}
