//! A scenario folder as a test: its trace is that of `trace.txt`.
//!
//! Invariant: what is compared is all that the run said: its trace, how it failed, what it left.

use std::fmt::Write;
use std::path::Path;

use kittiwake::{
    Coverage, Inspector, Runtime, Scenario, ScenarioError, SyncState, TestCase, TestFailure,
    TestMode, TestRun, TraceEvent, UnsettledSync,
};
use tokio::time::Instant;

use super::report::{Ended, Outcome};
use crate::trace_page::Recorder;

/// Who counts, and who lets debuggers in.
type Onlookers = (Option<Coverage>, Option<Inspector>);

const GOLDEN: &str = "trace.txt";

/// Runs a scenario and compares, or with `update` writes its trace.
pub async fn run_scenario(folder: &Path, update: bool, onlookers: Onlookers) -> (TestCase, Ended) {
    let started = Instant::now();
    let name = folder.file_name().unwrap_or_default().to_string_lossy().replace('_', " ");
    let case = TestCase {
        number: 0,
        path: vec![name],
        mode: TestMode::Run,
        timeout_ms: None,
        file: None,
        line: None,
    };
    let recorder = Recorder::default();
    let failures = match check(folder, update, &recorder, onlookers).await {
        Ok(()) => Vec::new(),
        Err(failure) => vec![failure],
    };
    let outcome = if failures.is_empty() { Outcome::Passed } else { Outcome::Failed };
    let run = TestRun { failures, events: recorder.take(), ..TestRun::default() };
    (case, Ended { outcome, run, elapsed: started.elapsed() })
}

async fn check(
    folder: &Path,
    update: bool,
    recorder: &Recorder,
    onlookers: Onlookers,
) -> Result<(), TestFailure> {
    let failed = |message| TestFailure { message, ..TestFailure::default() };
    let scenario = Scenario::load(folder).map_err(|error| failed(error.to_string()))?;
    let actual = traced(scenario, recorder, onlookers).await.map_err(failed)?;
    let golden = folder.join(GOLDEN);
    if update {
        let written = std::fs::write(&golden, actual);
        return written
            .map_err(|error| failed(format!("cannot write {}: {error}", golden.display())));
    }
    let expected = std::fs::read_to_string(&golden).map_err(|error| {
        failed(format!("cannot read {}: {error}; --update writes it", golden.display()))
    })?;
    if actual == expected {
        return Ok(());
    }
    let message = "the trace is not that of trace.txt; if it is right, accept it with --update";
    Err(TestFailure {
        message: message.to_owned(),
        stack: None,
        expected: Some(expected),
        actual: Some(actual),
    })
}

/// All that a run says; or what is wrong with the scenario itself.
async fn traced(
    scenario: Scenario,
    recorder: &Recorder,
    (coverage, inspector): Onlookers,
) -> Result<String, String> {
    let (sink, builder) = (recorder.clone(), Runtime::builder().spare_realm(false));
    let builder = builder.coverage(coverage).inspector(inspector);
    let builder = builder.on_trace(move |event: &TraceEvent| sink.record(event));
    let result = scenario.run_as_test(builder).await;
    let mut text = String::new();
    recorder.each(|event| writeln!(text, "{event}").expect("a string takes all"));
    match result {
        Ok(unsettled) => unsettled.iter().for_each(|sync| left(&mut text, sync)),
        Err(error @ (ScenarioError::Read { .. } | ScenarioError::Parse { .. })) => {
            return Err(error.to_string());
        }
        Err(error) => writeln!(text, "failed: {error}").expect("a string takes all"),
    }
    Ok(text)
}

fn left(text: &mut String, sync: &UnsettledSync) {
    let state = match sync.state {
        SyncState::Pending => "pending",
        SyncState::Waiting => "waiting",
        SyncState::Firing => "firing",
        SyncState::ReregisteredWhileFiring => "reregistered while firing",
    };
    let failed = sync.failed_attempts;
    writeln!(text, "left: {}  {state}  {failed} failed attempts", sync.tag)
        .expect("a string takes all");
}
