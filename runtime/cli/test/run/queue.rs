//! What is left to do, shared by the threads that do it.
//!
//! Invariant: a thread goes home only when no job is left and none can come any more.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// A piece of work for a thread.
pub enum Job {
    /// Finds out what is in a suite, and runs the first test of it.
    Look(usize),
    /// Runs one more test of a file.
    Run(OneRun),
}

/// One run of one test.
#[derive(Clone, Copy)]
pub struct OneRun {
    /// Whose test it is.
    pub suite: usize,
    /// Where it is told.
    pub place: usize,
    /// Its place in the file.
    pub number: usize,
    /// Which of its repetitions it is.
    pub round: u64,
    /// Real time that it may take.
    pub limit: Duration,
}

/// The jobs.
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    /// Suites that nobody has looked into to the end: they make more jobs.
    looking: usize,
    closed: bool,
}

impl Queue {
    /// To look into so many suites.
    pub fn new(suites: usize) -> Self {
        let jobs = (0..suites).map(Job::Look).collect();
        Queue {
            state: Mutex::new(State { jobs, looking: suites, closed: false }),
            changed: Condvar::new(),
        }
    }

    /// The next job, once there is one; `None` at the end.
    pub fn take(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            match state.jobs.pop_front() {
                Some(job) => return Some(job),
                None if state.looking == 0 => return None,
                None => state = self.changed.wait(state).expect(UNPOISONED),
            }
        }
    }

    /// A suite has been looked into, and these of its tests are left to run. They come before the
    /// suites that nobody has looked into: a suite is told when it is whole.
    pub fn add(&self, runs: Vec<OneRun>) {
        let mut state = self.lock();
        state.looking -= 1;
        for run in runs.into_iter().rev() {
            state.jobs.push_front(Job::Run(run));
        }
        self.changed.notify_all();
    }

    /// Nothing more is to be done.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "invariant: nothing panics while it holds the queue";
