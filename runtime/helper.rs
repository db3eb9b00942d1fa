//! The thread beside a simulation's host thread, on which tokio runs what would block (crypto).
//!
//! Invariant: it works only while the host thread waits for it, and is gone afterwards. So what it
//! works for comes back at the same point of each run, however busy the machine is; and who needs
//! no such thread has none.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::runtime::Builder;

thread_local! {
    /// That of this host thread, if it simulates.
    static OWN: RefCell<Option<Helper>> = const { RefCell::new(None) };
}

#[derive(Clone, Default)]
pub(crate) struct Helper(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// There is work for it, and so a thread.
    exists: bool,
    may_work: bool,
    /// The simulation has ended: nobody waits any more.
    released: bool,
}

/// Lets the helper go when it is dropped: before the tokio runtime, which waits for its threads.
pub(crate) struct HelperGuard(Helper);

impl Helper {
    /// Makes a runtime have it. Called on the host thread.
    pub(crate) fn install(tokio: &mut Builder) -> HelperGuard {
        let helper = Helper::default();
        let [named, started, stopped] = [(); 3].map(|()| helper.clone());
        tokio
            .max_blocking_threads(1)
            // It ends as soon as no work is left.
            .thread_keep_alive(Duration::ZERO)
            // Called on the host thread, in the midst of the call that needs a thread.
            .thread_name_fn(move || {
                named.0.lock().exists = true;
                "kittiwake-helper".to_owned()
            })
            .on_thread_start(move || started.wait_for_leave())
            .on_thread_stop(move || stopped.end());
        OWN.set(Some(helper.clone()));
        HelperGuard(helper)
    }

    fn wait_for_leave(&self) {
        let state = self.0.lock();
        let is_held = |state: &mut State| !state.may_work && !state.released;
        drop(self.0.changed.wait_while(state, is_held).expect(UNPOISONED));
    }

    /// tokio no longer counts the thread when it says so: the next work has another one.
    fn end(&self) {
        let mut state = self.0.lock();
        (state.exists, state.may_work) = (false, false);
        self.0.changed.notify_all();
    }

    fn work(&self) -> Worked {
        let mut state = self.0.lock();
        if !state.exists {
            return Worked::Nothing;
        }
        state.may_work = true;
        self.0.changed.notify_all();
        drop(self.0.changed.wait_while(state, |state| state.exists).expect(UNPOISONED));
        Worked::Something
    }
}

impl Drop for HelperGuard {
    fn drop(&mut self) {
        self.0.0.lock().released = true;
        self.0.0.changed.notify_all();
    }
}

/// Whether there was anything to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worked {
    Something,
    Nothing,
}

/// Has this thread's helper do all that is left for it, and waits for that.
pub(crate) fn let_helper_work() -> Worked {
    OWN.with_borrow(|own| own.as_ref().map_or(Worked::Nothing, Helper::work))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "invariant: nothing panics while it holds the helper's state";
