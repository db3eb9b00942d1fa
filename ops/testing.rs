//! What a test asks of the host of its world. Only the module `kittiwake:test` has these ops.
//!
//! Invariant: a realm that is no test page is refused.

use deno_core::{OpState, op2};

use crate::{Host, RealmId};

/// The runtime, as a test page sees it.
pub trait TestServices {
    /// Asks for what takes time; the page hears of it by a message with this id.
    fn test_ask(&self, realm: RealmId, id: u32, question: String);
    /// Answers at once. Both are JSON.
    fn test_call(&self, realm: RealmId, question: &str) -> String;
}

#[op2(fast)]
pub fn op_test_ask(state: &mut OpState, #[smi] id: u32, #[string] question: String) {
    let (services, realm) = Host::of(state);
    services.test_ask(realm, id, question);
}

#[op2]
#[string]
pub fn op_test_call(state: &mut OpState, #[string] question: &str) -> String {
    let (services, realm) = Host::of(state);
    services.test_call(realm, question)
}
