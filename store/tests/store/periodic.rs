//! Periodic Background Sync: every state and event in one table, periods, and random histories.
//! Invariant: the numbers are Chromium's, written out: 12 hours, 5 and 15 minutes, three attempts.

use kittiwake_store::{
    HandedBack, Moment, Outcome, PeriodicRegistered, PeriodicSyncEvent, PeriodicSyncRecord,
    PeriodicSyncState, PeriodicUnregistered, Recovery, RegistrationId, Settled, Store, StoreError,
    SyncPolicy, next_periodic,
};
use proptest::prelude::*;

use crate::{activated, worker};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const PERIOD_MS: i64 = 12 * HOUR_MS;

const EVENTS: [PeriodicSyncEvent; 11] = [
    PeriodicSyncEvent::Registered { min_interval_ms: 7 },
    PeriodicSyncEvent::Registered { min_interval_ms: 24 * HOUR_MS },
    PeriodicSyncEvent::Unregistered,
    PeriodicSyncEvent::MadeDue,
    PeriodicSyncEvent::Fired,
    PeriodicSyncEvent::Settled(Outcome::Fulfilled),
    PeriodicSyncEvent::Settled(Outcome::Rejected),
    PeriodicSyncEvent::Settled(Outcome::TimedOut),
    PeriodicSyncEvent::Settled(Outcome::Terminated),
    PeriodicSyncEvent::HandedBack,
    PeriodicSyncEvent::Interrupted,
];

const STATES: [Option<PeriodicSyncState>; 4] = [
    None,
    Some(PeriodicSyncState::Pending),
    Some(PeriodicSyncState::Firing),
    Some(PeriodicSyncState::ReregisteredWhileFiring),
];

/// One failed attempt and one crash are behind each of them; minInterval is 7 ms, it was due at
/// minute 0, and it is minute 1. Outcomes read: state, failed attempts, crashes in a row, and the
/// minute when it is due. `registered` comes with 7 ms, and then with 24 hours.
const LEGAL: &str = "
not there                  registered             pending 0 0 721
not there                  registered             pending 0 0 1441
not there                  unregistered           not there
not there                  settled as fulfilled   not there
not there                  settled as rejected    not there
not there                  settled as timed out   not there
not there                  settled as terminated  not there
not there                  handed back            not there
pending                    registered             pending 1 1 0
pending                    registered             pending 0 0 1441
pending                    unregistered           not there
pending                    made due               pending 1 1 0
pending                    fired                  firing 1 1 0
firing                     registered             reregistered-while-firing 1 1 0
firing                     registered             firing 0 1 0
firing                     unregistered           not there
firing                     settled as fulfilled   pending 0 0 721
firing                     settled as rejected    pending 2 0 16
firing                     settled as timed out   pending 2 0 16
firing                     settled as terminated  pending 2 0 16
firing                     handed back            pending 1 1 0
firing                     interrupted            pending 1 2 0
reregistered-while-firing  registered             reregistered-while-firing 1 1 0
reregistered-while-firing  registered             firing 0 1 0
reregistered-while-firing  unregistered           not there
reregistered-while-firing  settled as fulfilled   pending 0 0 0
reregistered-while-firing  settled as rejected    pending 0 0 0
reregistered-while-firing  settled as timed out   pending 0 0 0
reregistered-while-firing  settled as terminated  pending 0 0 0
reregistered-while-firing  handed back            pending 0 1 0
reregistered-while-firing  interrupted            pending 0 2 0
";

fn moment(now_ms: i64) -> Moment {
    Moment { now_ms, others_due_at_ms: None }
}

#[test]
fn every_state_and_event_is_as_the_table_says() {
    let policy = SyncPolicy::default();
    let mut table = String::from("\n");
    for state in STATES {
        for event in EVENTS {
            let current = state.map(|state| PeriodicSyncRecord {
                state,
                min_interval_ms: 7,
                attempts: 1,
                due_at_ms: 0,
                interruptions: 1,
            });
            let state = state.map_or("not there", PeriodicSyncState::as_str);
            let after = match next_periodic(current, event, &policy, moment(MINUTE_MS)) {
                Ok(Some(after)) => format!(
                    "{} {} {} {}",
                    after.state,
                    after.attempts,
                    after.interruptions,
                    after.due_at_ms / MINUTE_MS
                ),
                Ok(None) => "not there".into(),
                Err(illegal) => {
                    let subject = "a periodic sync registration that is";
                    let expected = format!("{event} cannot happen to {subject} {state}");
                    assert_eq!(illegal.to_string(), expected);
                    continue;
                }
            };
            let event = event.to_string();
            table += &format!("{state:<25}  {event:<21}  {after}\n");
        }
    }
    assert_eq!(table, LEGAL, "\n{table}");
}

#[test]
fn a_period_is_a_multiple_of_twelve_hours_and_keeps_its_distance() {
    let policy = SyncPolicy::default();
    let hours = |interval_ms, others_hours: Option<i64>| {
        let others_due_at_ms = others_hours.map(|hours| hours * HOUR_MS);
        let delay_ms = policy.period_ms(interval_ms, Moment { now_ms: 0, others_due_at_ms });
        assert_eq!(delay_ms % HOUR_MS, 0);
        delay_ms / HOUR_MS
    };
    assert_eq!(hours(0, None), 12);
    assert_eq!(hours(PERIOD_MS, None), 12);
    assert_eq!(hours(PERIOD_MS + 1, None), 24);
    assert_eq!(hours(7 * 24 * HOUR_MS, None), 7 * 24);
    // The others' first event is long overdue, soon, at the same time, within 12 hours, far away.
    assert_eq!(hours(0, Some(-99)), 12);
    assert_eq!(hours(0, Some(3)), 15);
    assert_eq!(hours(0, Some(12)), 12);
    assert_eq!(hours(0, Some(20)), 20);
    assert_eq!(hours(0, Some(24)), 12);
    assert_eq!(hours(24 * HOUR_MS, Some(3)), 24);
    let saturated = policy.period_ms(i64::MAX, Moment { now_ms: 0, others_due_at_ms: Some(5) });
    assert_eq!(saturated, i64::MAX);
}

struct World {
    store: Store,
    registration: RegistrationId,
    policy: SyncPolicy,
}

impl World {
    fn new() -> Self {
        let store = Store::in_memory().unwrap();
        let registration = activated(&store, "https://app.test");
        World { store, registration, policy: SyncPolicy::default() }
    }

    fn register(&self, tag: &str, min_interval_ms: i64, now_ms: i64) -> PeriodicRegistered {
        let World { store, registration, policy } = self;
        store.periodic_register(*registration, tag, min_interval_ms, policy, now_ms).unwrap()
    }

    /// The claims as tag and attempt.
    fn claim(&self, now_ms: i64) -> Vec<(String, u32)> {
        let claimed = self.store.periodic_claim_due(now_ms, usize::MAX).unwrap();
        claimed.into_iter().map(|claim| (claim.tag, claim.attempt)).collect()
    }

    fn settle(&self, tag: &str, outcome: Outcome, now_ms: i64) -> Settled {
        let World { store, registration, policy } = self;
        store.periodic_settle(*registration, tag, outcome, policy, now_ms).unwrap()
    }
}

#[test]
fn it_fires_at_each_period_and_never_at_once() {
    let world = World::new();
    assert_eq!(world.register("news", 0, 5), PeriodicRegistered::Begun { delay_ms: PERIOD_MS });
    assert_eq!(world.register("news", 0, 9), PeriodicRegistered::Unchanged);
    assert_eq!(world.claim(4 + PERIOD_MS), []);
    assert_eq!(world.store.periodic_next_due().unwrap(), Some(5 + PERIOD_MS));
    assert_eq!(world.claim(5 + PERIOD_MS), [("news".to_owned(), 1)]);
    assert_eq!(world.store.periodic_next_due().unwrap(), None, "what fires is not waited for");
    // The next period counts from the end of the event.
    let settled = world.settle("news", Outcome::Fulfilled, 20 + PERIOD_MS);
    assert_eq!(settled, Settled::Done { next_period_ms: Some(PERIOD_MS) });
    assert_eq!(world.store.periodic_next_due().unwrap(), Some(20 + 2 * PERIOD_MS));
}

#[test]
fn three_failures_end_a_period_and_not_the_registration() {
    let world = World::new();
    world.register("news", 0, 0);
    let mut now_ms = PERIOD_MS;
    let waiting = |failed_attempts, minutes| Settled::Waiting {
        delay_ms: minutes * MINUTE_MS,
        failed_attempts,
    };
    for (attempt, minutes) in [(1, 5), (2, 15)] {
        assert_eq!(world.claim(now_ms), [("news".to_owned(), attempt)]);
        assert_eq!(world.settle("news", Outcome::Rejected, now_ms), waiting(attempt, minutes));
        now_ms += minutes * MINUTE_MS;
        assert_eq!(world.claim(now_ms - 1), []);
    }
    assert_eq!(world.claim(now_ms), [("news".to_owned(), 3)]);
    let gave_up = Settled::GaveUp { next_period_ms: Some(PERIOD_MS) };
    assert_eq!(world.settle("news", Outcome::TimedOut, now_ms), gave_up);
    assert_eq!(world.claim(now_ms + PERIOD_MS), [("news".to_owned(), 1)]);
}

#[test]
fn syncs_of_one_origin_share_a_moment_or_are_twelve_hours_apart() {
    let world = World::new();
    let other_origin = activated(&world.store, "https://other.test");
    let register_elsewhere = || {
        world.store.periodic_register(other_origin, "news", 0, &world.policy, 0).unwrap();
    };
    register_elsewhere();
    world.register("first", 0, 0);
    world.register("same moment", 0, 0);
    let begun = |hours| PeriodicRegistered::Begun { delay_ms: hours * HOUR_MS };
    assert_eq!(world.register("later", 0, 6 * HOUR_MS), begun(18));
    let due = |tag: &str| {
        let all = world.store.periodic_registrations().unwrap();
        let found = all.into_iter().find(|each| each.tag == tag).unwrap();
        found.record.due_at_ms / HOUR_MS
    };
    assert_eq!([due("news"), due("first"), due("same moment"), due("later")], [12, 12, 12, 24]);
    // Its own due time is no reason to keep away from it.
    assert_eq!(world.register("later", 30 * HOUR_MS, 6 * HOUR_MS), begun(36));
}

/// Three syncs of one origin in a real Chromium whose gap was 2 s and whose penalty was 2, so that
/// the shortest period was 4 s; retries after 1 and 3 s. `bad` always fails.
#[test]
fn the_schedule_is_the_one_that_chromium_was_seen_to_keep() {
    let seen = "4 ok, 6 bad, 6 late, 7 bad, 8 ok, 10 bad, 10 late, 12 ok, 14 bad, 14 late, \
                15 bad, 16 ok, 18 bad, 18 late, 20 ok, 22 bad, 22 late, 23 bad, 24 ok, 26 bad, \
                26 late, 28 ok, 30 bad, 30 late, 31 bad, 32 ok, 34 bad, 34 late, 36 ok, 38 bad, \
                38 late, 39 bad, 40 ok";
    let world = World {
        policy: SyncPolicy {
            min_periodic_interval_ms: 2_000,
            initial_retry_delay_ms: 1_000,
            ..SyncPolicy::default()
        },
        ..World::new()
    };
    world.register("ok", 4_000, 0);
    world.register("bad", 4_000, 5);
    world.register("late", 4_000, 1_005);
    let mut fired = Vec::new();
    while fired.last().is_none_or(|(second, _)| *second < 40) {
        let now_ms = world.store.periodic_next_due().unwrap().unwrap();
        let claimed = world.claim(now_ms);
        for (tag, _) in claimed {
            fired.push(((now_ms + 500) / 1_000, tag.clone()));
            let failed = tag == "bad";
            let outcome = if failed { Outcome::Rejected } else { Outcome::Fulfilled };
            world.settle(&tag, outcome, now_ms + 5);
        }
    }
    fired.sort();
    let fired: Vec<_> = fired.iter().map(|(second, tag)| format!("{second} {tag}")).collect();
    assert_eq!(fired.join(", "), seen);
}

#[test]
fn unregistering_stops_it_also_in_mid_event() {
    let world = World::new();
    let unregister = |tag| world.store.periodic_unregister(world.registration, tag).unwrap();
    assert_eq!(unregister("unknown"), PeriodicUnregistered::NotFound);
    world.register("idle", 0, 0);
    world.register("firing", 0, 0);
    assert_eq!(unregister("idle"), PeriodicUnregistered::Removed);
    assert_eq!(world.claim(PERIOD_MS), [("firing".to_owned(), 1)]);
    assert_eq!(unregister("firing"), PeriodicUnregistered::Removed);
    assert_eq!(world.settle("firing", Outcome::Rejected, PERIOD_MS), Settled::Gone);
    assert_eq!(world.store.periodic_registrations().unwrap(), []);
}

#[test]
fn registering_in_mid_event_fires_again_or_changes_the_interval() {
    let world = World::new();
    world.register("news", 0, 0);
    world.claim(PERIOD_MS);
    assert_eq!(world.register("news", 0, PERIOD_MS), PeriodicRegistered::Reregistered);
    assert_eq!(world.register("news", 0, PERIOD_MS), PeriodicRegistered::Unchanged);
    assert_eq!(world.settle("news", Outcome::Rejected, PERIOD_MS), Settled::PendingAgain);
    assert_eq!(world.claim(PERIOD_MS), [("news".to_owned(), 1)]);

    let changed = world.register("news", 30 * HOUR_MS, PERIOD_MS);
    assert_eq!(changed, PeriodicRegistered::IntervalChanged);
    let done = Settled::Done { next_period_ms: Some(36 * HOUR_MS) };
    assert_eq!(world.settle("news", Outcome::Fulfilled, PERIOD_MS), done);
}

#[test]
fn both_kinds_of_sync_may_share_a_tag() {
    let World { store, registration, policy } = World::new();
    store.sync_register(registration, "news", &policy, 0).unwrap();
    store.periodic_register(registration, "news", 0, &policy, 0).unwrap();
    store.periodic_unregister(registration, "news").unwrap();
    assert_eq!(store.periodic_tags(registration).unwrap(), [] as [&str; 0]);
    assert_eq!(store.sync_tags(registration).unwrap(), ["news"]);
}

#[test]
fn it_needs_an_active_worker_and_goes_with_its_registration() {
    let store = Store::in_memory().unwrap();
    let policy = SyncPolicy { max_tag_bytes: 2, ..SyncPolicy::default() };
    let (registration, version) = store.install(&worker("https://app.test")).unwrap();
    let register = |tag| store.periodic_register(registration, tag, 0, &policy, 0);
    assert!(matches!(register("long"), Err(StoreError::NoActiveWorker { .. })));
    store.activating(version).unwrap();
    let too_long = register("long").unwrap_err();
    assert!(matches!(too_long, StoreError::TagTooLong { bytes: 4, max_bytes: 2 }));
    register("ok").unwrap();
    assert_eq!(store.periodic_tags(registration).unwrap(), ["ok"]);
    store.unregister(registration).unwrap();
    assert_eq!(store.periodic_registrations().unwrap(), []);
}

#[test]
fn a_crash_in_mid_event_leaves_it_due_and_the_third_in_a_row_counts() {
    let folder = tempfile::tempdir().unwrap();
    let policy = SyncPolicy::default();
    let mut store = Store::open(folder.path()).unwrap();
    let registration = activated(&store, "https://app.test");
    store.periodic_register(registration, "news", 0, &policy, 0).unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        assert_eq!(store.periodic_claim_due(PERIOD_MS, 1).unwrap()[0].attempt, 1);
        drop(store);
        store = Store::open(folder.path()).unwrap();
        let recovered = store.periodic_recover(&policy, PERIOD_MS).unwrap();
        let record = store.periodic_registrations().unwrap()[0].record;
        seen.push((recovered[0].recovery, record.due_at_ms - PERIOD_MS));
    }
    let pending = |interruptions| Recovery::Pending { interruptions };
    let delay_ms = 5 * MINUTE_MS;
    let failed = Recovery::Settled(Settled::Waiting { delay_ms, failed_attempts: 1 });
    assert_eq!(seen, [(pending(1), 0), (pending(2), 0), (failed, delay_ms)]);
}

#[test]
fn handing_back_counts_nothing_and_settling_twice_is_refused() {
    let world = World::new();
    world.register("news", 0, 0);
    for _ in 0..5 {
        assert_eq!(world.claim(PERIOD_MS), [("news".to_owned(), 1)]);
        let back = world.store.periodic_hand_back(world.registration, "news").unwrap();
        assert_eq!(back, HandedBack::Pending);
    }
    let World { store, registration, policy } = world;
    let error = store
        .periodic_settle(registration, "news", Outcome::Fulfilled, &policy, 0)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "periodic sync tag \"news\" of service worker registration 1 refused an event (settled \
         as fulfilled cannot happen to a periodic sync registration that is pending): please \
         report this bug"
    );
    let gone = store.periodic_hand_back(registration, "other").unwrap();
    assert_eq!(gone, HandedBack::Gone);
}

fn events() -> impl Strategy<Value = PeriodicSyncEvent> {
    prop_oneof![
        (0..100 * HOUR_MS)
            .prop_map(|min_interval_ms| PeriodicSyncEvent::Registered { min_interval_ms }),
        prop::sample::select(&EVENTS[2..]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: a period that begins is at least 12 hours long, is never more than 12
    /// hours longer than it should be, and keeps Chromium's distance; a retry is the only event
    /// that may come sooner; attempts stay below three.
    #[test]
    fn every_history_keeps_the_rules_of_the_origin(
        history in prop::collection::vec((events(), 0..PERIOD_MS, -HOUR_MS..30 * HOUR_MS), 1..60),
    ) {
        let policy = SyncPolicy::default();
        let (mut current, mut now_ms) = (None::<PeriodicSyncRecord>, 0);
        for (event, passes_ms, others_in_ms) in history {
            now_ms += passes_ms;
            let others = Some(now_ms + others_in_ms);
            let moment = Moment { now_ms, others_due_at_ms: others };
            let Ok(after) = next_periodic(current, event, &policy, moment) else {
                continue;
            };
            if let Some(after) = after {
                prop_assert!(after.attempts < policy.max_attempts);
                prop_assert!(after.interruptions < policy.max_interruptions);
                let moved = current.is_none_or(|before| before.due_at_ms != after.due_at_ms);
                let delay_ms = after.due_at_ms - now_ms;
                if event == PeriodicSyncEvent::MadeDue {
                    // Only a person's wish may break the rules, and only towards now.
                    prop_assert!(!moved || delay_ms == 0);
                } else if moved && after.attempts == 0 {
                    let wished_ms = after.min_interval_ms.max(PERIOD_MS);
                    prop_assert!(delay_ms >= PERIOD_MS);
                    prop_assert!(delay_ms >= wished_ms || delay_ms == others_in_ms.max(0));
                    prop_assert!(delay_ms < wished_ms + 2 * PERIOD_MS);
                    let apart_ms = (delay_ms - others_in_ms.max(0)).abs();
                    prop_assert!(apart_ms == 0 || apart_ms >= PERIOD_MS, "{apart_ms} ms apart");
                } else if moved {
                    prop_assert!([5, 15].contains(&(delay_ms / MINUTE_MS)));
                }
            }
            current = after;
        }
    }
}
