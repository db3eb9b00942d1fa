//! Background syncs of both types as scripts see them: registered, unregistered, listed.
//!
//! Invariant: a promise resolves after the change is on disk, and a list has every change that was
//! asked for before it.

use std::rc::Rc;

use kittiwake_ops::{OpError, Permission, RealmId};
use kittiwake_store::{
    PeriodicRegistered, PeriodicUnregistered, Registered, RegistrationId, StoreError, SyncChange,
    SyncType, SyncWrite, SyncWritten,
};

use crate::commits::{Answer, Written};
use crate::host::Shard;
use crate::lifecycle::Registration;
use crate::limits::{Limit, LimitOutcome};
use crate::realm::Call;
use crate::trace::{SyncTraceState, TraceKind};

impl Shard {
    /// `register()` or `unregister()` of either type's manager. The realm hears by the number that
    /// is returned when the change is on disk, or why it could not be made.
    pub(crate) fn change_sync(
        &self,
        realm: RealmId,
        scope: &str,
        tag: String,
        change: SyncChange,
    ) -> Result<u64, OpError> {
        let number = self.commits.next_number();
        match self.registration_that_may(realm, scope, &tag, change)? {
            Some((id, registration)) => {
                let write = SyncWrite { registration: id, tag, change };
                self.commit(write, Answer::Promise { realm, number, registration });
            }
            None => self.call_realm(realm, Call::ResolveSyncs { numbers: vec![number] }),
        }
        Ok(number)
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
    ) -> Result<Option<(RegistrationId, Rc<Registration>)>, OpError> {
        let registration = self.own_registration(realm, scope);
        let known = |registration: Rc<Registration>| Some((registration.id.get()?, registration));
        if change == SyncChange::UnregisterPeriodic {
            return Ok(registration.and_then(known));
        }
        let (interface, permission) = match type_of(change) {
            SyncType::OneShot => (SYNC_MANAGER, Permission::BackgroundSync),
            SyncType::Periodic => (PERIODIC_SYNC_MANAGER, Permission::PeriodicBackgroundSync),
        };
        let active = registration.filter(|found| found.active().is_some());
        let known = active.and_then(known).ok_or(OpError::NoActiveWorker { interface })?;
        self.require_permission(permission, tag)?;
        self.require_sync_room(realm, known.0, tag, type_of(change))?;
        Ok(Some(known))
    }

    /// An origin may have so many syncs; one that it has already may be registered again.
    fn require_sync_room(
        &self,
        realm: RealmId,
        registration: RegistrationId,
        tag: &str,
        sync_type: SyncType,
    ) -> Result<(), OpError> {
        let interface = interface_of(sync_type);
        let failed = |error| self.sync_error(&error, interface);
        let origin = self.origin_of(realm).unwrap_or_default();
        let has_room = self.takes_sync_room(&origin, || {
            self.flush_commits();
            self.store.syncs_of_origin(&origin)
        });
        let is_known = || self.store.has_sync(registration, tag, sync_type);
        if has_room.map_err(failed)? || is_known().map_err(failed)? {
            return Ok(());
        }
        self.strike(realm, Limit::Syncs, LimitOutcome::Refused);
        Err(OpError::TooManySyncs { interface, limit: self.limits.of(Limit::Syncs) })
    }

    /// Tells the trace what a script's write did, or the script why it could not be made.
    pub(crate) fn tell_written(
        &self,
        SyncWrite { tag, change, .. }: SyncWrite,
        scope: &str,
        written: Written,
    ) -> Result<(), OpError> {
        let sync_type = type_of(change);
        let written = written.map_err(|error| self.sync_error(&error, interface_of(sync_type)))?;
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
            | SyncWritten::PeriodicUnregistered(PeriodicUnregistered::NotFound) => return Ok(()),
            SyncWritten::Settled(_) | SyncWritten::HandedBack(_) => {
                unreachable!("{change:?} is answered as one, not as {written:?}")
            }
        };
        let (attempt, last_chance, reason) = (0, false, None);
        self.trace(TraceKind::Sync {
            sync_type,
            tag,
            scope: scope.to_owned(),
            state,
            attempt,
            last_chance,
            delay_ms,
            reason,
        });
        Ok(())
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
