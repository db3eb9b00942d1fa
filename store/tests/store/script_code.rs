//! What V8 made of scripts: kept beside them, within limits.
//! Invariant: code is there whole or not at all.

use kittiwake_store::{ScriptCodeLimits, Store, VersionId};

use crate::worker;

const MAIN: &str = "https://app.test/sw.js";
const LIBRARY: &str = "https://app.test/lib.js";

fn limits(script_bytes: u64, total_bytes: u64) -> ScriptCodeLimits {
    ScriptCodeLimits { script_bytes, total_bytes }
}

fn keep(store: &Store, version: VersionId, url: &str, code: &[u8], limits: ScriptCodeLimits) {
    store.keep_script_code(version, &[(url.to_owned(), code.to_vec())], limits).unwrap();
}

#[test]
fn code_that_is_kept_is_what_was_given_last() {
    let store = Store::in_memory().unwrap();
    let (_, version) = store.install(&worker("https://app.test")).unwrap();
    assert_eq!(store.script_code(version, MAIN).unwrap(), None);
    let codes = [(MAIN.to_owned(), vec![1, 2]), (LIBRARY.to_owned(), vec![3])];
    store.keep_script_code(version, &codes, ScriptCodeLimits::default()).unwrap();
    keep(&store, version, MAIN, &[9, 8, 7], ScriptCodeLimits::default());
    assert_eq!(store.script_code(version, MAIN).unwrap(), Some(vec![9, 8, 7]));
    assert_eq!(store.script_code(version, LIBRARY).unwrap(), Some(vec![3]));
}

#[test]
fn code_of_a_script_that_the_version_does_not_have_is_not_kept() {
    let store = Store::in_memory().unwrap();
    let (_, version) = store.install(&worker("https://app.test")).unwrap();
    let data = "data:text/javascript,1";
    keep(&store, version, data, &[1], ScriptCodeLimits::default());
    assert_eq!(store.script_code(version, data).unwrap(), None);
}

#[test]
fn code_goes_with_its_version() {
    let store = Store::in_memory().unwrap();
    let (registration, version) = store.install(&worker("https://app.test")).unwrap();
    keep(&store, version, MAIN, &[1], ScriptCodeLimits::default());
    store.unregister(registration).unwrap();
    assert_eq!(store.script_code(version, MAIN).unwrap(), None);
    // Late code of a version that is gone is nobody's.
    keep(&store, version, MAIN, &[1], ScriptCodeLimits::default());
    assert_eq!(store.script_code(version, MAIN).unwrap(), None);
}

#[test]
fn what_was_kept_first_makes_room_and_what_is_too_large_is_not_kept() {
    let store = Store::in_memory().unwrap();
    let (_, version) = store.install(&worker("https://app.test")).unwrap();
    keep(&store, version, MAIN, &[1; 60], limits(100, 100));
    keep(&store, version, LIBRARY, &[2; 60], limits(100, 100));
    assert_eq!(store.script_code(version, MAIN).unwrap(), None);
    assert_eq!(store.script_code(version, LIBRARY).unwrap(), Some(vec![2; 60]));
    // Nor is what was there before: it would be of no use any more.
    keep(&store, version, LIBRARY, &[3; 60], limits(50, 100));
    assert_eq!(store.script_code(version, LIBRARY).unwrap(), None);
}
