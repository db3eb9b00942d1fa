//! Syncs and registrations as people list them: page by page, counted, made due.
//! Invariant: pages put together are the whole list, in its order, whatever their length.

use kittiwake_store::{
    ClaimLimits, ClaimTurns, DueNow, ListedSync, Outcome, RegistrationId, Store, SyncPolicy,
    SyncState, SyncType, VersionState,
};

use crate::{activated, worker};

const HOUR_MS: i64 = 3_600_000;
const PERIOD_MS: i64 = 12 * HOUR_MS;

/// Two origins with seven one-shot syncs and one periodic sync each; of the first origin, `b` waits
/// and `c` fires.
fn store() -> (Store, RegistrationId, RegistrationId) {
    let store = Store::in_memory().unwrap();
    let policy = SyncPolicy::default();
    let first = activated(&store, "https://a.test");
    let second = activated(&store, "https://b.test");
    for tag in ["b", "c"] {
        store.sync_register(first, tag, &policy, 0).unwrap();
    }
    store.sync_claim_due(&policy, 0, &ClaimLimits::up_to(2), &mut ClaimTurns::default()).unwrap();
    store.sync_settle(first, "b", Outcome::Rejected, &policy, 0).unwrap();
    for registration in [first, second] {
        for tag in ["", "a", "d", "e", "\u{e9}"] {
            store.sync_register(registration, tag, &policy, 0).unwrap();
        }
        store.periodic_register(registration, "news", 0, &policy, 0).unwrap();
    }
    (store, first, second)
}

fn pages(
    store: &Store,
    kind: SyncType,
    registration: Option<RegistrationId>,
    state: Option<SyncState>,
    limit: usize,
) -> Vec<ListedSync> {
    let mut all: Vec<ListedSync> = Vec::new();
    loop {
        let after = all.last().map(|sync| (sync.place.registration, sync.place.tag.clone()));
        let after = after.as_ref().map(|(registration, tag)| (*registration, tag.as_str()));
        let page = store.sync_page(kind, registration, state, after, limit, 1).unwrap();
        assert!(page.len() <= limit);
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

fn names(listed: &[ListedSync]) -> Vec<String> {
    listed.iter().map(|sync| format!("{}{}", sync.scope, sync.place.tag)).collect()
}

#[test]
fn pages_together_are_the_whole_list_in_its_order() {
    let (store, first, second) = store();
    let expected = [
        ("a", ["", "a", "b", "c", "d", "e", "\u{e9}"].as_slice()),
        ("b", ["", "a", "d", "e", "\u{e9}"].as_slice()),
    ];
    let expected: Vec<String> = expected
        .iter()
        .flat_map(|(host, tags)| tags.iter().map(move |tag| format!("https://{host}.test/{tag}")))
        .collect();
    for limit in 1..=13 {
        let listed = pages(&store, SyncType::OneShot, None, None, limit);
        assert_eq!(names(&listed), expected, "pages of {limit}");
    }
    let of_second = pages(&store, SyncType::OneShot, Some(second), None, 2);
    assert_eq!(names(&of_second), expected[7..]);
    let waiting = pages(&store, SyncType::OneShot, None, Some(SyncState::Waiting), 1);
    assert_eq!(names(&waiting), ["https://a.test/b"]);
    assert_eq!((waiting[0].attempts, waiting[0].due_at_ms), (1, Some(300_000)));
    let firing = pages(&store, SyncType::OneShot, Some(first), Some(SyncState::Firing), 1);
    assert_eq!(names(&firing), ["https://a.test/c"]);
    assert_eq!(firing[0].due_at_ms, None);
    let none = pages(&store, SyncType::OneShot, Some(second), Some(SyncState::Firing), 9);
    assert_eq!(none, []);
}

#[test]
fn a_periodic_sync_is_waiting_until_it_is_due() {
    let (store, first, _) = store();
    let told = |now_ms| {
        let page = store.sync_page(SyncType::Periodic, Some(first), None, None, 9, now_ms).unwrap();
        (page[0].state, page[0].due_at_ms)
    };
    assert_eq!(told(0), (SyncState::Waiting, Some(PERIOD_MS)));
    assert_eq!(told(PERIOD_MS), (SyncState::Pending, None));
    let count = |state, now_ms| store.sync_count(SyncType::Periodic, state, now_ms).unwrap();
    assert_eq!((count(SyncState::Waiting, 0), count(SyncState::Pending, 0)), (2, 0));
    assert_eq!(
        (count(SyncState::Waiting, PERIOD_MS), count(SyncState::Pending, PERIOD_MS)),
        (0, 2)
    );
}

#[test]
fn syncs_are_counted_by_their_states() {
    let (store, ..) = store();
    let count = |state| store.sync_count(SyncType::OneShot, state, 0).unwrap();
    assert_eq!(count(SyncState::Pending), 10);
    assert_eq!(count(SyncState::Waiting), 1);
    assert_eq!(count(SyncState::Firing), 1);
    assert_eq!(count(SyncState::ReregisteredWhileFiring), 0);
}

#[test]
fn a_sync_that_waits_is_made_due_and_no_attempt_is_counted() {
    let (store, first, _) = store();
    let due = |kind, tag| store.sync_make_due(kind, first, tag, 7).unwrap();
    assert_eq!(due(SyncType::OneShot, "b"), DueNow::Due);
    assert_eq!(due(SyncType::OneShot, "a"), DueNow::Due);
    assert_eq!(due(SyncType::OneShot, "c"), DueNow::UnderWay);
    assert_eq!(due(SyncType::OneShot, "news"), DueNow::NotFound);
    assert_eq!(due(SyncType::Periodic, "news"), DueNow::Due);
    assert_eq!(due(SyncType::Periodic, "a"), DueNow::NotFound);
    let policy = SyncPolicy::default();
    let claimed = store
        .sync_claim_due(&policy, 7, &ClaimLimits::up_to(99), &mut ClaimTurns::default())
        .unwrap();
    let made_due = claimed.iter().find(|claim| claim.registration == first && claim.tag == "b");
    assert_eq!(made_due.unwrap().attempt, 2);
    let claimed = store.periodic_claim_due(7, 9).unwrap();
    assert_eq!((claimed.len(), claimed[0].attempt), (1, 1));
    assert_eq!(due(SyncType::Periodic, "news"), DueNow::UnderWay);
}

#[test]
fn registrations_come_in_pages_by_scope_and_workers_are_counted() {
    let store = Store::in_memory().unwrap();
    for host in ["c", "a", "b"] {
        activated(&store, &format!("https://{host}.test"));
    }
    store.install(&worker("https://a.test")).unwrap();
    let scopes = |after: &str, limit| -> Vec<String> {
        let page = store.registration_page(after, limit).unwrap();
        page.into_iter().map(|registration| registration.scope).collect()
    };
    assert_eq!(scopes("", 2), ["https://a.test/", "https://b.test/"]);
    assert_eq!(scopes("https://b.test/", 2), ["https://c.test/"]);
    assert_eq!(scopes("https://c.test/", 2), [] as [&str; 0]);
    let counts = store.version_counts().unwrap();
    assert_eq!(counts, [(VersionState::Activated, 3), (VersionState::Installed, 1)]);
}
