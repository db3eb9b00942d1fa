//! A network signal that is switched by hand.
//!
//! Invariant: what is set last is what the signal answers; nobody is kept waiting by a setter.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::sync::watch;

use super::{Conditions, Network, NetworkSignal, NetworkState, Outlook};

/// A switch for the network, in the hands of an embedder or a test. Clones are the same switch; its
/// signals follow until the last clone is gone, and then stay as they are.
///
/// ```
/// use kittiwake::{NetworkState, NetworkSwitch, Runtime};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), kittiwake::Error> {
/// let switch = NetworkSwitch::new(NetworkState::Offline);
/// let runtime = Runtime::builder().start()?;
/// runtime.follow_network(switch.signal()).await?;
/// switch.set(NetworkState::Online); // from any thread
/// # runtime.shut_down().await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct NetworkSwitch {
    network: watch::Sender<Network>,
}

impl NetworkSwitch {
    /// A switch, and the network until it is used.
    pub fn new(network: impl Into<Network>) -> NetworkSwitch {
        NetworkSwitch { network: watch::Sender::new(network.into()) }
    }

    /// Switches. Answers at once; the signals follow at their next turn. A network that is switched
    /// away and back before that was never away. In a simulation, whose time stands still between
    /// commands, [`set_network`](crate::Runtime::set_network) is the better choice: it answers when
    /// the change has taken effect.
    pub fn set(&self, network: impl Into<Network>) {
        self.network.send_replace(network.into());
    }

    /// A signal that follows this switch.
    pub fn signal(&self) -> ManualSignal {
        ManualSignal { network: self.network.subscribe(), answered: None }
    }
}

/// The signal of a [`NetworkSwitch`].
#[derive(Clone, Debug)]
pub struct ManualSignal {
    network: watch::Receiver<Network>,
    answered: Option<Network>,
}

impl NetworkSignal for ManualSignal {
    fn next(&mut self) -> LocalBoxFuture<'_, Option<NetworkState>> {
        async {
            loop {
                let network = self.network.borrow_and_update().clone();
                if self.answered.as_ref() != Some(&network) {
                    return Some(self.answered.insert(network).state);
                }
                self.network.changed().await.ok()?;
            }
        }
        .boxed_local()
    }

    fn conditions(&self) -> Conditions {
        let answered = self.answered.as_ref();
        answered.map_or_else(Conditions::default, |network| network.conditions.clone())
    }

    fn outlook(&self) -> Outlook {
        match self.network.has_changed() {
            Ok(_) => Outlook::Open,
            Err(_) => Outlook::Fixed,
        }
    }
}
