//! What origins may do: the policy that the embedder gave.
//! <https://w3c.github.io/permissions/>
//!
//! Invariant: the policy is the same for every origin; only a test changes it while a runtime
//! lives.

use std::collections::BTreeMap;

use kittiwake_ops::{OpError, Permission, PermissionState};
use serde::Deserialize;

use crate::host::Shard;

/// What is granted and denied; what is not named is granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct PermissionPolicy(BTreeMap<Permission, PermissionState>);

impl PermissionPolicy {
    pub(crate) fn set(&mut self, permission: Permission, state: PermissionState) {
        self.0.insert(permission, state);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Permission, PermissionState)> {
        self.0.iter().map(|(permission, state)| (*permission, *state))
    }

    pub(crate) fn state(&self, permission: Permission) -> PermissionState {
        self.0.get(&permission).copied().unwrap_or(PermissionState::Granted)
    }
}

impl Shard {
    pub(crate) fn is_granted(&self, permission: Permission) -> bool {
        self.permissions.borrow().state(permission) == PermissionState::Granted
    }

    /// Refuses to register a sync with `tag` that the policy denies. Like Chromium, it complains of
    /// the tag first.
    pub(crate) fn require_permission(
        &self,
        permission: Permission,
        tag: &str,
    ) -> Result<(), OpError> {
        self.policy.require_short_tag(tag).map_err(|_| OpError::SyncTagTooLong)?;
        if self.is_granted(permission) { Ok(()) } else { Err(OpError::PermissionDenied) }
    }
}
