//! Random histories, against a model that was written from Chromium's description, not from ours.
//! Invariant: after every step the store lists exactly what the model says.

use std::collections::BTreeMap;

use kittiwake_store::{
    ClaimLimits, ClaimTurns, HandedBack, Outcome, Profile, RegistrationId, Settled, Store,
    SyncPolicy, SyncState,
};
use proptest::prelude::*;

use crate::activated;

const TAGS: [&str; 3] = ["", "outbox", "póst"];

#[derive(Clone, Copy, Debug)]
enum Action {
    Register(usize),
    Claim(usize),
    Settle(usize, Outcome),
    HandBack(usize),
    Crash,
    Pass(i64),
    Unregister,
}

/// Chromium's view: no states, but what is running, what is promised, and when it may run.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    running: bool,
    promised_again: bool,
    not_before_ms: Option<i64>,
    failures: u32,
    crashes: u32,
}

impl Entry {
    fn begin_anew(&mut self) {
        self.running = false;
        if self.promised_again {
            self.promised_again = false;
            self.failures = 0;
        }
    }
}

struct Model {
    entries: BTreeMap<&'static str, Entry>,
    policy: SyncPolicy,
    now_ms: i64,
}

impl Model {
    fn register(&mut self, tag: &'static str) {
        let entry = self.entries.entry(tag).or_default();
        if entry.running {
            entry.promised_again = true;
        } else if self.policy.profile == Profile::Spec {
            entry.not_before_ms = None;
        }
    }

    fn claim(&mut self, limit: usize) -> Vec<(String, u32, bool)> {
        for entry in self.entries.values_mut() {
            if entry.not_before_ms.is_some_and(|not_before_ms| not_before_ms <= self.now_ms) {
                entry.not_before_ms = None;
            }
        }
        let ready = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| !entry.running && entry.not_before_ms.is_none());
        ready
            .take(limit)
            .map(|(tag, entry)| {
                entry.running = true;
                let last = entry.failures + 1 == self.policy.max_attempts;
                (tag.to_string(), entry.failures + 1, last)
            })
            .collect()
    }

    /// `None` where nobody may settle: the tag is there, but not running.
    fn settle(&mut self, tag: &'static str, outcome: Outcome) -> Option<Settled> {
        let Some(entry) = self.entries.get_mut(tag) else {
            return Some(Settled::Gone);
        };
        if !entry.running {
            return None;
        }
        entry.crashes = 0;
        if entry.promised_again {
            entry.begin_anew();
            return Some(Settled::PendingAgain);
        }
        entry.running = false;
        if outcome == Outcome::Fulfilled {
            self.entries.remove(tag);
            return Some(Settled::Done { next_period_ms: None });
        }
        entry.failures += 1;
        if entry.failures == self.policy.max_attempts {
            self.entries.remove(tag);
            return Some(Settled::GaveUp { next_period_ms: None });
        }
        let delay_ms = [5, 15][entry.failures as usize - 1] * 60_000;
        let due_at_ms = self.now_ms + delay_ms;
        entry.not_before_ms = Some(due_at_ms);
        Some(Settled::Waiting { delay_ms, failed_attempts: entry.failures })
    }

    fn hand_back(&mut self, tag: &'static str) -> Option<HandedBack> {
        let Some(entry) = self.entries.get_mut(tag) else {
            return Some(HandedBack::Gone);
        };
        if !entry.running {
            return None;
        }
        entry.begin_anew();
        Some(HandedBack::Pending)
    }

    fn crash(&mut self) {
        for tag in TAGS {
            let Some(entry) = self.entries.get_mut(tag).filter(|entry| entry.running) else {
                continue;
            };
            entry.crashes += 1;
            if entry.crashes == self.policy.max_interruptions {
                entry.promised_again = false;
                self.settle(tag, Outcome::Terminated);
            } else {
                entry.begin_anew();
            }
        }
    }

    /// As the store lists it: tag, state, failed attempts, due time, crashes.
    fn listing(&self) -> Vec<(String, SyncState, u32, Option<i64>, u32)> {
        let listed = |(tag, entry): (&&str, &Entry)| {
            let state = match (entry.running, entry.promised_again, entry.not_before_ms) {
                (true, true, _) => SyncState::ReregisteredWhileFiring,
                (true, false, _) => SyncState::Firing,
                (false, _, Some(_)) => SyncState::Waiting,
                (false, _, None) => SyncState::Pending,
            };
            (tag.to_string(), state, entry.failures, entry.not_before_ms, entry.crashes)
        };
        self.entries.iter().map(listed).collect()
    }
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let tag = || 0..TAGS.len();
    let outcome = prop_oneof![
        Just(Outcome::Fulfilled),
        Just(Outcome::Rejected),
        Just(Outcome::TimedOut),
        Just(Outcome::Terminated),
    ];
    let action = prop_oneof![
        4 => tag().prop_map(Action::Register),
        4 => (0..4_usize).prop_map(Action::Claim),
        4 => (tag(), outcome).prop_map(|(tag, outcome)| Action::Settle(tag, outcome)),
        1 => tag().prop_map(Action::HandBack),
        2 => Just(Action::Crash),
        3 => prop_oneof![Just(1), Just(299_999), Just(300_000), Just(900_000)]
            .prop_map(Action::Pass),
        1 => Just(Action::Unregister),
    ];
    prop::collection::vec(action, 1..60)
}

/// Does one action in both worlds, and compares what the caller is told.
fn act(
    action: Action,
    store: &Store,
    registration: &mut RegistrationId,
    model: &mut Model,
) -> Result<(), TestCaseError> {
    let policy = model.policy;
    match action {
        Action::Register(tag) => {
            store.sync_register(*registration, TAGS[tag], &policy, model.now_ms).unwrap();
            model.register(TAGS[tag]);
        }
        Action::Claim(limit) => {
            let claimed = store
                .sync_claim_due(
                    &policy,
                    model.now_ms,
                    &ClaimLimits::up_to(limit),
                    &mut ClaimTurns::default(),
                )
                .unwrap();
            let claimed: Vec<_> = claimed
                .into_iter()
                .map(|claim| (claim.tag, claim.attempt, claim.last_chance))
                .collect();
            prop_assert_eq!(claimed, model.claim(limit));
        }
        Action::Settle(tag, outcome) => {
            let now_ms = model.now_ms;
            let settled = store.sync_settle(*registration, TAGS[tag], outcome, &policy, now_ms);
            prop_assert_eq!(settled.ok(), model.settle(TAGS[tag], outcome));
        }
        Action::HandBack(tag) => {
            let handed_back = store.sync_hand_back(*registration, TAGS[tag]);
            prop_assert_eq!(handed_back.ok(), model.hand_back(TAGS[tag]));
        }
        Action::Crash => {
            store.sync_recover(&policy, model.now_ms).unwrap();
            model.crash();
        }
        Action::Pass(duration_ms) => model.now_ms += duration_ms,
        Action::Unregister => {
            store.unregister(*registration).unwrap();
            *registration = activated(store, "https://app.test");
            model.entries.clear();
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_ends_as_the_model_says(
        actions in actions(),
        policy in prop_oneof![Just(SyncPolicy::default()), Just(SyncPolicy::spec())],
    ) {
        let store = Store::in_memory().unwrap();
        let mut registration = activated(&store, "https://app.test");
        let mut model = Model { entries: BTreeMap::new(), policy, now_ms: 0 };
        for action in actions {
            act(action, &store, &mut registration, &mut model)?;
            let listing: Vec<_> = store
                .sync_registrations()
                .unwrap()
                .into_iter()
                .map(|listed| {
                    let record = listed.record;
                    (
                        listed.tag,
                        record.state,
                        record.attempts,
                        record.due_at_ms,
                        record.interruptions,
                    )
                })
                .collect();
            let expected = model.listing();
            let first_due = expected.iter().filter_map(|listed| listed.3).min();
            prop_assert_eq!(store.sync_next_due().unwrap(), first_due);
            let pending = expected.iter().any(|listed| listed.1 == SyncState::Pending);
            prop_assert_eq!(store.sync_has_pending().unwrap(), pending);
            prop_assert_eq!(listing, expected);
        }
    }
}
