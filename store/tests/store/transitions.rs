//! Every state, event and profile, in one table.
//! Invariant: a pair that the table does not name is illegal, and its error names both.

use kittiwake_store::{Outcome, SyncEvent, SyncPolicy, SyncRecord, SyncState, next};

const NOW_MS: i64 = 1_000_000;

const EVENTS: [SyncEvent; 9] = [
    SyncEvent::Registered,
    SyncEvent::DelayElapsed,
    SyncEvent::Fired,
    SyncEvent::Settled(Outcome::Fulfilled),
    SyncEvent::Settled(Outcome::Rejected),
    SyncEvent::Settled(Outcome::TimedOut),
    SyncEvent::Settled(Outcome::Terminated),
    SyncEvent::HandedBack,
    SyncEvent::Interrupted,
];

/// One failed attempt and, except while waiting, one crash are behind each of them.
const STATES: [Option<SyncState>; 5] = [
    None,
    Some(SyncState::Pending),
    Some(SyncState::Waiting),
    Some(SyncState::Firing),
    Some(SyncState::ReregisteredWhileFiring),
];

/// Outcomes read: state, failed attempts, crashes in a row, and the time it waits for.
const LEGAL: &str = "
not there                  registered             pending 0 0
not there                  settled as fulfilled   not there
not there                  settled as rejected    not there
not there                  settled as timed out   not there
not there                  settled as terminated  not there
not there                  handed back            not there
pending                    registered             pending 1 1
pending                    fired                  firing 1 1
waiting                    registered             waiting 1 0 500 | pending 1 0
waiting                    delay elapsed          pending 1 0
firing                     registered             reregistered-while-firing 1 1
firing                     settled as fulfilled   not there
firing                     settled as rejected    waiting 2 0 1900000
firing                     settled as timed out   waiting 2 0 1900000
firing                     settled as terminated  waiting 2 0 1900000
firing                     handed back            pending 1 1
firing                     interrupted            pending 1 2
reregistered-while-firing  registered             reregistered-while-firing 1 1
reregistered-while-firing  settled as fulfilled   pending 0 0
reregistered-while-firing  settled as rejected    pending 0 0
reregistered-while-firing  settled as timed out   pending 0 0
reregistered-while-firing  settled as terminated  pending 0 0
reregistered-while-firing  handed back            pending 0 1
reregistered-while-firing  interrupted            pending 0 2
";

fn record(state: SyncState) -> SyncRecord {
    match state {
        SyncState::Waiting => {
            SyncRecord { state, attempts: 1, due_at_ms: Some(500), interruptions: 0 }
        }
        _ => SyncRecord { state, attempts: 1, due_at_ms: None, interruptions: 1 },
    }
}

fn text(record: Option<SyncRecord>) -> String {
    let Some(SyncRecord { state, attempts, due_at_ms, interruptions }) = record else {
        return "not there".into();
    };
    let due = due_at_ms.map_or_else(String::new, |due_at_ms| format!(" {due_at_ms}"));
    format!("{state} {attempts} {interruptions}{due}")
}

#[test]
fn every_state_event_and_profile_is_as_the_table_says() {
    let mut table = String::from("\n");
    for state in STATES {
        for event in EVENTS {
            let current = state.map(record);
            let state = state.map_or("not there", SyncState::as_str);
            let chromium = next(current, event, &SyncPolicy::default(), NOW_MS);
            let spec = next(current, event, &SyncPolicy::spec(), NOW_MS);
            let (chromium, spec) = match (chromium, spec) {
                (Ok(chromium), Ok(spec)) => (text(chromium), text(spec)),
                (chromium, spec) => {
                    let expected =
                        format!("{event} cannot happen to a sync registration that is {state}");
                    assert_eq!(chromium.unwrap_err().to_string(), expected);
                    assert_eq!(spec.unwrap_err().to_string(), expected);
                    continue;
                }
            };
            let event = event.to_string();
            table += &format!("{state:<25}  {event:<21}  {chromium}");
            table += &if chromium == spec { "\n".into() } else { format!(" | {spec}\n") };
        }
    }
    assert_eq!(table, LEGAL, "\n{table}");
}

#[test]
fn the_last_failure_removes_even_if_the_policy_became_stricter() {
    let policy = SyncPolicy { max_attempts: 1, ..SyncPolicy::default() };
    let firing = SyncRecord { attempts: 2, ..record(SyncState::Firing) };
    for outcome in [Outcome::Rejected, Outcome::TimedOut, Outcome::Terminated] {
        let after = next(Some(firing), SyncEvent::Settled(outcome), &policy, NOW_MS);
        assert_eq!(after, Ok(None));
    }
}

#[test]
fn delays_grow_by_the_factor_and_saturate() {
    let policy = SyncPolicy::default();
    let minutes: Vec<_> = (1..=4).map(|failed| policy.retry_delay_ms(failed) / 60_000).collect();
    assert_eq!(minutes, [5, 15, 45, 135]);
    let endless = SyncPolicy { max_attempts: u32::MAX, ..policy };
    let firing = SyncRecord { attempts: 1_000, ..record(SyncState::Firing) };
    let event = SyncEvent::Settled(Outcome::Rejected);
    let after = next(Some(firing), event, &endless, NOW_MS).unwrap().unwrap();
    assert_eq!(after.due_at_ms, Some(i64::MAX));
}
