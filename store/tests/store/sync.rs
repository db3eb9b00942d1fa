//! Background Sync as its users meet it: register, claim, settle, recover.
//! Invariant: the numbers are Chromium's, written out: 5 and 15 minutes, three attempts.

use kittiwake_store::{
    ClaimLimits, ClaimTurns, Claimed, HandedBack, Outcome, PeriodicRegistered,
    PeriodicUnregistered, Recovery, Registered, RegistrationId, Settled, Store, StoreError,
    SyncChange, SyncPolicy, SyncState, SyncType, SyncWrite, SyncWritten,
};

use crate::{activated, activated_at, worker};

const MINUTE_MS: i64 = 60_000;

fn store() -> (Store, RegistrationId) {
    let store = Store::in_memory().unwrap();
    let registration = activated(&store, "https://app.test");
    (store, registration)
}

fn claim(store: &Store, now_ms: i64) -> Vec<Claimed> {
    store
        .sync_claim_due(
            &SyncPolicy::default(),
            now_ms,
            &ClaimLimits::up_to(usize::MAX),
            &mut ClaimTurns::default(),
        )
        .unwrap()
}

/// The claim of one tag, as attempt and last chance.
fn claim_one(store: &Store, now_ms: i64) -> (u32, bool) {
    let claimed = claim(store, now_ms);
    assert_eq!(claimed.len(), 1, "{claimed:?}");
    (claimed[0].attempt, claimed[0].last_chance)
}

#[test]
fn three_failures_end_a_registration_after_five_and_fifteen_minutes() {
    let (store, registration) = store();
    let policy = SyncPolicy::default();
    let fail = |now_ms| {
        store.sync_settle(registration, "outbox", Outcome::Rejected, &policy, now_ms).unwrap()
    };
    let registered = store.sync_register(registration, "outbox", &policy, 0).unwrap();
    assert_eq!(registered, Registered::New);
    assert!(store.sync_has_pending().unwrap());

    assert_eq!(claim_one(&store, 0), (1, false));
    assert!(!store.sync_has_pending().unwrap());
    let due_at_ms = 7 + 5 * MINUTE_MS;
    let waiting = Settled::Waiting { delay_ms: 5 * MINUTE_MS, failed_attempts: 1 };
    assert_eq!(fail(7), waiting);
    assert_eq!(store.sync_next_due().unwrap(), Some(due_at_ms));
    assert_eq!(claim(&store, due_at_ms - 1), []);

    assert_eq!(claim_one(&store, due_at_ms), (2, false));
    assert_eq!(store.sync_next_due().unwrap(), None);
    let delay_ms = 15 * MINUTE_MS;
    let waiting = Settled::Waiting { delay_ms, failed_attempts: 2 };
    assert_eq!(fail(due_at_ms), waiting);

    assert_eq!(claim_one(&store, due_at_ms + delay_ms), (3, true));
    assert_eq!(fail(due_at_ms + delay_ms), Settled::GaveUp { next_period_ms: None });
    assert_eq!(store.sync_tags(registration).unwrap(), [] as [&str; 0]);
}

#[test]
fn success_removes_a_registration() {
    let (store, registration) = store();
    let policy = SyncPolicy::default();
    store.sync_register(registration, "", &policy, 0).unwrap();
    assert_eq!(store.sync_tags(registration).unwrap(), [""], "the empty tag is a tag");
    claim_one(&store, 0);
    let settled = store.sync_settle(registration, "", Outcome::Fulfilled, &policy, 0).unwrap();
    assert_eq!(settled, Settled::Done { next_period_ms: None });
    assert_eq!(store.sync_registrations().unwrap(), []);
}

#[test]
fn registering_again_while_firing_fires_again_with_attempts_anew() {
    let policy = SyncPolicy::default();
    for outcome in [Outcome::Fulfilled, Outcome::Rejected] {
        let (store, registration) = store();
        store.sync_register(registration, "outbox", &policy, 0).unwrap();
        claim_one(&store, 0);
        store.sync_settle(registration, "outbox", Outcome::TimedOut, &policy, 0).unwrap();
        assert_eq!(claim_one(&store, 5 * MINUTE_MS), (2, false));
        let register = || store.sync_register(registration, "outbox", &policy, 0).unwrap();
        assert_eq!(register(), Registered::Reregistered);
        assert_eq!(register(), Registered::Unchanged);
        let settled = store.sync_settle(registration, "outbox", outcome, &policy, 0).unwrap();
        assert_eq!(settled, Settled::PendingAgain);
        assert_eq!(claim_one(&store, 0), (1, false));
    }
}

#[test]
fn registering_again_while_waiting_is_where_chromium_and_the_specification_differ() {
    let profiles = [
        (SyncPolicy::default(), Registered::Unchanged, vec![]),
        (SyncPolicy::spec(), Registered::WaitEnded, vec![2]),
    ];
    for (policy, expected, attempts_at_once) in profiles {
        let (store, registration) = store();
        store.sync_register(registration, "outbox", &policy, 0).unwrap();
        claim_one(&store, 0);
        store.sync_settle(registration, "outbox", Outcome::Rejected, &policy, 0).unwrap();
        let registered = store.sync_register(registration, "outbox", &policy, 1).unwrap();
        assert_eq!(registered, expected);
        let attempts: Vec<_> = claim(&store, 1).into_iter().map(|claim| claim.attempt).collect();
        assert_eq!(attempts, attempts_at_once);
    }
}

#[test]
fn a_registration_needs_an_active_worker() {
    let store = Store::in_memory().unwrap();
    let policy = SyncPolicy { max_tag_bytes: 2, ..SyncPolicy::default() };
    let (registration, version) = store.install(&worker("https://app.test")).unwrap();
    // The missing worker is reported before the tag that is too long.
    for id in [registration, RegistrationId(99)] {
        let error = store.sync_register(id, "long", &policy, 0).unwrap_err();
        assert!(
            matches!(error, StoreError::NoActiveWorker { registration } if registration == id),
            "{error}"
        );
    }
    store.activating(version).unwrap();
    assert_eq!(store.sync_register(registration, "ok", &policy, 0).unwrap(), Registered::New);
}

#[test]
fn a_tag_is_measured_in_bytes_of_utf8() {
    let (store, registration) = store();
    let policy = SyncPolicy::default();
    store.sync_register(registration, &"é".repeat(5_120), &policy, 0).unwrap();
    let error = store.sync_register(registration, &"é".repeat(5_121), &policy, 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a sync tag may have 10240 bytes of UTF-8, and this one has 10242: shorten it"
    );
    assert_eq!(store.sync_tags(registration).unwrap().len(), 1);
}

#[test]
fn tags_are_ordered_by_their_bytes_and_kept_exactly() {
    let (store, registration) = store();
    for tag in ["ü", "a\0b", "b", "B", "a", "a\0", "💌", ""] {
        store.sync_register(registration, tag, &SyncPolicy::default(), 0).unwrap();
    }
    let expected = ["", "B", "a", "a\0", "a\0b", "b", "ü", "💌"];
    assert_eq!(store.sync_tags(registration).unwrap(), expected);
    let claimed: Vec<_> = claim(&store, 0).into_iter().map(|claim| claim.tag).collect();
    assert_eq!(claimed, expected);
}

#[test]
fn a_claim_takes_all_that_is_ready_in_order_and_no_more_than_its_limit() {
    let store = Store::in_memory().unwrap();
    let policy = SyncPolicy::default();
    let first = activated(&store, "https://first.test");
    let second = activated(&store, "https://second.test");
    for (registration, tag) in [(second, "a"), (first, "z"), (first, "b"), (second, "c")] {
        store.sync_register(registration, tag, &policy, 0).unwrap();
    }
    let claim = |now_ms, limit| -> Vec<_> {
        let claimed = store
            .sync_claim_due(&policy, now_ms, &ClaimLimits::up_to(limit), &mut ClaimTurns::default())
            .unwrap();
        claimed.into_iter().map(|claim| (claim.registration, claim.tag)).collect()
    };
    assert_eq!(claim(0, 0), []);
    assert_eq!(claim(0, 3), [(first, "b".into()), (first, "z".into()), (second, "a".into())]);
    store.sync_settle(first, "b", Outcome::Terminated, &policy, 0).unwrap();
    // One that was pending all along, and one whose wait is over: one order for both.
    assert_eq!(claim(5 * MINUTE_MS, 9), [(first, "b".into()), (second, "c".into())]);
}

#[test]
fn a_saturated_registration_keeps_no_other_from_its_turn() {
    let store = Store::in_memory().unwrap();
    let policy = SyncPolicy::default();
    let first = activated(&store, "https://first.test");
    let second = activated(&store, "https://second.test");
    for tag in ["a", "b", "c"] {
        store.sync_register(first, tag, &policy, 0).unwrap();
        store.sync_register(second, tag, &policy, 0).unwrap();
    }
    let mut limits = ClaimLimits { per_registration: 2, ..ClaimLimits::up_to(3) };
    let mut turns = ClaimTurns::default();
    let mut claim = |limits: &ClaimLimits| -> Vec<_> {
        let claimed = store.sync_claim_due(&policy, 0, limits, &mut turns).unwrap();
        claimed.into_iter().map(|claim| (claim.registration, claim.tag)).collect()
    };
    assert_eq!(claim(&limits), [(first, "a".into()), (first, "b".into()), (second, "a".into())]);
    limits.under_way = [(first, 2), (second, 1)].into();
    assert_eq!(claim(&limits), [(second, "b".into())]);
    limits.under_way = [(first, 1), (second, 1)].into();
    assert_eq!(claim(&limits), [(first, "c".into()), (second, "c".into())]);
}

#[test]
fn an_origin_with_many_registrations_keeps_no_other_origin_from_its_turn() {
    let store = Store::in_memory().unwrap();
    let policy = SyncPolicy::default();
    let many: Vec<_> =
        (0..50).map(|n| activated_at(&store, &format!("https://many.test/{n}/"))).collect();
    let one = activated(&store, "https://one.test");
    for registration in &many {
        store.sync_register(*registration, "a", &policy, 0).unwrap();
        store.sync_register(*registration, "b", &policy, 0).unwrap();
    }
    for tag in ["a", "b", "c"] {
        store.sync_register(one, tag, &policy, 0).unwrap();
    }
    let mut turns = ClaimTurns::default();
    let mut claim = |total| -> Vec<_> {
        let limits = ClaimLimits::up_to(total);
        let claimed = store.sync_claim_due(&policy, 0, &limits, &mut turns).unwrap();
        claimed.into_iter().map(|claim| (claim.registration, claim.tag)).collect()
    };
    // A slot at a time, and the registrations of the one take turns in its turns.
    assert_eq!(claim(1), [(many[0], "a".into())]);
    assert_eq!(claim(1), [(one, "a".into())]);
    assert_eq!(claim(1), [(many[1], "a".into())]);
    // Many slots at once: a registration of each, then the rest of whoever has more.
    assert_eq!(claim(2), [(one, "b".into()), (one, "c".into())]);
    let rest = claim(usize::MAX);
    assert_eq!(rest[..2], [(many[2], "a".into()), (many[2], "b".into())]);
    assert_eq!(rest.len(), 98);
    assert_eq!(rest[96..], [(many[0], "b".into()), (many[1], "b".into())]);
}

#[test]
fn an_origin_stays_one_when_its_first_registration_has_gone() {
    let store = Store::in_memory().unwrap();
    let policy = SyncPolicy::default();
    let first = activated_at(&store, "https://many.test/0/");
    let second = activated_at(&store, "https://many.test/1/");
    store.unregister(first).unwrap();
    let third = activated_at(&store, "https://many.test/2/");
    let other = activated(&store, "https://one.test");
    for registration in [second, third, other] {
        store.sync_register(registration, "a", &policy, 0).unwrap();
    }
    let limits = ClaimLimits::up_to(9);
    let claimed = store.sync_claim_due(&policy, 0, &limits, &mut ClaimTurns::default()).unwrap();
    let order: Vec<_> = claimed.into_iter().map(|claim| claim.registration).collect();
    assert_eq!(order, [second, other, third]);
}

#[test]
fn writes_in_one_commit_have_the_answers_that_each_has_alone() {
    use SyncChange::{Register, RegisterPeriodic, Settle, UnregisterPeriodic};

    let (store, registration) = store();
    let policy = SyncPolicy::default();
    let of = |registration, tag: &str, change| {
        let tag = tag.to_owned();
        SyncWrite { registration, tag, change }
    };
    let write = |tag, change| of(registration, tag, change);
    let settle = |sync_type| Settle(sync_type, Outcome::Fulfilled);
    let writes = [
        write("a", Register),
        write(&"x".repeat(policy.max_tag_bytes + 1), Register),
        of(RegistrationId(registration.0 + 1), "a", Register),
        write("a", settle(SyncType::OneShot)),
        write("a", RegisterPeriodic { min_interval_ms: 0 }),
        write("a", settle(SyncType::Periodic)),
        write("a", Register),
        write("b", Register),
        write("a", UnregisterPeriodic),
        write("a", UnregisterPeriodic),
    ];
    let mut written = store.sync_write_all(&writes, &policy, 0).unwrap().into_iter();
    let mut next = || written.next().unwrap();
    assert_eq!(next().unwrap(), SyncWritten::Registered(Registered::New));
    assert!(matches!(next().unwrap_err(), StoreError::TagTooLong { .. }));
    assert!(matches!(next().unwrap_err(), StoreError::NoActiveWorker { .. }));
    assert!(matches!(next().unwrap_err(), StoreError::IllegalTransition { .. }));
    let begun = PeriodicRegistered::Begun { delay_ms: policy.min_periodic_interval_ms };
    assert_eq!(next().unwrap(), SyncWritten::PeriodicRegistered(begun));
    assert!(matches!(next().unwrap_err(), StoreError::IllegalPeriodicTransition { .. }));
    assert_eq!(next().unwrap(), SyncWritten::Registered(Registered::Unchanged));
    assert_eq!(next().unwrap(), SyncWritten::Registered(Registered::New));
    let unregistered = [PeriodicUnregistered::Removed, PeriodicUnregistered::NotFound];
    for found in unregistered.map(SyncWritten::PeriodicUnregistered) {
        assert_eq!(next().unwrap(), found);
    }
    assert_eq!(store.sync_tags(registration).unwrap(), ["a", "b"]);
    assert_eq!(store.periodic_tags(registration).unwrap(), [] as [&str; 0]);
}

#[test]
fn handing_back_counts_nothing() {
    let (store, registration) = store();
    store.sync_register(registration, "outbox", &SyncPolicy::default(), 0).unwrap();
    for _ in 0..10 {
        assert_eq!(claim_one(&store, 0), (1, false));
        assert_eq!(store.sync_hand_back(registration, "outbox").unwrap(), HandedBack::Pending);
    }
    assert_eq!(store.sync_hand_back(registration, "other").unwrap(), HandedBack::Gone);
}

#[test]
fn an_event_is_settled_only_once() {
    let (store, registration) = store();
    let policy = SyncPolicy::default();
    store.sync_register(registration, "outbox", &policy, 0).unwrap();
    claim_one(&store, 0);
    let settle = || store.sync_settle(registration, "outbox", Outcome::Rejected, &policy, 0);
    settle().unwrap();
    let before = store.sync_registrations().unwrap();
    assert_eq!(
        settle().unwrap_err().to_string(),
        "sync tag \"outbox\" of service worker registration 1 refused an event (settled as \
         rejected cannot happen to a sync registration that is waiting): please report this bug"
    );
    assert_eq!(store.sync_registrations().unwrap(), before);
}

#[test]
fn a_crash_in_mid_event_counts_no_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let policy = SyncPolicy::default();
    let store = Store::open(folder.path()).unwrap();
    let registration = activated(&store, "https://app.test");
    for tag in ["firing", "idle"] {
        store.sync_register(registration, tag, &policy, 0).unwrap();
    }
    assert_eq!(
        store
            .sync_claim_due(&policy, 0, &ClaimLimits::up_to(1), &mut ClaimTurns::default())
            .unwrap()[0]
            .tag,
        "firing"
    );
    drop(store);

    let store = Store::open(folder.path()).unwrap();
    let recovered = store.sync_recover(&policy, 9).unwrap();
    assert_eq!(recovered.len(), 1, "only what was firing: {recovered:?}");
    assert_eq!(recovered[0].tag, "firing");
    assert_eq!(recovered[0].recovery, Recovery::Pending { interruptions: 1 });
    assert!(claim(&store, 9).iter().all(|claim| claim.attempt == 1));
}

#[test]
fn the_third_crash_in_a_row_counts_as_a_failed_attempt() {
    let (store, registration) = store();
    let policy = SyncPolicy::default();
    store.sync_register(registration, "poison", &policy, 0).unwrap();
    let crash = |now_ms| {
        claim_one(&store, now_ms);
        store.sync_recover(&policy, now_ms).unwrap()[0].recovery
    };
    assert_eq!(crash(0), Recovery::Pending { interruptions: 1 });
    assert_eq!(crash(0), Recovery::Pending { interruptions: 2 });
    let waiting = Settled::Waiting { delay_ms: 5 * MINUTE_MS, failed_attempts: 1 };
    assert_eq!(crash(0), Recovery::Settled(waiting));
    // Three more for the second attempt, and three for the last: the script cannot loop for ever.
    for now_ms in [5 * MINUTE_MS, 20 * MINUTE_MS] {
        assert_eq!(crash(now_ms), Recovery::Pending { interruptions: 1 });
        assert_eq!(crash(now_ms), Recovery::Pending { interruptions: 2 });
        let last = crash(now_ms);
        if now_ms == 20 * MINUTE_MS {
            assert_eq!(last, Recovery::Settled(Settled::GaveUp { next_period_ms: None }));
        }
    }
    assert_eq!(store.sync_registrations().unwrap(), []);
}

#[test]
fn an_event_that_settles_ends_a_row_of_crashes() {
    let (store, registration) = store();
    let policy = SyncPolicy::default();
    store.sync_register(registration, "outbox", &policy, 0).unwrap();
    claim_one(&store, 0);
    store.sync_recover(&policy, 0).unwrap();
    claim_one(&store, 0);
    // A graceful stop is neither a crash nor a settled event: the row of crashes goes on.
    store.sync_hand_back(registration, "outbox").unwrap();
    assert_eq!(store.sync_registrations().unwrap()[0].record.interruptions, 1);
    claim_one(&store, 0);
    store.sync_settle(registration, "outbox", Outcome::Rejected, &policy, 0).unwrap();
    let listed = store.sync_registrations().unwrap();
    assert_eq!(listed[0].record.interruptions, 0);
    assert_eq!(listed[0].record.state, SyncState::Waiting);
}
