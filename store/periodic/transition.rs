//! What may happen to one periodic sync registration: states, events, and the function that
//! decides.
//! Invariant: pure and total; no other code in Kittiwake decides the fate of a periodic sync
//! registration.
//!
//! Sources: the specification, <https://wicg.github.io/periodic-background-sync/>, and Chromium's
//! `background_sync_manager.cc` and `background_sync_controller_impl.cc`. Both profiles of
//! [`SyncPolicy`] agree here: the specification leaves periods and retries to the user agent.

use std::fmt;

use crate::columns::text_enum;
use crate::sync::{Outcome, SyncPolicy};

text_enum! {
    /// The specification's registration states. Its `suspended` is no state here: while the
    /// permission is denied, nothing is claimed.
    PeriodicSyncState {
        /// Fires as soon as it is due and the network is there.
        Pending = "pending",
        /// Its event was handed to a worker, and has not settled.
        Firing = "firing",
        /// Firing, and registered again meanwhile: fires again afterwards, whatever the outcome.
        ReregisteredWhileFiring = "reregistered-while-firing",
    }
}

/// Where one periodic sync registration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeriodicSyncRecord {
    /// The registration state.
    pub state: PeriodicSyncState,
    /// What the script asked for, in ms; the policy makes a period of it.
    pub min_interval_ms: i64,
    /// Attempts of this period that failed.
    pub attempts: u32,
    /// When its next event is due, in Unix epoch ms; while firing, when this one was due. The
    /// specification's anchor time is in it: the due time counts from the last settlement.
    pub due_at_ms: i64,
    /// How often in a row the process died in mid-event.
    pub interruptions: u32,
}

/// What can happen to a periodic sync registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeriodicSyncEvent {
    /// A script called `register(tag, { minInterval })`.
    Registered {
        /// The `minInterval`, in ms.
        min_interval_ms: i64,
    },
    /// A script called `unregister(tag)`.
    Unregistered,
    /// Somebody wants it to be due now, whatever its period; it stays in its period.
    MadeDue,
    /// It was due and chosen for dispatch; the commit of this comes before the dispatch.
    Fired,
    /// Its event ended.
    Settled(Outcome),
    /// Its event was not dispatched, or not to its end, by our own doing. No attempt is counted.
    HandedBack,
    /// A start of the process found it firing: the process had died in mid-event.
    Interrupted,
}

/// When an event happens, and what else its origin has planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time of the event in Unix epoch ms.
    pub now_ms: i64,
    /// When the first of the origin's other periodic syncs is due, in Unix epoch ms. In the past
    /// if its event is under way.
    pub others_due_at_ms: Option<i64>,
}

/// An event that cannot happen in a state: a bug of whoever reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{event} cannot happen to a periodic sync registration that is {}",
    state.map_or("not there", PeriodicSyncState::as_str)
)]
pub struct IllegalPeriodicTransition {
    /// The state; `None` if there was no registration.
    pub state: Option<PeriodicSyncState>,
    /// The event.
    pub event: PeriodicSyncEvent,
}

/// Where a periodic sync registration stands after an event. `None` means that there is none,
/// before or after. Events are believed: whether it is due is for the caller to know.
///
/// # Errors
///
/// [`IllegalPeriodicTransition`] if the event cannot happen in this state.
pub fn next_periodic(
    current: Option<PeriodicSyncRecord>,
    event: PeriodicSyncEvent,
    policy: &SyncPolicy,
    moment: Moment,
) -> Result<Option<PeriodicSyncRecord>, IllegalPeriodicTransition> {
    use PeriodicSyncEvent::{
        Fired, HandedBack, Interrupted, MadeDue, Registered, Settled, Unregistered,
    };
    use PeriodicSyncState::{Firing, Pending, ReregisteredWhileFiring};

    let illegal = IllegalPeriodicTransition { state: current.map(|record| record.state), event };
    let Some(record) = current else {
        return match event {
            Registered { min_interval_ms } => Ok(Some(registered(min_interval_ms, policy, moment))),
            // unregister() took the registration away in mid-event: nothing is left to settle.
            Unregistered | Settled(_) | HandedBack => Ok(None),
            Fired | Interrupted | MadeDue => Err(illegal),
        };
    };
    // No wildcard: a new state or event must be decided here before it compiles.
    let after = match (record.state, event) {
        (_, Unregistered) => None,
        (Pending, Registered { min_interval_ms }) => match min_interval_ms {
            same if same == record.min_interval_ms => Some(record),
            other => Some(registered(other, policy, moment)),
        },
        (Firing | ReregisteredWhileFiring, Registered { min_interval_ms }) => {
            match min_interval_ms {
                same if same == record.min_interval_ms => {
                    Some(PeriodicSyncRecord { state: ReregisteredWhileFiring, ..record })
                }
                // A registration anew: when its event settles, the new interval counts.
                other => Some(PeriodicSyncRecord {
                    state: Firing,
                    min_interval_ms: other,
                    attempts: 0,
                    ..record
                }),
            }
        }
        (Pending, MadeDue) => {
            let due_at_ms = record.due_at_ms.min(moment.now_ms);
            Some(PeriodicSyncRecord { due_at_ms, ..record })
        }
        (Pending, Fired) => Some(PeriodicSyncRecord { state: Firing, ..record }),
        (Firing | ReregisteredWhileFiring, Settled(outcome)) => {
            Some(settled(record, outcome, policy, moment))
        }
        (Firing | ReregisteredWhileFiring, HandedBack) => Some(record.pending()),
        (Firing | ReregisteredWhileFiring, Interrupted) => {
            Some(interrupted(record, policy, moment))
        }
        (Pending, Settled(_) | HandedBack | Interrupted)
        | (Firing | ReregisteredWhileFiring, Fired | MadeDue) => return Err(illegal),
    };
    Ok(after)
}

impl SyncPolicy {
    /// How long after `moment` a period ends: the interval that was asked for, snapped up to a
    /// multiple of [`SyncPolicy::min_periodic_interval_ms`], then moved onto the origin's next
    /// event or that interval away from it, as in Chromium (whose penalty for origins that people
    /// rarely visit is left out: a headless host has no visits to count). It saturates.
    pub fn period_ms(&self, min_interval_ms: i64, moment: Moment) -> i64 {
        let gap = self.min_periodic_interval_ms.max(1);
        let wished = min_interval_ms.max(gap);
        let periods = wished / gap + i64::from(wished % gap != 0);
        let delay = periods.saturating_mul(gap);
        let Some(others_due_at_ms) = moment.others_due_at_ms else {
            return delay;
        };
        let others = others_due_at_ms.saturating_sub(moment.now_ms).max(0);
        if delay <= others.saturating_sub(gap) {
            delay
        } else if delay <= others {
            others
        } else {
            delay.max(others.saturating_add(gap))
        }
    }
}

impl PeriodicSyncRecord {
    /// The number of the attempt that is being made or comes next, counted from 1 in each period.
    pub fn attempt(&self) -> u32 {
        self.attempts.saturating_add(1)
    }

    /// Whether its event is under way.
    pub fn is_firing(&self) -> bool {
        self.state != PeriodicSyncState::Pending
    }

    /// Whether it was registered again in mid-event.
    pub(super) fn is_reregistered(&self) -> bool {
        self.state == PeriodicSyncState::ReregisteredWhileFiring
    }

    /// Still due. A registration that was made again in mid-event begins its attempts anew.
    fn pending(self) -> Self {
        let attempts = match self.state {
            PeriodicSyncState::ReregisteredWhileFiring => 0,
            PeriodicSyncState::Pending | PeriodicSyncState::Firing => self.attempts,
        };
        Self { state: PeriodicSyncState::Pending, attempts, ..self }
    }
}

impl fmt::Display for PeriodicSyncEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Registered { .. } => "registered",
            Self::Unregistered => "unregistered",
            Self::MadeDue => "made due",
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

/// A registration whose period begins now: nothing fires at once.
fn registered(min_interval_ms: i64, policy: &SyncPolicy, moment: Moment) -> PeriodicSyncRecord {
    PeriodicSyncRecord {
        state: PeriodicSyncState::Pending,
        min_interval_ms,
        attempts: 0,
        due_at_ms: moment.now_ms.saturating_add(policy.period_ms(min_interval_ms, moment)),
        interruptions: 0,
    }
}

fn settled(
    record: PeriodicSyncRecord,
    outcome: Outcome,
    policy: &SyncPolicy,
    moment: Moment,
) -> PeriodicSyncRecord {
    if record.state == PeriodicSyncState::ReregisteredWhileFiring {
        return PeriodicSyncRecord { interruptions: 0, ..record.pending() };
    }
    let attempts = record.attempt();
    let failed = outcome != Outcome::Fulfilled;
    if failed && !policy.is_last_chance(attempts) {
        return PeriodicSyncRecord {
            state: PeriodicSyncState::Pending,
            attempts,
            due_at_ms: moment.now_ms.saturating_add(policy.retry_delay_ms(attempts)),
            interruptions: 0,
            ..record
        };
    }
    registered(record.min_interval_ms, policy, moment)
}

fn interrupted(
    record: PeriodicSyncRecord,
    policy: &SyncPolicy,
    moment: Moment,
) -> PeriodicSyncRecord {
    let interruptions = record.interruptions.saturating_add(1);
    if interruptions >= policy.max_interruptions {
        return settled(record, Outcome::Terminated, policy, moment);
    }
    PeriodicSyncRecord { interruptions, ..record.pending() }
}
