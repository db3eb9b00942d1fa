//! What a test came to, in the words of wpt.fyi.

use serde::{Deserialize, Serialize};

/// How a test as a whole ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// The harness ran to its end, whatever its subtests say.
    Ok,
    /// The script threw, or could not be had.
    Error,
    /// The harness did not end in time.
    Timeout,
    /// The process ended.
    Crash,
    /// A precondition of the test does not hold.
    PreconditionFailed,
    /// It was not run.
    Skip,
}

/// How a subtest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SubtestStatus {
    /// It passed.
    Pass,
    /// An assertion failed.
    Fail,
    /// It did not end in time.
    Timeout,
    /// It had not begun when time was over.
    Notrun,
    /// An optional feature is missing.
    PreconditionFailed,
}

/// One `test()` of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subtest {
    /// Its name, which ought to be the only one in the file.
    pub name: String,
    /// How it ended.
    pub status: SubtestStatus,
    /// Why it failed.
    pub message: Option<String>,
}

/// What one test came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How the whole ended.
    pub status: Status,
    /// Why, if not well.
    pub message: Option<String>,
    /// In the order in which they ended.
    pub subtests: Vec<Subtest>,
    /// How long it took, in milliseconds of real time.
    pub duration_ms: u64,
}

impl Outcome {
    /// An outcome without subtests.
    pub fn of(status: Status, message: impl Into<String>) -> Outcome {
        let message = Some(message.into());
        Outcome { status, message, subtests: Vec::new(), duration_ms: 0 }
    }

    /// How many subtests passed.
    pub fn passed(&self) -> usize {
        let passed = self.subtests.iter().filter(|each| each.status == SubtestStatus::Pass);
        passed.count()
    }
}

impl Status {
    /// As testharness.js numbers it.
    pub fn from_harness(number: u8) -> Status {
        match number {
            0 => Status::Ok,
            2 => Status::Timeout,
            3 => Status::PreconditionFailed,
            _ => Status::Error,
        }
    }
}

impl SubtestStatus {
    /// As testharness.js numbers it.
    pub fn from_harness(number: u8) -> SubtestStatus {
        match number {
            0 => SubtestStatus::Pass,
            2 => SubtestStatus::Timeout,
            3 => SubtestStatus::Notrun,
            4 => SubtestStatus::PreconditionFailed,
            _ => SubtestStatus::Fail,
        }
    }
}
