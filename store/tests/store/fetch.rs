//! What fetch() remembers: cookies and the HTTP cache.

use kittiwake_store::{
    CachedResponse, CookieChange, CookieKey, HttpCacheLimits, Store, StoredCookie,
};

const APP: &str = "https://app.test";

fn cookie(name: &str, expires_at_ms: i64) -> StoredCookie {
    let key = CookieKey { domain: "app.test".into(), path: "/".into(), name: name.into() };
    StoredCookie {
        key,
        set_cookie: format!("{name}=1"),
        url: "https://app.test/".into(),
        created_at_ms: 0,
        expires_at_ms,
    }
}

fn response(body: &[u8]) -> CachedResponse {
    CachedResponse { policy: "p".into(), head: "h".into(), body: body.to_vec() }
}

fn bodies(store: &Store, partition: &str, url: &str) -> Vec<Vec<u8>> {
    let cached = store.cached_responses(partition, url).unwrap();
    cached.into_iter().map(|(_, response)| response.body).collect()
}

#[test]
fn cookies_survive_until_they_end_or_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let set = ["a", "b", "c"].map(|name| CookieChange::Set(cookie(name, 100)));
    store.change_cookies(APP, &set, 0).unwrap();
    let later = CookieChange::Set(cookie("b", 300));
    let gone = CookieChange::Removed(cookie("c", 0).key);
    store.change_cookies(APP, &[later.clone(), gone], 0).unwrap();
    drop(store);

    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.cookies(APP, 0).unwrap(), [cookie("a", 100), cookie("b", 300)]);
    assert_eq!(store.cookies(APP, 100).unwrap(), [cookie("b", 300)]);
    assert_eq!(store.cookies("https://other.test", 0).unwrap(), []);
}

#[test]
fn the_cache_is_apart_by_partition_and_replaces_what_it_is_told() {
    let store = Store::in_memory().unwrap();
    let limits = HttpCacheLimits::default();
    store.cache_response(APP, "u", &response(b"one"), &[], limits, 0).unwrap();
    store.cache_response(APP, "u", &response(b"two"), &[], limits, 0).unwrap();
    assert_eq!(bodies(&store, APP, "u"), [b"two", b"one"]);
    assert!(bodies(&store, "https://other.test", "u").is_empty());
    let newest = store.cached_responses(APP, "u").unwrap()[0].0;
    store.cache_response(APP, "u", &response(b"three"), &[newest], limits, 0).unwrap();
    assert_eq!(bodies(&store, APP, "u"), [&b"three"[..], b"one"]);
    store.forget_cached_responses(APP, "u").unwrap();
    assert!(bodies(&store, APP, "u").is_empty());
}

#[test]
fn the_least_recently_used_makes_room() {
    let store = Store::in_memory().unwrap();
    let limits = HttpCacheLimits { response_bytes: 50, total_bytes: 100 };
    let put = |url, bytes: usize, now| {
        store.cache_response(APP, url, &response(&vec![0; bytes]), &[], limits, now).unwrap();
    };
    put("a", 40, 0);
    put("b", 40, 1);
    let (a, _) = store.cached_responses(APP, "a").unwrap().remove(0);
    store.use_cached_response(a, 100_000).unwrap();
    put("c", 40, 100_001);
    let is_there = |url| !bodies(&store, APP, url).is_empty();
    assert_eq!(["a", "b", "c"].map(is_there), [true, false, true]);
    put("d", 60, 100_002);
    assert_eq!(["a", "c", "d"].map(is_there), [true, true, false]);
}
