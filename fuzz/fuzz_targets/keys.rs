//! Bytes as IndexedDB's keys: `store/indexed_db/key.rs`.
//!
//! Invariant: whatever the bytes are, decoding ends; what is decoded has those bytes and no others.

#![no_main]

use kittiwake_store::indexed_db::Key;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((key, rest)) = Key::decode_first(bytes) {
        let own = &bytes[..bytes.len() - rest.len()];
        assert_eq!(key.encode(), own, "a key has one encoding: {key:?}");
        assert_eq!(Key::decode(own), Ok(key), "and one meaning");
    }
});
