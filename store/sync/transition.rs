//! What may happen to one sync registration: states, events, policy, and the function that decides.
//! Invariant: pure and total; no other code in Kittiwake decides the fate of a sync registration.
//!
//! Sources: the specification, <https://wicg.github.io/background-sync/spec/>, and Chromium's
//! `content/browser/background_sync/background_sync_manager.cc`.

use std::fmt;

use crate::StoreError;
use crate::columns::text_enum;

text_enum! {
    /// <https://wicg.github.io/background-sync/spec/#sync-registration-registration-state>
    SyncState {
        /// Fires as soon as the network is there.
        Pending = "pending",
        /// Failed, and waits for its next attempt.
        Waiting = "waiting",
        /// Its event was handed to a worker, and has not settled.
        Firing = "firing",
        /// Firing, and registered again meanwhile: fires again afterwards, whatever the outcome.
        ReregisteredWhileFiring = "reregistered-while-firing",
    }
}

/// Where one sync registration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncRecord {
    /// The specification's registration state.
    pub state: SyncState,
    /// Attempts that failed since it was registered.
    pub attempts: u32,
    /// When the next attempt is due, in Unix epoch ms: present exactly while waiting.
    pub due_at_ms: Option<i64>,
    /// How often in a row the process died in mid-event. Zero while waiting.
    pub interruptions: u32,
}

/// What can happen to a sync registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncEvent {
    /// A script called `register(tag)`.
    Registered,
    /// The time that it waits for has come.
    DelayElapsed,
    /// It was chosen for dispatch; the commit of this comes before the dispatch.
    Fired,
    /// Its event ended.
    Settled(Outcome),
    /// Its event was not dispatched, or not to its end, by our own doing: a graceful stop, or the
    /// network left between choice and dispatch. No attempt is counted.
    HandedBack,
    /// A start of the process found it firing: the process had died in mid-event.
    Interrupted,
}

/// How a sync event ended. All but the first are failed attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every `waitUntil` promise fulfilled; also if there was none, or the handler threw.
    Fulfilled,
    /// A `waitUntil` promise rejected.
    Rejected,
    /// The event took longer than [`SyncPolicy::max_event_duration_ms`].
    TimedOut,
    /// The worker was terminated, or did not start.
    Terminated,
}

/// Whose behaviour is followed where Chromium and the specification differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Registering again while waiting changes nothing.
    Chromium,
    /// Registering again while waiting ends the wait.
    Spec,
}

/// What Background Sync leaves to the user agent, as data.
///
/// Numbers: Chromium's `content/browser/background_sync/background_sync_parameters.cc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncPolicy {
    /// Whose behaviour is followed where the two differ.
    pub profile: Profile,
    /// Failed attempts after which a registration is given up. Zero means one.
    pub max_attempts: u32,
    /// The wait after the first failed attempt, in ms.
    pub initial_retry_delay_ms: i64,
    /// By how much each wait is longer than the one before.
    pub retry_delay_factor: u32,
    /// How long an event may take, in ms. The runtime keeps it; the store only carries it.
    pub max_event_duration_ms: i64,
    /// How long a tag may be, in bytes of UTF-8.
    pub max_tag_bytes: usize,
    /// The shortest time between two periodic sync events of one origin, in ms; also the unit in
    /// which periods are counted.
    /// <https://wicg.github.io/periodic-background-sync/#minimum-periodic-sync-interval-across-origins>
    pub min_periodic_interval_ms: i64,
    /// Deaths of the process in mid-event, in a row, after which the event counts as terminated.
    /// Kittiwake's own, so that a script that kills its process cannot do so for ever. Zero means
    /// one.
    pub max_interruptions: u32,
}

/// An event that cannot happen in a state: a bug of whoever reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot happen to a sync registration that is {}", state_text(*state))]
pub struct IllegalTransition {
    /// The state; `None` if there was no registration.
    pub state: Option<SyncState>,
    /// The event.
    pub event: SyncEvent,
}

/// Where a sync registration stands after an event. `None` means that there is none, before or
/// after.
///
/// `now_ms` is the time of the event in Unix epoch ms. Events are believed: whether a delay has
/// elapsed is for the caller to know.
///
/// # Errors
///
/// [`IllegalTransition`] if the event cannot happen in this state.
pub fn next(
    current: Option<SyncRecord>,
    event: SyncEvent,
    policy: &SyncPolicy,
    now_ms: i64,
) -> Result<Option<SyncRecord>, IllegalTransition> {
    use SyncEvent::{DelayElapsed, Fired, HandedBack, Interrupted, Registered, Settled};
    use SyncState::{Firing, Pending, ReregisteredWhileFiring, Waiting};

    let illegal = IllegalTransition { state: current.map(|record| record.state), event };
    let Some(record) = current else {
        return match event {
            Registered => Ok(Some(SyncRecord::NEW)),
            // unregister() took the registration away in mid-event: nothing is left to settle.
            Settled(_) | HandedBack => Ok(None),
            DelayElapsed | Fired | Interrupted => Err(illegal),
        };
    };
    // No wildcard: a new state or event must be decided here before it compiles.
    let after = match (record.state, event) {
        (Pending | ReregisteredWhileFiring, Registered) => Some(record),
        (Waiting, Registered) => match policy.profile {
            Profile::Chromium => Some(record),
            Profile::Spec => Some(record.pending()),
        },
        (Firing, Registered) => Some(SyncRecord { state: ReregisteredWhileFiring, ..record }),
        (Waiting, DelayElapsed) => Some(record.pending()),
        (Pending, Fired) => Some(SyncRecord { state: Firing, ..record }),
        (Firing | ReregisteredWhileFiring, Settled(outcome)) => {
            settled(record, outcome, policy, now_ms)
        }
        (Firing | ReregisteredWhileFiring, HandedBack) => Some(record.pending()),
        (Firing | ReregisteredWhileFiring, Interrupted) => interrupted(record, policy, now_ms),
        (Pending, DelayElapsed | Settled(_) | HandedBack | Interrupted)
        | (Waiting, Fired | Settled(_) | HandedBack | Interrupted)
        | (Firing | ReregisteredWhileFiring, DelayElapsed | Fired) => return Err(illegal),
    };
    Ok(after)
}

impl Default for SyncPolicy {
    /// Chromium's behaviour and numbers: the only implementation that users have.
    fn default() -> Self {
        Self {
            profile: Profile::Chromium,
            max_attempts: 3,
            initial_retry_delay_ms: 300_000,
            retry_delay_factor: 3,
            max_event_duration_ms: 180_000,
            max_tag_bytes: 10_240,
            min_periodic_interval_ms: 43_200_000,
            max_interruptions: 3,
        }
    }
}

impl SyncPolicy {
    /// The specification's behaviour. It names no numbers, so they stay Chromium's.
    pub fn spec() -> Self {
        Self { profile: Profile::Spec, ..Self::default() }
    }

    /// Whether a tag keeps to [`SyncPolicy::max_tag_bytes`].
    ///
    /// # Errors
    ///
    /// [`StoreError::TagTooLong`].
    pub fn require_short_tag(&self, tag: &str) -> Result<(), StoreError> {
        let (bytes, max_bytes) = (tag.len(), self.max_tag_bytes);
        if bytes > max_bytes { Err(StoreError::TagTooLong { bytes, max_bytes }) } else { Ok(()) }
    }

    /// The wait after so many failed attempts, in ms. It saturates.
    pub fn retry_delay_ms(&self, failed_attempts: u32) -> i64 {
        let growth =
            i64::from(self.retry_delay_factor).saturating_pow(failed_attempts.saturating_sub(1));
        self.initial_retry_delay_ms.saturating_mul(growth)
    }

    /// Whether no attempt follows this one, counted from 1: the event's `lastChance`.
    /// <https://wicg.github.io/background-sync/spec/#dom-syncevent-lastchance>
    pub fn is_last_chance(&self, attempt: u32) -> bool {
        // Not `==`: the policy may have become stricter since the registration was made.
        attempt >= self.max_attempts
    }
}

impl SyncRecord {
    /// What `register(tag)` makes of nothing.
    const NEW: Self =
        Self { state: SyncState::Pending, attempts: 0, due_at_ms: None, interruptions: 0 };

    /// The number of the attempt that is being made or comes next, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.attempts.saturating_add(1)
    }

    /// Ready to fire. A registration that was made again in mid-event begins its attempts anew.
    fn pending(self) -> Self {
        let attempts = match self.state {
            SyncState::ReregisteredWhileFiring => 0,
            SyncState::Pending | SyncState::Waiting | SyncState::Firing => self.attempts,
        };
        Self { state: SyncState::Pending, attempts, due_at_ms: None, ..self }
    }
}

impl fmt::Display for SyncEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Registered => "registered",
            Self::DelayElapsed => "delay elapsed",
            Self::Fired => "fired",
            Self::Settled(Outcome::Fulfilled) => "settled as fulfilled",
            Self::Settled(Outcome::Rejected) => "settled as rejected",
            Self::Settled(Outcome::TimedOut) => "settled as timed out",
            Self::Settled(Outcome::Terminated) => "settled as terminated",
            Self::HandedBack => "handed back",
            Self::Interrupted => "interrupted",
        })
    }
}

fn settled(
    record: SyncRecord,
    outcome: Outcome,
    policy: &SyncPolicy,
    now_ms: i64,
) -> Option<SyncRecord> {
    if record.state == SyncState::ReregisteredWhileFiring {
        return Some(SyncRecord { interruptions: 0, ..record.pending() });
    }
    match outcome {
        Outcome::Fulfilled => None,
        Outcome::Rejected | Outcome::TimedOut | Outcome::Terminated => {
            let attempts = record.attempt();
            if policy.is_last_chance(attempts) {
                return None;
            }
            Some(SyncRecord {
                state: SyncState::Waiting,
                attempts,
                due_at_ms: Some(now_ms.saturating_add(policy.retry_delay_ms(attempts))),
                interruptions: 0,
            })
        }
    }
}

fn interrupted(record: SyncRecord, policy: &SyncPolicy, now_ms: i64) -> Option<SyncRecord> {
    let interruptions = record.interruptions.saturating_add(1);
    if interruptions >= policy.max_interruptions {
        // Also if it was registered again: what registers itself and dies would loop for ever.
        let firing = SyncRecord { state: SyncState::Firing, ..record };
        return settled(firing, Outcome::Terminated, policy, now_ms);
    }
    Some(SyncRecord { interruptions, ..record.pending() })
}

fn state_text(state: Option<SyncState>) -> &'static str {
    state.map_or("not there", SyncState::as_str)
}
