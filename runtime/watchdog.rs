//! Ends a turn of JavaScript that never returns.
//!
//! One thread watches one host thread, which runs at most one isolate at a time. Arming costs a
//! lock; the watching thread wakes only when a deadline passes, not once a turn.
//!
//! Invariant: an isolate is terminated only during a turn of its own, never one of its neighbours',
//! and not while somebody debugs it.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deno_core::v8::IsolateHandle;

use crate::inspector::{Debugged, now};

/// Watches the turns of one host thread.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What a script may not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// The real time of one turn.
    Time,
    /// The size of the realm's heap.
    Memory,
}

/// A realm's own mark: set when one of its turns was ended because it exceeded a limit.
#[derive(Clone, Default)]
pub(crate) struct Struck(Arc<AtomicU8>);

struct Shared {
    watch: Mutex<Watch>,
    changed: Condvar,
    debugged: Arc<Debugged>,
}

#[derive(Default)]
struct Watch {
    turn: Option<Turn>,
    parked: bool,
    stopped: bool,
}

struct Turn {
    began: Instant,
    limit: Duration,
    isolate: IsolateHandle,
    struck: Struck,
}

impl Watchdog {
    pub(crate) fn start(debugged: Arc<Debugged>) -> Self {
        let (watch, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { watch, changed, debugged });
        let watched = shared.clone();
        let thread = std::thread::Builder::new()
            .name("kittiwake-watchdog".into())
            .spawn(move || watched.run())
            .expect("the system gives one more thread");
        Watchdog { shared, thread: Some(thread) }
    }

    /// A turn begins. It must end by [`Watchdog::disarm`] within `limit` of real time.
    pub(crate) fn arm(&self, isolate: IsolateHandle, struck: Struck, limit: Duration) {
        let mut watch = self.shared.lock();
        watch.turn = Some(Turn { began: now(), limit, isolate, struck });
        if watch.parked {
            self.shared.changed.notify_one();
        }
    }

    /// The turn is over.
    pub(crate) fn disarm(&self) {
        self.shared.lock().turn = None;
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the watchdog does not panic");
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Time => "ran for longer than its limit",
            Limit::Memory => "used more memory than its limit",
        })
    }
}

impl Struck {
    pub(crate) fn set(&self, limit: Limit) {
        let mark = match limit {
            Limit::Time => 1,
            Limit::Memory => 2,
        };
        self.0.store(mark, Ordering::Relaxed);
    }

    pub(crate) fn limit(&self) -> Option<Limit> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Limit::Time),
            _ => Some(Limit::Memory),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().expect("no holder of this lock panics")
    }

    fn run(&self) {
        let mut watch = self.lock();
        while !watch.stopped {
            let Some(turn) = &mut watch.turn else {
                watch.parked = true;
                watch = self.changed.wait(watch).expect("no holder of this lock panics");
                watch.parked = false;
                continue;
            };
            let left = (turn.began + turn.limit).saturating_duration_since(now());
            if left.is_zero() && self.debugged.since(turn.began) {
                turn.began = now();
                continue;
            }
            if left.is_zero() {
                turn.struck.set(Limit::Time);
                turn.isolate.terminate_execution();
                watch.turn = None;
                continue;
            }
            // A later turn may have begun by then; the loop looks at whichever is armed.
            let waited = self.changed.wait_timeout(watch, left);
            watch = waited.expect("no holder of this lock panics").0;
        }
    }
}
