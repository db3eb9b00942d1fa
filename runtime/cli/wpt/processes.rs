//! Tests in processes of their own, several at once.
//!
//! Invariant: whatever a test does to its process, it is an outcome of that test alone.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::checkout::Checkout;
use super::manifest::Test;
use super::outcome::{Outcome, Status};
use super::session::run_test;
use super::site::{PythonPorts, Site};
use crate::{Refusal, block_on};

/// How long after its limit a test's process is given up.
const GRACE: Duration = Duration::from_secs(15);

/// One test for a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// What to run.
    pub test: Test,
    /// How long it may take.
    pub limit: Duration,
}

/// What a process is told when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The checkout's roots.
    pub roots: Vec<PathBuf>,
    /// Where wptserve listens, if it runs.
    pub python: Option<PythonPorts>,
}

/// Runs the jobs in `count` processes and calls `done` with each job's number and outcome, as they
/// end.
pub fn run_all(
    jobs: &[Job],
    count: usize,
    setup: &Setup,
    mut done: impl FnMut(usize, Outcome),
) -> Result<(), Refusal> {
    let executable = std::env::current_exe()
        .map_err(|error| Refusal::Failure(format!("cannot find this program's file: {error}")))?;
    let queue: VecDeque<(usize, Job)> = jobs.iter().cloned().enumerate().collect();
    let queue = Arc::new(Mutex::new(queue));
    let (outcomes, ended) = channel();
    for _ in 0..count.min(jobs.len()) {
        let (queue, setup, executable) = (Arc::clone(&queue), setup.clone(), executable.clone());
        let outcomes = outcomes.clone();
        thread::spawn(move || supervise(&executable, &setup, &queue, &outcomes));
    }
    drop(outcomes);
    for (number, outcome) in ended {
        done(number, outcome);
    }
    Ok(())
}

type Queue = Mutex<VecDeque<(usize, Job)>>;

/// Gives one job after the other to a process, and starts another process if that one ended.
fn supervise(
    executable: &PathBuf,
    setup: &Setup,
    queue: &Queue,
    outcomes: &Sender<(usize, Outcome)>,
) {
    let mut process = None;
    loop {
        let Some((number, job)) = queue.lock().expect("no holder panics").pop_front() else {
            return;
        };
        let outcome = match process.take().map_or_else(|| Process::start(executable, setup), Ok) {
            Ok(mut running) => match running.run(&job) {
                Ok(outcome) => {
                    process = Some(running);
                    outcome
                }
                Err(error) => running.crashed(&error),
            },
            Err(error) => Outcome::of(Status::Crash, format!("no process: {error}")),
        };
        if outcomes.send((number, outcome)).is_err() {
            return;
        }
    }
}

struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    fn start(executable: &PathBuf, setup: &Setup) -> io::Result<Process> {
        let setup = serde_json::to_string(setup)?;
        let mut child = Command::new(executable)
            .args(["wpt-process", &setup])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("its output is piped"));
        Ok(Process { child, stdin, stdout })
    }

    fn run(&mut self, job: &Job) -> io::Result<Outcome> {
        let mut line = serde_json::to_string(job)?;
        line.push('\n');
        self.stdin.as_mut().expect("open until the drop").write_all(line.as_bytes())?;
        let mut answer = String::new();
        self.stdout.read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }

    fn crashed(&mut self, error: &io::Error) -> Outcome {
        match self.child.wait() {
            Ok(status) => Outcome::of(Status::Crash, format!("the process ended: {status}")),
            Err(_) => Outcome::of(Status::Crash, error.to_string()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It ends with its input; if it hangs, nobody waits for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The main function of such a process: jobs come as lines of JSON, outcomes go as such.
pub fn serve_jobs(setup: &str) -> Result<ExitCode, Refusal> {
    let setup: Setup = serde_json::from_str(setup).map_err(Refusal::failure)?;
    let checkout = Checkout::open(&setup.roots)?;
    let site = Site::start(&checkout, setup.python).map_err(Refusal::failure)?;
    let site = Arc::new(site);
    for line in io::stdin().lines() {
        let job: Job = serde_json::from_str(&line.map_err(Refusal::failure)?)
            .map_err(|error| Refusal::Failure(format!("no job: {error}")))?;
        let limit = job.limit + GRACE;
        let (outcome, ended) = channel();
        let session_site = Arc::clone(&site);
        site.begin(&job.test.file);
        thread::spawn(move || {
            let ran = block_on(run_test(&job.test, &session_site, job.limit));
            let ran = ran.unwrap_or_else(|_| Outcome::of(Status::Error, "no thread"));
            // The main thread may have given up.
            let _ = outcome.send(ran);
        });
        let (outcome, is_lost) = match ended.recv_timeout(limit) {
            Ok(outcome) => (explained(outcome, &site), false),
            Err(RecvTimeoutError::Timeout) => {
                (Outcome::of(Status::Timeout, "the runtime did not stop"), true)
            }
            Err(RecvTimeoutError::Disconnected) => {
                (Outcome::of(Status::Crash, "the runtime panicked"), true)
            }
        };
        let line = serde_json::to_string(&outcome).expect("an outcome serialises");
        println!("{line}");
        if is_lost {
            std::process::exit(1);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A test that asked for what only Python can answer was not run in truth.
fn explained(outcome: Outcome, site: &Site) -> Outcome {
    let unanswered = site.take_unanswered();
    match unanswered.first() {
        None => outcome,
        Some(first) => Outcome::of(Status::Skip, format!("needs Python: {first}")),
    }
}
