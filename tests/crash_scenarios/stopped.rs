//! Every scenario, stopped at every line of its trace. The process that stops is this test's own
//! executable: its trace writes a line and then blocks the host thread, so that nothing happens
//! after that line, until SIGKILL comes.
//!
//! Invariant: a tag whose registration was reported, and that did not end before the stop, ends in
//! the next process; a periodic one fires there and stays. One that had ended is not heard of
//! again. Only an end that shared its commit with the change that was told last may have been
//! reached untold.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::executor::block_on;
use kittiwake::{NetworkState, Runtime, Scenario, ScriptedServers, TraceEvent, UnsettledSync};
use libtest_mimic::{Failed, Trial};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::{Syncs, stored};

/// Longer than any scenario waits for a period: whatever is registered fires in it.
const ALL_PERIODS: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The first argument of a process that is to be stopped.
pub const CHILD: &str = "--stop-scenario-at";

/// One test for each folder.
pub fn trials(scenarios: &Path) -> Vec<Trial> {
    let mut folders: Vec<PathBuf> = fs::read_dir(scenarios)
        .expect("there are scenarios")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| Scenario::is_scenario(path))
        .collect();
    folders.sort();
    let trial = |folder: PathBuf| {
        let name = folder.file_name().expect("it has a name").to_string_lossy().into_owned();
        Trial::test(format!("stopped/{name}"), move || stop_everywhere(&folder))
    };
    folders.into_iter().map(trial).collect()
}

/// The process that is to be stopped: runs a scenario, and blocks once it has said so many lines.
pub fn run_until(folder: &Path, state: &Path, stop_at: usize) -> ExitCode {
    let mut lines = 0;
    let trace = move |event: &TraceEvent| {
        let line = serde_json::to_string(event).expect("an event serialises");
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{line}").and_then(|()| stdout.flush()).expect("the parent listens");
        lines += 1;
        if lines == stop_at {
            block();
        }
    };
    let scenario = Scenario::load(folder).expect("a scenario");
    let ended = block_on(scenario.run(Runtime::builder().state_folder(state).on_trace(trace)));
    // Some scenarios show how a run fails; what they leave is judged all the same.
    drop(ended);
    ExitCode::SUCCESS
}

/// Until the process dies.
fn block() -> ! {
    loop {
        std::thread::park();
    }
}

fn stop_everywhere(folder: &Path) -> Result<(), Failed> {
    let world = World::load(folder);
    let whole = stopped_at(folder, usize::MAX)?;
    let vanishing = vanishing(&whole)?;
    for stop_at in 1..=whole.trace.len() {
        let stopped = stopped_at(folder, stop_at)?;
        let (resumed, left) = world.resume(stopped.state.path())?;
        let kept = stored(stopped.state.path())?;
        judge(&stopped, &resumed, &kept, &left, &vanishing)
            .map_err(|problem| report(&problem, &stopped.trace, &resumed))?;
    }
    Ok(())
}

/// A process that was stopped: what it had said, and its state folder.
struct Stopped {
    trace: Vec<Value>,
    state: tempfile::TempDir,
}

/// Runs the scenario in a process of its own, which is killed once it has said so many lines.
fn stopped_at(folder: &Path, stop_at: usize) -> Result<Stopped, Failed> {
    let state = tempfile::tempdir()?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg(CHILD)
        .args([folder, state.path()])
        .arg(stop_at.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut trace = Vec::new();
    for line in stdout.lines().take(stop_at) {
        trace.push(serde_json::from_str(&line?)?);
    }
    child.kill()?;
    child.wait()?;
    Ok(Stopped { trace, state })
}

/// The tags that end in no way that a trace shows: their worker was unregistered.
fn vanishing(whole: &Stopped) -> Result<BTreeSet<String>, Failed> {
    let kept = stored(whole.state.path())?;
    let Syncs { open, periodic, .. } = follow(&whole.trace);
    Ok(open.union(&periodic).filter(|tag| !kept.contains(*tag)).cloned().collect())
}

fn follow(trace: &[Value]) -> Syncs {
    let mut syncs = Syncs::default();
    trace.iter().for_each(|event| syncs.follow(event));
    syncs
}

/// The part of a scenario that a process needs which goes on where another one died.
#[derive(Deserialize)]
struct World {
    #[serde(skip)]
    folder: PathBuf,
    #[serde(default = "default_origin")]
    origin: Url,
    #[serde(default)]
    servers: toml::Table,
    #[serde(default)]
    seed: u64,
}

fn default_origin() -> Url {
    Url::parse("https://app.test").expect("a URL")
}

impl World {
    fn load(folder: &Path) -> World {
        let text = fs::read_to_string(folder.join("scenario.toml")).expect("a scenario");
        let world: World = toml::from_str(&text).expect("a scenario");
        World { folder: folder.to_owned(), ..world }
    }

    /// Goes on with a state folder: the network is there, no page is opened, all time passes.
    /// Answers the trace and what is left.
    fn resume(&self, state: &Path) -> Result<(Vec<Value>, Vec<UnsettledSync>), Failed> {
        let servers: ScriptedServers = self.servers.clone().try_into()?;
        let trace = Arc::new(Mutex::new(Vec::new()));
        let collected = trace.clone();
        let runtime = Runtime::builder()
            .simulated(self.seed)
            .await_network_signal()
            .servers(servers)
            .serve(self.origin.clone(), &self.folder)
            .state_folder(state)
            .on_trace(move |event| {
                let event = serde_json::to_value(event).expect("an event serialises");
                collected.lock().expect("no holder panics").push(event);
            })
            .start()?;
        let left = block_on(async {
            runtime.set_network(NetworkState::Online).await?;
            runtime.idle().await?;
            runtime.run_for(ALL_PERIODS).await?;
            let left = runtime.unsettled_syncs().await?;
            runtime.shut_down().await?;
            Ok::<_, kittiwake::Error>(left)
        })?;
        let trace = std::mem::take(&mut *trace.lock().expect("no holder panics"));
        Ok((trace, left))
    }
}

fn judge(
    stopped: &Stopped,
    resumed: &[Value],
    kept: &BTreeSet<String>,
    left: &[UnsettledSync],
    vanishing: &BTreeSet<String>,
) -> Result<(), String> {
    let mut syncs = follow(&stopped.trace);
    let untold = syncs.ended_untold();
    let may_be_gone = |tag: &&String| vanishing.contains(*tag) || untold.contains(*tag);
    let (before, periodic) = (std::mem::take(&mut syncs.open), syncs.periodic.clone());
    syncs.fired.clear();
    resumed.iter().for_each(|event| syncs.follow(event));
    let lost = |tags: &BTreeSet<String>, found: &BTreeSet<String>| {
        let lost: Vec<_> = tags.difference(found).filter(|tag| !may_be_gone(tag)).collect();
        (!lost.is_empty()).then(|| format!("{lost:?}"))
    };
    if let Some(lost) = lost(&before, &syncs.ended) {
        return Err(format!("{lost} did not end after the restart"));
    }
    if let Some(lost) = lost(&periodic, &syncs.fired) {
        return Err(format!("{lost} did not fire after the restart"));
    }
    if let Some(lost) = lost(&syncs.periodic, kept) {
        return Err(format!("{lost} is not stored any more"));
    }
    if let Some(kept) = kept.intersection(&syncs.ended).next() {
        return Err(format!("{kept} had ended, and is still stored"));
    }
    if !syncs.risen.is_empty() {
        return Err(format!("{:?} had ended, and came again", syncs.risen));
    }
    match left {
        [] => Ok(()),
        left => Err(format!("{left:?} are left though all time has passed")),
    }
}

fn report(problem: &str, stopped: &[Value], resumed: &[Value]) -> Failed {
    let lines = |trace: &[Value]| {
        let lines: Vec<String> = trace.iter().map(|event| format!("  {event}")).collect();
        lines.join("\n")
    };
    format!("{problem}\nstopped after\n{}\nresumed as\n{}", lines(stopped), lines(resumed)).into()
}
