//! Background syncs of both types as scripts see them: registered, unregistered, listed.
//!
//! Invariant: a promise resolves after the change is on disk, and a list has every change that was
//! asked for before it.

use deno_core::futures::FutureExt;
use deno_core::futures::future::LocalBoxFuture;
use kittiwake_ops::{OpError, Permission, RealmId};
use kittiwake_store::{
    PeriodicRegistered, PeriodicUnregistered, Registered, RegistrationId, StoreError, SyncChange,
    SyncType, SyncWrite, SyncWritten,
};
use tokio::sync::oneshot;

use crate::host::Shard;
use crate::trace::{SyncTraceState, TraceKind};

impl Shard {
    /// `register()` or `unregister()` of either type's manager.
    pub(crate) fn change_sync(
        &self,
        realm: RealmId,
        scope: &str,
        tag: String,
        change: SyncChange,
    ) -> LocalBoxFuture<'static, Result<(), OpError>> {
        let registration = match self.registration_that_may(realm, scope, &tag, change) {
            Ok(Some(registration)) => registration,
            Ok(None) => return std::future::ready(Ok(())).boxed_local(),
            Err(refusal) => return std::future::ready(Err(refusal)).boxed_local(),
        };
        let (answer, written) = oneshot::channel();
        let scope = scope.to_owned();
        self.commit(SyncWrite { registration, tag, change }, move |shard, write, written| {
            let interface = interface_of(type_of(change));
            let written = written.map_err(|error| shard.sync_error(&error, interface));
            // Whoever asked may have been terminated meanwhile.
            let _ = answer.send(written.map(|written| shard.tell(write, scope, written)));
        });
        async { written.await.expect("a commit answers every write") }.boxed_local()
    }

    /// The tags of a registration's syncs, by their bytes.
    pub(crate) fn tags_of_syncs(
        &self,
        realm: RealmId,
        scope: &str,
        sync_type: SyncType,
    ) -> Result<Vec<String>, OpError> {
        let registration = self.own_registration(realm, scope);
        let Some(id) = registration.and_then(|found| found.id.get()) else {
            return Ok(vec![]);
        };
        self.flush_commits();
        let tags = match sync_type {
            SyncType::OneShot => self.store.sync_tags(id),
            SyncType::Periodic => self.store.periodic_tags(id),
        };
        tags.map_err(|error| self.sync_error(&error, interface_of(sync_type)))
    }

    /// `None` if there is nothing to unregister from.
    fn registration_that_may(
        &self,
        realm: RealmId,
        scope: &str,
        tag: &str,
        change: SyncChange,
    ) -> Result<Option<RegistrationId>, OpError> {
        let registration = self.own_registration(realm, scope);
        if change == SyncChange::UnregisterPeriodic {
            return Ok(registration.and_then(|found| found.id.get()));
        }
        let (interface, permission) = match type_of(change) {
            SyncType::OneShot => (SYNC_MANAGER, Permission::BackgroundSync),
            SyncType::Periodic => (PERIODIC_SYNC_MANAGER, Permission::PeriodicBackgroundSync),
        };
        let active = registration.filter(|found| found.active().is_some());
        let id = active.and_then(|found| found.id.get());
        let id = id.ok_or(OpError::NoActiveWorker { interface })?;
        self.require_permission(permission, tag)?;
        Ok(Some(id))
    }

    /// Tells the trace, and of a periodic sync the scheduler; of a one-shot sync it hears when the
    /// script does.
    fn tell(&self, SyncWrite { tag, change, .. }: SyncWrite, scope: String, written: SyncWritten) {
        let sync_type = type_of(change);
        let (state, delay_ms) = match written {
            SyncWritten::Registered(Registered::New | Registered::WaitEnded) => {
                (SyncTraceState::Registered, None)
            }
            SyncWritten::PeriodicRegistered(PeriodicRegistered::Begun { delay_ms }) => {
                (SyncTraceState::Registered, Some(delay_ms.max(0) as u64))
            }
            SyncWritten::PeriodicRegistered(PeriodicRegistered::IntervalChanged) => {
                (SyncTraceState::Registered, None)
            }
            SyncWritten::Registered(Registered::Reregistered)
            | SyncWritten::PeriodicRegistered(PeriodicRegistered::Reregistered) => {
                (SyncTraceState::Reregistered, None)
            }
            SyncWritten::PeriodicUnregistered(PeriodicUnregistered::Removed) => {
                (SyncTraceState::Unregistered, None)
            }
            SyncWritten::Registered(Registered::Unchanged)
            | SyncWritten::PeriodicRegistered(PeriodicRegistered::Unchanged)
            | SyncWritten::PeriodicUnregistered(PeriodicUnregistered::NotFound) => return,
            SyncWritten::Settled(_) | SyncWritten::HandedBack(_) => {
                unreachable!("{change:?} is answered as one, not as {written:?}")
            }
        };
        let (attempt, last_chance, reason) = (0, false, None);
        let line = TraceKind::Sync {
            sync_type,
            tag,
            scope,
            state,
            attempt,
            last_chance,
            delay_ms,
            reason,
        };
        self.trace(line);
        if sync_type == SyncType::Periodic {
            self.wake.wake(&self.activity);
        }
    }

    /// What a script learns of a failure; `interface` is the one that it called.
    fn sync_error(&self, error: &StoreError, interface: &'static str) -> OpError {
        match error {
            StoreError::NoActiveWorker { .. } => OpError::NoActiveWorker { interface },
            StoreError::TagTooLong { .. } => OpError::SyncTagTooLong,
            error => {
                self.trace_store_error(error);
                OpError::SyncDisabled
            }
        }
    }
}

const SYNC_MANAGER: &str = "SyncManager";
const PERIODIC_SYNC_MANAGER: &str = "PeriodicSyncManager";

fn interface_of(sync_type: SyncType) -> &'static str {
    match sync_type {
        SyncType::OneShot => SYNC_MANAGER,
        SyncType::Periodic => PERIODIC_SYNC_MANAGER,
    }
}

fn type_of(change: SyncChange) -> SyncType {
    match change {
        SyncChange::Register => SyncType::OneShot,
        SyncChange::RegisterPeriodic { .. } | SyncChange::UnregisterPeriodic => SyncType::Periodic,
        SyncChange::Settle(sync_type, _) | SyncChange::HandBack(sync_type) => sync_type,
    }
}
