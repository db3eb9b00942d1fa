//! The processor time that a realm uses while its events are under way.
//!
//! Events of one worker share its turns, so that what is counted for an event is all that its
//! worker used from its beginning to its end.
//!
//! Invariant: only turns count, by the thread's own processor time: neither waiting nor what other
//! programs do to the machine.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

/// A realm's processor time.
pub(crate) struct Meter {
    limit: Duration,
    used: Cell<Duration>,
    turn_began: Cell<Duration>,
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
        self.turn_began.set(processor_time());
    }

    /// Whether an event has had more than it may.
    pub(crate) fn end_turn(&self) -> bool {
        let took = processor_time().saturating_sub(self.turn_began.get());
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
#[expect(clippy::disallowed_methods, reason = "it measures work, not the world")]
fn processor_time() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}
