//! The spare realm: a blank that a shard makes while it has nothing else to do, for whoever needs
//! a realm next. What a worker that sleeps waits for is then its own script alone.
//!
//! Invariant: there is one at most, within the budget of residency; it is made only while nothing
//! else is ready to run, and never in a simulation, whose runs are the same each time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use kittiwake_ops::RealmId;
use tokio::sync::Notify;

use crate::activity::Busy;
use crate::host::Shard;
use crate::limits::Limit;
use crate::quiet::quiet;
use crate::realm::{Blank, MemoryLimits};

/// How long no realm has a turn before one is made: what comes in a burst would have to wait.
const MOMENT: Duration = Duration::from_millis(5);

#[derive(Default)]
pub(crate) struct Spare {
    blank: RefCell<Option<Blank>>,
    /// What the last one had of memory.
    bytes: Cell<usize>,
    wanted: Notify,
    /// From the wish until it is made, so that whoever waits for idleness finds it there.
    wish: RefCell<Option<Busy>>,
}

impl Spare {
    pub(crate) fn is_there(&self) -> bool {
        self.blank.borrow().is_some()
    }
}

impl Shard {
    /// What a realm is started from: the spare, if there is one.
    pub(crate) fn blank_for(&self, realm: RealmId) -> Blank {
        if let Some(spare) = self.take_spare() {
            self.want_spare();
            return spare;
        }
        self.new_blank(self.seed.map(|seed| seed.wrapping_add(u64::from(realm.0))))
    }

    pub(crate) fn keeps_spare(&self) -> bool {
        self.pace.spare && self.seed.is_none()
    }

    /// Has one made, if there is none, when the thread has nothing else to do.
    pub(crate) fn want_spare(&self) {
        if self.keeps_spare() {
            self.spare.wish.borrow_mut().get_or_insert_with(|| self.activity.begin());
            self.spare.wanted.notify_one();
        }
    }

    /// Forgets it, to make room.
    pub(crate) fn drop_spare(&self) {
        drop(self.take_spare());
    }

    /// Makes the spare whenever one is wanted. Runs for as long as the shard.
    pub(crate) async fn keep_spare(self: Rc<Self>) {
        loop {
            self.spare.wanted.notified().await;
            self.rested().await;
            self.make_spare();
            self.spare.wish.take();
        }
    }

    /// Resolves when no realm has had a turn for a moment, and the thread has nothing to run.
    async fn rested(&self) {
        loop {
            let turns = self.turns.count.get();
            tokio::time::sleep(MOMENT).await;
            if self.turns.count.get() == turns {
                break;
            }
        }
        quiet().await;
    }

    fn make_spare(&self) {
        // In a budget for one, who has just had an event would have to go for it.
        if self.spare.is_there() || self.stopping.get() || self.pace.residency.realms < 2 {
            return;
        }
        self.make_room();
        let limits = self.pace.residency;
        let bytes = self.resident_bytes.get();
        let has_room = self.realms.borrow().len() < limits.realms
            && bytes.saturating_add(self.spare.bytes.get()) <= limits.bytes;
        if has_room {
            let mut blank = self.new_blank(None);
            self.spare.bytes.set(blank.memory_bytes());
            self.resident_bytes.set(bytes + self.spare.bytes.get());
            self.spare.blank.replace(Some(blank));
        }
        if self.is_over_bytes() {
            self.drop_spare();
        }
    }

    fn take_spare(&self) -> Option<Blank> {
        let blank = self.spare.blank.take()?;
        self.resident_bytes.set(self.resident_bytes.get() - self.spare.bytes.get());
        Some(blank)
    }

    fn new_blank(&self, seed: Option<u64>) -> Blank {
        let (heap, buffers) = (self.limits.count(Limit::Heap), self.limits.count(Limit::Buffers));
        Blank::new(MemoryLimits { heap, buffers }, seed)
    }
}
