//! Runs the tests: each in a world of its own, as many at once as there are processors.
//!
//! Invariant: reports come whole: a file is told when its last test has ended, in the order of
//! files, whatever ran beside it.

mod queue;
mod worlds;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kittiwake::{Inspector, SnapshotMode, Snapshots, TestCase, TestMode, TestRun};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::TestOptions;
use super::coverage::Counts;
use super::discovery::Suite;
use super::report::{Ended, Outcome, Report, Summary, name};
use super::{failed, snapshots};
use crate::Refusal;
use queue::{Job, Queue};

/// What a thread tells.
enum News {
    /// The tests of a suite; those without an outcome are still to be run.
    Found { suite: usize, tests: Vec<Found> },
    /// One of them has ended.
    Done { suite: usize, place: usize, ended: Ended },
}

struct Found {
    case: TestCase,
    /// Its place in the file.
    number: usize,
    /// Which of its repetitions it is.
    round: u64,
    ended: Option<Ended>,
}

/// What the threads share.
struct Shared {
    options: TestOptions,
    suites: Vec<Suite>,
    /// By suite.
    snapshots: Vec<Arc<Snapshots>>,
    onlookers: Onlookers,
    /// The tests of each suite, once somebody has looked into it.
    tests: Vec<OnceLock<Vec<TestCase>>>,
    /// Only these run, if there are any.
    only: Option<failed::Names>,
    queue: Queue,
    bailed: AtomicBool,
}

/// Who looks into the worlds while tests run there.
pub struct Onlookers {
    /// Coverage.
    pub counts: Counts,
    /// Debuggers.
    pub inspector: Option<Inspector>,
}

/// Who hears of what happens.
pub trait Listener {
    /// A suite's tests have all ended.
    fn tell(&mut self, report: Report);
    /// So many of so many tests that are known have ended.
    fn progress(&mut self, ended: usize, known: usize);
}

/// Runs every test of the suites and tells of each suite.
pub async fn run_all(
    options: &TestOptions,
    suites: &[Suite],
    onlookers: Onlookers,
    only: Option<failed::Names>,
    listener: &mut dyn Listener,
) -> Result<Summary, Refusal> {
    let started = Instant::now();
    let shared = Arc::new(Shared {
        options: options.clone(),
        snapshots: suites.iter().map(|suite| stored(suite, options)).collect::<Result<_, _>>()?,
        tests: suites.iter().map(|_| OnceLock::new()).collect(),
        queue: Queue::new(suites.len()),
        suites: suites.to_vec(),
        onlookers,
        only,
        bailed: AtomicBool::new(false),
    });
    let (send, mut news) = unbounded_channel();
    let threads: Vec<_> = (0..options.jobs())
        .map(|_| {
            let (shared, send) = (shared.clone(), send.clone());
            std::thread::spawn(move || work(&shared, &send))
        })
        .collect();
    drop(send);
    let mut progress = Progress::new(&shared);
    while let Some(each) = news.recv().await {
        progress.take(each, listener);
        progress.tell_whole(listener)?;
    }
    for thread in threads {
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
    progress.leave_out_the_rest();
    progress.tell_whole(listener)?;
    Ok(Summary { elapsed: started.elapsed(), ..progress.summary })
}

fn stored(suite: &Suite, options: &TestOptions) -> Result<Arc<Snapshots>, Refusal> {
    let mode = match (options.update, options.ci) {
        (true, _) => SnapshotMode::AcceptAll,
        (false, true) => SnapshotMode::AcceptNone,
        (false, false) => SnapshotMode::AcceptNew,
    };
    let texts = match suite {
        Suite::File { path, .. } => snapshots::load(path).map_err(|error| {
            let file = snapshots::file_of(path);
            Refusal::Failure(format!("cannot read {}: {error}", file.display()))
        })?,
        Suite::Scenario(_) => BTreeMap::new(),
    };
    Ok(Arc::new(Snapshots { texts, mode }))
}

/// What is known of each suite.
struct Progress<'a> {
    shared: &'a Shared,
    suites: Vec<Option<Vec<Found>>>,
    told: usize,
    ended: usize,
    known: usize,
    summary: Summary,
}

impl<'a> Progress<'a> {
    fn new(shared: &'a Shared) -> Self {
        let suites = shared.suites.iter().map(|_| None).collect();
        Progress { shared, suites, told: 0, ended: 0, known: 0, summary: Summary::default() }
    }

    fn take(&mut self, news: News, listener: &mut dyn Listener) {
        match news {
            News::Found { suite, tests } => {
                self.known += tests.iter().filter(|test| test.ended.is_none()).count();
                self.suites[suite] = Some(tests);
            }
            News::Done { suite, place, ended } => {
                self.ended += 1;
                let tests = self.suites[suite].as_mut();
                tests.expect("invariant: tests run after they were found")[place].ended =
                    Some(ended);
            }
        }
        listener.progress(self.ended, self.known);
    }

    /// Tells of the next suites that are whole.
    fn tell_whole(&mut self, listener: &mut dyn Listener) -> Result<(), Refusal> {
        while let Some(Some(tests)) = self.suites.get_mut(self.told) {
            if tests.iter().any(|test| test.ended.is_none()) {
                return Ok(());
            }
            let whole = std::mem::take(tests).into_iter();
            let tests =
                whole.map(|found| (found.case, found.ended.expect("looked at just now"))).collect();
            let report = Report { suite: self.shared.suites[self.told].clone(), tests };
            let before = &self.shared.snapshots[self.told];
            self.summary.snapshots_written += keep_snapshots(&report, before)?;
            self.summary.add(&report);
            listener.tell(report);
            self.told += 1;
        }
        Ok(())
    }

    /// After `--bail`, what has not run is told as left out.
    fn leave_out_the_rest(&mut self) {
        for tests in &mut self.suites {
            for test in tests.get_or_insert_default() {
                test.ended.get_or_insert_with(|| Ended::without_run(Outcome::LeftOut));
            }
        }
    }
}

/// Writes the snapshots that the tests saw, if they are to be kept; answers how many are new.
fn keep_snapshots(report: &Report, before: &Snapshots) -> Result<usize, Refusal> {
    let Suite::File { path, .. } = &report.suite else { return Ok(0) };
    if before.mode == SnapshotMode::AcceptNone {
        return Ok(0);
    }
    let ran = |outcome| matches!(outcome, Outcome::Passed | Outcome::Failed);
    let all_ran = report.tests.iter().all(|(_, ended)| ran(ended.outcome));
    let mut texts = match before.mode {
        // What no test looks at any more goes.
        SnapshotMode::AcceptAll if all_ran => BTreeMap::new(),
        _ => before.texts.clone(),
    };
    for (name, text) in report.tests.iter().flat_map(|(_, ended)| &ended.run.snapshots) {
        if before.mode == SnapshotMode::AcceptAll || !before.texts.contains_key(name) {
            texts.insert(name.clone(), text.clone());
        }
    }
    if texts == before.texts {
        return Ok(0);
    }
    let changed = texts.iter().filter(|(name, text)| before.texts.get(*name) != Some(*text));
    let changed = changed.count();
    snapshots::save(path, &texts).map_err(|error| {
        let file: PathBuf = snapshots::file_of(path);
        Refusal::Failure(format!("cannot write {}: {error}", file.display()))
    })?;
    Ok(changed)
}

/// One thread: takes jobs until no more can come.
fn work(shared: &Shared, news: &UnboundedSender<News>) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let tokio = tokio.expect("the system gives a timer");
    let tell = |each: News| {
        let failed = match &each {
            News::Found { tests, .. } => {
                tests.iter().filter_map(|test| test.ended.as_ref()).any(has_failed)
            }
            News::Done { ended, .. } => has_failed(ended),
        };
        if failed && shared.options.bail {
            shared.bailed.store(true, Ordering::Relaxed);
            shared.queue.close();
        }
        // Whoever listened has gone with the process.
        let _ = news.send(each);
    };
    while let Some(job) = shared.queue.take() {
        tokio.block_on(async {
            match job {
                Job::Look(suite) => worlds::look(shared, suite, &tell).await,
                Job::Run(run) => {
                    let (suite, place) = (run.suite, run.place);
                    let ended = worlds::run_one(shared, &run).await;
                    tell(News::Done { suite, place, ended });
                }
            }
        });
    }
}

fn has_failed(ended: &Ended) -> bool {
    ended.outcome == Outcome::Failed
}

impl Shared {
    /// Real time that a test may take.
    fn limit_of(&self, case: &TestCase) -> Duration {
        let own = case.timeout_ms.filter(|_| self.onlookers.inspector.is_none());
        own.map_or(self.options.timeout, Duration::from_millis)
    }

    /// Each test as often as it is to be run, or with why it is not.
    fn chosen(&self, suite: usize, cases: &[TestCase]) -> Vec<Found> {
        let only = cases.iter().any(|case| case.mode == TestMode::Only);
        let matches = |case: &TestCase| {
            let filter = &self.options.filter;
            filter.as_ref().is_none_or(|text| name(case).contains(text.as_str()))
                && self
                    .only
                    .as_ref()
                    .is_none_or(|names| names.contains(self.suites[suite].path(), &name(case)))
        };
        let mut found = Vec::new();
        for case in cases {
            let number = case.number;
            let outcome = match case.mode {
                TestMode::Todo => Some(Outcome::Todo),
                TestMode::Skip => Some(Outcome::Skipped),
                _ if !matches(case) => Some(Outcome::LeftOut),
                TestMode::Run if only => Some(Outcome::LeftOut),
                TestMode::Run | TestMode::Only => None,
            };
            if let Some(outcome) = outcome {
                let ended = Some(Ended::without_run(outcome));
                found.push(Found { case: case.clone(), number, round: 0, ended });
                continue;
            }
            for round in 0..self.options.repeat.get() {
                let mut case = case.clone();
                if self.options.repeat.get() > 1 {
                    let seed = self.options.seed.wrapping_add(round);
                    case.path
                        .last_mut()
                        .expect("a test has a name")
                        .push_str(&format!(" [seed {seed}]"));
                }
                found.push(Found { case, number, round, ended: None });
            }
        }
        found
    }
}

impl Ended {
    /// It did not run.
    fn without_run(outcome: Outcome) -> Self {
        Ended { outcome, run: TestRun::default(), elapsed: Duration::ZERO }
    }
}
