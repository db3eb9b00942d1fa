//! One signal for many shards: the first follows it, the others follow the first.
//!
//! Invariant: every shard hears of the same states in the same order.

use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::sync::watch;

use super::{Conditions, NetworkSignal, NetworkState, Outlook};

/// How long a shard waits for the first one to have looked anew. It notices jumps of time by
/// itself, within some seconds.
const LOOK_WITHIN: Duration = Duration::from_secs(30);

/// What the first shard has heard.
#[derive(Clone, Debug)]
struct Heard {
    state: Option<NetworkState>,
    conditions: Conditions,
    outlook: Outlook,
    /// How often the signal has looked anew.
    looks: u64,
}

/// The signal, as the first shard follows it.
pub(crate) struct RelayedSignal {
    signal: Box<dyn NetworkSignal>,
    heard: watch::Sender<Heard>,
}

/// What the others follow.
#[derive(Clone)]
pub(crate) struct RelaySignal {
    heard: watch::Receiver<Heard>,
    answered: Option<(NetworkState, Conditions)>,
    looks: u64,
}

/// Splits a signal.
pub(crate) fn relay(signal: Box<dyn NetworkSignal>) -> (RelayedSignal, RelaySignal) {
    let outlook = signal.outlook();
    let (conditions, looks) = (Conditions::default(), 0);
    let (heard, hear) = watch::channel(Heard { state: None, conditions, outlook, looks });
    (RelayedSignal { signal, heard }, RelaySignal { heard: hear, answered: None, looks })
}

impl NetworkSignal for RelayedSignal {
    fn next(&mut self) -> LocalBoxFuture<'_, Option<NetworkState>> {
        async {
            let next = self.signal.next().await;
            let (conditions, outlook) = (self.signal.conditions(), self.signal.outlook());
            self.heard.send_modify(|heard| {
                heard.outlook = outlook;
                if next.is_some() {
                    (heard.state, heard.conditions) = (next, conditions);
                }
            });
            next
        }
        .boxed_local()
    }

    fn conditions(&self) -> Conditions {
        self.signal.conditions()
    }

    fn outlook(&self) -> Outlook {
        self.signal.outlook()
    }

    fn look_anew(&mut self) -> LocalBoxFuture<'_, ()> {
        async {
            self.signal.look_anew().await;
            self.heard.send_modify(|heard| heard.looks += 1);
        }
        .boxed_local()
    }
}

impl NetworkSignal for RelaySignal {
    fn next(&mut self) -> LocalBoxFuture<'_, Option<NetworkState>> {
        async {
            loop {
                let heard = self.heard.borrow_and_update().clone();
                let now = heard.state.map(|state| (state, heard.conditions));
                if let Some((state, conditions)) = now
                    && self.answered.as_ref() != Some(&(state, conditions.clone()))
                {
                    self.answered = Some((state, conditions));
                    return Some(state);
                }
                if heard.outlook == Outlook::Fixed && heard.state.is_some() {
                    return None;
                }
                self.heard.changed().await.ok()?;
            }
        }
        .boxed_local()
    }

    fn conditions(&self) -> Conditions {
        let answered = self.answered.as_ref();
        answered.map_or_else(Conditions::default, |(_, conditions)| conditions.clone())
    }

    fn outlook(&self) -> Outlook {
        match self.heard.has_changed() {
            Ok(_) => self.heard.borrow().outlook,
            Err(_) => Outlook::Fixed,
        }
    }

    fn look_anew(&mut self) -> LocalBoxFuture<'_, ()> {
        async {
            let seen = self.looks;
            let looked = self.heard.wait_for(|heard| heard.looks > seen);
            if let Ok(Ok(heard)) = tokio::time::timeout(LOOK_WITHIN, looked).await {
                self.looks = heard.looks;
            }
            // So that `next` sees what the look has found.
            self.heard.mark_changed();
        }
        .boxed_local()
    }
}
