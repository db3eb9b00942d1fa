//! Bytes as stored values that are read without V8: `runtime/dump/value.rs`.
//!
//! Invariant: whatever the bytes are, reading them ends, and what is read can be printed.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../runtime/dump/value.rs"]
mod value;

fuzz_target!(|bytes: &[u8]| {
    let part = |name: &str| (name.len() % 2 == 0).then(|| name.as_bytes().to_vec());
    if let Ok(read) = value::read(bytes, &part) {
        assert!(!read.to_string().is_empty(), "a value has a text");
    }
});
