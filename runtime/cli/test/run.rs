//! Runs the tests: each in a world of its own, as many at once as there are processors.
//!
//! Invariant: reports come whole: a file is told when its last test has ended, in the order of
//! files, whatever ran beside it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kittiwake::{Snapshots, TestCase, TestFailure, TestMode, TestRun, TestWorld, TestWorldOptions};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::TestOptions;
use super::discovery::Suite;
use super::report::{Ended, Outcome, Report, Summary};
use super::scenario::run_scenario;
use crate::Refusal;

/// A piece of work for a thread.
enum Job {
    /// Finds out what is in a suite, and runs the first test of it.
    Look(usize),
    /// Runs one more test of a file.
    Run { suite: usize, number: usize, limit: Duration },
}

/// What a thread tells.
enum News {
    /// The tests of a suite; those without an outcome are still to be run.
    Found {
        suite: usize,
        tests: Vec<Found>,
    },
    Done {
        suite: usize,
        number: usize,
        ended: Ended,
    },
}

struct Found {
    case: TestCase,
    ended: Option<Ended>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Suites that nobody has looked into yet: they make more jobs.
    looking: usize,
}

struct Shared {
    options: TestOptions,
    suites: Vec<Suite>,
    queue: Mutex<Queue>,
    changed: std::sync::Condvar,
}

/// Runs every test of the suites and tells of each suite.
pub async fn run_all(
    options: &TestOptions,
    suites: Vec<Suite>,
    tell: &mut dyn FnMut(Report),
) -> Result<Summary, Refusal> {
    let started = Instant::now();
    let jobs = (0..suites.len()).map(Job::Look).collect();
    let queue = Queue { jobs, looking: suites.len() };
    let shared = Arc::new(Shared {
        options: options.clone(),
        suites,
        queue: Mutex::new(queue),
        changed: Default::default(),
    });
    let (send, mut news) = unbounded_channel();
    let threads: Vec<_> = (0..options.jobs())
        .map(|_| {
            let (shared, send) = (shared.clone(), send.clone());
            std::thread::spawn(move || work(&shared, &send))
        })
        .collect();
    drop(send);
    let mut progress = Progress::new(&shared.suites);
    while let Some(each) = news.recv().await {
        progress.take(each);
        progress.tell_whole(&shared.suites, tell);
    }
    for thread in threads {
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
    Ok(progress.summary(started.elapsed()))
}

/// What is known of each suite.
struct Progress {
    suites: Vec<Option<Vec<Found>>>,
    told: usize,
    summary: Summary,
}

impl Progress {
    fn new(suites: &[Suite]) -> Self {
        let suites = suites.iter().map(|_| None).collect();
        Progress { suites, told: 0, summary: Summary::default() }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Found { suite, tests } => self.suites[suite] = Some(tests),
            News::Done { suite, number, ended } => {
                let tests = self.suites[suite].as_mut();
                tests.expect("invariant: tests run after they were found")[number].ended =
                    Some(ended);
            }
        }
    }

    /// Tells of the next suites that are whole.
    fn tell_whole(&mut self, suites: &[Suite], tell: &mut dyn FnMut(Report)) {
        while let Some(Some(tests)) = self.suites.get_mut(self.told) {
            if tests.iter().any(|test| test.ended.is_none()) {
                return;
            }
            let whole = std::mem::take(tests).into_iter();
            let tests: Vec<_> =
                whole.map(|found| (found.case, found.ended.expect("looked at just now"))).collect();
            let report = Report { suite: suites[self.told].clone(), tests };
            self.summary.add(&report);
            tell(report);
            self.told += 1;
        }
    }

    fn summary(self, elapsed: Duration) -> Summary {
        Summary { elapsed, ..self.summary }
    }
}

/// One thread: takes jobs until no more can come.
fn work(shared: &Shared, news: &UnboundedSender<News>) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let tokio = tokio.expect("the system gives a timer");
    loop {
        let mut queue = shared.queue.lock().expect("no holder of this lock panics");
        let job = loop {
            match queue.jobs.pop_front() {
                Some(job) => break job,
                None if queue.looking == 0 => return,
                None => queue = shared.changed.wait(queue).expect("no holder panics"),
            }
        };
        drop(queue);
        tokio.block_on(async {
            match job {
                Job::Look(suite) => look(shared, suite, news).await,
                Job::Run { suite, number, limit } => {
                    let ended = run_one(shared, suite, number, limit).await;
                    // Whoever listened has gone with the process.
                    let _ = news.send(News::Done { suite, number, ended });
                }
            }
        });
    }
}

/// Finds out what is in a suite. The world in which that was found out is as good as new for the
/// first test that runs.
async fn look(shared: &Shared, suite: usize, news: &UnboundedSender<News>) {
    match &shared.suites[suite] {
        Suite::Scenario(folder) => {
            let (case, ended) = run_scenario(folder).await;
            let tests = vec![Found { case, ended: Some(ended) }];
            let _ = news.send(News::Found { suite, tests });
        }
        Suite::File { .. } => match open(shared, suite, shared.options.timeout).await {
            Err(failure) => {
                let case = TestCase {
                    path: vec!["(the file)".to_owned()],
                    mode: TestMode::Run,
                    timeout_ms: None,
                    file: None,
                    line: None,
                };
                let ended = Ended::failed(failure);
                let _ = news
                    .send(News::Found { suite, tests: vec![Found { case, ended: Some(ended) }] });
            }
            Ok(world) => {
                let tests = chosen(&shared.options, world.tests());
                let limit_of = |case: &TestCase| {
                    let own = case.timeout_ms.map(Duration::from_millis);
                    own.unwrap_or(shared.options.timeout)
                };
                let mut more = numbers_to_run(&tests);
                // A limit of its own is also that of its world's turns.
                let takes_world = |number: &&usize| tests[**number].case.timeout_ms.is_none();
                let first = more.first().filter(takes_world).copied();
                more.retain(|number| Some(*number) != first);
                let more = more.into_iter().map(|number| (number, limit_of(&tests[number].case)));
                let more = more.collect();
                let _ = news.send(News::Found { suite, tests });
                add_jobs(shared, suite, more);
                match first {
                    Some(number) => {
                        let ended = conduct(world, number).await;
                        let _ = news.send(News::Done { suite, number, ended });
                    }
                    None => drop(world.close().await),
                }
                return;
            }
        },
    }
    add_jobs(shared, suite, Vec::new());
}

fn add_jobs(shared: &Shared, suite: usize, numbers: Vec<(usize, Duration)>) {
    let mut queue = shared.queue.lock().expect("no holder of this lock panics");
    queue.looking -= 1;
    // Before the files that nobody has looked into: a file is told when it is whole.
    for (number, limit) in numbers.into_iter().rev() {
        queue.jobs.push_front(Job::Run { suite, number, limit });
    }
    shared.changed.notify_all();
}

fn numbers_to_run(tests: &[Found]) -> Vec<usize> {
    let numbers = tests.iter().enumerate().filter(|(_, test)| test.ended.is_none());
    numbers.map(|(number, _)| number).collect()
}

/// Which of the tests are to be run.
fn chosen(options: &TestOptions, cases: &[TestCase]) -> Vec<Found> {
    let only = cases.iter().any(|case| case.mode == TestMode::Only);
    let matches = |case: &TestCase| match &options.filter {
        Some(text) => case.path.join(" > ").contains(text.as_str()),
        None => true,
    };
    let ended = |case: &TestCase| {
        let outcome = match case.mode {
            TestMode::Todo => Outcome::Todo,
            TestMode::Skip => Outcome::Skipped,
            _ if !matches(case) => Outcome::LeftOut,
            TestMode::Run if only => Outcome::LeftOut,
            TestMode::Run | TestMode::Only => return None,
        };
        Some(Ended { outcome, run: TestRun::default(), elapsed: Duration::ZERO })
    };
    cases.iter().map(|case| Found { case: case.clone(), ended: ended(case) }).collect()
}

async fn run_one(shared: &Shared, suite: usize, number: usize, limit: Duration) -> Ended {
    match open(shared, suite, limit).await {
        Ok(world) => conduct(world, number).await,
        Err(failure) => Ended::failed(failure),
    }
}

async fn conduct(world: TestWorld, number: usize) -> Ended {
    let started = Instant::now();
    let run = world.run(number).await;
    let elapsed = started.elapsed();
    let closed = world.close().await;
    match run.and_then(|run| closed.map(|()| run)) {
        Ok(run) if run.failures.is_empty() => Ended { outcome: Outcome::Passed, run, elapsed },
        Ok(run) => Ended { outcome: Outcome::Failed, run, elapsed },
        Err(error) => {
            let message = error.to_string();
            Ended::failed(TestFailure { message, ..TestFailure::default() })
        }
    }
}

async fn open(shared: &Shared, suite: usize, limit: Duration) -> Result<TestWorld, TestFailure> {
    let Suite::File { path, root } = &shared.suites[suite] else {
        unreachable!("a scenario is opened by itself")
    };
    let options = TestWorldOptions {
        origin: shared.options.origin(),
        root: root.clone(),
        seed: shared.options.seed,
        limit,
        snapshots: Arc::new(Snapshots { texts: BTreeMap::new(), ..Snapshots::default() }),
    };
    TestWorld::open(path, &options).await.map_err(|error| {
        let message = error.to_string();
        let stack = match error {
            kittiwake::TestFileError::Script(exception) => exception.stack,
            _ => None,
        };
        TestFailure { message, stack, ..TestFailure::default() }
    })
}
