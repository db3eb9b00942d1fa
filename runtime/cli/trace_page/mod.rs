//! `--trace-html`: what happened over time, as one page that a person opens in a browser.
//!
//! Invariant: the page is one file that asks for nothing else, and no text of a script becomes
//! markup or script of the page.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kittiwake::TraceEvent;
use serde::Serialize;

use crate::Refusal;

const HTML: &str = include_str!("page.html");

/// In the order in which the page has them: what is drawn needs what is known.
const SCRIPTS: [&str; 4] = [
    include_str!("lanes.js"),
    include_str!("axis.js"),
    include_str!("chart.js"),
    include_str!("page.js"),
];

/// A run has as many events at most; a page with more would be of no use to a browser.
const MAX_EVENTS: usize = 100_000;

/// A file that will be a page. It is there before the runs are, so that nobody waits for a page
/// that cannot be written.
pub struct TracePage {
    path: PathBuf,
    file: File,
}

/// A run, or a test, as the page shows it.
#[derive(Serialize)]
pub struct TracedRun {
    name: String,
    /// The test's.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    outcome: &'static str,
    /// Real time.
    elapsed_ms: f64,
    failures: Vec<String>,
    events: Vec<Traced>,
    /// Events that the page has no place for.
    left_out: usize,
}

/// An event as machines read it, and its line as people do.
#[derive(Serialize)]
struct Traced(TraceEvent, String);

#[derive(Serialize)]
struct Data<'a> {
    title: &'a str,
    version: &'static str,
    runs: &'a [TracedRun],
}

impl TracePage {
    /// Makes the file, or says why it cannot be made.
    pub fn create(path: PathBuf) -> Result<Self, Refusal> {
        match File::create(&path) {
            Ok(file) => Ok(TracePage { path, file }),
            Err(error) => Err(unwritable(&path, &error)),
        }
    }

    /// Writes the page.
    pub fn write(mut self, title: &str, runs: &[TracedRun]) -> Result<(), Refusal> {
        let data = Data { title, version: env!("CARGO_PKG_VERSION"), runs };
        let written = self.file.write_all(page(&data).as_bytes());
        written.map_err(|error| unwritable(&self.path, &error))
    }
}

impl TracedRun {
    /// Of the events, the first [`MAX_EVENTS`] are shown.
    pub fn new(
        name: String,
        file: Option<String>,
        outcome: &'static str,
        elapsed: Duration,
        failures: Vec<String>,
        events: Vec<TraceEvent>,
    ) -> Self {
        let left_out = events.len().saturating_sub(MAX_EVENTS);
        let shown = events.into_iter().take(MAX_EVENTS);
        let events = shown
            .map(|event| {
                let line = event.to_string();
                Traced(event, line)
            })
            .collect();
        let elapsed_ms = elapsed.as_secs_f64() * 1e3;
        TracedRun { name, file, outcome, elapsed_ms, failures, events, left_out }
    }

    /// So many more events were not even kept.
    pub fn without(mut self, left_out: usize) -> Self {
        self.left_out += left_out;
        self
    }
}

fn unwritable(path: &std::path::Path, error: &std::io::Error) -> Refusal {
    Refusal::Failure(format!("cannot write {}: {error}", path.display()))
}

fn page(data: &Data) -> String {
    let json = serde_json::to_string(data).expect("our own types serialise");
    // Outside strings JSON has no `<`; in them it may be written so, and no tag ends the data.
    let json = json.replace('<', "\\u003c");
    let scripts = SCRIPTS.map(|script| format!("<script>\n{script}</script>\n")).concat();
    let parts = [
        ("{{title}}", escaped(data.title)),
        ("{{style}}", include_str!("page.css").to_owned()),
        ("{{data}}", json),
        ("{{scripts}}", scripts),
    ];
    let (mut page, mut rest) = (String::new(), HTML);
    // Part after part, so that no part is looked for in another one.
    for (place, part) in parts {
        let (before, after) = rest.split_once(place).expect("invariant: page.html has each place");
        page.extend([before, &part]);
        rest = after;
    }
    page + rest
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Keeps what happens.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Recording>>);

#[derive(Default)]
struct Recording {
    events: Vec<TraceEvent>,
    /// How many of them a page has no place for.
    left_out: usize,
    for_page: bool,
}

impl Recorder {
    /// One that keeps what a page has place for: a run may go on for months.
    pub fn for_page() -> Self {
        Recorder(Arc::new(Mutex::new(Recording { for_page: true, ..Recording::default() })))
    }

    /// Keeps one more.
    pub fn record(&self, event: &TraceEvent) {
        let mut recording = self.recording();
        if recording.for_page && recording.events.len() == MAX_EVENTS {
            recording.left_out += 1;
        } else {
            recording.events.push(event.clone());
        }
    }

    /// Shows what was kept, in its order.
    pub fn each(&self, see: impl FnMut(&TraceEvent)) {
        self.recording().events.iter().for_each(see);
    }

    /// Gives away what was kept.
    pub fn take(&self) -> Vec<TraceEvent> {
        std::mem::take(&mut self.recording().events)
    }

    /// How many were not kept.
    pub fn left_out(&self) -> usize {
        self.recording().left_out
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.0.lock().expect("invariant: nothing panics while it holds the events")
    }
}
