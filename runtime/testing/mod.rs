//! Tests in JavaScript: a module that runs in a page of the app under test, or in the scope of a
//! service worker, in a world of its own.
//!
//! Invariant: nothing of one test is there for another: each has its own runtime, with state in
//! memory, a simulated clock, a seed, and scripted servers. Equal worlds have equal traces.

mod conduct;
mod driven;
mod given_up;
pub(crate) mod modules;
mod node_modules;
mod page;
mod verbs;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kittiwake_ops::{ConsoleLevel, RealmId, ScriptException};
use serde::Deserialize;
use url::Url;

use crate::coverage::Coverage;
use crate::inspector::Inspector;
use crate::runtime::{Builder, Error, Runtime};
use crate::simulation::ScriptedServers;
use crate::trace::{TraceEvent, TraceKind};
use conduct::{Conducted, Order, Unfinished};
use given_up::GivenUp;
use worker::runs_in_worker;

pub use driven::{
    DriveAnswer, DriveError, DriveErrorCode, DriveOutcome, DriveRequest, DrivenWorld,
};
pub(crate) use page::TestPage;
pub(crate) use page::Turns;

/// How much later than its turn's limit a test is cut off: whoever ran an endless loop is told so.
const GRACE: Duration = Duration::from_millis(500);

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct TestWorldOptions {
    /// The origin of the app under test; the test's page is at its root.
    pub origin: Url,
    /// What is served there.
    pub root: PathBuf,
    /// Of the world's random numbers.
    pub seed: u64,
    /// Real time that the file, and each test, may take.
    pub limit: Duration,
    /// What `toMatchSnapshot` compares with, by its whole name.
    pub snapshots: Arc<Snapshots>,
    /// Who counts what its scripts run, if anybody does.
    pub coverage: Option<Coverage>,
    /// Who lets debuggers at its workers and pages. A test's own limit of time does not count then.
    pub inspector: Option<Inspector>,
}

/// What earlier runs wrote for `toMatchSnapshot`.
#[derive(Clone, Debug, Default)]
pub struct Snapshots {
    /// Texts by the name of the test and its count within the test.
    pub texts: std::collections::BTreeMap<String, String>,
    /// What becomes of a text that is new or another one.
    pub mode: SnapshotMode,
}

/// What becomes of a text that is not that of an earlier run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotMode {
    /// A new one is accepted; another one fails.
    #[default]
    AcceptNew,
    /// Whatever is there now is accepted.
    AcceptAll,
    /// A new one fails too: nobody is there to look at it.
    AcceptNone,
}

/// A test as its file declares it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TestCase {
    /// Its place among the tests of the file, from 0 on.
    pub number: usize,
    /// The groups around it from the outermost on, then its own name.
    pub path: Vec<String>,
    /// Whether it is to be run.
    pub mode: TestMode,
    /// Real time that it may take, if it says so itself.
    pub timeout_ms: Option<u64>,
    /// The file that declares it, as a URL.
    pub file: Option<String>,
    /// 1-based.
    pub line: Option<u32>,
}

/// What `test.only` and its like say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestMode {
    /// It runs, unless another one of its file is `Only`.
    Run,
    /// Of its file, only such tests run.
    Only,
    /// It does not run.
    Skip,
    /// Nobody has written it yet.
    Todo,
}

/// Something that a test expected and did not find, or that nobody caught.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct TestFailure {
    /// What is wrong.
    pub message: String,
    /// Where, as the engine writes it.
    pub stack: Option<String>,
    /// What was expected, in several lines, if two values differ.
    pub expected: Option<String>,
    /// What was there instead.
    pub actual: Option<String>,
}

/// What became of a test.
#[derive(Clone, Debug, Default)]
pub struct TestRun {
    /// Empty if it passed.
    pub failures: Vec<TestFailure>,
    /// What workers and other pages threw and nobody caught; it fails no test.
    pub uncaught_elsewhere: Vec<ScriptException>,
    /// What its world's scripts wrote to the console.
    pub console: Vec<(ConsoleLevel, String)>,
    /// All that happened in its world, in the words of a scenario's trace.
    pub trace: Vec<String>,
    /// The same as values.
    pub events: Vec<TraceEvent>,
    /// What `toMatchSnapshot` saw, by name; to be kept if the run passes.
    pub snapshots: Vec<(String, String)>,
    /// The files that the world has asked for, there or not: what the test file imports, and what
    /// was served.
    pub files: std::collections::BTreeSet<PathBuf>,
}

/// Why a file has no tests.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TestFileError {
    /// The world could not be made.
    #[error("{0}")]
    World(#[from] Error),
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: Arc<std::io::Error>,
    },
    /// It is no module, imports what is not there, threw, or awaits what never comes.
    #[error("{0}")]
    Script(Box<ScriptException>),
    /// It did not end.
    #[error("the file was not evaluated within {}", humantime::format_duration(*limit))]
    TimedOut {
        /// What it was given.
        limit: Duration,
    },
}

/// A world with a test file in it, for one test.
pub struct TestWorld {
    runtime: Runtime,
    page: RealmId,
    own: OwnScope,
    tests: Vec<TestCase>,
    trace: Trace,
    given_up: GivenUp,
    limit: Duration,
    is_inspected: bool,
}

/// Where a test runs.
#[derive(Clone, Copy)]
enum OwnScope {
    Page,
    Worker,
}

/// No test takes as long.
const ENDLESS: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What has happened so far.
pub(crate) type Trace = Arc<Mutex<Vec<TraceEvent>>>;

impl TestWorld {
    /// Makes a world, opens a page in it, evaluates the file there, and finds its tests. One of
    /// them may then run in this world. A file whose name ends with `.worker.test.js` (or `.mjs`)
    /// is evaluated in the scope of a service worker instead, before its install event.
    ///
    /// # Errors
    ///
    /// [`TestFileError`], with the file's own fault if it has one.
    pub async fn open(file: &Path, options: &TestWorldOptions) -> Result<Self, TestFileError> {
        let mut world = Self::evaluate(file, options, None).await?;
        world.tests = match world.conduct(Order::List, options.limit).await? {
            Conducted::Declared(tests) => tests,
            Conducted::Ended(_) | Conducted::Unfinished(_) => {
                return Err(TestFileError::TimedOut { limit: options.limit });
            }
        };
        Ok(world)
    }

    /// The same for a test of the file that is known from another world: no other can run in this
    /// one, which takes no notice of them.
    ///
    /// # Errors
    ///
    /// As [`TestWorld::open`].
    pub async fn open_for(
        test: &TestCase,
        file: &Path,
        options: &TestWorldOptions,
    ) -> Result<Self, TestFileError> {
        Self::evaluate(file, options, Some(test.number)).await
    }

    async fn evaluate(
        file: &Path,
        options: &TestWorldOptions,
        wanted: Option<usize>,
    ) -> Result<Self, TestFileError> {
        let (trace, given_up) = (Trace::default(), GivenUp::default());
        let servers = ScriptedServers::default();
        let own = if runs_in_worker(file) { OwnScope::Worker } else { OwnScope::Page };
        let builder = options.builder(&trace, &servers, &given_up);
        let runtime = match own {
            OwnScope::Page => builder,
            // The test is no event, and its worker has nothing else to do.
            OwnScope::Worker => builder.idle_limit(ENDLESS),
        };
        let runtime = runtime.start()?;
        let (file, seen, made) = (file.to_owned(), trace.clone(), options.clone());
        let opened = given_up.cut_off_after(options.limit + GRACE, |cut_off| {
            runtime.ask(move |shard| async move {
                let page = TestPage::new(servers, seen, &made);
                let opened = async {
                    match own {
                        OwnScope::Page => {
                            let realm = shard.open_test_page(page, wanted);
                            shard.load_test_file(realm, &file).await.map(|()| realm)
                        }
                        OwnScope::Worker => shard.open_test_worker(page, &file, wanted).await,
                    }
                };
                tokio::select! {
                    opened = opened => Some(opened),
                    _ = cut_off => None,
                }
            })
        });
        let timed_out = TestFileError::TimedOut { limit: options.limit };
        let page = match opened.await?.unwrap_or(Err(timed_out)) {
            Ok(page) => page,
            Err(error) => {
                // What went wrong first is what is told; until its end, nothing is counted.
                let _ = runtime.shut_down().await;
                return Err(error);
            }
        };
        let (limit, is_inspected) = (options.limit, options.inspector.is_some());
        let tests = Vec::new();
        Ok(TestWorld { runtime, page, own, tests, trace, given_up, limit, is_inspected })
    }

    /// The tests of the file, in its order. None if the world was opened for one of them.
    pub fn tests(&self) -> &[TestCase] {
        &self.tests
    }

    /// Runs a test. The world is of no use for another one then.
    ///
    /// # Errors
    ///
    /// [`Error::Stuck`], [`Error::EngineFailed`], and [`Error::Stopped`] if the world has ended.
    pub async fn run(&self, test: &TestCase) -> Result<TestRun, Error> {
        let own = test.timeout_ms.filter(|_| !self.is_inspected).map(Duration::from_millis);
        let limit = own.unwrap_or(self.limit);
        let order = Order::Run { number: test.number, name: test.path.join(" > ") };
        let conducted = self.conduct(order, limit).await?;
        let mut run = TestRun::default();
        match conducted {
            Conducted::Ended(failures) => run.failures = failures,
            Conducted::Unfinished(why) => run.failures.push(self.unfinished(why, limit)),
            Conducted::Declared(_) => unreachable!("a test is not asked for its name"),
        }
        let ((uncaught, snapshots), files) = self
            .runtime
            .ask(|shard| async move {
                let found = shard.test_page().map(|page| page.take_findings());
                (found.unwrap_or_default(), shard.files_of_test())
            })
            .await?;
        (run.snapshots, run.files) = (snapshots, files);
        run.events = std::mem::take(&mut *self.trace.lock().expect(UNPOISONED));
        for event in &run.events {
            if let TraceKind::Console { level, text } = &event.kind {
                run.console.push((*level, text.clone()));
            }
            let failure = event.kind.failure().filter(|failure| !uncaught.contains(failure));
            run.uncaught_elsewhere.extend(failure);
            run.trace.push(event.to_string());
        }
        run.failures.extend(uncaught.into_iter().map(TestFailure::uncaught));
        Ok(run)
    }

    /// Ends the world.
    ///
    /// # Errors
    ///
    /// [`Error::Stuck`], [`Error::EngineFailed`], and those of [`Runtime::shut_down`].
    pub async fn close(self) -> Result<(), Error> {
        self.given_up.close(self.runtime).await
    }

    async fn conduct(&self, order: Order, limit: Duration) -> Result<Conducted, Error> {
        let page = self.page;
        let ask =
            |cut_off| self.runtime.ask(move |shard| conduct::conduct(shard, page, order, cut_off));
        self.given_up.cut_off_after(limit + GRACE, ask).await
    }

    fn unfinished(&self, why: Unfinished, limit: Duration) -> TestFailure {
        let trace = self.trace.lock().expect(UNPOISONED);
        let last_error = trace.iter().rev().find_map(|event| event.kind.failure());
        let limit = humantime::format_duration(limit);
        let message = match why {
            Unfinished::Stuck => {
                "the test waits for something that never comes by itself: time stands still until \
                 the test moves it (clock.advance, clock.runUntilIdle, clock.runUntil)"
                    .to_owned()
            }
            Unfinished::TimedOut => {
                format!("the test did not end within {limit} (--timeout, or test(name, fn, limit))")
            }
            Unfinished::PageEnded => {
                let own = match self.own {
                    OwnScope::Page => "page",
                    OwnScope::Worker => "worker",
                };
                match last_error {
                    Some(exception) => format!("the test's {own} was ended: {}", exception.message),
                    None => format!("the test's {own} was ended"),
                }
            }
        };
        TestFailure { message, ..TestFailure::default() }
    }
}

impl TestWorldOptions {
    fn builder(&self, trace: &Trace, servers: &ScriptedServers, given_up: &GivenUp) -> Builder {
        let sink = trace.clone();
        given_up
            .watch(Runtime::builder())
            .coverage(self.coverage.clone())
            .inspector(self.inspector.clone())
            .simulated(self.seed)
            .test_servers(servers.clone())
            .turn_limit(self.limit)
            .serve(self.origin.clone(), &self.root)
            .on_trace(move |event| sink.lock().expect(UNPOISONED).push(event.clone()))
    }
}

impl TestFailure {
    fn uncaught(exception: ScriptException) -> Self {
        TestFailure {
            message: format!("nobody caught this: {}", exception.message),
            stack: exception.stack,
            ..TestFailure::default()
        }
    }
}

const UNPOISONED: &str = "invariant: nothing panics while it holds the trace";
