//! Opening a state folder, and everything that is refused.
//! Invariant: each refusal names the place and a remedy, and leaves every byte but the lock file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kittiwake_store::{DATABASE_FILE, LockHolder, PushSubscription, Store, StoreError, SyncPolicy};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::activated;

/// Every file of a folder but the lock file, with its bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "lock")
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

/// What the disk holds at this moment, without the checkpoint of a clean close.
fn copy_files(from: &Path, to: &Path) {
    for (name, bytes) in files(from) {
        fs::write(to.join(name), bytes).unwrap();
    }
}

/// Opens a folder that must be refused without a change.
fn refusal(folder: &Path) -> StoreError {
    let before = files(folder);
    let error = Store::open(folder).unwrap_err();
    // Not `assert_eq!`, which would print every byte.
    assert!(files(folder) == before, "a refused folder was changed: {error}");
    assert!(
        error.to_string().contains(folder.to_str().unwrap()),
        "{error}\ndoes not name {}",
        folder.display()
    );
    error
}

/// A folder with one registration, closed cleanly.
fn closed_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    activated(&Store::open(folder.path()).unwrap(), "https://app.test");
    folder
}

#[test]
fn a_missing_folder_is_made_with_its_parents() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("var/lib/kittiwake");
    let store = Store::open(&folder).unwrap();
    assert_eq!(store.registrations().unwrap(), []);
    assert!(folder.join(DATABASE_FILE).is_file());
}

#[test]
fn a_closed_folder_opens_with_what_was_in_it() {
    let folder = closed_folder();
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.registrations().unwrap()[0].scope, "https://app.test/");
}

#[test]
fn a_process_that_died_leaves_every_committed_change() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let registration = activated(&store, "https://app.test");
    store.sync_register(registration, "outbox", &SyncPolicy::default(), 0).unwrap();
    let disk = tempfile::tempdir().unwrap();
    copy_files(folder.path(), disk.path());
    std::mem::forget(store);

    let store = Store::open(disk.path()).unwrap();
    assert_eq!(store.sync_tags(registration).unwrap(), ["outbox"]);
}

#[test]
fn a_process_that_died_while_it_made_the_database_leaves_a_folder_that_opens() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(DATABASE_FILE), b"").unwrap();
    Store::open(folder.path()).unwrap();

    // Half a first page, and the journal that says that the file was empty before.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(DATABASE_FILE), [0; 512]).unwrap();
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    for field in [0_u32, 7, 0, 512, 4096] {
        journal.extend(field.to_be_bytes());
    }
    journal.resize(512, 0);
    fs::write(folder.path().join(format!("{DATABASE_FILE}-journal")), journal).unwrap();
    let store = Store::open(folder.path()).unwrap();
    activated(&store, "https://app.test");
}

#[test]
fn a_second_opener_is_told_who_has_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = Store::open(folder.path()).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    let StoreError::Locked { holder, .. } = &error else { panic!("{error}") };
    assert_eq!(*holder, LockHolder::Process(std::process::id()));
    assert_eq!(
        error.to_string(),
        format!(
            "state folder {} is in use by process {}: \
             stop that one, or choose another state folder",
            folder.path().display(),
            std::process::id()
        )
    );
    activated(&first, "https://app.test");
    drop(first);
    assert_eq!(Store::open(folder.path()).unwrap().registrations().unwrap().len(), 1);
}

#[test]
fn a_stray_tool_in_the_database_is_reported_as_a_lock() {
    let folder = closed_folder();
    let stray = Connection::open(folder.path().join(DATABASE_FILE)).unwrap();
    stray.execute_batch("BEGIN; SELECT count(*) FROM registrations").unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(&error, StoreError::Locked { holder: LockHolder::Unknown, .. }), "{error}");
}

#[test]
fn a_file_in_place_of_the_folder_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("state");
    fs::write(&folder, "a file").unwrap();
    let error = Store::open(&folder).unwrap_err();
    assert!(matches!(&error, StoreError::NotAFolder { .. }), "{error}");
    assert_eq!(fs::read(&folder).unwrap(), b"a file");

    let below = folder.join("below");
    let error = Store::open(&below).unwrap_err();
    assert!(matches!(&error, StoreError::FolderUnusable { .. }), "{error}");
    assert!(error.to_string().contains(below.to_str().unwrap()), "{error}");
}

/// Root may write everywhere else, and tests may run as root.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let error = Store::open(Path::new("/proc/self")).unwrap_err();
    assert!(matches!(&error, StoreError::FolderUnusable { .. }), "{error}");
    assert!(error.to_string().starts_with("state folder /proc/self cannot be used ("), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(DATABASE_FILE), "dear diary, ".repeat(100)).unwrap();
    let error = refusal(folder.path());
    assert!(matches!(&error, StoreError::NotADatabase { .. }), "{error}");
}

#[test]
fn a_folder_in_place_of_the_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join(DATABASE_FILE);
    fs::create_dir(&database).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(&error, StoreError::DatabaseUnusable { .. }), "{error}");
    assert!(error.to_string().contains(database.to_str().unwrap()), "{error}");
}

#[test]
fn a_database_of_another_program_is_refused() {
    for application_id in [0, 0x0f05_5112] {
        let folder = tempfile::tempdir().unwrap();
        let foreign = Connection::open(folder.path().join(DATABASE_FILE)).unwrap();
        foreign.pragma_update(None, "application_id", application_id).unwrap();
        foreign.execute_batch("CREATE TABLE notes (text)").unwrap();
        drop(foreign);
        let error = refusal(folder.path());
        let StoreError::ForeignDatabase { application_id: found, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(*found, application_id);
    }
}

/// SQLite would move a foreign log into its database and delete it, only to tell whose it is.
#[test]
fn the_unfinished_business_of_another_program_is_left_to_it() {
    let its_folder = tempfile::tempdir().unwrap();
    let foreign = Connection::open(its_folder.path().join(DATABASE_FILE)).unwrap();
    foreign.pragma_update(None, "journal_mode", "WAL").unwrap();
    foreign.execute_batch("CREATE TABLE notes (text)").unwrap();

    let folder = tempfile::tempdir().unwrap();
    copy_files(its_folder.path(), folder.path());
    assert!(folder.path().join(format!("{DATABASE_FILE}-wal")).exists());
    let error = refusal(folder.path());
    assert!(matches!(&error, StoreError::ForeignDatabase { .. }), "{error}");
}

#[test]
fn a_database_of_a_later_kittiwake_is_refused() {
    let closed = closed_folder();
    let later = Connection::open(closed.path().join(DATABASE_FILE)).unwrap();
    later.pragma_update(None, "user_version", 1_000).unwrap();
    // It died, so that only its log tells the version.
    let died = tempfile::tempdir().unwrap();
    copy_files(closed.path(), died.path());
    drop(later);
    for folder in [closed, died] {
        let error = refusal(folder.path());
        let newer = matches!(&error, StoreError::NewerSchema { found: 1_000, .. });
        assert!(newer, "{error}");
    }
}

#[test]
fn a_damaged_schema_is_refused_at_the_start() {
    let folder = closed_folder();
    let database = folder.path().join(DATABASE_FILE);
    let mut bytes = fs::read(&database).unwrap();
    bytes[100..4096].fill(0xff);
    fs::write(&database, bytes).unwrap();
    let error = refusal(folder.path());
    assert!(matches!(&error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("restore the state folder from a backup"), "{error}");
}

#[test]
fn damage_further_in_is_reported_by_the_call_that_meets_it() {
    let folder = closed_folder();
    let database = folder.path().join(DATABASE_FILE);
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'registrations'";
    let connection = Connection::open(&database).unwrap();
    let page: u32 = connection.query_row(root, [], |row| row.get(0)).unwrap();
    drop(connection);
    let page = page as usize;
    let mut bytes = fs::read(&database).unwrap();
    bytes[(page - 1) * 4096..page * 4096].fill(0xff);
    fs::write(&database, bytes).unwrap();
    let store = Store::open(folder.path()).unwrap();
    let error = store.registrations().unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn a_folder_of_the_first_schema_is_upgraded_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let first = Connection::open(folder.path().join(DATABASE_FILE)).unwrap();
    first.execute_batch(include_str!("../../schema.sql")).unwrap();
    first.pragma_update(None, "application_id", i32::from_be_bytes(*b"KTWK")).unwrap();
    first.pragma_update(None, "user_version", 1).unwrap();
    first
        .execute_batch(
            "INSERT INTO registrations (origin, scope, update_via_cache) \
                VALUES ('https://app.test', 'https://app.test/', 'imports'); \
             INSERT INTO versions (registration_id, script_url, script_type, state) \
                VALUES (1, 'https://app.test/sw.js', 'classic', 'activated'); \
             INSERT INTO sync_registrations \
                VALUES (1, 'outbox', 'pending', 0, NULL, 0);",
        )
        .unwrap();
    drop(first);

    let store = Store::open(folder.path()).unwrap();
    let registrations = store.registrations().unwrap();
    assert_eq!(registrations[0].scope, "https://app.test/");
    assert!(!registrations[0].preload.enabled);
    assert_eq!(registrations[0].active.as_ref().unwrap().router_rules, "[]");
    assert_eq!(store.sync_tags(registrations[0].id).unwrap(), ["outbox"]);
    store.cache_open("https://app.test", &[], |_| 1_000).unwrap();
    let subscription = PushSubscription {
        registration: registrations[0].id,
        token: "token".to_owned(),
        application_server_key: vec![4; 65],
        private_key: vec![1; 32],
        auth: vec![2; 16],
    };
    store.push_subscribe(&subscription).unwrap();
    assert_eq!(store.push_subscription_by_token("token").unwrap(), Some(subscription));
    drop(store);
    assert_eq!(Store::open(folder.path()).unwrap().cache_names("https://app.test").unwrap(), [[]]);
}
