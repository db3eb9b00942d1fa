//! Notices that the time of day has jumped ahead of the timers: the machine slept, or somebody set
//! its clock. Timers stand still while a machine sleeps; due times of syncs do not.
//!
//! Invariant: a jump of `LEAST_JUMP` or more is noticed within `LOOK_EVERY` of the machine's being
//! awake, and before any sync fires.

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::doors::Clock;
use crate::host::Shard;

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Far more than a clock that is slewed gains in that time, and than a busy machine is late.
const LEAST_JUMP: Duration = Duration::from_secs(2);

/// What time it was when somebody last looked.
pub(crate) struct TimeOfDay {
    last: Cell<(Instant, f64)>,
}

impl TimeOfDay {
    pub(crate) fn new(clock: &dyn Clock) -> TimeOfDay {
        TimeOfDay { last: Cell::new((Instant::now(), clock.now_ms())) }
    }

    /// Whether it jumped ahead since the last look. A simulated clock never does.
    fn jumped(&self, clock: &dyn Clock) -> bool {
        let now = (Instant::now(), clock.now_ms());
        let last = self.last.replace(now);
        let ahead_ms = now.1 - last.1 - (now.0 - last.0).as_secs_f64() * 1000.0;
        ahead_ms >= LEAST_JUMP.as_secs_f64() * 1000.0
    }
}

impl Shard {
    /// Has the signal look anew, if the time of day has jumped. Whoever compares due times calls it
    /// first, because it may be the first to wake.
    pub(crate) fn look_at_time(&self) {
        if self.time_of_day.jumped(&*self.clock) {
            self.time_jumped();
        }
    }
}

/// Looks until the shard ends. For real time.
pub(crate) async fn watch(shard: Rc<Shard>) {
    loop {
        sleep(LOOK_EVERY).await;
        shard.look_at_time();
    }
}
