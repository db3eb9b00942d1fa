//! The real network signal: the machine's links and routes, then a probe, because a link is not the
//! internet.
//!
//! Invariant: without a route the state is offline; with one, it is what the last probe found.

use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::{Fuse, LocalBoxStream};
use futures::{FutureExt, StreamExt};
use n0_watcher::Watcher;
use netwatch::netmon::{Monitor, State};
use tokio::time::{Instant, sleep_until};
use url::Url;

use super::{NetworkSignal, NetworkState, Outlook};
use crate::http::{Proxying, client_builder, is_loopback};

/// A probe without an answer for so long has failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait after the first failed probe; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The signal of this machine's own network. Needs a tokio runtime with I/O and real time.
pub struct RealSignal {
    /// The route now, then the route after each change of a link.
    routes: Fuse<LocalBoxStream<'static, Route>>,
    probe: Option<Probe>,
    stage: Stage,
    next_wait: Duration,
    state: NetworkState,
    answered: Option<NetworkState>,
}

type Probe = Box<dyn Fn() -> LocalBoxFuture<'static, Reach>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Present,
    Absent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Reached,
    Missed,
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
        /// What netwatch said.
        cause: String,
    },
    /// The probe address is not an HTTP URL.
    #[error("the network cannot be probed at {url}: give an http or https URL")]
    ProbeUrl {
        /// The address that was given.
        url: Url,
    },
    /// The HTTP client of the probe cannot be made, for example without root certificates.
    #[error("the network cannot be probed: {cause}")]
    ProbeClient {
        /// What the HTTP client said.
        cause: String,
    },
}

impl RealSignal {
    /// Looks at the links and, if `probe` is given, asks that URL once, which may take 5 s; so the
    /// first answer of the signal is the truth and not a guess. Any HTTP response counts as
    /// reachable. Without `probe`, a default route counts as online. A probe on this machine
    /// (`localhost`, `127.0.0.1`) needs no route.
    pub async fn start(
        probe: Option<Url>,
        user_agent: &str,
    ) -> Result<RealSignal, RealSignalError> {
        let local = probe.as_ref().is_some_and(is_loopback);
        let probe = probe.map(|url| head_probe(url, user_agent)).transpose()?;
        let routes = routes().await?.map(move |route| if local { Route::Present } else { route });
        Ok(RealSignal::from_parts(routes.boxed_local(), probe).await)
    }

    async fn from_parts(
        routes: LocalBoxStream<'static, Route>,
        probe: Option<Probe>,
    ) -> RealSignal {
        let mut signal = RealSignal {
            routes: routes.fuse(),
            probe,
            stage: Stage::Settled,
            next_wait: FIRST_WAIT,
            state: NetworkState::Offline,
            answered: None,
        };
        signal.step().await;
        while let Stage::Probing(_) = signal.stage {
            signal.step().await;
        }
        signal
    }

    /// Waits for one thing to happen and takes it in; `None` if nothing can happen any more.
    async fn step(&mut self) -> Option<()> {
        tokio::select! {
            biased;
            Some(route) = self.routes.next() => self.route_changed(route),
            reach = self.stage.finished(), if !matches!(self.stage, Stage::Settled) => {
                self.stage_finished(reach);
            }
            else => return None,
        }
        Some(())
    }

    fn route_changed(&mut self, route: Route) {
        self.next_wait = FIRST_WAIT;
        (self.state, self.stage) = match (route, &self.probe) {
            (Route::Absent, _) => (NetworkState::Offline, Stage::Settled),
            (Route::Present, None) => (NetworkState::Online, Stage::Settled),
            // The state stays what it was until the probe knows better.
            (Route::Present, Some(probe)) => (self.state, Stage::Probing(probe())),
        };
    }

    fn stage_finished(&mut self, finished: Finished) {
        match (finished, &self.probe) {
            (Finished::Probe(Reach::Reached), _) => {
                self.state = NetworkState::Online;
                self.stage = Stage::Settled;
            }
            (Finished::Probe(Reach::Missed), _) => {
                self.state = NetworkState::Offline;
                self.stage = Stage::Waiting { until: Instant::now() + self.next_wait };
                self.next_wait = (self.next_wait * 2).min(LONGEST_WAIT);
            }
            (Finished::Wait, Some(probe)) => self.stage = Stage::Probing(probe()),
            (Finished::Wait, None) => self.stage = Stage::Settled,
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
            while self.answered == Some(self.state) {
                self.step().await?;
            }
            self.answered = Some(self.state);
            self.answered
        }
        .boxed_local()
    }

    fn outlook(&self) -> Outlook {
        Outlook::Open
    }
}

/// The route now, then again whenever a link or route has changed.
async fn routes() -> Result<LocalBoxStream<'static, Route>, RealSignalError> {
    let monitor = Monitor::new()
        .await
        .map_err(|cause| RealSignalError::Links { cause: format!("{cause:#}") })?;
    let states = monitor.interface_state().stream();
    let route = move |state: State| {
        // The states end when their monitor is dropped.
        let _watching = &monitor;
        match state.default_route_interface {
            Some(_) => Route::Present,
            None => Route::Absent,
        }
    };
    Ok(states.map(route).boxed_local())
}

fn head_probe(url: Url, user_agent: &str) -> Result<Probe, RealSignalError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(RealSignalError::ProbeUrl { url });
    }
    let client = client_builder(user_agent, Proxying::of(&url))
        .timeout(PROBE_TIMEOUT)
        // A pooled connection may have died with the old link; a probe asks the new one.
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|cause| RealSignalError::ProbeClient { cause: cause.to_string() })?;
    Ok(Box::new(move || {
        let request = client.head(url.clone()).send();
        request.map(|sent| if sent.is_ok() { Reach::Reached } else { Reach::Missed }).boxed_local()
    }))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use axum::Router;
    use futures::channel::mpsc;
    use tokio::net::TcpListener;

    use super::NetworkState::{Offline, Online};
    use super::*;

    /// Probes that find what `reach` says at that moment, and the second of each.
    struct ScriptedProbe {
        reach: RefCell<Reach>,
        started: Instant,
        seconds: RefCell<Vec<u64>>,
    }

    impl ScriptedProbe {
        fn new(reach: Reach) -> (Rc<ScriptedProbe>, Probe) {
            let probe = Rc::new(ScriptedProbe {
                reach: RefCell::new(reach),
                started: Instant::now(),
                seconds: RefCell::default(),
            });
            let probed = Rc::clone(&probe);
            let ask: Probe = Box::new(move || {
                let second = probed.started.elapsed().as_secs();
                probed.seconds.borrow_mut().push(second);
                std::future::ready(*probed.reach.borrow()).boxed_local()
            });
            (probe, ask)
        }
    }

    async fn signal(
        route: Route,
        probe: Option<Probe>,
    ) -> (mpsc::UnboundedSender<Route>, RealSignal) {
        let (sender, routes) = mpsc::unbounded();
        sender.unbounded_send(route).unwrap();
        (sender, RealSignal::from_parts(routes.boxed_local(), probe).await)
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_probe_the_route_is_the_state() {
        let (routes, mut signal) = signal(Route::Absent, None).await;
        assert_eq!(signal.next().await, Some(Offline));
        routes.unbounded_send(Route::Present).unwrap();
        assert_eq!(signal.next().await, Some(Online));
        routes.unbounded_send(Route::Present).unwrap();
        routes.unbounded_send(Route::Absent).unwrap();
        assert_eq!(signal.next().await, Some(Offline));
        drop(routes);
        assert_eq!(signal.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_is_not_the_internet_and_probes_back_off_to_half_a_minute() {
        let (probe, ask) = ScriptedProbe::new(Reach::Missed);
        let (_routes, mut signal) = signal(Route::Present, Some(ask)).await;
        assert_eq!(signal.next().await, Some(Offline));
        let nothing = tokio::time::timeout(Duration::from_secs(100), signal.next()).await;
        assert!(nothing.is_err());
        assert_eq!(*probe.seconds.borrow(), [0, 1, 3, 7, 15, 31, 61, 91]);
        *probe.reach.borrow_mut() = Reach::Reached;
        assert_eq!(signal.next().await, Some(Online));
        assert_eq!(probe.started.elapsed().as_secs(), 121);
        // Online: no further probe without a change of a link.
        let quiet = tokio::time::timeout(Duration::from_secs(1000), signal.next()).await;
        assert!(quiet.is_err());
        assert_eq!(probe.seconds.borrow().len(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_a_link_probes_at_once() {
        let (probe, ask) = ScriptedProbe::new(Reach::Reached);
        let (routes, mut signal) = signal(Route::Present, Some(ask)).await;
        assert_eq!(signal.next().await, Some(Online));
        *probe.reach.borrow_mut() = Reach::Missed;
        routes.unbounded_send(Route::Present).unwrap();
        assert_eq!(signal.next().await, Some(Offline));
        let waiting = tokio::time::timeout(Duration::from_secs(20), signal.next()).await;
        assert!(waiting.is_err());
        *probe.reach.borrow_mut() = Reach::Reached;
        routes.unbounded_send(Route::Present).unwrap();
        assert_eq!(signal.next().await, Some(Online));
        assert_eq!(probe.started.elapsed().as_secs(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_route_ends_the_probe_under_way() {
        let ask: Probe = Box::new(|| std::future::pending().boxed_local());
        let (sender, routes) = mpsc::unbounded();
        sender.unbounded_send(Route::Present).unwrap();
        sender.unbounded_send(Route::Absent).unwrap();
        let mut signal = RealSignal::from_parts(routes.boxed_local(), Some(ask)).await;
        assert_eq!(signal.next().await, Some(Offline));
    }

    #[tokio::test]
    async fn a_server_on_this_machine_is_reached_without_a_route_and_with_any_status() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let server = tokio::spawn(async { axum::serve(listener, Router::new()).await });
        let mut signal = RealSignal::start(Some(url.clone()), "test").await.unwrap();
        assert_eq!(signal.next().await, Some(Online));
        assert_eq!(signal.outlook(), Outlook::Open);
        server.abort();
        assert!(server.await.unwrap_err().is_cancelled());
        let mut signal = RealSignal::start(Some(url), "test").await.unwrap();
        assert_eq!(signal.next().await, Some(Offline));
    }

    #[tokio::test]
    async fn a_probe_needs_an_http_address() {
        let url = Url::parse("ftp://files.test/").unwrap();
        let error = RealSignal::start(Some(url), "test").await.err().unwrap();
        let message =
            "the network cannot be probed at ftp://files.test/: give an http or https URL";
        assert_eq!(error.to_string(), message);
    }
}
