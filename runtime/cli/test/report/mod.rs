//! What became of the tests, and who tells it.
//!
//! Invariant: every reporter is told of every suite once, in order, and of the end.

mod machine;
mod pretty;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use kittiwake::{TestCase, TestFailure, TestRun};

use super::discovery::Suite;
use super::failure;
use crate::trace_page::TracedRun;
use machine::{Junit, Tap};
use pretty::Pretty;
pub use pretty::{BOLD, DIM, GREEN, RED, YELLOW};

/// Stands for the tests of a file that could not be evaluated.
pub const THE_FILE: &str = "(the file)";

/// A suite whose tests have all ended.
pub struct Report {
    /// Where they are.
    pub suite: Suite,
    /// In the order of the file.
    pub tests: Vec<(TestCase, Ended)>,
}

impl Report {
    /// Its tests as the page of `--trace-html` shows them.
    pub fn traced(self) -> impl Iterator<Item = TracedRun> {
        let place = match &self.suite {
            Suite::File { path, .. } => Some(path.as_path()),
            Suite::Scenario(folder) => folder.parent(),
        };
        let file = place.map(|path| path.display().to_string());
        let told = self.tests.into_iter().filter(|(_, ended)| ended.is_told());
        told.map(move |(case, Ended { outcome, run, elapsed })| {
            let failures = run.failures.iter().map(failure::plain).collect();
            let (name, file) = (name(&case), file.clone());
            TracedRun::new(name, file, outcome.word(), elapsed, failures, run.events)
        })
    }
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

impl Outcome {
    /// As machines read it.
    fn word(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
            Outcome::Todo => "todo",
            Outcome::LeftOut => "left-out",
        }
    }
}

impl Ended {
    /// Whether a reporter has anything to say of it.
    fn is_told(&self) -> bool {
        self.outcome != Outcome::LeftOut
    }

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
    /// How many snapshots are new or others.
    pub snapshots_written: usize,
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

    /// Whether nothing failed, and something was there to be told of.
    pub fn is_good(&self) -> bool {
        self.failed == 0 && self.passed + self.skipped + self.todo > 0
    }
}

/// The name of a test with its groups.
pub fn name(case: &TestCase) -> String {
    case.path.join(" > ")
}

/// How a person asks for a reporter: `junit`, or `junit=report.xml`.
#[derive(Clone, Debug)]
pub struct Choice {
    kind: Kind,
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Pretty,
    Dot,
    Tap,
    Junit,
    Json,
    Github,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, file) = match text.split_once('=') {
            Some((kind, file)) => (kind, Some(PathBuf::from(file))),
            None => (text, None),
        };
        let kind = Kind::from_str(kind, false).map_err(|_| {
            "write pretty, dot, tap, junit, json or github, and perhaps `=FILE`".to_owned()
        })?;
        Ok(Choice { kind, file })
    }
}

/// All who tell, people or machines.
pub struct Reporters {
    all: Vec<(Reporter, Option<PathBuf>, String)>,
    /// Whether a person looks on.
    watched: bool,
}

enum Reporter {
    Pretty(Pretty),
    Dot(Pretty),
    Tap(Tap),
    Junit(Junit),
    Json,
    Github,
}

impl Reporters {
    /// Those that were asked for, or the usual one.
    pub fn new(choices: &[Choice]) -> Self {
        let usual = [Choice { kind: Kind::Pretty, file: None }];
        let choices = if choices.is_empty() { usual.as_slice() } else { choices };
        let make = |choice: &Choice| {
            let reporter = match choice.kind {
                Kind::Pretty => Reporter::Pretty(Pretty::default()),
                Kind::Dot => Reporter::Dot(Pretty::default()),
                Kind::Tap => Reporter::Tap(Tap::default()),
                Kind::Junit => Reporter::Junit(Junit::default()),
                Kind::Json => Reporter::Json,
                Kind::Github => Reporter::Github,
            };
            (reporter, choice.file.clone(), String::new())
        };
        let watched = io::stderr().is_terminal() && io::stdout().is_terminal();
        Reporters { all: choices.iter().map(make).collect(), watched }
    }

    /// Tells of all. Answers the file that cannot be written, and why.
    pub fn finish(&mut self, summary: &Summary) -> Result<(), (PathBuf, io::Error)> {
        for (reporter, file, whole) in &mut self.all {
            let text = reporter.finish(summary);
            write_to(file.as_ref(), whole, &text);
            if let Some(file) = file {
                let written = std::fs::write(&*file, &*whole);
                written.map_err(|error| (file.clone(), error))?;
            }
        }
        Ok(())
    }

    /// Tells of a suite whose tests have all ended.
    pub fn tell(&mut self, report: &Report) {
        self.clear_progress();
        for (reporter, file, whole) in &mut self.all {
            let text = reporter.tell(report);
            write_to(file.as_ref(), whole, &text);
        }
    }

    /// So many of so many tests that are known have ended.
    pub fn progress(&mut self, ended: usize, known: usize) {
        self.clear_progress();
        if self.watched && ended < known {
            let _ = write!(io::stderr(), "{ended} of {known} tests");
        }
    }

    fn clear_progress(&self) {
        if self.watched {
            // Only for somebody who watches.
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}

impl Reporter {
    fn tell(&mut self, report: &Report) -> String {
        match self {
            Reporter::Pretty(pretty) => pretty.tell(report),
            Reporter::Dot(pretty) => pretty.tell_dots(report),
            Reporter::Tap(tap) => tap.tell(report),
            Reporter::Junit(junit) => {
                junit.tell(report);
                String::new()
            }
            Reporter::Json => machine::json(report),
            Reporter::Github => machine::github(report),
        }
    }

    fn finish(&mut self, summary: &Summary) -> String {
        match self {
            Reporter::Pretty(pretty) | Reporter::Dot(pretty) => pretty.finish(summary),
            Reporter::Tap(tap) => tap.finish(),
            Reporter::Junit(junit) => junit.finish(summary),
            Reporter::Json => machine::json_sum(summary),
            Reporter::Github => pretty::sum(summary),
        }
    }
}

/// To the file's text, or at once to standard output, with colours if a person looks on.
fn write_to(file: Option<&PathBuf>, whole: &mut String, text: &str) {
    if file.is_some() {
        whole.push_str(&anstream::adapter::strip_str(text).to_string());
        return;
    }
    print(text);
}

/// To standard output, with colours if a person looks on.
pub fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    // Whoever read this may have had enough; the exit code still tells.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
