//! Waiting until a thread has nothing else to run, without letting its time pass.
//!
//! Invariant: a paused tokio clock does not advance while somebody waits for [`quiet`]: the wake
//! comes just before the thread would park. In a simulation no thread beside the host's is at work
//! then.

use std::cell::{Cell, RefCell};
use std::task::{Poll, Waker};

use deno_core::futures::future::poll_fn;

use crate::host::Shard;

thread_local! {
    static WAITING: RefCell<Option<Waker>> = const { RefCell::new(None) };
    static HAS_HELPERS: Cell<bool> = const { Cell::new(false) };
}

/// The hook for tokio's `thread_name_fn`: it asks in the midst of the call that needs a thread
/// beside this one.
pub(crate) fn name_helper() -> String {
    HAS_HELPERS.set(true);
    "kittiwake-helper".to_owned()
}

/// The hook for tokio's `on_thread_park`.
pub(crate) fn on_thread_park() {
    if let Some(waker) = WAITING.take() {
        waker.wake();
    }
}

/// Resolves when every task of this thread waits for something.
pub(crate) async fn quiet() {
    let mut asked = false;
    poll_fn(|context| {
        let parked = WAITING.with_borrow(Option::is_none);
        if asked && parked {
            return Poll::Ready(());
        }
        asked = true;
        WAITING.set(Some(context.waker().clone()));
        Poll::Pending
    })
    .await
}

impl Shard {
    /// In a simulation, waits until the threads beside this one have nothing to do: what works for
    /// a script there (crypto) would else come back at any moment. There is one such thread then,
    /// so that this is its last job, or none: few scripts need it.
    pub(crate) fn wait_for_threads(&self) {
        if self.seed.is_none() || !HAS_HELPERS.get() {
            return;
        }
        let (done, last) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || done.send(()));
        last.recv().expect("invariant: sending does not panic");
    }
}

/// Resolves when every task that is ready now has run. Unlike tokio's `yield_now`, it does not ask
/// the system for news of sockets and timers meanwhile.
pub(crate) async fn let_others_run() {
    let mut asked = false;
    poll_fn(|context| {
        if asked {
            return Poll::Ready(());
        }
        asked = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}
