//! The network signal, followed: what it says reaches requests, syncs, and every realm.
//!
//! Invariant: requests, syncs and scripts hear of one and the same state, and syncs do not fire
//! while the signal looks anew.

use std::collections::BTreeSet;

use deno_core::futures::FutureExt;
use kittiwake_ops::{NetworkInformation, RealmId};
use tokio::task::spawn_local;
use tokio::time::timeout;
use url::Url;

use crate::door_guard::{Door, DoorFault};
use crate::host::{RealmOwner, Shard};
use crate::limits::Limit;
use crate::network::{Conditions, NetworkSignal, NetworkState, Outlook, information};
use crate::realm::Call;
use crate::trace::TraceKind;

impl Shard {
    pub(crate) fn is_online(&self) -> bool {
        self.network.get() == NetworkState::Online
    }

    /// What `navigator.connection` says.
    pub(crate) fn information(&self) -> NetworkInformation {
        information(self.network.get(), &self.conditions.borrow())
    }

    /// Where the workers come from, as far as that is on the network.
    pub(crate) fn remote_origins(&self) -> Vec<Url> {
        let stored = self.store.origins().unwrap_or_else(|error| {
            self.trace_store_error(&error);
            Vec::new()
        });
        let in_memory = self.registrations_in_memory();
        let in_memory = in_memory.iter().map(|registration| registration.origin.clone());
        let all: BTreeSet<_> = stored.into_iter().chain(in_memory).collect();
        self.remote(all)
    }

    /// Those that are served from this machine's files are not on the network.
    pub(crate) fn remote(&self, origins: impl IntoIterator<Item = String>) -> Vec<Url> {
        let urls = origins.into_iter().filter_map(|origin| Url::parse(&origin).ok());
        let is_served = |url: &Url| self.served.iter().any(|(origin, _)| *origin == url.origin());
        urls.filter(|url| !is_served(url)).collect()
    }

    /// Follows `signal` instead of the one before; its first state holds when this returns.
    pub(crate) async fn follow_network(&self, mut signal: Box<dyn NetworkSignal>) {
        if let Some(before) = self.signal.take() {
            before.abort();
        }
        self.looking_anew.set(false);
        // At once, says the contract.
        let Ok(first) = timeout(self.limits.time(Limit::Turn), signal.next()).await else {
            let fault = DoorFault::Invalid("with no state within its limit".to_owned());
            return self.door_guard.refuse(Door::NetworkSignal, fault);
        };
        let Some(state) = first else { return };
        self.set_network(state, signal.conditions());
        self.signal_is_known.set(true);
        let shard = self.me();
        let task = spawn_local(async move { shard.watch_network(signal).await });
        self.signal.replace(Some(task));
    }

    async fn watch_network(&self, mut signal: Box<dyn NetworkSignal>) {
        loop {
            let outlook = signal.outlook();
            self.outlook.set(outlook);
            self.wake.wake(&self.activity);
            // A timeline is work: it ends, and until then something may happen.
            let _busy = (outlook == Outlook::Scripted).then(|| self.activity.begin());
            tokio::select! {
                biased;
                state = signal.next() => match state {
                    Some(state) => self.set_network(state, signal.conditions()),
                    None => break,
                },
                () = self.time_jumped.notified() => self.look_anew(&mut *signal).await,
            }
        }
    }

    /// After the machine slept, the network may be another one, and syncs may be due. They fire
    /// only where it is known to be there: a failed attempt would count.
    async fn look_anew(&self, signal: &mut dyn NetworkSignal) {
        self.looking_anew.set(true);
        signal.look_anew().await;
        if let Some(Some(state)) = signal.next().now_or_never() {
            self.set_network(state, signal.conditions());
        }
        self.looking_anew.set(false);
    }

    /// The clock has jumped. Due times are times of day: the scheduler compares them anew, once the
    /// signal has looked.
    pub(crate) fn time_jumped(&self) {
        match &*self.signal.borrow() {
            Some(watched) if !watched.is_finished() => {
                self.looking_anew.set(true);
                self.time_jumped.notify_one();
            }
            _ => self.wake.wake(&self.activity),
        }
    }

    fn set_network(&self, state: NetworkState, conditions: Conditions) {
        let information = self.information();
        let before = self.network.replace(state);
        let same_conditions = self.conditions.replace(conditions.clone()) == conditions;
        if before == state && same_conditions {
            return;
        }
        let text = (!conditions.is_clear()).then(|| conditions.to_string());
        self.trace(TraceKind::Network { state, conditions: text });
        // As in Chromium: `change` comes first, and to workers too; `online` and `offline` do not.
        if information != self.information() {
            for realm in self.realms_where(|_| true) {
                self.call_realm(realm, Call::ChangeConnection);
            }
        }
        if before == state {
            return;
        }
        let name = match state {
            NetworkState::Online => "online",
            NetworkState::Offline => "offline",
        };
        for page in self.realms_where(|owner| matches!(owner, RealmOwner::Page(_))) {
            self.call_realm(page, Call::DispatchSimple { name });
        }
        self.deliver_held_pushes();
        self.wake.wake(&self.activity);
    }

    fn realms_where(&self, is_meant: impl Fn(&RealmOwner) -> bool) -> Vec<RealmId> {
        let realms = self.realms.borrow();
        let meant = realms.iter().filter(|(_, handle)| is_meant(&handle.owner));
        meant.map(|(id, _)| *id).collect()
    }
}
