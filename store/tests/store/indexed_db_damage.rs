//! Databases whose files are cut short, or have other bytes than were written.

use std::fs;
use std::path::{Path, PathBuf};

use kittiwake_store::StoreError;
use kittiwake_store::indexed_db::{
    Direction, Durability, IndexedDatabase, IndexedDbError, IndexedDbFolder, Operation, Outcome,
    Record,
};

use crate::indexed_db::{INDEX, ORIGIN, number, open, put, query, units, upgrade};

const RECORDS: i32 = 300;

fn folder(state: &Path) -> IndexedDbFolder {
    IndexedDbFolder::new(Some(state), ORIGIN)
}

/// A database with records of one transaction each hundred.
fn fill(database: &mut IndexedDatabase) {
    upgrade(database, false);
    for first in (0..RECORDS).step_by(100) {
        database.begin(Durability::Strict).unwrap();
        for record in first..first + 100 {
            let value = format!("{record} {}", "x".repeat(300));
            let keys = [number(record % 7)];
            database.execute(&put(Some(number(record)), &value, &keys, false)).unwrap();
        }
        database.commit().unwrap();
    }
}

/// A state folder with a database that was closed well, and another.
fn state_with_two() -> (tempfile::TempDir, PathBuf) {
    let state = tempfile::tempdir().unwrap();
    for name in ["damaged", "sound"] {
        fill(&mut open(state.path(), name));
    }
    let path = state.path().join("indexed_db");
    let origin = fs::read_dir(path).unwrap().next().unwrap().unwrap().path();
    let path = origin.join(IndexedDbFolder::file_name(&units("damaged")));
    (state, path)
}

/// Everything that can be read: by key, and by an index.
fn read_all(state: &Path) -> Result<Vec<Record>, IndexedDbError> {
    let mut database = folder(state).open(&units("damaged"))?;
    database.metadata()?;
    let mut all = Vec::new();
    for source in [None, Some(INDEX)] {
        match database.execute(&Operation::Retrieve(query(source, Direction::Next)))? {
            Outcome::Found(found) => all.extend(found),
            other => panic!("{other:?}"),
        }
    }
    Ok(all)
}

/// Numbers that are the same in each run.
fn numbers(mut seed: u64) -> impl Iterator<Item = usize> {
    std::iter::repeat_with(move || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize
    })
}

fn is_told(error: &IndexedDbError) -> bool {
    match error {
        IndexedDbError::Store(StoreError::SetAside { .. }) => true,
        // Cut to nothing it is a new database; a mark of another program's is one bit away.
        IndexedDbError::Store(StoreError::ForeignDatabase { .. }) => true,
        IndexedDbError::Store(StoreError::NewerSchema { .. }) => true,
        error => error.is_damage(),
    }
}

#[test]
fn a_damaged_file_is_set_aside_with_its_bytes_and_others_are_untouched() {
    let (state, path) = state_with_two();
    let sound = fs::read(path.with_file_name(IndexedDbFolder::file_name(&units("sound")))).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[..200].fill(0xa5);
    fs::write(&path, &bytes).unwrap();

    let error = folder(state.path()).open(&units("damaged")).unwrap_err();
    let IndexedDbError::Store(StoreError::SetAside { database, aside, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!(*database, path);
    assert_eq!(*aside, path.with_extension("damaged-1"));
    assert_eq!(fs::read(aside).unwrap(), bytes);
    let folder = folder(state.path());
    assert_eq!(folder.open(&units("damaged")).unwrap().metadata().unwrap().version, 0);
    assert_eq!(folder.open(&units("sound")).unwrap().metadata().unwrap().version, 1);
    let path = path.with_file_name(IndexedDbFolder::file_name(&units("sound")));
    assert_eq!(fs::read(path).unwrap(), sound);
}

#[test]
fn a_file_cut_short_is_told_wherever_it_is_cut() {
    let (state, path) = state_with_two();
    let bytes = fs::read(&path).unwrap();
    for length in numbers(1).take(60).map(|number| 1 + number % (bytes.len() - 1)) {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = read_all(state.path()).expect_err("it is not whole");
        assert!(is_told(&error), "cut to {length} bytes: {error}");
        let _ = fs::remove_file(&path);
    }
}

#[test]
fn a_flipped_bit_is_told_or_makes_no_difference() {
    let (state, path) = state_with_two();
    let bytes = fs::read(&path).unwrap();
    let expected = read_all(state.path()).unwrap();
    assert_eq!(expected.len(), 2 * RECORDS as usize);
    let mut told = 0;
    // The header bit by bit, and bits all over the pages.
    let header = (0..100 * 8).step_by(3);
    let pages = numbers(2).take(400).map(|number| number % (bytes.len() * 8));
    for bit in header.chain(pages) {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &damaged).unwrap();
        match read_all(state.path()) {
            Ok(found) => {
                let values = |records: &[Record]| -> Vec<_> {
                    let all = records.iter();
                    all.map(|each| each.value.as_ref().unwrap().bytes.clone()).collect()
                };
                // Each value that is found is one that was written.
                let known = values(&expected);
                let foreign = values(&found).into_iter().find(|value| !known.contains(value));
                assert_eq!(foreign, None, "bit {bit} of byte {}", bit / 8);
            }
            Err(error) => {
                told += 1;
                assert!(is_told(&error), "bit {bit}: {error}");
            }
        }
        for left in fs::read_dir(path.parent().unwrap()).unwrap() {
            let left = left.unwrap().path();
            if left.to_string_lossy().contains("damaged-")
                || left.to_string_lossy().contains("-wal")
            {
                fs::remove_file(left).unwrap();
            }
        }
    }
    assert!(told > 200, "too little was noticed: {told}");
}

#[test]
fn a_damaged_log_leaves_an_earlier_state_and_never_a_mixture() {
    let (state, path) = state_with_two();
    fs::remove_file(&path).unwrap();
    let mut database = open(state.path(), "damaged");
    fill(&mut database);
    // As a crash leaves them: the log is not part of the database yet.
    let mut log = path.clone().into_os_string();
    log.push("-wal");
    let log = PathBuf::from(log);
    let (file, logged) = (fs::read(&path).unwrap(), fs::read(&log).unwrap());
    assert!(logged.len() > 10_000, "the log has the records");
    drop(database);
    for bit in numbers(3).take(150).map(|number| number % (logged.len() * 8)) {
        let mut damaged = logged.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &file).unwrap();
        fs::write(&log, &damaged).unwrap();
        match read_all(state.path()) {
            Ok(found) => {
                let records = found.len() as i32 / 2;
                assert!(records % 100 == 0 && records <= RECORDS, "bit {bit}: {records} records");
            }
            Err(error) => assert!(is_told(&error), "bit {bit}: {error}"),
        }
    }
}

#[test]
fn a_database_of_the_first_version_is_read_and_written() {
    let state = tempfile::tempdir().unwrap();
    fill(&mut open(state.path(), "damaged"));
    let origin = fs::read_dir(state.path().join("indexed_db")).unwrap().next().unwrap().unwrap();
    let path = origin.path().join(IndexedDbFolder::file_name(&units("damaged")));
    let connection = rusqlite::Connection::open(&path).unwrap();
    let first = "DROP INDEX blob_files; ALTER TABLE blob_parts DROP COLUMN file;
                 ALTER TABLE blob_parts DROP COLUMN size; ALTER TABLE records DROP COLUMN checksum;
                 PRAGMA user_version = 1;";
    connection.execute_batch(first).unwrap();
    drop(connection);
    assert_eq!(read_all(state.path()).unwrap().len(), 2 * RECORDS as usize);
    let mut database = open(state.path(), "damaged");
    database.begin(Durability::Strict).unwrap();
    database.execute(&put(Some(number(1)), "new", &[number(1)], false)).unwrap();
    database.commit().unwrap();
    drop(database);
    let found = read_all(state.path()).unwrap();
    assert_eq!(found[1].value.as_ref().unwrap().bytes, b"new");
}
