//! IndexedDB's engine: what a transaction reads, what lasts, and what is taken back.

use std::path::Path;
use std::slice::from_ref;
use std::sync::Arc;

use kittiwake_store::indexed_db::{
    BlobContents, BlobPart, CursorFrom, Direction, Durability, IndexKeys, IndexMetadata,
    IndexedDatabase, IndexedDbError, IndexedDbFolder, Key, NewBlobPart, Operation, Outcome, Put,
    Query, Range, Record, Retrieved, Source,
};

pub(crate) const ORIGIN: &str = "https://app.test";
pub(crate) const STORE: u32 = 1;
pub(crate) const INDEX: u32 = 1;

pub(crate) fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

pub(crate) fn number(number: impl Into<f64>) -> Key {
    Key::Number(number.into())
}

pub(crate) fn open(state: &Path, name: &str) -> IndexedDatabase {
    IndexedDbFolder::new(Some(state), ORIGIN).open(&units(name)).unwrap()
}

/// Upgrades to version 1, with an object store that has a key generator and an index.
pub(crate) fn upgrade(database: &mut IndexedDatabase, unique: bool) {
    let name = units("by");
    let key_path = r#""by""#.to_owned();
    let index = IndexMetadata { id: INDEX, name, key_path, unique, multi_entry: true };
    let store = Operation::CreateObjectStore {
        id: STORE,
        name: units("store"),
        key_path: "null".to_owned(),
        auto_increment: true,
    };
    let index = Operation::CreateIndex { object_store: STORE, index };
    database.begin(Durability::Strict).unwrap();
    for operation in [Operation::SetVersion(1), store, index] {
        database.execute(&operation).unwrap();
    }
    database.commit().unwrap();
}

pub(crate) fn put(key: Option<Key>, value: &str, keys: &[Key], unique: bool) -> Operation {
    Operation::Put(Put {
        object_store: STORE,
        key,
        value: value.as_bytes().to_vec(),
        blobs: vec![],
        indexes: vec![IndexKeys { index: INDEX, unique, keys: keys.to_vec() }],
        overwrite: true,
    })
}

pub(crate) fn query(index: Option<u32>, direction: Direction) -> Query {
    Query {
        source: Source { object_store: STORE, index },
        range: Range::default(),
        direction,
        from: None,
        skip: 0,
        limit: None,
        enough: None,
        retrieved: Retrieved::Records,
    }
}

pub(crate) fn find(database: &mut IndexedDatabase, query: Query) -> Vec<Record> {
    match database.execute(&Operation::Retrieve(query)).unwrap() {
        Outcome::Found(records) => records.into_iter().collect(),
        other => panic!("{other:?}"),
    }
}

fn values(database: &mut IndexedDatabase, query: Query) -> Vec<String> {
    let records = find(database, query).into_iter();
    let text = |record: Record| String::from_utf8(record.value.expect("it was asked for").bytes);
    records.map(|record| text(record).unwrap()).collect()
}

#[test]
fn what_is_committed_is_there_again_and_what_is_not_is_not() {
    let state = tempfile::tempdir().unwrap();
    let mut database = open(state.path(), "mail");
    assert_eq!(database.metadata().unwrap().version, 0);
    upgrade(&mut database, false);
    database.begin(Durability::Strict).unwrap();
    let first = database.execute(&put(None, "first", &[], false)).unwrap();
    assert_eq!(first, Outcome::Stored(number(1)));
    database.commit().unwrap();
    database.begin(Durability::Relaxed).unwrap();
    let second = database.execute(&put(None, "second", &[], false)).unwrap();
    assert_eq!(second, Outcome::Stored(number(2)));
    drop(database);

    let mut database = open(state.path(), "mail");
    let metadata = database.metadata().unwrap();
    assert_eq!((metadata.version, metadata.next_object_store, metadata.next_index), (1, 2, 2));
    assert_eq!(metadata.object_stores[0].indexes[0].name, units("by"));
    assert_eq!(values(&mut database, query(None, Direction::Next)), ["first"]);
    database.begin(Durability::Strict).unwrap();
    // The generator's number was taken back too.
    let again = database.execute(&put(None, "again", &[], false)).unwrap();
    assert_eq!(again, Outcome::Stored(number(2)));
}

#[test]
fn an_index_follows_its_records() {
    let mut database = IndexedDbFolder::new(None, ORIGIN).open(&units("memory")).unwrap();
    upgrade(&mut database, false);
    database.begin(Durability::Strict).unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|text| Key::String(units(text)));
    database.execute(&put(None, "1", &[a.clone(), b.clone()], false)).unwrap();
    database.execute(&put(None, "2", from_ref(&b), false)).unwrap();
    database.execute(&put(None, "3", &[c.clone(), a.clone()], false)).unwrap();
    let by = |direction| query(Some(INDEX), direction);
    assert_eq!(values(&mut database, by(Direction::Next)), ["1", "3", "1", "2", "3"]);
    assert_eq!(values(&mut database, by(Direction::Prev)), ["3", "2", "1", "3", "1"]);
    assert_eq!(values(&mut database, by(Direction::NextUnique)), ["1", "1", "3"]);
    assert_eq!(values(&mut database, by(Direction::PrevUnique)), ["3", "1", "1"]);

    let past = CursorFrom::PastEntry(b.clone(), number(1));
    let rest = Query { from: Some(past), limit: Some(1), ..by(Direction::Next) };
    assert_eq!(values(&mut database, rest), ["2"]);
    for direction in [Direction::Prev, Direction::PrevUnique] {
        let large = Query { enough: Some(1), ..by(direction) };
        assert_eq!(values(&mut database, large), ["3"], "there is always a first one");
    }
    let range = Range { lower: Some(a.clone()), lower_open: true, ..Range::default() };
    assert_eq!(values(&mut database, Query { range, ..by(Direction::Next) }), ["1", "2", "3"]);

    database.execute(&put(Some(number(1)), "one", from_ref(&c), false)).unwrap();
    assert_eq!(values(&mut database, by(Direction::Next)), ["3", "2", "one", "3"]);
    let range = Range { lower: Some(number(3)), ..Range::default() };
    database.execute(&Operation::Delete { object_store: STORE, range }).unwrap();
    assert_eq!(values(&mut database, by(Direction::Next)), ["2", "one"]);
    database.execute(&Operation::Clear(STORE)).unwrap();
    assert_eq!(values(&mut database, by(Direction::Next)), [""; 0]);
}

#[test]
fn a_step_that_is_refused_changes_nothing_and_the_transaction_goes_on() {
    let mut database = IndexedDbFolder::new(None, ORIGIN).open(&units("memory")).unwrap();
    upgrade(&mut database, true);
    database.begin(Durability::Strict).unwrap();
    let [a, b] = ["a", "b"].map(|text| Key::String(units(text)));
    database.execute(&put(None, "1", from_ref(&a), true)).unwrap();
    let error = database.execute(&put(None, "2", &[b.clone(), a.clone()], true)).unwrap_err();
    assert!(matches!(error, IndexedDbError::Constraint(_)), "{error}");
    // The same record may keep its key.
    database.execute(&put(Some(number(1)), "one", &[a], true)).unwrap();
    let stored = database.execute(&put(None, "two", &[b], true)).unwrap();
    assert_eq!(stored, Outcome::Stored(number(2)));
    assert_eq!(values(&mut database, query(Some(INDEX), Direction::Next)), ["one", "two"]);
}

#[test]
fn blobs_go_with_their_record() {
    let mut database = IndexedDbFolder::new(None, ORIGIN).open(&units("memory")).unwrap();
    upgrade(&mut database, false);
    database.begin(Durability::Strict).unwrap();
    let blob = |part: &str| NewBlobPart {
        part: part.to_owned(),
        source: Arc::new(part.as_bytes().to_vec()),
    };
    let stored = |part: &str| BlobPart {
        part: part.to_owned(),
        contents: BlobContents::Bytes(part.as_bytes().to_vec()),
    };
    for part in ["first", "second"] {
        let value = b"a blob".to_vec();
        let (blobs, indexes) = (vec![blob(part)], vec![]);
        let key = Some(number(1));
        let overwrite = true;
        let record = Put { object_store: STORE, key, value, blobs, indexes, overwrite };
        database.execute(&Operation::Put(record)).unwrap();
    }
    let found = find(&mut database, query(None, Direction::Next));
    assert_eq!(found[0].value.as_ref().unwrap().blobs, [stored("second")]);
    database.execute(&put(Some(number(1)), "none", &[], false)).unwrap();
    let found = find(&mut database, query(None, Direction::Next));
    assert_eq!(found[0].value.as_ref().unwrap().blobs, []);
}

#[test]
fn each_origin_and_each_name_has_its_own_file_and_lone_surrogates_are_names() {
    let state = tempfile::tempdir().unwrap();
    let names = [vec![], units("a"), vec![0xd800], vec![0xdc00], units("../a")];
    let other = IndexedDbFolder::new(Some(state.path()), "https://other.test");
    let own = IndexedDbFolder::new(Some(state.path()), ORIGIN);
    for name in &names {
        upgrade(&mut own.open(name).unwrap(), false);
        assert!(!other.has(name));
    }
    // Created and never upgraded: it does not exist for scripts.
    drop(own.open(&units("empty")).unwrap());
    let mut listed: Vec<_> = own.list(&[]).into_iter().map(|file| file.unwrap().name).collect();
    listed.sort();
    let mut sorted = names.to_vec();
    sorted.sort();
    assert_eq!(listed, sorted);
    assert_eq!(other.list(&[]).len(), 0);
    own.delete(&units("a")).unwrap();
    assert!(!own.has(&units("a")));
    assert_eq!(IndexedDbFolder::list_all(state.path()).len(), names.len() - 1);
}
