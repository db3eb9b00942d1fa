//! Knows when nothing is left to do.
//!
//! Whatever may still lead to something observable holds a [`Busy`]: an event that is dispatched, a
//! realm with timers or requests, a sync that is due, a timeline that plays.
//!
//! Invariant: work is handed from one holder to the next before the first lets go.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// The count of what is under way on one host thread.
#[derive(Clone, Default)]
pub(crate) struct Activity(Rc<Inner>);

#[derive(Default)]
struct Inner {
    under_way: Cell<usize>,
    idle: Notify,
}

/// One thing under way, until dropped.
pub(crate) struct Busy(Activity);

impl Activity {
    pub(crate) fn begin(&self) -> Busy {
        self.0.under_way.set(self.0.under_way.get() + 1);
        Busy(self.clone())
    }

    /// Resolves when nothing is under way.
    pub(crate) async fn idle(&self) {
        while self.0.under_way.get() > 0 {
            self.0.idle.notified().await;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let inner = &self.0.0;
        inner.under_way.set(inner.under_way.get() - 1);
        if inner.under_way.get() == 0 {
            inner.idle.notify_one();
        }
    }
}
