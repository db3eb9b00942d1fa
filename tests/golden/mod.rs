//! Golden traces: a scenario is run, and what it said is compared with a file that was read and
//! found right.
//!
//! Invariant: the golden text is all that the run said: its trace, how it failed, and what it left.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::{fs, io};

use futures::executor::block_on;
use kittiwake::{Builder, Scenario, ScenarioError, SyncState, TraceEvent, UnsettledSync};
use libtest_mimic::Failed;
use similar::TextDiff;

const GOLDEN: &str = "trace.txt";
const UPDATE: &str = "UPDATE_TRACES";

/// Compares `actual` with the golden file of a fixture, or writes it there if somebody asks so.
pub fn compare(fixture: &Path, actual: &str) -> Result<(), Failed> {
    let golden = fixture.join(GOLDEN);
    if updates() {
        return fs::write(&golden, actual).map_err(Failed::from);
    }
    let expected = match fs::read_to_string(&golden) {
        Ok(expected) => expected,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(format!(
                "there is no {GOLDEN} yet. The trace below is what happens today; if it is right, \
                 write it by running the test again with {UPDATE}=1\n\n{actual}"
            )
            .into());
        }
        Err(error) => return Err(format!("cannot read {}: {error}", golden.display()).into()),
    };
    if actual == expected {
        return Ok(());
    }
    let diff = TextDiff::from_lines(expected.as_str(), actual);
    let diff = diff.unified_diff().context_radius(3).header(GOLDEN, "this run").to_string();
    Err(format!(
        "the trace is not the golden one. If this run is right, accept it by running the test \
         again with {UPDATE}=1\n\n{diff}"
    )
    .into())
}

/// Runs a scenario and answers what its golden file should hold.
pub fn run(folder: &Path, builder: Builder) -> Result<String, Failed> {
    let scenario = Scenario::load(folder).map_err(|error| error.to_string())?;
    let (collect, trace) = collector();
    let result = block_on(scenario.run(builder.on_trace(collect)));
    let mut text = String::new();
    for event in trace.take() {
        writeln!(text, "{event}")?;
    }
    match result {
        Ok(unsettled) => unsettled.iter().try_for_each(|sync| left(&mut text, sync))?,
        // A missing file of the fixture is a mistake in the fixture, not an outcome.
        Err(error @ (ScenarioError::Read { .. } | ScenarioError::Parse { .. })) => {
            return Err(error.to_string().into());
        }
        Err(error) => writeln!(text, "failed: {error}")?,
    }
    Ok(text)
}

fn left(text: &mut String, sync: &UnsettledSync) -> std::fmt::Result {
    let state = match sync.state {
        SyncState::Pending => "pending",
        SyncState::Waiting => "waiting",
        SyncState::Firing => "firing",
        SyncState::ReregisteredWhileFiring => "reregistered while firing",
    };
    let failed = sync.failed_attempts;
    writeln!(text, "left: {}  {state}  {failed} failed attempts", sync.tag)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a person asks for new golden traces through the environment, as with other tools"
)]
pub fn updates() -> bool {
    std::env::var(UPDATE).is_ok_and(|value| value == "1")
}

/// The entries of a folder, by name.
pub fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// A file's or folder's name.
pub fn name_of(path: &Path) -> String {
    let name = path.file_name().expect("an entry of a folder has a name");
    name.to_string_lossy().into_owned()
}

/// Collects a trace: what to hand to the builder, and where the events will be.
pub fn collector() -> (impl FnMut(&TraceEvent) + Send + 'static, Trace) {
    let trace = Trace::default();
    let events = trace.0.clone();
    let collect = move |event: &TraceEvent| {
        events.lock().expect("no holder panics").push(event.clone());
    };
    (collect, trace)
}

/// The events so far.
#[derive(Default)]
pub struct Trace(Arc<Mutex<Vec<TraceEvent>>>);

impl Trace {
    pub fn take(&self) -> Vec<TraceEvent> {
        std::mem::take(&mut self.0.lock().expect("no holder panics"))
    }
}
