//! The processor time that a realm uses while its events are under way.
//!
//! Events of one worker share its turns, so that what is counted for an event is all that its
//! worker used from its beginning to its end.
//!
//! To ask for a thread's processor time is a system call, to ask for real time is none. So a turn
//! that was short is counted by real time, and the thread is asked about long ones only.
//!
//! Invariant: only turns count, and what other programs do to the machine counts for no more than
//! [`SHORT`] a turn.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::inspector::now;

/// How long a turn may take, and how long ago the last look may be, before the thread is asked.
const SHORT: Duration = Duration::from_millis(1);

thread_local! {
    /// When the thread was asked last, and what it said.
    static LAST_LOOK: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

/// A realm's processor time.
pub(crate) struct Meter {
    limit: Duration,
    used: Cell<Duration>,
    turn_began: Cell<Option<Instant>>,
    /// What had been used when each event that is under way began. Events that began earlier have
    /// lower numbers.
    events: RefCell<BTreeMap<u32, Duration>>,
}

impl Meter {
    pub(crate) fn new(limit: Duration) -> Self {
        Meter {
            limit,
            used: Cell::default(),
            turn_began: Cell::default(),
            events: RefCell::default(),
        }
    }

    pub(crate) fn begin_event(&self, event: u32) {
        self.events.borrow_mut().insert(event, self.used.get());
    }

    pub(crate) fn end_event(&self, event: u32) {
        self.events.borrow_mut().remove(&event);
    }

    /// Called by the host thread, as is [`Meter::end_turn`].
    pub(crate) fn begin_turn(&self) {
        let now = now();
        self.turn_began.set(Some(now));
        if LAST_LOOK.get().is_none_or(|(looked, _)| now - looked > SHORT) {
            LAST_LOOK.set(Some((now, processor_time())));
        }
    }

    /// Whether an event has had more than it may.
    pub(crate) fn end_turn(&self) -> bool {
        let now = now();
        let mut took = self.turn_began.take().map_or(Duration::ZERO, |began| now - began);
        if took > SHORT
            && let Some((_, then)) = LAST_LOOK.get()
        {
            let processor_time = processor_time();
            took = took.min(processor_time.saturating_sub(then));
            LAST_LOOK.set(Some((now, processor_time)));
        }
        self.used.set(self.used.get() + took);
        let oldest = self.events.borrow().first_key_value().map(|(_, used)| *used);
        oldest.is_some_and(|used| self.used.get() - used > self.limit)
    }
}

/// Of the calling thread.
#[cfg(unix)]
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.max(0) as u32)
}

/// Where threads have no such clock, real time stands in.
#[cfg(not(unix))]
fn processor_time() -> Duration {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    BEGAN.get_or_init(now).elapsed()
}
