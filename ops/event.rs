//! The end of an extendable event.

use deno_core::{JsRuntime, op2, v8};

use crate::{Host, ScriptException};

/// The event's pending promises count reached zero after its dispatch; `rejected` says whether
/// `reason` is the first rejection among them.
///
/// <https://w3c.github.io/ServiceWorker/#extendableevent-pending-promises-count>
#[op2(fast, reentrant)]
pub fn op_event_settled<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    #[smi] event: u32,
    rejected: bool,
    reason: v8::Local<'s, v8::Value>,
) {
    let rejection = rejected.then(|| ScriptException::from_v8(scope, reason));
    let state = JsRuntime::op_state_from(scope);
    let (services, realm) = Host::of(&state.borrow());
    services.event_settled(realm, event, rejection);
}
