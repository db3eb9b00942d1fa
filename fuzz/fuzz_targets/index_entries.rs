//! Bytes as what a record keeps of its place in the indexes: `store/indexed_db/entries.rs`.
//!
//! Invariant: whatever the bytes are, reading them ends, and what is read is written as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../store/indexed_db/entries.rs"]
mod entries;

/// What `entries.rs` has of its sibling.
mod key {
    pub use kittiwake_store::indexed_db::NotAKey;
}

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let mut written = Vec::new();
    while let Ok(Some((index, key))) = entries::read(&mut rest) {
        entries::write(&mut written, index, key);
        assert_eq!(written, &bytes[..bytes.len() - rest.len()], "an entry has one form");
    }
});
