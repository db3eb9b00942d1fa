//! Background fetches on disk: what is begun is there until it has ended, with all that it keeps.
//! Invariant: at each point the state is opened anew, and says the same.

use std::path::Path;

use kittiwake_store::{
    BackgroundFetch, BackgroundFetchId, BackgroundFetchState, CacheEntry, EntryBody, EntryRequest,
    EntryResponse, NewBackgroundFetch, NewRecord, RecordResult, RegistrationId, ResponseType,
    Store, StoreError, outcome,
};

use crate::activated;

const ORIGIN: &str = "https://app.test";
const QUOTA: u64 = 1 << 20;

fn new(registration: RegistrationId, name: &str) -> NewBackgroundFetch {
    let request = |upload| NewRecord { request: r#"{"method":"GET"}"#.into(), upload };
    NewBackgroundFetch {
        registration,
        name: name.into(),
        title: "Title".into(),
        download_total: u64::MAX,
        upload_total: 2,
        requests: vec![request(EntryBody::Inline(b"up".into())), request(EntryBody::Null)],
    }
}

fn response(body: EntryBody) -> CacheEntry {
    CacheEntry {
        request: EntryRequest { url: "https://app.test/film".into(), headers: vec![] },
        vary: vec![],
        response: EntryResponse {
            response_type: ResponseType::Default,
            url_list: vec!["https://app.test/film".into()],
            status: 200,
            status_text: "OK".into(),
            headers: vec![("vary".into(), "accept".into())],
            body,
        },
    }
}

fn only(store: &Store) -> BackgroundFetch {
    let mut all = store.background_fetches().unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn file(store: &Store, bytes: &[u8]) -> EntryBody {
    let mut body = store.cache_new_body().unwrap();
    body.write(bytes).unwrap();
    body.finish().unwrap();
    let column = EntryBody::File { id: body.id(), size: bytes.len() as u64 };
    body.keep();
    column
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("caches")).map_or(0, |entries| entries.count())
}

#[test]
fn what_a_request_came_to_is_there_after_a_restart_and_its_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let registration = activated(&store, ORIGIN);
    let id = store.background_fetch_begin(&new(registration, "film"), QUOTA).unwrap();
    let body = file(&store, b"moving pictures");
    let entry = Some(response(body.clone()));
    store.background_fetch_complete(id, 1, RecordResult::Success, entry, QUOTA).unwrap();
    drop(store);

    let store = Store::open(folder.path()).unwrap();
    store.cache_recover().unwrap();
    let BackgroundFetch { name, download_total, state, records, .. } = only(&store);
    assert_eq!((name.as_str(), download_total), ("film", u64::MAX));
    assert_eq!(state, BackgroundFetchState::Active);
    assert_eq!([records[0].result, records[1].result], [None, Some(RecordResult::Success)]);
    assert_eq!((records[0].upload_bytes, records[1].response_bytes), (2, 15));
    assert_eq!(records[1].response_headers, [("vary".to_owned(), "accept".to_owned())]);
    assert_eq!(store.background_fetch_response(id, 1).unwrap().unwrap().body, body);
    assert_eq!(store.background_fetch_response(id, 0).unwrap(), None);
    let upload = store.background_fetch_upload(id, 0).unwrap();
    assert_eq!(upload, EntryBody::Inline(b"up".into()));
    assert_eq!(store.cache_names(ORIGIN).unwrap(), Vec::<Vec<u16>>::new(), "no script sees it");
    assert_eq!(files(folder.path()), 1);
}

#[test]
fn it_is_settled_once_and_goes_when_its_event_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let registration = activated(&store, ORIGIN);
    let id = store.background_fetch_begin(&new(registration, "film"), QUOTA).unwrap();
    let entry = Some(response(file(&store, b"film")));
    store.background_fetch_complete(id, 0, RecordResult::Success, entry, QUOTA).unwrap();
    assert!(store.background_fetch_settle(id, BackgroundFetchState::Aborted).unwrap());
    assert!(!store.background_fetch_settle(id, BackgroundFetchState::Success).unwrap());
    // The id is free again while the event of the first is to come.
    let second = store.background_fetch_begin(&new(registration, "film"), QUOTA).unwrap();
    assert_ne!(second, id);

    store.background_fetch_firing(id).unwrap();
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    let [first, _] = &store.background_fetches().unwrap()[..] else { panic!("there are two") };
    assert_eq!((first.state, first.interruptions), (BackgroundFetchState::Aborted, 1));
    store.background_fetch_firing(id).unwrap();
    store.background_fetch_hand_back(&[id]).unwrap();
    assert_eq!(store.background_fetches().unwrap()[0].interruptions, 1, "a graceful stop");

    assert_eq!(store.background_fetch_end(id).unwrap().len(), 1, "the file is the caller's");
    assert_eq!(only(&store).id, second);
    store.background_fetch_end(second).unwrap();
    assert_eq!(store.cache_usage(ORIGIN).unwrap(), 0);
}

#[test]
fn one_that_is_active_keeps_its_id_and_goes_with_its_registration() {
    let store = Store::in_memory().unwrap();
    let registration = activated(&store, ORIGIN);
    let id = store.background_fetch_begin(&new(registration, "film"), QUOTA).unwrap();
    store.background_fetch_begin(&new(registration, "film"), QUOTA).unwrap_err();
    let entry = Some(response(file(&store, b"film")));
    store.background_fetch_complete(id, 0, RecordResult::Success, entry, QUOTA).unwrap();
    assert_eq!(store.background_fetch_bodies(registration).unwrap().len(), 1);
    store.unregister(registration).unwrap();
    assert_eq!(store.background_fetches().unwrap(), []);
    assert_eq!(store.cache_usage(ORIGIN).unwrap(), 0);
}

#[test]
fn what_it_keeps_counts_against_the_quota() {
    let store = Store::in_memory().unwrap();
    let registration = activated(&store, ORIGIN);
    let refused = store.background_fetch_begin(&new(registration, "film"), 100).unwrap_err();
    assert!(matches!(refused, StoreError::QuotaExceeded { .. }), "{refused}");
    assert_eq!(store.background_fetches().unwrap(), []);

    let id = store.background_fetch_begin(&new(registration, "film"), QUOTA).unwrap();
    let quota = store.cache_usage(ORIGIN).unwrap() + 100;
    let entry = Some(response(EntryBody::Inline(vec![0; 100])));
    let refused = store.background_fetch_complete(id, 0, RecordResult::Success, entry, quota);
    assert!(matches!(refused.unwrap_err(), StoreError::QuotaExceeded { .. }));
    assert_eq!(only(&store).records[0].result, None);
    assert_eq!(store.background_fetch_response(BackgroundFetchId(99), 0).unwrap(), None);
}

#[test]
fn the_outcome_is_the_first_failure_unless_one_ended_them_all() {
    use RecordResult::*;
    let cases: [(&[Option<RecordResult>], Option<BackgroundFetchState>); 7] = [
        (&[Some(Success), Some(Success)], Some(BackgroundFetchState::Success)),
        (&[Some(Success), None], None),
        (&[Some(BadStatus), None], None),
        (&[Some(BadStatus), Some(FetchError)], Some(BackgroundFetchState::BadStatus)),
        (&[Some(FetchError), Some(BadStatus)], Some(BackgroundFetchState::FetchError)),
        (&[Some(BadStatus), Some(QuotaExceeded), None], Some(BackgroundFetchState::QuotaExceeded)),
        (
            &[Some(QuotaExceeded), Some(DownloadTotalExceeded), None],
            Some(BackgroundFetchState::DownloadTotalExceeded),
        ),
    ];
    for (results, state) in cases {
        assert_eq!(outcome(results), state, "{results:?}");
    }
}

#[test]
fn the_content_index_has_one_entry_of_each_id() {
    let store = Store::in_memory().unwrap();
    let registration = activated(&store, ORIGIN);
    for (id, description) in [("b", "old"), ("a", "first"), ("b", "new")] {
        store.content_add(registration, id, description).unwrap();
    }
    assert_eq!(store.contents(registration).unwrap(), ["first", "new"]);
    assert!(store.content_delete(registration, "a").unwrap());
    assert!(!store.content_delete(registration, "a").unwrap());
    store.unregister(registration).unwrap();
    assert_eq!(store.contents(registration).unwrap(), Vec::<String>::new());
}
