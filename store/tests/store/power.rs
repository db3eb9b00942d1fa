//! Power loss as SQLite defines it: what was synced stays, of what came later any part may be gone
//! or torn. <https://www.sqlite.org/atomiccommit.html>
//! Invariant: whatever became of the log's end, each commit before it is there, and no half of one.

use std::fs;
use std::path::Path;

use kittiwake_store::{DATABASE_FILE, RegistrationId, Store, SyncPolicy};

use crate::activated;

const COMMITS: usize = 6;

/// The state folder as a power cut left it: the log ends after `length` bytes, and `torn` of its
/// last bytes were never written.
fn cut(folder: &Path, length: usize, torn: usize) -> tempfile::TempDir {
    let after = tempfile::tempdir().unwrap();
    let log = format!("{DATABASE_FILE}-wal");
    fs::copy(folder.join(DATABASE_FILE), after.path().join(DATABASE_FILE)).unwrap();
    let mut bytes = fs::read(folder.join(&log)).unwrap();
    bytes.truncate(length);
    let end = bytes.len();
    bytes[end - torn.min(end)..].fill(0);
    fs::write(after.path().join(log), bytes).unwrap();
    after
}

fn tags_after(folder: &Path, registration: RegistrationId) -> usize {
    let store = Store::open(folder).unwrap();
    let tags = store.sync_tags(registration).unwrap();
    let expected: Vec<_> = (0..tags.len()).map(|number| format!("tag-{number}")).collect();
    assert_eq!(tags, expected, "commits are lost from the end only");
    // It goes on as if nothing had happened.
    store.sync_register(registration, "after", &SyncPolicy::default(), 0).unwrap();
    tags.len()
}

#[test]
fn a_power_cut_takes_no_commit_that_was_synced_and_leaves_no_half_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join(format!("{DATABASE_FILE}-wal"));
    let registration = activated(&Store::open(folder.path()).unwrap(), "https://app.test");
    // Opened anew, so that the log begins with the first of these commits.
    let store = Store::open(folder.path()).unwrap();
    let mut synced = vec![0];
    for number in 0..COMMITS {
        let tag = format!("tag-{number}");
        store.sync_register(registration, &tag, &SyncPolicy::default(), 0).unwrap();
        synced.push(fs::metadata(&log).unwrap().len() as usize);
    }
    for length in (0..=synced[COMMITS]).step_by(1_021).chain(synced.iter().copied()) {
        let commits = synced.iter().filter(|end| **end <= length).count() - 1;
        let after = cut(folder.path(), length, 0);
        assert_eq!(tags_after(after.path(), registration), commits, "cut after {length} bytes");
        // The last sector had its place in the file, and was not written.
        let torn = (length - synced[commits]).min(512);
        let after = cut(folder.path(), length, torn);
        assert_eq!(tags_after(after.path(), registration), commits, "torn after {length} bytes");
    }
}
