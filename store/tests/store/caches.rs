//! The Cache API on disk: what is put is found again, whole, by its own origin, within its quota.
//! Invariant: after any failure or crash no entry is half there and no body's file is left over.

use std::fs;
use std::path::Path;

use kittiwake_store::{
    BodyId, CacheEntry, CacheId, CacheQuery, CacheWrite, EntryBody, EntryRequest, EntryResponse,
    ResponseType, Store, StoreError,
};

const ORIGIN: &str = "https://app.test";
const QUOTA: u64 = 1 << 20;

fn name(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

fn open(store: &Store, text: &str) -> CacheId {
    store.cache_open(ORIGIN, &name(text), |_| QUOTA).unwrap()
}

fn request(url: &str, headers: &[(&str, &str)]) -> EntryRequest {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    EntryRequest { url: url.into(), headers: headers.collect() }
}

fn entry(url: &str, body: &str) -> CacheEntry {
    CacheEntry {
        request: request(url, &[]),
        vary: vec![],
        response: EntryResponse {
            response_type: ResponseType::Basic,
            url_list: vec!["https://app.test/old".into(), url.into()],
            status: 201,
            status_text: "Made: yes".into(),
            headers: vec![("x".into(), "a: b".into()), ("x".into(), "".into())],
            body: EntryBody::Inline(body.into()),
        },
    }
}

fn varying(headers: &[(&str, &str)], vary: &[&str], body: &str) -> CacheEntry {
    CacheEntry {
        request: request("https://app.test/", headers),
        vary: vary.iter().map(|name| name.to_string()).collect(),
        ..entry("https://app.test/", body)
    }
}

fn query(url: &str) -> CacheQuery {
    CacheQuery { request: request(url, &[]), ignore_search: false, ignore_vary: false }
}

fn put(store: &Store, cache: CacheId, entries: Vec<CacheEntry>) -> Result<Vec<BodyId>, StoreError> {
    store.cache_put_all(&[CacheWrite { cache, entries }], |_| QUOTA).unwrap().remove(0)
}

fn bodies(store: &Store, cache: CacheId, query: Option<&CacheQuery>) -> Vec<String> {
    let found = store.cache_match(cache, query, usize::MAX).unwrap();
    let text = |response: EntryResponse| match response.body {
        EntryBody::Inline(bytes) => String::from_utf8(bytes).unwrap(),
        other => panic!("{other:?}"),
    };
    found.into_iter().map(text).collect()
}

fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder.join("caches")) else { return vec![] };
    let mut names: Vec<_> =
        entries.map(|each| each.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn write_body(store: &Store, bytes: &[u8]) -> EntryBody {
    let mut body = store.cache_new_body().unwrap();
    let id = body.id();
    body.write(bytes).unwrap();
    body.finish().unwrap();
    body.keep();
    EntryBody::File { id, size: bytes.len() as u64 }
}

fn with_body(url: &str, body: EntryBody) -> CacheEntry {
    let mut entry = entry(url, "");
    entry.response.body = body;
    entry
}

#[test]
fn an_entry_is_found_as_it_was_put() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let cache = open(&store, "a");
    let whole = varying(&[("Accept", "*/*"), ("accept", "a:b")], &["accept"], "body");
    let null = with_body("https://app.test/null", EntryBody::Null);
    let empty = entry("https://app.test/empty#fragment", "");
    put(&store, cache, vec![whole.clone(), null.clone(), empty.clone()]).unwrap();
    drop(store);

    let store = Store::open(folder.path()).unwrap();
    store.cache_recover().unwrap();
    assert_eq!(open(&store, "a"), cache);
    let responses = store.cache_match(cache, None, usize::MAX).unwrap();
    let entries = [whole, null, empty];
    assert_eq!(responses, entries.clone().map(|entry| entry.response));
    let requests = store.cache_requests(cache, None).unwrap();
    assert_eq!(requests, entries.map(|entry| entry.request));
}

#[test]
fn a_url_matches_without_its_fragment_and_if_asked_without_its_query() {
    let store = Store::in_memory().unwrap();
    let cache = open(&store, "a");
    for url in ["/a", "/a?q", "/a#f", "/ab?q", "/a/b", "/A"] {
        put(&store, cache, vec![entry(&format!("{ORIGIN}{url}"), url)]).unwrap();
    }
    // The one with a fragment replaced the one without.
    assert_eq!(bodies(&store, cache, None), ["/a?q", "/a#f", "/ab?q", "/a/b", "/A"]);
    assert_eq!(bodies(&store, cache, Some(&query("https://app.test/a#other"))), ["/a#f"]);
    let ignoring = CacheQuery { ignore_search: true, ..query("https://app.test/a?x#y") };
    assert_eq!(bodies(&store, cache, Some(&ignoring)), ["/a?q", "/a#f"]);
    assert_eq!(store.cache_delete_entries(cache, &ignoring).unwrap().0, 2);
    assert_eq!(bodies(&store, cache, None), ["/ab?q", "/a/b", "/A"]);
}

#[test]
fn variants_of_a_response_live_beside_each_other() {
    let store = Store::in_memory().unwrap();
    let cache = open(&store, "a");
    let variant =
        |language, body| varying(&[("Accept-Language", language)], &["accept-language"], body);
    for (language, body) in [("de", "Hallo"), ("en", "Hello"), ("de", "Guten Tag")] {
        put(&store, cache, vec![variant(language, body)]).unwrap();
    }
    assert_eq!(bodies(&store, cache, None), ["Hello", "Guten Tag"]);
    let german = CacheQuery { request: variant("de", "").request, ..query("") };
    assert_eq!(bodies(&store, cache, Some(&german)), ["Guten Tag"]);
    assert!(bodies(&store, cache, Some(&query("https://app.test/"))).is_empty());
    let any = CacheQuery { ignore_vary: true, ..query("https://app.test/") };
    assert_eq!(bodies(&store, cache, Some(&any)), ["Hello", "Guten Tag"]);
}

#[test]
fn a_write_with_two_requests_that_answer_each_other_puts_nothing() {
    let store = Store::in_memory().unwrap();
    let cache = open(&store, "a");
    let [small, big] = ["small", "big"].map(|size| [("x-size", size), ("x-shape", "round")]);
    let by_shape = varying(&small, &["x-shape"], "");
    let by_size = varying(&big, &["x-size"], "");
    for entries in [vec![by_shape.clone(), by_size.clone()], vec![by_size, by_shape]] {
        let error = put(&store, cache, entries).unwrap_err();
        assert!(matches!(&error, StoreError::DuplicateRequests { .. }), "{error}");
    }
    assert!(bodies(&store, cache, None).is_empty());
    let differ = vec![varying(&small, &["x-size"], ""), varying(&big, &["x-size"], "")];
    put(&store, cache, differ).unwrap();
}

#[test]
fn caches_are_listed_in_the_order_of_their_creation_and_by_their_origin() {
    let store = Store::in_memory().unwrap();
    let names = [name("b"), name(""), vec![0xd800], name("a"), name("a\0"), name("\u{fffd}")];
    for each in &names {
        store.cache_open(ORIGIN, each, |_| QUOTA).unwrap();
    }
    let other = store.cache_open("https://other.test", &name("b"), |_| QUOTA).unwrap();
    assert_eq!(store.cache_names(ORIGIN).unwrap(), names);
    let own = open(&store, "b");
    assert_ne!(own, other);
    put(&store, other, vec![entry("https://app.test/", "theirs")]).unwrap();
    assert_eq!(store.cache_match_any(ORIGIN, &query("https://app.test/")).unwrap(), None);
    put(&store, open(&store, "a"), vec![entry("https://app.test/", "later")]).unwrap();
    put(&store, own, vec![entry("https://app.test/", "first")]).unwrap();
    let found = store.cache_match_any(ORIGIN, &query("https://app.test/")).unwrap().unwrap();
    assert_eq!(found.body, EntryBody::Inline(b"first".into()));
}

#[test]
fn a_cache_that_is_open_while_it_is_deleted_goes_on_without_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (first, body) = (open(&store, "a"), write_body(&store, b"large"));
    store.cache_forget_name(first).unwrap();
    assert!(store.cache_names(ORIGIN).unwrap().is_empty());
    put(&store, first, vec![with_body("https://app.test/", body)]).unwrap();
    let second = open(&store, "a");
    assert!(bodies(&store, second, None).is_empty());
    assert_eq!(store.cache_requests(first, None).unwrap().len(), 1);
    assert_eq!(store.cache_match_any(ORIGIN, &query("https://app.test/")).unwrap(), None);
    drop(store);

    let store = Store::open(folder.path()).unwrap();
    store.cache_recover().unwrap();
    assert!(store.cache_requests(first, None).unwrap().is_empty());
    assert!(files(folder.path()).is_empty());
    let error = put(&store, first, vec![entry("https://app.test/", "")]).unwrap_err();
    assert!(matches!(&error, StoreError::NoCache { .. }), "{error}");
}

#[test]
fn a_crash_leaves_no_file_that_no_entry_names() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.cache_recover().unwrap();
    let cache = open(&store, "a");
    let (kept, lost) = (write_body(&store, b"kept"), write_body(&store, b"not put"));
    let mut half = store.cache_new_body().unwrap();
    half.write(b"ha").unwrap();
    half.keep();
    store.cache_new_body().unwrap().write(b"dropped").unwrap();
    put(&store, cache, vec![with_body("https://app.test/", kept.clone())]).unwrap();
    fs::write(folder.path().join("caches/README"), "not ours").unwrap();
    assert_eq!(files(folder.path()), ["1", "2", "3", "README"]);
    drop((store, lost));

    let store = Store::open(folder.path()).unwrap();
    store.cache_recover().unwrap();
    assert_eq!(files(folder.path()), ["1", "README"]);
    let EntryBody::File { id, .. } = kept else { unreachable!() };
    let bodies = store.cache_bodies().unwrap();
    assert_eq!(std::io::read_to_string(bodies.open(id).unwrap()).unwrap(), "kept");
    assert!(store.cache_new_body().unwrap().id() > id);
}

#[test]
fn bodies_that_no_entry_names_any_more_are_told() {
    let store = Store::in_memory().unwrap();
    let cache = open(&store, "a");
    let ids = |bodies: &[EntryBody]| -> Vec<BodyId> {
        let id = |body: &EntryBody| match body {
            EntryBody::File { id, .. } => *id,
            _ => unreachable!(),
        };
        bodies.iter().map(id).collect()
    };
    let [one, two, three] = [b"one", b"two", b"333"].map(|bytes| write_body(&store, bytes));
    assert!(
        put(&store, cache, vec![with_body("https://a.test/", one.clone())]).unwrap().is_empty()
    );
    let replaced = put(&store, cache, vec![with_body("https://a.test/", two.clone())]).unwrap();
    assert_eq!(replaced, ids(&[one]));
    let deleted = store.cache_delete_entries(cache, &query("https://a.test/")).unwrap();
    assert_eq!(deleted, (1, ids(&[two])));
    put(&store, cache, vec![with_body("https://a.test/", three.clone())]).unwrap();
    assert_eq!(store.cache_discard(cache).unwrap(), ids(&[three]));
    assert_eq!(store.cache_usage(ORIGIN).unwrap(), 0);
}

#[test]
fn what_exceeds_the_quota_is_refused_alone_and_changes_nothing() {
    let store = Store::in_memory().unwrap();
    let cache = open(&store, "a");
    let before = store.cache_usage(ORIGIN).unwrap();
    let write = |url: &str, bytes: usize| CacheWrite {
        cache,
        entries: vec![entry("https://app.test/x", ""), entry(url, &" ".repeat(bytes))],
    };
    let writes = [write("https://app.test/a", 5_000), write("https://app.test/b", 10)];
    let results = store.cache_put_all(&writes, |_| 4_000).unwrap();
    let Err(StoreError::QuotaExceeded { quota_bytes, needed_bytes, .. }) = &results[0] else {
        panic!("{:?}", results[0]);
    };
    assert!(*quota_bytes == 4_000 && *needed_bytes > 5_000);
    assert!(results[1].is_ok());
    let urls: Vec<_> = store.cache_requests(cache, None).unwrap();
    assert_eq!(urls.len(), 2);
    assert!(store.cache_usage(ORIGIN).unwrap() > before);
    assert_eq!(store.cache_usage("https://other.test").unwrap(), 0);
    let error = store.cache_open(ORIGIN, &[0; 4_000], |_| 4_000).unwrap_err();
    assert!(matches!(&error, StoreError::QuotaExceeded { .. }), "{error}");
    for url in ["https://app.test/x", "https://app.test/b"] {
        store.cache_delete_entries(cache, &query(url)).unwrap();
    }
    assert_eq!(store.cache_usage(ORIGIN).unwrap(), before);
}
