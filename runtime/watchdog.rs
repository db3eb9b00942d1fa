//! Ends a turn of JavaScript that never returns.
//!
//! One thread watches one host thread, which runs at most one isolate at a time. Arming costs a
//! lock; the watching thread wakes some times a second while there are turns, not once a turn.
//!
//! Invariant: an isolate is terminated only during a turn of its own, never one of its neighbours',
//! and not while somebody debugs it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deno_core::v8::IsolateHandle;

use crate::inspector::{Debugged, now};
use crate::limits::Limit;
use crate::realm::Memory;

/// How often a turn that lasts is looked at. A fast machine fills some hundred megabytes meanwhile.
const LOOKS: Duration = Duration::from_millis(50);

/// Who is told of a turn that does not end, by the watchdog's thread.
#[derive(Clone)]
pub(crate) struct StuckHook {
    /// How long a turn may take to end when it is told to.
    pub(crate) patience: Duration,
    pub(crate) tell: Arc<dyn Fn() + Send + Sync>,
}

/// Watches the turns of one host thread.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A realm's own mark: set when one of its turns was ended because it exceeded a limit.
#[derive(Clone, Default)]
pub(crate) struct Struck(Arc<AtomicU8>);

struct Shared {
    watch: Mutex<Watch>,
    changed: Condvar,
    debugged: Arc<Debugged>,
    on_stuck: Option<StuckHook>,
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
    memory: Arc<Memory>,
    /// When the turn is to look at its memory next.
    look: Instant,
    /// When it was first told to end.
    struck_at: Option<Instant>,
    /// Whether somebody was told that it does not.
    is_told: bool,
}

impl Watchdog {
    pub(crate) fn start(debugged: Arc<Debugged>, on_stuck: Option<StuckHook>) -> Self {
        let (watch, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { watch, changed, debugged, on_stuck });
        let watched = shared.clone();
        let thread = std::thread::Builder::new()
            .name("kittiwake-watchdog".into())
            .spawn(move || watched.run())
            .expect("the system gives one more thread");
        Watchdog { shared, thread: Some(thread) }
    }

    /// A turn begins. It must end by [`Watchdog::disarm`] within `limit` of real time; meanwhile
    /// it looks at its memory now and then.
    pub(crate) fn arm(
        &self,
        isolate: IsolateHandle,
        struck: Struck,
        memory: Arc<Memory>,
        limit: Duration,
    ) {
        let mut watch = self.shared.lock();
        let began = now();
        let (look, struck_at, is_told) = (began + LOOKS, None, false);
        // A century is as good as no limit.
        let limit = limit.min(Duration::from_secs(100 * 365 * 24 * 60 * 60));
        watch.turn = Some(Turn { began, limit, isolate, struck, memory, look, struck_at, is_told });
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

impl Struck {
    /// The first limit that struck is the one that is told.
    pub(crate) fn set(&self, limit: Limit) {
        let mark = limit as u8 + 1;
        // A mark that is there already stays.
        let _ = self.0.compare_exchange(0, mark, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn limit(&self) -> Option<Limit> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            mark => Some(Limit::ALL[usize::from(mark) - 1]),
        }
    }
}

impl Turn {
    /// Does what is to be done by now; answers until when there is nothing more.
    fn watch(&mut self, now: Instant, on_stuck: Option<&StuckHook>) -> Duration {
        let deadline = self.began + self.limit;
        if deadline <= now {
            self.struck.set(Limit::Turn);
        }
        if self.struck.limit().is_some() {
            // Again and again: to describe what ended may run code of the script's too.
            self.isolate.terminate_execution();
            let since = *self.struck_at.get_or_insert(now);
            if let Some(on_stuck) = on_stuck
                && now - since >= on_stuck.patience
                && !std::mem::replace(&mut self.is_told, true)
            {
                (on_stuck.tell)();
            }
        } else if self.look <= now {
            self.memory.look_during_turn();
        }
        self.look = now + LOOKS;
        match deadline <= now {
            true => LOOKS,
            false => LOOKS.min(deadline - now),
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
            let now = now();
            if turn.began + turn.limit <= now && self.debugged.since(turn.began) {
                turn.began = now;
            }
            let left = turn.watch(now, self.on_stuck.as_ref());
            // A later turn may have begun by then; the loop looks at whichever is armed.
            let waited = self.changed.wait_timeout(watch, left);
            watch = waited.expect("no holder of this lock panics").0;
        }
    }
}
