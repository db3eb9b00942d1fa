//! Text as a sync policy, as `--retry` and a scenario give it: `runtime/policy.rs`.
//!
//! Invariant: whatever the text is, it is a policy or a mistake with a reason.

#![no_main]
#![allow(dead_code, reason = "one of its types is enough")]

use libfuzzer_sys::fuzz_target;

#[path = "../../runtime/policy.rs"]
mod policy;

fuzz_target!(|text: &str| {
    match text.parse::<policy::PolicyOptions>() {
        Ok(options) => {
            let policy = options.policy();
            policy::require_forward_time(&policy).expect("what is accepted can be kept");
        }
        Err(mistake) => assert!(!mistake.to_string().is_empty(), "a mistake has a reason"),
    }
});
