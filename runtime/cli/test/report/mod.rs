//! What became of the tests, and who tells it.
//!
//! Invariant: every reporter is told of every suite once, in order, and of the end.

mod pretty;

use std::time::Duration;

use kittiwake::{TestCase, TestFailure, TestRun};

use super::discovery::Suite;
use pretty::Pretty;
pub use pretty::{BOLD, DIM, GREEN, RED};

/// A suite whose tests have all ended.
pub struct Report {
    /// Where they are.
    pub suite: Suite,
    /// In the order of the file.
    pub tests: Vec<(TestCase, Ended)>,
}

/// A test that has ended.
pub struct Ended {
    /// In a word.
    pub outcome: Outcome,
    /// What it found and said.
    pub run: TestRun,
    /// Real time.
    pub elapsed: Duration,
}

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was as expected.
    Passed,
    /// Something was not.
    Failed,
    /// Its file says so.
    Skipped,
    /// Nobody has written it.
    Todo,
    /// An option or another test's `only` left it out.
    LeftOut,
}

impl Ended {
    /// It failed before it began.
    pub fn failed(failure: TestFailure) -> Self {
        let run = TestRun { failures: vec![failure], ..TestRun::default() };
        Ended { outcome: Outcome::Failed, run, elapsed: Duration::ZERO }
    }
}

/// All suites together.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Tests.
    pub passed: usize,
    /// Tests.
    pub failed: usize,
    /// Tests that their files skip.
    pub skipped: usize,
    /// Tests that nobody has written.
    pub todo: usize,
    /// Tests that an option or `only` left out.
    pub left_out: usize,
    /// The name and time of each test that ran.
    pub times: Vec<(String, Duration)>,
    /// Real time of it all.
    pub elapsed: Duration,
}

impl Summary {
    /// Counts a suite.
    pub fn add(&mut self, report: &Report) {
        for (case, ended) in &report.tests {
            match ended.outcome {
                Outcome::Passed => self.passed += 1,
                Outcome::Failed => self.failed += 1,
                Outcome::Skipped => self.skipped += 1,
                Outcome::Todo => self.todo += 1,
                Outcome::LeftOut => self.left_out += 1,
            }
            if matches!(ended.outcome, Outcome::Passed | Outcome::Failed) {
                self.times.push((name(case), ended.elapsed));
            }
        }
    }

    /// Whether nothing failed, and something ran.
    pub fn is_good(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

/// The name of a test with its groups.
pub fn name(case: &TestCase) -> String {
    case.path.join(" > ")
}

/// Tells people or machines.
pub struct Reporter(Pretty);

impl Reporter {
    /// For people.
    pub fn new() -> Self {
        Reporter(Pretty::default())
    }

    /// Tells of a suite.
    pub fn tell(&mut self, report: &Report) {
        self.0.tell(report);
    }

    /// Tells of all.
    pub fn finish(&mut self, summary: &Summary) {
        self.0.finish(summary);
    }
}
