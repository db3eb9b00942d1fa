//! Storage buckets: apart, counted together, and deleted whole.

use kittiwake_store::indexed_db::{Durability, IndexedDbFolder, Operation};
use kittiwake_store::{BucketId, StorageBucket, Store, StoreError, parse_storage_key};

const ORIGIN: &str = "https://app.test";

fn bucket(store: &Store, name: &str) -> StorageBucket {
    let bucket = StorageBucket {
        id: BucketId(0),
        origin: ORIGIN.into(),
        name: name.into(),
        persisted: false,
        quota_bytes: Some(5_000),
        expires_at_ms: None,
    };
    store.bucket_create(bucket).unwrap()
}

#[test]
fn a_bucket_is_kept_and_never_has_the_key_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut first = bucket(&store, "first");
    first.persisted = true;
    first.expires_at_ms = Some(7);
    store.bucket_change(&first).unwrap();
    let key = first.storage_key();
    assert_eq!(parse_storage_key(&key), (ORIGIN, Some(first.id)));
    assert_eq!(parse_storage_key(ORIGIN), (ORIGIN, None));
    drop(store);

    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.buckets().unwrap(), [first.clone()]);
    store.bucket_delete(&first).unwrap();
    assert_ne!(bucket(&store, "first").storage_key(), key);
}

#[test]
fn caches_of_a_bucket_count_for_it_and_go_with_it() {
    let store = Store::in_memory().unwrap();
    let (first, second) = (bucket(&store, "first"), bucket(&store, "second"));
    let open = |bucket: &StorageBucket, name: usize| {
        store.cache_open(&bucket.storage_key(), &vec![0; name], |_| 1_000)
    };
    // The name counts, with 128 bytes for the row.
    open(&first, 400).unwrap();
    let error = open(&first, 1).unwrap_err();
    assert!(matches!(error, StoreError::QuotaExceeded { quota_bytes: 1_000, .. }), "{error}");
    open(&second, 2).unwrap();

    store.bucket_delete(&first).unwrap();
    assert_eq!(store.cache_usage(&first.storage_key()).unwrap(), 0);
    assert_eq!(store.cache_names(&second.storage_key()).unwrap().len(), 1);
}

#[test]
fn databases_whose_bucket_is_gone_are_removed_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let create = |key: &str| {
        let databases = IndexedDbFolder::new(Some(folder.path()), key);
        let mut database = databases.open(&[u16::from(b'a')]).unwrap();
        database.begin(Durability::Strict).unwrap();
        database.execute(&Operation::SetVersion(1)).unwrap();
        database.commit().unwrap();
        assert!(database.bytes().unwrap() > 0);
        databases
    };
    let (kept, gone) = (create(ORIGIN), create("https://app.test^1"));
    IndexedDbFolder::sweep(folder.path(), |key| !key.contains('^')).unwrap();
    assert_eq!((kept.sizes().unwrap().len(), gone.sizes().unwrap().len()), (1, 0));
    let left = IndexedDbFolder::list_all(folder.path());
    let left: Vec<_> = left.into_iter().map(|file| file.unwrap().origin).collect();
    assert_eq!(left, [ORIGIN]);
    kept.delete_all().unwrap();
    gone.delete_all().unwrap();
    assert_eq!(folder.path().join("indexed_db").read_dir().unwrap().count(), 0);
}
