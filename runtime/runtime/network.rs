//! The network signal of all shards.
//!
//! Invariant: one signal is followed at a time, by every shard.

use std::rc::Rc;
use std::sync::Arc;

use kittiwake_store::Store;
use url::Url;

use super::{Error, Runtime};
use crate::embedders_doors::EmbeddersSignal;
use crate::host::Shard;
use crate::network::{Network, NetworkSignal, RealNetwork, RealSignal, Timeline, relay};

/// Makes the signal on the host thread that follows it.
type MakeSignal = Box<dyn FnOnce(&Shard) -> Box<dyn NetworkSignal> + Send>;

impl Runtime {
    /// Sets the network signal, which then stays so.
    pub async fn set_network(&self, network: impl Into<Network>) -> Result<(), Error> {
        self.play_network(Timeline::constant(network)).await
    }

    /// Follows a scripted network signal from now on.
    pub async fn play_network(&self, timeline: Timeline) -> Result<(), Error> {
        self.follow(Box::new(move |_| Box::new(timeline))).await
    }

    /// Follows a network signal from now on, instead of the one before: a
    /// [`NetworkSwitch`](crate::NetworkSwitch)'s, or one of your own. Its first state holds when
    /// this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Door`] if the signal panics, blocks, or does not say its first state at once.
    pub async fn follow_network(
        &self,
        signal: impl NetworkSignal + Send + 'static,
    ) -> Result<(), Error> {
        let guarded = move |shard: &Shard| -> Box<dyn NetworkSignal> {
            Box::new(EmbeddersSignal::new(Box::new(signal), shard.door_guard.clone()))
        };
        self.follow(Box::new(guarded)).await
    }

    /// Follows the machine's own network: links and routes, then whether the probe is answered.
    /// When the machine wakes from sleep it looks anew, and no sync fires before it has.
    ///
    /// # Errors
    ///
    /// [`Error::RealNetworkInSimulation`], [`Error::Network`].
    pub async fn follow_real_network(&self, network: RealNetwork) -> Result<(), Error> {
        let stores = self.ask_all(|shard| async move { shard.store.clone() }).await?;
        let signal = self.ask(move |shard| async move {
            if shard.seed.is_some() {
                return Err(Error::RealNetworkInSimulation);
            }
            let asked = Rc::downgrade(&shard);
            let origins = Rc::new(move || match asked.upgrade() {
                Some(shard) => origins_of(&shard, &stores[1..]),
                None => Vec::new(),
            });
            let agent = &shard.user_agent;
            let signal = RealSignal::start_with_origins(network, agent, origins).await;
            let signal = signal.map_err(|error| Error::Network(Arc::new(error)))?;
            shard.prepared_signal.replace(Some(Box::new(signal)));
            Ok(())
        });
        signal.await??;
        let prepared = |shard: &Shard| {
            let signal = shard.prepared_signal.take();
            signal.unwrap_or_else(|| Box::new(Timeline::constant(crate::NetworkState::Online)))
        };
        self.follow(Box::new(prepared)).await
    }

    async fn follow(&self, make: MakeSignal) -> Result<(), Error> {
        if self.shards.len() == 1 {
            return self.ask(|shard| async move { shard.follow_network(make(&shard)).await }).await;
        }
        let first = self.ask(|shard| async move {
            let (signal, others) = relay(make(&shard));
            shard.follow_network(Box::new(signal)).await;
            others
        });
        let others = first.await?;
        for number in 1..self.shards.len() {
            let signal = others.clone();
            let follow =
                |shard: Rc<Shard>| async move { shard.follow_network(Box::new(signal)).await };
            self.ask_shard(number, follow).await?;
        }
        Ok(())
    }
}

/// Where the workers of all shards come from, as far as that is on the network.
fn origins_of(first: &Shard, others: &[Arc<Store>]) -> Vec<Url> {
    let mut origins = first.remote_origins();
    for store in others {
        match store.origins() {
            Ok(found) => origins.extend(first.remote(found)),
            Err(error) => first.trace_store_error(&error),
        }
    }
    origins
}
