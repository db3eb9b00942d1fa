//! Permissions: <https://w3c.github.io/permissions/>.

use std::str::FromStr;

use deno_core::{OpState, op2};
use serde::{Deserialize, Serialize};

use crate::Host;

/// A powerful feature that this host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// <https://wicg.github.io/background-fetch/#background-fetch-manager-fetch>
    BackgroundFetch,
    /// <https://wicg.github.io/background-sync/spec/#permission>
    BackgroundSync,
    /// <https://notifications.spec.whatwg.org/#permission-model>
    Notifications,
    /// <https://wicg.github.io/periodic-background-sync/#permission>
    PeriodicBackgroundSync,
}

/// Whether a feature may be used. There is no `prompt`: nobody can be asked.
/// <https://w3c.github.io/permissions/#dom-permissionstate>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PermissionState {
    /// It may.
    Granted,
    /// It may not.
    Denied,
}

impl FromStr for Permission {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "background-fetch" => Ok(Permission::BackgroundFetch),
            "background-sync" => Ok(Permission::BackgroundSync),
            "notifications" => Ok(Permission::Notifications),
            "periodic-background-sync" => Ok(Permission::PeriodicBackgroundSync),
            other => Err(format!(
                "`{other}` is no permission; write `background-fetch`, `background-sync`, \
                 `notifications` or `periodic-background-sync`"
            )),
        }
    }
}

/// `navigator.permissions.query()` of a feature that this host has.
#[op2]
#[serde]
pub fn op_permission_query(
    state: &mut OpState,
    #[serde] permission: Permission,
) -> PermissionState {
    let (services, realm) = Host::of(state);
    services.permission(realm, permission)
}
