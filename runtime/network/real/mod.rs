//! The real network signal: the machine's links and routes, then a probe, because a link is not the
//! internet.
//!
//! Invariant: without a route the state is offline; with one, it is what the last probe found. What
//! is answered has held for the debounce.

mod links;
mod probe;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::{Fuse, LocalBoxStream};
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until};
use url::Url;

use super::{NetworkSignal, NetworkState, Outlook};
use links::{Route, routes};
pub use probe::Probe;
use probe::{Addresses, Ask, Reach, ask_by_head, asks_this_machine, require_http};

/// The wait after the first failed probe; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How the machine's own network is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealNetwork {
    /// What is asked whether the network is there, beyond a route. After a probe that failed the
    /// next ones follow after 1 s, 2 s, and so on up to every 30 s, until one is answered or a link
    /// changes. While the network is there nothing is asked, unless a link changes or the machine
    /// wakes from sleep.
    pub probe: Probe,
    /// How long a change must hold before it is told, so that a link that flaps, or a machine that
    /// moves from one network to another, makes no events. An hour at most counts. The first state,
    /// and the first after the machine slept, are told at once.
    pub debounce: Duration,
}

impl RealNetwork {
    /// The usual [`debounce`](RealNetwork::debounce); Chromium's is 0.5 s to 2 s.
    pub const DEBOUNCE: Duration = Duration::from_secs(1);
    const LONGEST_DEBOUNCE: Duration = Duration::from_secs(60 * 60);
}

impl Default for RealNetwork {
    fn default() -> RealNetwork {
        RealNetwork { probe: Probe::default(), debounce: RealNetwork::DEBOUNCE }
    }
}

/// The signal of this machine's own network. Needs a tokio runtime with I/O and real time.
pub struct RealSignal {
    /// The route now, then the route after each change of a link.
    routes: Fuse<LocalBoxStream<'static, Route>>,
    route: Route,
    ask: Option<Ask>,
    stage: Stage,
    next_wait: Duration,
    debounce: Duration,
    state: NetworkState,
    /// When the state has held long enough to be told.
    held: Instant,
    answered: Option<NetworkState>,
}

/// What the signal waits for, besides a change of a link.
enum Stage {
    Settled,
    Probing(LocalBoxFuture<'static, Reach>),
    Waiting { until: Instant },
}

/// Why the real signal cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RealSignalError {
    /// The machine does not let its links and routes be watched.
    #[error("links and routes cannot be watched: {cause}")]
    Links {
        /// What the operating system or netwatch said.
        cause: String,
    },
    /// The probe address is not an HTTP URL.
    #[error("the network cannot be probed at {url}: give an http or https URL")]
    ProbeUrl {
        /// The address that was given.
        url: String,
    },
    /// The HTTP client of the probe cannot be made, for example without root certificates.
    #[error("the network cannot be probed: {cause}")]
    ProbeClient {
        /// What the HTTP client said.
        cause: String,
    },
}

impl RealSignal {
    /// Looks at the links and probes once, which may take 5 s; so the first answer of the signal is
    /// the truth and not a guess. A probe of this machine (`localhost`, `127.0.0.1`) needs no
    /// route. This signal knows of no workers: [`Probe::Origins`] has nothing to ask.
    ///
    /// # Errors
    ///
    /// Each of [`RealSignalError`].
    pub async fn start(
        network: RealNetwork,
        user_agent: &str,
    ) -> Result<RealSignal, RealSignalError> {
        RealSignal::start_with_origins(network, user_agent, Rc::new(Vec::new)).await
    }

    /// The same, with what [`Probe::Origins`] asks.
    pub(crate) async fn start_with_origins(
        network: RealNetwork,
        user_agent: &str,
        origins: Rc<dyn Fn() -> Vec<Url>>,
    ) -> Result<RealSignal, RealSignalError> {
        let addresses: Option<Addresses> = match network.probe {
            Probe::Origins => Some(origins),
            Probe::Url(url) => {
                let url = require_http(url)?;
                Some(Rc::new(move || vec![url.clone()]))
            }
            Probe::Never => None,
        };
        let ask = addresses.clone().map(|addresses| ask_by_head(addresses, user_agent));
        let routes = routes().await?.map(move |route| match &addresses {
            Some(addresses) if asks_this_machine(addresses) => Route::Present,
            _ => route,
        });
        Ok(RealSignal::from_parts(routes.boxed_local(), ask.transpose()?, network.debounce).await)
    }

    async fn from_parts(
        routes: LocalBoxStream<'static, Route>,
        ask: Option<Ask>,
        debounce: Duration,
    ) -> RealSignal {
        let mut signal = RealSignal {
            routes: routes.fuse(),
            route: Route::Absent,
            ask,
            stage: Stage::Settled,
            next_wait: FIRST_WAIT,
            debounce: debounce.min(RealNetwork::LONGEST_DEBOUNCE),
            state: NetworkState::Offline,
            held: Instant::now(),
            answered: None,
        };
        signal.step().await;
        signal.finish_probe().await;
        signal
    }

    async fn finish_probe(&mut self) {
        while let Stage::Probing(_) = self.stage {
            self.step().await;
        }
    }

    /// Waits for one thing to happen and takes it in; `None` if nothing can happen any more.
    async fn step(&mut self) -> Option<()> {
        tokio::select! {
            biased;
            Some(route) = self.routes.next() => self.look(route),
            finished = self.stage.finished(), if !matches!(self.stage, Stage::Settled) => {
                self.stage_finished(finished);
            }
            else => return None,
        }
        Some(())
    }

    /// Takes in the route, as if all were new.
    fn look(&mut self, route: Route) {
        self.route = route;
        self.next_wait = FIRST_WAIT;
        self.stage = match (route, &self.ask) {
            (Route::Absent, _) => {
                self.found(NetworkState::Offline);
                Stage::Settled
            }
            (Route::Present, None) => {
                self.found(NetworkState::Online);
                Stage::Settled
            }
            // The state stays what it was until the probe knows better.
            (Route::Present, Some(ask)) => Stage::Probing(ask()),
        };
    }

    fn stage_finished(&mut self, finished: Finished) {
        match (finished, &self.ask) {
            (Finished::Probe(Reach::Reached), _) => {
                self.found(NetworkState::Online);
                self.stage = Stage::Settled;
            }
            (Finished::Probe(Reach::Missed), _) => {
                self.found(NetworkState::Offline);
                self.stage = Stage::Waiting { until: Instant::now() + self.next_wait };
                self.next_wait = (self.next_wait * 2).min(LONGEST_WAIT);
            }
            (Finished::Wait, Some(ask)) => self.stage = Stage::Probing(ask()),
            (Finished::Wait, None) => self.stage = Stage::Settled,
        }
    }

    fn found(&mut self, state: NetworkState) {
        if state != self.state {
            self.state = state;
            self.held = Instant::now() + self.debounce;
        }
    }
}

/// How a stage came to its end.
enum Finished {
    Probe(Reach),
    Wait,
}

impl Stage {
    /// May be dropped and called again: the probe and the time live in the stage.
    async fn finished(&mut self) -> Finished {
        match self {
            Stage::Settled => std::future::pending().await,
            Stage::Probing(probe) => Finished::Probe(probe.await),
            Stage::Waiting { until } => {
                sleep_until(*until).await;
                Finished::Wait
            }
        }
    }
}

impl NetworkSignal for RealSignal {
    fn next(&mut self) -> LocalBoxFuture<'_, Option<NetworkState>> {
        async {
            loop {
                let held = self.held;
                match self.answered {
                    None => break,
                    Some(answered) if answered == self.state => self.step().await?,
                    Some(_) => tokio::select! {
                        biased;
                        Some(()) = self.step() => {}
                        () = sleep_until(held) => break,
                    },
                }
            }
            self.answered = Some(self.state);
            self.answered
        }
        .boxed_local()
    }

    fn outlook(&self) -> Outlook {
        Outlook::Open
    }

    fn look_anew(&mut self) -> LocalBoxFuture<'_, ()> {
        async {
            self.look(self.route);
            self.finish_probe().await;
            self.held = Instant::now();
        }
        .boxed_local()
    }
}
