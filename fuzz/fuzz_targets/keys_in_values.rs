//! Keys and shapes that are found in bytes of V8's serialiser: `ops/indexed_db/key_path.rs` and
//! `shape.rs`. The first byte is the length of the recipe, which is as the script would write it or
//! is not.
//!
//! Invariant: whatever the bytes are, looking ends.

#![no_main]
#![allow(dead_code, reason = "the types are the ops', whose crate has V8")]

use libfuzzer_sys::fuzz_target;

#[path = "../../ops/indexed_db/key_path.rs"]
mod key_path;
#[path = "../../ops/indexed_db/shape.rs"]
mod shape;

/// As in `ops/indexed_db/key.rs`.
#[derive(Clone, Debug, PartialEq)]
pub enum IndexedDbKey {
    Number(f64),
    Date(f64),
    String(Vec<u16>),
    Binary(Vec<u8>),
    Array(Vec<IndexedDbKey>),
    Generated,
}

/// As in `ops/indexed_db/operation.rs`.
pub struct IndexedDbIndexKeys {
    pub index: u32,
    pub unique: bool,
    pub keys: Vec<IndexedDbKey>,
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&length, rest)) = bytes.split_first() else { return };
    let Some((recipe, value)) = rest.split_at_checked(length.into()) else { return };
    if let Some(found) = key_path::find(recipe, value) {
        assert!(found.indexes.len() <= recipe.len(), "an index has a part of the recipe");
    }
    if let Some((header, body)) = key_path::self_contained(value) {
        assert_eq!([header, body].concat(), value, "nothing is lost");
    }
    let (mut leaves, mut again) = (Vec::new(), Vec::new());
    if let Some(shape) = shape::Shape::read(value, &mut leaves) {
        let text = shape.factory();
        let places = text.matches("a[j+").count();
        assert_eq!(places, leaves.len(), "each leaf has its place");
        assert!(shape.matches(value, &mut again).is_some(), "it has the shape that it has");
        assert_eq!(again.len(), leaves.len(), "the leaves are the same");
        assert!(key_path::self_contained(value).is_some(), "what has a shape names no other part");
    }
});
