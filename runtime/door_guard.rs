//! Calls of doors that an embedder brought along. One that panics, or does not come back, is out of
//! order for good; everybody who waits for the runtime hears of it.
//!
//! One thread watches the calls of one host thread, as `watchdog.rs` watches its turns.
//!
//! Invariant: a call ends with an answer or with a fault, and whoever waits for the runtime hears
//! of the fault: nobody waits for a door that is out of order.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// The doors by which the world enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// What time it is: [`Clock`](crate::Clock).
    Clock,
    /// Whether the network is there: [`NetworkSignal`](crate::NetworkSignal).
    NetworkSignal,
    /// Requests: [`HttpDoor`](crate::HttpDoor).
    Http,
    /// Random numbers: [`Entropy`](crate::Entropy).
    Entropy,
}

/// What an embedder's door did that no door may do. The runtime is of no use then: its handles
/// answer [`Error::Door`](crate::Error::Door).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DoorFault {
    /// A call, or the poll of a future, panicked with this message.
    #[error("it panicked: {0}")]
    Panicked(String),
    /// A call, or the poll of a future, took longer than [`Builder::turn_limit`] allows. The host
    /// thread may be in it for ever.
    ///
    /// [`Builder::turn_limit`]: crate::Builder::turn_limit
    #[error("it did not come back within {} s", .0.as_secs_f64())]
    Blocked(Duration),
    /// It answered what is no answer.
    #[error("it answered {0}")]
    Invalid(String),
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Door::Clock => "clock",
            Door::NetworkSignal => "network signal",
            Door::Http => "HTTP door",
            Door::Entropy => "entropy",
        })
    }
}

/// The first fault of a runtime's doors. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct DoorFaults(watch::Sender<Option<(Door, DoorFault)>>);

impl DoorFaults {
    pub(crate) fn new() -> Self {
        DoorFaults(watch::Sender::new(None))
    }

    pub(crate) fn first(&self) -> Option<(Door, DoorFault)> {
        self.0.borrow().clone()
    }

    /// Resolves when there is one.
    pub(crate) async fn fault(&self) -> (Door, DoorFault) {
        let mut faults = self.0.subscribe();
        let found = faults.wait_for(Option::is_some).await.expect("`self` is a sender");
        found.clone().expect("waited for it")
    }

    fn set(&self, door: Door, fault: DoorFault) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert((door, fault));
            is_first
        });
    }
}

/// Guards the calls of one thread. Clones are the same. Its own thread starts with the first call.
#[derive(Clone)]
pub(crate) struct DoorGuard(Arc<Watched>);

/// Ends the watching thread with the last guard.
struct Watched {
    shared: Arc<Shared>,
    thread: Once,
}

struct Shared {
    watch: Mutex<Watch>,
    changed: Condvar,
    faults: DoorFaults,
    limit: Duration,
}

#[derive(Default)]
struct Watch {
    call: Option<(Door, Instant)>,
    stopped: bool,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_one();
    }
}

impl DoorGuard {
    /// A guard that gives a call `limit` of real time.
    pub(crate) fn new(faults: DoorFaults, limit: Duration) -> Self {
        let (watch, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { watch, changed, faults, limit });
        DoorGuard(Arc::new(Watched { shared, thread: Once::new() }))
    }

    /// Calls a door; `None` if it is out of order.
    pub(crate) fn call<T>(&self, door: Door, call: impl FnOnce() -> T) -> Option<T> {
        let Watched { shared, thread } = &*self.0;
        if shared.faults.0.borrow().is_some() {
            return None;
        }
        thread.call_once(|| {
            let shared = shared.clone();
            let thread = std::thread::Builder::new().name("kittiwake-doors".into());
            thread.spawn(move || shared.run()).expect("the system gives one more thread");
        });
        shared.arm(Some((door, now() + shared.limit)));
        let answer = catch_unwind(AssertUnwindSafe(call));
        shared.arm(None);
        answer.map_err(|panic| self.refuse(door, DoorFault::Panicked(text_of(&*panic)))).ok()
    }

    pub(crate) fn faults(&self) -> &DoorFaults {
        &self.0.shared.faults
    }

    /// Says that a door answered what is no answer.
    pub(crate) fn refuse(&self, door: Door, fault: DoorFault) {
        self.0.shared.faults.set(door, fault);
    }

    /// A door's future, each poll of which is a call; `None` as [`DoorGuard::call`].
    pub(crate) fn future<F: Future>(&self, door: Door, future: F) -> GuardedFuture<F> {
        GuardedFuture { guard: self.clone(), door, future: Box::pin(future) }
    }
}

pub(crate) struct GuardedFuture<F> {
    guard: DoorGuard,
    door: Door,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for GuardedFuture<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let GuardedFuture { guard, door, future } = &mut *self;
        match guard.call(*door, || future.as_mut().poll(context)) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(answer)) => Poll::Ready(Some(answer)),
            None => Poll::Ready(None),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().expect("no holder of this lock panics")
    }

    fn arm(&self, call: Option<(Door, Instant)>) {
        let is_call = call.is_some();
        self.lock().call = call;
        if is_call {
            self.changed.notify_one();
        }
    }

    fn run(&self) {
        let mut watch = self.lock();
        while !watch.stopped {
            let Some((door, deadline)) = watch.call else {
                watch = self.changed.wait(watch).expect("no holder of this lock panics");
                continue;
            };
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                self.faults.set(door, DoorFault::Blocked(self.limit));
                watch.call = None;
                continue;
            }
            // Another call may be under way by then: the loop looks again.
            let waited = self.changed.wait_timeout(watch, left);
            watch = waited.expect("no holder of this lock panics").0;
        }
    }
}

/// What a panic said.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "something that is no text".to_owned())
}

#[expect(clippy::disallowed_methods, reason = "a door that blocks burns real time")]
fn now() -> Instant {
    Instant::now()
}
