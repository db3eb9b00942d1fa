//! Where the trace of all shards comes together, and from where it goes to whoever watches.
//!
//! Invariant: whoever watches sees events in one order, in which times never decrease; a reader
//! that is slow is told how much it missed, and holds nobody back.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures::Stream;

use crate::host::TraceSink;
use crate::trace::{TraceEvent, TraceKind};

/// One for all shards of a runtime.
pub(crate) struct TraceHub(Mutex<Watchers>);

struct Watchers {
    watch: TraceSink,
    readers: Vec<Weak<Mutex<Buffer>>>,
    /// Shards that have not ended.
    shards: usize,
}

impl TraceHub {
    pub(crate) fn new(watch: TraceSink, shards: usize) -> Arc<Self> {
        Arc::new(TraceHub(Mutex::new(Watchers { watch, readers: Vec::new(), shards })))
    }

    /// Something happened, now.
    pub(crate) fn tell(&self, now_ms: impl FnOnce() -> u64, kind: TraceKind) {
        let mut watchers = self.lock();
        // Asked here, so that of two shards none is late.
        let event = TraceEvent { at_ms: now_ms(), kind };
        (watchers.watch)(&event);
        watchers.readers.retain(|reader| match reader.upgrade() {
            Some(reader) => {
                lock(&reader).push(&event);
                true
            }
            None => false,
        });
    }

    /// From the next event on; with the last shard the stream ends.
    pub(crate) fn read(&self, capacity: usize) -> TraceStream {
        let mut watchers = self.lock();
        let is_over = watchers.shards == 0;
        let capacity = capacity.max(1);
        let buffer = Buffer { items: VecDeque::new(), capacity, is_over, waker: None };
        let buffer = Arc::new(Mutex::new(buffer));
        watchers.readers.push(Arc::downgrade(&buffer));
        TraceStream(buffer)
    }

    /// A shard tells nothing any more.
    pub(crate) fn shard_has_ended(&self) {
        let mut watchers = self.lock();
        watchers.shards -= 1;
        if watchers.shards == 0 {
            for reader in watchers.readers.drain(..).filter_map(|reader| reader.upgrade()) {
                let mut reader = lock(&reader);
                reader.is_over = true;
                reader.wake();
            }
        }
    }

    /// Whoever watches may have panicked on another shard; the others go on.
    fn lock(&self) -> MutexGuard<'_, Watchers> {
        lock(&self.0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a [`TraceStream`] brings.
#[derive(Clone, Debug)]
pub enum TraceItem {
    /// Something happened.
    Event(TraceEvent),
    /// This many events are missing here: the reader was slower than the runtime, and its buffer
    /// full.
    Gap {
        /// How many.
        missed: u64,
    },
}

/// The trace as it goes on, from [`Runtime::trace_events`](crate::Runtime::trace_events). Ends with
/// the runtime. Dropping it ends nothing.
#[derive(Debug)]
pub struct TraceStream(Arc<Mutex<Buffer>>);

#[derive(Debug)]
struct Buffer {
    items: VecDeque<TraceItem>,
    capacity: usize,
    is_over: bool,
    waker: Option<Waker>,
}

impl Buffer {
    fn push(&mut self, event: &TraceEvent) {
        if self.items.len() < self.capacity {
            self.items.push_back(TraceItem::Event(event.clone()));
        } else if let Some(TraceItem::Gap { missed }) = self.items.back_mut() {
            *missed += 1;
        } else {
            self.items.push_back(TraceItem::Gap { missed: 1 });
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Stream for TraceStream {
    type Item = TraceItem;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<TraceItem>> {
        let mut buffer = lock(&self.0);
        if let Some(item) = buffer.items.pop_front() {
            return Poll::Ready(Some(item));
        }
        if buffer.is_over {
            return Poll::Ready(None);
        }
        buffer.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use futures::executor::block_on;

    use super::*;
    use crate::network::NetworkState;

    fn tell(hub: &TraceHub, at_ms: u64) {
        hub.tell(|| at_ms, TraceKind::Network { state: NetworkState::Online, conditions: None });
    }

    #[test]
    fn a_slow_reader_is_told_how_much_it_missed_and_where() {
        let hub = TraceHub::new(Box::new(|_| {}), 1);
        let mut stream = hub.read(2);
        (0..5).for_each(|at_ms| tell(&hub, at_ms));
        let mut shown = Vec::new();
        block_on(async {
            for _ in 0..3 {
                shown.push(stream.next().await);
            }
            tell(&hub, 9);
            hub.shard_has_ended();
            shown.push(stream.next().await);
            assert!(stream.next().await.is_none());
        });
        let shown: Vec<_> = shown
            .iter()
            .map(|item| match item {
                Some(TraceItem::Event(event)) => event.at_ms.to_string(),
                Some(TraceItem::Gap { missed }) => format!("{missed} missed"),
                None => "the end".to_owned(),
            })
            .collect();
        assert_eq!(shown, ["0", "1", "3 missed", "9"]);
    }

    #[test]
    fn the_stream_of_a_runtime_that_has_ended_ends_at_once() {
        let hub = TraceHub::new(Box::new(|_| {}), 2);
        hub.shard_has_ended();
        hub.shard_has_ended();
        assert!(block_on(hub.read(1).next()).is_none());
    }
}
