//! What a script may know of the network: <https://wicg.github.io/netinfo/>.

use deno_core::{OpState, op2};
use serde::Serialize;

use crate::Host;

/// The attributes of `navigator.connection`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkInformation {
    /// <https://wicg.github.io/netinfo/#effectivetype-attribute>
    pub effective_type: EffectiveConnectionType,
    /// Milliseconds, a multiple of 50.
    pub rtt: u32,
    /// Megabits per second, a multiple of 0.05.
    pub downlink: f64,
}

/// <https://wicg.github.io/netinfo/#effectiveconnectiontype-enum>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum EffectiveConnectionType {
    /// `slow-2g`
    #[serde(rename = "slow-2g")]
    Slow2g,
    /// `2g`
    #[serde(rename = "2g")]
    Type2g,
    /// `3g`
    #[serde(rename = "3g")]
    Type3g,
    /// `4g`
    #[serde(rename = "4g")]
    Type4g,
}

/// `navigator.onLine`.
#[op2(fast)]
pub fn op_network_online(state: &mut OpState) -> bool {
    Host::of(state).0.online()
}

/// `navigator.connection`.
#[op2]
#[serde]
pub fn op_network_information(state: &mut OpState) -> NetworkInformation {
    Host::of(state).0.network_information()
}
