//! Whether a debugger is attached to a realm of a host thread, or was a while ago.
//!
//! Invariant: nothing on that thread is ended for having taken too long in a time in which a
//! debugger was attached.

use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

/// What is known of one host thread.
#[derive(Default)]
pub(crate) struct Debugged(Mutex<State>);

#[derive(Default)]
struct State {
    attached: usize,
    last_detached: Option<Instant>,
}

impl Debugged {
    /// Whether a debugger is attached, or has been since then.
    pub(crate) fn since(&self, then: Instant) -> bool {
        let state = self.lock();
        state.attached > 0 || state.last_detached.is_some_and(|detached| detached >= then)
    }

    pub(super) fn attach(&self) {
        self.lock().attached += 1;
    }

    pub(super) fn detach(&self) {
        let mut state = self.lock();
        state.attached -= 1;
        state.last_detached = Some(now());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("invariant: nothing panics while it holds this")
    }
}

/// The time in which scripts run and people debug.
#[expect(
    clippy::disallowed_methods,
    reason = "an endless loop burns real time, and so does a person, whatever the clock door says"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
