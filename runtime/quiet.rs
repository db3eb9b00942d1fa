//! Waiting until a thread has nothing else to run, without letting its time pass.
//!
//! Invariant: a paused tokio clock does not advance while somebody waits for [`quiet`]: the wake
//! comes just before the thread would park. In a simulation no thread beside the host's is at work
//! then.

use std::cell::RefCell;
use std::task::{Poll, Waker};

use deno_core::futures::future::poll_fn;

use crate::helper::{Worked, let_helper_work};

thread_local! {
    static WAITING: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// The hook for tokio's `on_thread_park`.
pub(crate) fn on_thread_park() {
    if let_helper_work() == Worked::Something {
        // The thread will not park: something has come back.
        return;
    }
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
