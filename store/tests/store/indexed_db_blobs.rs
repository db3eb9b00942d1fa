//! What Blob and File objects hold: files that come and go with their rows, through crashes too.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kittiwake_store::StoreError;
use kittiwake_store::indexed_db::{
    BlobContents, BlobFile, Direction, Durability, IndexedDatabase, IndexedDbError,
    IndexedDbFolder, NewBlobPart, Operation, Put, Range,
};

use crate::indexed_db::{ORIGIN, STORE, find, number, open, query, units, upgrade};

/// Too large for a row.
const LARGE: usize = 200_000;

fn put_blob(key: i32, contents: Vec<u8>) -> Operation {
    let blobs = vec![NewBlobPart { part: "part".to_owned(), source: Arc::new(contents) }];
    Operation::Put(Put {
        object_store: STORE,
        key: Some(number(key)),
        value: b"a blob".to_vec(),
        blobs,
        indexes: vec![],
        overwrite: true,
    })
}

fn transact(database: &mut IndexedDatabase, operations: &[Operation]) {
    database.begin(Durability::Strict).unwrap();
    for operation in operations {
        database.execute(operation).unwrap();
    }
    database.commit().unwrap();
}

fn delete(key: i32) -> Operation {
    let range = Range { lower: Some(number(key)), upper: Some(number(key)), ..Range::default() };
    Operation::Delete { object_store: STORE, range }
}

/// The files of blobs in a state folder.
fn files(state: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for origin in fs::read_dir(state.join("indexed_db")).unwrap() {
        for entry in fs::read_dir(origin.unwrap().path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "blobs") {
                files.extend(fs::read_dir(path).unwrap().map(|file| file.unwrap().path()));
            }
        }
    }
    files.sort();
    files
}

/// What the records' blobs hold, in the order of their keys.
fn contents(database: &mut IndexedDatabase) -> Vec<Vec<u8>> {
    let records = find(database, query(None, Direction::Next)).into_iter();
    let parts = records.flat_map(|record| record.value.unwrap().blobs);
    parts.map(|part| part.contents.read_all().unwrap()).collect()
}

fn first_file(database: &mut IndexedDatabase) -> Arc<BlobFile> {
    let record = find(database, query(None, Direction::Next)).remove(0);
    match record.value.unwrap().blobs.remove(0).contents {
        BlobContents::File(file) => file,
        other => panic!("{other:?} is not in a file"),
    }
}

/// A state folder as a crash at this moment would leave it.
fn crashed(state: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let (path, to) = {
                let entry = entry.unwrap();
                (entry.path(), to.join(entry.file_name()))
            };
            if path.is_dir() {
                copy(&path, &to);
            } else {
                fs::copy(&path, &to).unwrap();
            }
        }
    }
    let left = tempfile::tempdir().unwrap();
    copy(state, left.path());
    left
}

#[test]
fn large_contents_have_a_file_and_go_with_their_record() {
    let state = tempfile::tempdir().unwrap();
    let mut database = open(state.path(), "blobs");
    upgrade(&mut database, false);
    let before = database.bytes().unwrap();
    transact(&mut database, &[put_blob(1, vec![1; LARGE]), put_blob(2, vec![2; 10])]);
    assert_eq!(files(state.path()).len(), 1, "small contents are in their row");
    assert!(database.bytes().unwrap() >= before + LARGE as u64, "files count");
    let sizes = IndexedDbFolder::new(Some(state.path()), ORIGIN).sizes().unwrap();
    assert!(sizes.values().sum::<u64>() >= LARGE as u64, "files count when nobody has them open");

    drop(database);
    let mut database = open(state.path(), "blobs");
    assert_eq!(contents(&mut database), [vec![1; LARGE], vec![2; 10]]);
    transact(&mut database, &[put_blob(1, vec![3; LARGE])]);
    assert_eq!(contents(&mut database), [vec![3; LARGE], vec![2; 10]]);
    assert_eq!(files(state.path()).len(), 1, "what was there before is gone");
    transact(&mut database, &[delete(1)]);
    assert_eq!(files(state.path()), [] as [PathBuf; 0]);
    transact(&mut database, &[put_blob(3, vec![4; LARGE]), Operation::Clear(STORE)]);
    assert_eq!(files(state.path()), [] as [PathBuf; 0]);
    transact(&mut database, &[put_blob(3, vec![4; LARGE])]);
    drop(database);
    IndexedDbFolder::new(Some(state.path()), ORIGIN).delete(&units("blobs")).unwrap();
    assert_eq!(files(state.path()), [] as [PathBuf; 0]);
}

#[test]
fn what_is_taken_back_leaves_the_files_as_they_were() {
    let state = tempfile::tempdir().unwrap();
    let mut database = open(state.path(), "blobs");
    upgrade(&mut database, false);
    transact(&mut database, &[put_blob(1, vec![1; LARGE])]);
    let before = (files(state.path()), database.bytes().unwrap());
    database.begin(Durability::Strict).unwrap();
    for operation in [put_blob(1, vec![2; LARGE]), put_blob(2, vec![3; LARGE]), delete(1)] {
        database.execute(&operation).unwrap();
    }
    database.roll_back();
    assert_eq!((files(state.path()), database.bytes().unwrap()), before);
    assert_eq!(contents(&mut database), [vec![1; LARGE]]);
}

#[test]
fn a_file_stays_while_somebody_reads_it() {
    let state = tempfile::tempdir().unwrap();
    let folder = IndexedDbFolder::new(Some(state.path()), ORIGIN);
    let mut database = folder.open(&units("blobs")).unwrap();
    upgrade(&mut database, false);
    transact(&mut database, &[put_blob(1, vec![1; LARGE])]);
    let held = first_file(&mut database);
    let again = first_file(&mut database);
    transact(&mut database, &[delete(1)]);
    drop(database);
    // Whoever opens the database meanwhile removes what crashes have left, and not this.
    let mut database = folder.open(&units("blobs")).unwrap();
    drop(again);
    assert_eq!(held.read(7, 3).unwrap(), [1; 3]);
    transact(&mut database, &[put_blob(1, vec![2; LARGE])]);
    assert_eq!(held.read(0, LARGE).unwrap(), vec![1; LARGE]);
    drop(held);
    assert_eq!(contents(&mut database), [vec![2; LARGE]]);
    assert_eq!(files(state.path()).len(), 1);
}

#[test]
fn a_crash_leaves_no_orphan_and_no_row_without_its_file() {
    let state = tempfile::tempdir().unwrap();
    let mut database = open(state.path(), "blobs");
    upgrade(&mut database, false);
    transact(&mut database, &[put_blob(1, vec![1; LARGE])]);

    // (the folder as a crash leaves it, what is to be found in it)
    let mut crashes = Vec::new();
    let mut crash = |expected: &[u8]| crashes.push((crashed(state.path()), expected.to_vec()));
    crash(&[1]);
    database.begin(Durability::Strict).unwrap();
    crash(&[1]);
    for (operation, _) in [(put_blob(2, vec![2; LARGE]), 0), (delete(1), 0)] {
        database.execute(&operation).unwrap();
        crash(&[1]);
    }
    database.commit().unwrap();
    crash(&[2]);
    database.begin(Durability::Strict).unwrap();
    database.execute(&put_blob(2, vec![3; LARGE])).unwrap();
    crash(&[2]);
    database.roll_back();
    crash(&[2]);

    for (step, (left, expected)) in crashes.into_iter().enumerate() {
        let mut database = open(left.path(), "blobs");
        let expected: Vec<_> = expected.iter().map(|byte| vec![*byte; LARGE]).collect();
        assert_eq!(contents(&mut database), expected, "after step {step}");
        assert_eq!(files(left.path()).len(), expected.len(), "after step {step}");
        // And it goes on from there.
        transact(&mut database, &[put_blob(9, vec![9; LARGE])]);
        assert_eq!(files(left.path()).len(), expected.len() + 1, "after step {step}");
    }
}

#[test]
fn files_that_a_crash_left_behind_a_commit_are_removed() {
    let state = tempfile::tempdir().unwrap();
    let mut database = open(state.path(), "blobs");
    upgrade(&mut database, false);
    transact(&mut database, &[put_blob(1, vec![1; LARGE])]);
    // Committed as deleted, and not removed because somebody reads it: then the crash.
    let held = first_file(&mut database);
    transact(&mut database, &[delete(1)]);
    let left = crashed(state.path());
    assert_eq!(files(left.path()).len(), 1);
    assert_eq!(contents(&mut open(left.path(), "blobs")), [] as [Vec<u8>; 0]);
    assert_eq!(files(left.path()), [] as [PathBuf; 0]);
    drop(held);
    assert_eq!(files(state.path()), [] as [PathBuf; 0]);
}

#[test]
fn a_file_that_is_gone_or_cut_short_is_told() {
    let state = tempfile::tempdir().unwrap();
    let mut database = open(state.path(), "blobs");
    upgrade(&mut database, false);
    transact(&mut database, &[put_blob(1, vec![1; LARGE]), put_blob(2, vec![2; 10])]);
    let file = files(state.path()).remove(0);
    let all = Operation::Retrieve(query(None, Direction::Next));
    fs::write(&file, [1; 100]).unwrap();
    assert!(matches!(database.execute(&all), Err(IndexedDbError::BlobGone)));
    fs::remove_file(&file).unwrap();
    assert!(matches!(database.execute(&all), Err(IndexedDbError::BlobGone)));
    // The record can be deleted all the same.
    transact(&mut database, &[delete(1)]);
    assert_eq!(contents(&mut database), [[2; 10]]);
}

#[test]
fn a_file_beyond_the_quota_is_refused_before_it_is_written() {
    let state = tempfile::tempdir().unwrap();
    let mut database = open(state.path(), "blobs");
    upgrade(&mut database, false);
    let limit = database.bytes().unwrap() + 3 * LARGE as u64 / 2;
    database.limit(limit).unwrap();
    transact(&mut database, &[put_blob(1, vec![1; LARGE])]);
    database.begin(Durability::Strict).unwrap();
    let refused = database.execute(&put_blob(2, vec![2; LARGE]));
    let Err(IndexedDbError::Store(StoreError::QuotaExceeded { quota_bytes, .. })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(quota_bytes, limit);
    database.roll_back();
    assert_eq!(files(state.path()).len(), 1);
    // What is replaced makes room.
    transact(&mut database, &[delete(1), put_blob(2, vec![2; LARGE])]);
    assert_eq!(contents(&mut database), [vec![2; LARGE]]);
}

#[test]
fn files_whose_database_is_gone_are_swept_and_those_of_one_set_aside_are_kept() {
    let state = tempfile::tempdir().unwrap();
    let folder = IndexedDbFolder::new(Some(state.path()), ORIGIN);
    for name in ["gone", "damaged", "sound"] {
        let mut database = open(state.path(), name);
        upgrade(&mut database, false);
        transact(&mut database, &[put_blob(1, vec![1; LARGE])]);
    }
    let origin = fs::read_dir(state.path().join("indexed_db")).unwrap().next().unwrap().unwrap();
    let path = |name: &str| origin.path().join(IndexedDbFolder::file_name(&units(name)));
    // A crash in the middle of a deletion; and a file that is no database any more.
    fs::remove_file(path("gone")).unwrap();
    fs::write(path("damaged"), [0xa5; 4096]).unwrap();
    folder.open(&units("damaged")).unwrap_err();
    IndexedDbFolder::sweep(state.path(), |_| true).unwrap();
    let mut folders: Vec<_> = files(state.path()).into_iter().collect();
    folders.iter_mut().for_each(|file| {
        file.pop();
    });
    let mut expected = [path("damaged").with_extension("damaged-1.blobs"), path("sound")];
    expected[1].set_extension("blobs");
    expected.sort();
    assert_eq!(folders, expected);
}
