//! The clock, the entropy and the network signal that an embedder brought, as the rest of Kittiwake
//! sees them; the HTTP door is in `http/door.rs`.
//!
//! Invariant: what they answer is checked before anybody sees it, and they are called under the
//! guard only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use crate::door_guard::{Door, DoorFault, DoorGuard};
use crate::doors::{Clock, Entropy};
use crate::network::{Conditions, NetworkSignal, NetworkState, Outlook};

/// <https://tc39.es/ecma262/#sec-time-values-and-time-range>
const LATEST_MS: f64 = 8.64e15;

/// A clock that stands still once it is out of order.
pub(crate) struct EmbeddersClock {
    clock: Arc<dyn Clock>,
    guard: DoorGuard,
    /// The bits of the last time that it told.
    last_ms: AtomicU64,
}

impl EmbeddersClock {
    pub(crate) fn new(clock: Arc<dyn Clock>, guard: DoorGuard) -> Self {
        EmbeddersClock { clock, guard, last_ms: AtomicU64::default() }
    }
}

impl Clock for EmbeddersClock {
    fn now_ms(&self) -> f64 {
        match self.guard.call(Door::Clock, || self.clock.now_ms()) {
            Some(now_ms) if now_ms.abs() <= LATEST_MS => {
                self.last_ms.store(now_ms.to_bits(), Ordering::Relaxed);
                return now_ms;
            }
            Some(wrong) => {
                self.guard.refuse(Door::Clock, DoorFault::Invalid(format!("{wrong} ms")));
            }
            None => {}
        }
        f64::from_bits(self.last_ms.load(Ordering::Relaxed))
    }
}

/// Entropy of which nothing comes once it is out of order.
pub(crate) struct EmbeddersEntropy {
    entropy: Arc<dyn Entropy>,
    guard: DoorGuard,
}

impl EmbeddersEntropy {
    pub(crate) fn new(entropy: Arc<dyn Entropy>, guard: DoorGuard) -> Self {
        EmbeddersEntropy { entropy, guard }
    }
}

impl Entropy for EmbeddersEntropy {
    fn random(&self) -> f64 {
        match self.guard.call(Door::Entropy, || self.entropy.random()) {
            Some(number) if (0.0..1.0).contains(&number) => number,
            Some(wrong) => {
                self.guard.refuse(Door::Entropy, DoorFault::Invalid(wrong.to_string()));
                0.0
            }
            None => 0.0,
        }
    }
}

/// A signal that never changes again once it is out of order.
pub(crate) struct EmbeddersSignal {
    signal: Box<dyn NetworkSignal>,
    guard: DoorGuard,
}

impl EmbeddersSignal {
    pub(crate) fn new(signal: Box<dyn NetworkSignal>, guard: DoorGuard) -> Self {
        EmbeddersSignal { signal, guard }
    }
}

impl NetworkSignal for EmbeddersSignal {
    fn next(&mut self) -> LocalBoxFuture<'_, Option<NetworkState>> {
        let EmbeddersSignal { signal, guard } = self;
        async move {
            let next = guard.call(Door::NetworkSignal, || signal.next())?;
            guard.future(Door::NetworkSignal, next).await.flatten()
        }
        .boxed_local()
    }

    fn conditions(&self) -> Conditions {
        let conditions = self.guard.call(Door::NetworkSignal, || self.signal.conditions());
        conditions.unwrap_or_default()
    }

    fn outlook(&self) -> Outlook {
        let outlook = self.guard.call(Door::NetworkSignal, || self.signal.outlook());
        outlook.unwrap_or(Outlook::Fixed)
    }

    fn look_anew(&mut self) -> LocalBoxFuture<'_, ()> {
        let EmbeddersSignal { signal, guard } = self;
        async move {
            if let Some(look) = guard.call(Door::NetworkSignal, || signal.look_anew()) {
                guard.future(Door::NetworkSignal, look).await;
            }
        }
        .boxed_local()
    }
}
