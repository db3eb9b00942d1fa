//! Lets debuggers at a realm, and has it wait for one.
//!
//! Invariant: a realm waits outside its turns: no watchdog runs meanwhile.

use std::sync::Arc;
use std::time::Duration;

use deno_core::JsRuntime;
use kittiwake_ops::RealmId;

use super::{Realm, RealmKind, StartOptions};
use crate::inspector::{Debugged, Inspected, Inspector};

/// Makes a realm known to debuggers. The isolate is entered.
pub(super) fn inspect(
    runtime: &mut JsRuntime,
    inspector: &Inspector,
    start: &StartOptions,
    realm: (RealmId, Arc<Debugged>),
) -> Inspected {
    runtime.maybe_init_inspector();
    let kind = match start.kind {
        RealmKind::ServiceWorker => "worker",
        RealmKind::Page => "page",
    };
    let sessions = runtime.inspector().get_session_sender();
    inspector.add(format!("{kind} {}", start.url), start.url.clone(), sessions, realm)
}

/// A thread that is paused parks, and the engine's inspector takes each wake for its own. One that
/// came while nobody was parked, of a channel for example, would be waiting for it.
pub(super) fn forget_early_wakes() {
    std::thread::park_timeout(Duration::ZERO);
}

impl Realm {
    /// Before its first script, if that is asked for: blocks until a debugger says to go on, and
    /// has the next statement pause.
    pub(super) fn wait_for_debugger(&mut self, script: &str) {
        let Some(inspected) = self.inspected.as_ref().filter(|each| each.has_to_wait(script))
        else {
            return;
        };
        inspected.tell_waiting();
        let runtime = self.runtime.as_mut().expect("a realm has its runtime until dropped");
        // SAFETY: it is left below, on this thread.
        unsafe {
            runtime.v8_isolate().enter();
        }
        forget_early_wakes();
        runtime.inspector().wait_for_session_and_break_on_next_statement();
        // SAFETY: entered just now.
        unsafe {
            runtime.v8_isolate().exit();
        }
    }
}
