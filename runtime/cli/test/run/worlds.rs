//! One test in its world, and the look into a file that finds its tests.
//!
//! Invariant: a world runs one test. The one in which a file was looked into is as good as new.

use kittiwake::{TestCase, TestFailure, TestFileError, TestMode, TestWorld, TestWorldOptions};
use tokio::time::Instant;

use super::queue::OneRun;
use super::{Found, News, Shared};
use crate::test::discovery::Suite;
use crate::test::last_words::UnderWay;
use crate::test::report::{Ended, Outcome, THE_FILE, name};
use crate::test::scenario::run_scenario;
use crate::test::source_maps::Sources;

/// Finds out what is in a suite, and runs the first of its tests.
pub async fn look(shared: &Shared, suite: usize, tell: &dyn Fn(News)) {
    let world = match &shared.suites[suite] {
        Suite::Scenario(folder) => {
            let onlookers = (shared.onlookers.counts.of(suite), shared.onlookers.inspector.clone());
            let (case, ended) = run_scenario(folder, shared.options.update, onlookers).await;
            tell(News::Found { suite, tests: vec![Found::ended(case, ended)] });
            return shared.queue.add(Vec::new());
        }
        Suite::File { .. } => open(shared, suite, None).await,
    };
    let world = match world {
        Ok(world) => world,
        Err(failure) => {
            let case = TestCase {
                number: 0,
                path: vec![THE_FILE.to_owned()],
                mode: TestMode::Run,
                timeout_ms: None,
                file: None,
                line: None,
            };
            let tests = vec![Found::ended(case, Ended::failed(failure))];
            tell(News::Found { suite, tests });
            return shared.queue.add(Vec::new());
        }
    };
    let tests = shared.tests[suite].get_or_init(|| world.tests().to_vec());
    let tests = shared.chosen(suite, tests);
    let mut runs: Vec<_> = tests
        .iter()
        .enumerate()
        .filter(|(_, test)| test.ended.is_none())
        .map(|(place, Found { case, number, round, .. })| {
            let limit = shared.limit_of(case);
            OneRun { suite, place, number: *number, round: *round, limit }
        })
        .collect();
    // A limit of its own is also that of its world's turns.
    let fits = |run: &&OneRun| run.limit == shared.options.timeout && run.round == 0;
    let first = runs.first().filter(fits).copied();
    runs.drain(..usize::from(first.is_some()));
    tell(News::Found { suite, tests });
    shared.queue.add(runs);
    match first {
        Some(run) => {
            let ended = conduct(shared, world, &run).await;
            tell(News::Done { suite, place: run.place, ended });
        }
        // Nothing of it has run: nothing can go wrong with its end that anybody should know.
        None => drop(world.close().await),
    }
}

/// Runs a test in a world that is made for it.
pub async fn run_one(shared: &Shared, run: &OneRun) -> Ended {
    match open(shared, run.suite, Some(run)).await {
        Ok(world) => conduct(shared, world, run).await,
        Err(failure) => Ended::failed(failure),
    }
}

async fn conduct(shared: &Shared, world: TestWorld, run: &OneRun) -> Ended {
    let (started, test) = (Instant::now(), shared.test(run));
    let file = shared.suites[run.suite].path().display().to_string();
    let _under_way = UnderWay::begin(&file, &name(test));
    let ended = world.run(test).await;
    let elapsed = started.elapsed();
    let closed = world.close().await;
    match ended.and_then(|ended| closed.map(|()| ended)) {
        Ok(mut ended) => {
            let outcome = if ended.failures.is_empty() { Outcome::Passed } else { Outcome::Failed };
            let sources = sources(shared, run.suite);
            ended.failures.iter_mut().for_each(|failure| sources.map_failure(failure));
            Ended { outcome, run: ended, elapsed }
        }
        Err(error) => {
            let message = error.to_string();
            Ended::failed(TestFailure { message, ..TestFailure::default() })
        }
    }
}

/// A world for one run, or for a look.
async fn open(
    shared: &Shared,
    suite: usize,
    run: Option<&OneRun>,
) -> Result<TestWorld, TestFailure> {
    let Suite::File { path, root } = &shared.suites[suite] else {
        unreachable!("a scenario is opened by itself")
    };
    let options = TestWorldOptions {
        origin: shared.options.origin(),
        root: root.clone(),
        seed: shared.options.seed.wrapping_add(run.map_or(0, |run| run.round)),
        limit: run.map_or(shared.options.timeout, |run| run.limit),
        snapshots: shared.snapshots[suite].clone(),
        coverage: shared.onlookers.counts.of(suite),
        inspector: shared.onlookers.inspector.clone(),
    };
    let _under_way = UnderWay::begin(&path.display().to_string(), THE_FILE);
    let opened = match run {
        Some(run) => TestWorld::open_for(shared.test(run), path, &options).await,
        None => TestWorld::open(path, &options).await,
    };
    opened.map_err(|error| {
        let message = error.to_string();
        let stack = match error {
            TestFileError::Script(exception) => exception.stack,
            _ => None,
        };
        let mut failure = TestFailure { message, stack, ..TestFailure::default() };
        sources(shared, suite).map_failure(&mut failure);
        failure
    })
}

impl Shared {
    fn test(&self, run: &OneRun) -> &TestCase {
        let tests = self.tests[run.suite].get();
        &tests.expect("invariant: tests run after they were found")[run.number]
    }
}

fn sources(shared: &Shared, suite: usize) -> Sources<'_> {
    match &shared.suites[suite] {
        Suite::File { root, .. } => Sources { origin: shared.options.origin(), root },
        Suite::Scenario(folder) => Sources { origin: shared.options.origin(), root: folder },
    }
}

impl Found {
    fn ended(case: TestCase, ended: Ended) -> Self {
        Found { case, number: 0, round: 0, ended: Some(ended) }
    }
}
