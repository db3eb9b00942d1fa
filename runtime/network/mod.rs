//! The network signal: is the machine online, and when does that change. Scripted signals are in
//! `timeline.rs`, with what else they can say of the network in `conditions.rs`; the manual one is
//! in `manual.rs`, the real one in `real/`; `information.rs` says what scripts read of it.
//!
//! Invariant: a signal answers its current state first and after that only real changes, in order.

mod conditions;
mod information;
mod manual;
mod real;
mod relay;
mod timeline;

use std::fmt;
use std::str::FromStr;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

pub use conditions::{Conditions, Network, NetworkError};
pub(crate) use information::information;
pub use manual::{ManualSignal, NetworkSwitch};
pub use real::{Probe, RealNetwork, RealSignal, RealSignalError};
pub(crate) use relay::relay;
pub use timeline::{Timeline, TimelineError};

/// Whether requests may leave the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkState {
    /// The network is there; `sync` events fire.
    Online,
    /// The network is away; requests are refused and `sync` events wait.
    Offline,
}

impl fmt::Display for NetworkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NetworkState::Online => "online",
            NetworkState::Offline => "offline",
        })
    }
}

impl FromStr for NetworkState {
    type Err = UnknownNetworkState;

    fn from_str(text: &str) -> Result<NetworkState, UnknownNetworkState> {
        match text {
            "online" => Ok(NetworkState::Online),
            "offline" => Ok(NetworkState::Offline),
            _ => Err(UnknownNetworkState(text.to_owned())),
        }
    }
}

/// A text that names no network state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no network state; write `online` or `offline`")]
pub struct UnknownNetworkState(String);

/// What is known about the future of a signal; a simulation ends when nothing more can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It will not change by itself any more.
    Fixed,
    /// At least one change is to come, at a known time.
    Scripted,
    /// It may change at any time.
    Open,
}

/// The state of the network and its changes. [`Runtime::follow_network`] takes one.
///
/// [`Runtime::follow_network`]: crate::Runtime::follow_network
pub trait NetworkSignal {
    /// The first call answers at once with the current state; each later one waits until the state
    /// or the conditions differ from the last answer. `None`: it will never change again. A call
    /// may be dropped while it waits; no change is lost by that.
    fn next(&mut self) -> LocalBoxFuture<'_, Option<NetworkState>>;

    /// What requests meet since the last answer of `next`: nothing but what is really there, unless
    /// a script says more.
    fn conditions(&self) -> Conditions {
        Conditions::default()
    }

    /// What is known about changes that `next` has not answered yet.
    fn outlook(&self) -> Outlook;

    /// Looks at the network again, because the machine slept or its clock was set. Once this has
    /// ended, `next` answers at once if the state is another than it answered last. A signal that
    /// looks at nothing has nothing to do.
    fn look_anew(&mut self) -> LocalBoxFuture<'_, ()> {
        std::future::ready(()).boxed_local()
    }
}
