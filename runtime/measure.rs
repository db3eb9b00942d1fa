//! What a run costs: how long events and commits take. Beside the trace, which says what happened
//! and is the same in every simulated run.
//!
//! Invariant: whoever measures learns of each event and each commit once, when it is over, and
//! changes nothing.

use std::cell::RefCell;
use std::time::Duration;

use crate::activity::{Activity, Busy};
use crate::host::{EventEnd, Shard};

/// Something that took time, by the runtime's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measurement {
    /// An event of a worker has ended.
    Event {
        /// The event's type, as the specifications name it: `sync`, `periodicsync`, `fetch`,
        /// `push`, `message`, `install`, `activate` and others.
        event: &'static str,
        /// How it ended.
        end: MeasuredEnd,
        /// How long it took, the start of a worker that slept included.
        took: Duration,
    },
    /// Changes of background syncs have reached the disk.
    Commit {
        /// How many shared it.
        writes: usize,
        /// How long it took.
        took: Duration,
    },
}

/// How a measured event ended; of a rejection the trace says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeasuredEnd {
    /// Every `waitUntil` promise fulfilled.
    Fulfilled,
    /// A `waitUntil` promise rejected, or the worker's script threw at its start.
    Rejected,
    /// It took longer than its limit.
    TimedOut,
    /// The worker was stopped in mid-event.
    Terminated,
}

impl MeasuredEnd {
    /// A word for labels: `fulfilled`, `rejected`, `timed-out`, `terminated`.
    pub const fn as_str(self) -> &'static str {
        match self {
            MeasuredEnd::Fulfilled => "fulfilled",
            MeasuredEnd::Rejected => "rejected",
            MeasuredEnd::TimedOut => "timed-out",
            MeasuredEnd::Terminated => "terminated",
        }
    }
}

/// Whoever measures.
pub(crate) type MeasureSink = Box<dyn FnMut(Measurement) + Send>;

/// The events that are under way, and who hears when they are over.
pub(crate) struct Gauge {
    sink: RefCell<MeasureSink>,
    /// Every event of a worker, and every sync from its claim to its settlement.
    events: Activity,
}

impl Gauge {
    pub(crate) fn new(sink: MeasureSink) -> Self {
        Gauge { sink: RefCell::new(sink), events: Activity::default() }
    }

    /// An event is under way until the answer is dropped.
    pub(crate) fn begin_event(&self) -> Busy {
        self.events.begin()
    }

    /// Resolves when no event is under way.
    pub(crate) async fn no_event(&self) {
        self.events.idle().await;
    }

    pub(crate) fn tell(&self, measurement: Measurement) {
        (self.sink.borrow_mut())(measurement);
    }
}

impl Shard {
    pub(crate) fn measure_event(&self, event: &'static str, end: &EventEnd, took: Duration) {
        let end = match end {
            EventEnd::Fulfilled => MeasuredEnd::Fulfilled,
            EventEnd::Rejected(_) => MeasuredEnd::Rejected,
            EventEnd::TimedOut => MeasuredEnd::TimedOut,
            EventEnd::Terminated => MeasuredEnd::Terminated,
        };
        self.gauge.tell(Measurement::Event { event, end, took });
    }
}
