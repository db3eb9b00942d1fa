//! The real signal with scripted links and probes, on a paused clock.

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
    fn new(reach: Reach) -> (Rc<ScriptedProbe>, Ask) {
        let probe = Rc::new(ScriptedProbe {
            reach: RefCell::new(reach),
            started: Instant::now(),
            seconds: RefCell::default(),
        });
        let probed = Rc::clone(&probe);
        let ask: Ask = Box::new(move || {
            let second = probed.started.elapsed().as_secs();
            probed.seconds.borrow_mut().push(second);
            std::future::ready(*probed.reach.borrow()).boxed_local()
        });
        (probe, ask)
    }
}

/// A signal that tells every change at once.
async fn signal(route: Route, ask: Option<Ask>) -> (mpsc::UnboundedSender<Route>, RealSignal) {
    debounced(route, ask, Duration::ZERO).await
}

async fn debounced(
    route: Route,
    ask: Option<Ask>,
    debounce: Duration,
) -> (mpsc::UnboundedSender<Route>, RealSignal) {
    let (sender, routes) = mpsc::unbounded();
    sender.unbounded_send(route).unwrap();
    (sender, RealSignal::from_parts(routes.boxed_local(), ask, debounce).await)
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
    let ask: Ask = Box::new(|| std::future::pending().boxed_local());
    let (sender, routes) = mpsc::unbounded();
    sender.unbounded_send(Route::Present).unwrap();
    sender.unbounded_send(Route::Absent).unwrap();
    let mut signal = RealSignal::from_parts(routes.boxed_local(), Some(ask), Duration::ZERO).await;
    assert_eq!(signal.next().await, Some(Offline));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told_once_it_has_held() {
    let (routes, mut signal) = debounced(Route::Present, None, Duration::from_secs(2)).await;
    assert_eq!(signal.next().await, Some(Online));
    let started = Instant::now();
    routes.unbounded_send(Route::Absent).unwrap();
    let early = tokio::time::timeout(Duration::from_millis(1900), signal.next()).await;
    assert!(early.is_err());
    assert_eq!(signal.next().await, Some(Offline));
    assert_eq!(started.elapsed(), Duration::from_secs(2));
    // A change that nothing can follow any more is told too.
    routes.unbounded_send(Route::Present).unwrap();
    drop(routes);
    assert_eq!(signal.next().await, Some(Online));
    assert_eq!(started.elapsed(), Duration::from_secs(4));
    assert_eq!(signal.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_flaps_is_not_told() {
    let (routes, mut signal) = debounced(Route::Present, None, Duration::from_secs(2)).await;
    assert_eq!(signal.next().await, Some(Online));
    for _ in 0..10 {
        routes.unbounded_send(Route::Absent).unwrap();
        let flap = tokio::time::timeout(Duration::from_millis(1900), signal.next()).await;
        assert!(flap.is_err());
        routes.unbounded_send(Route::Present).unwrap();
        let back = tokio::time::timeout(Duration::from_millis(100), signal.next()).await;
        assert!(back.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_once_is_not_told() {
    let (probe, ask) = ScriptedProbe::new(Reach::Reached);
    let debounce = Duration::from_secs(2);
    let (routes, mut signal) = debounced(Route::Present, Some(ask), debounce).await;
    assert_eq!(signal.next().await, Some(Online));
    *probe.reach.borrow_mut() = Reach::Missed;
    routes.unbounded_send(Route::Present).unwrap();
    let missed = tokio::time::timeout(Duration::from_millis(500), signal.next()).await;
    assert!(missed.is_err());
    *probe.reach.borrow_mut() = Reach::Reached;
    let found = tokio::time::timeout(Duration::from_secs(1000), signal.next()).await;
    assert!(found.is_err());
    assert_eq!(*probe.seconds.borrow(), [0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn looking_anew_probes_at_once_and_what_it_finds_is_told_at_once() {
    let (probe, ask) = ScriptedProbe::new(Reach::Reached);
    let debounce = Duration::from_secs(60);
    let (_routes, mut signal) = debounced(Route::Present, Some(ask), debounce).await;
    assert_eq!(signal.next().await, Some(Online));
    signal.look_anew().await;
    assert!(signal.next().now_or_never().is_none());
    *probe.reach.borrow_mut() = Reach::Missed;
    signal.look_anew().await;
    assert_eq!(signal.next().now_or_never(), Some(Some(Offline)));
    // The wait for the next probe, long after many have failed, is cut short.
    let nothing = tokio::time::timeout(Duration::from_secs(40), signal.next()).await;
    assert!(nothing.is_err());
    *probe.reach.borrow_mut() = Reach::Reached;
    signal.look_anew().await;
    assert_eq!(signal.next().now_or_never(), Some(Some(Online)));
    assert_eq!(probe.started.elapsed(), Duration::from_secs(40));
}

async fn server() -> (Url, tokio::task::JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    (url, tokio::spawn(async { axum::serve(listener, Router::new()).await }))
}

async fn stop(server: tokio::task::JoinHandle<std::io::Result<()>>) {
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn a_server_on_this_machine_is_reached_without_a_route_and_with_any_status() {
    let (url, server) = server().await;
    let network = RealNetwork { probe: Probe::Url(url), ..RealNetwork::default() };
    let mut signal = RealSignal::start(network.clone(), "test").await.unwrap();
    assert_eq!(signal.next().await, Some(Online));
    assert_eq!(signal.outlook(), Outlook::Open);
    stop(server).await;
    let mut signal = RealSignal::start(network, "test").await.unwrap();
    assert_eq!(signal.next().await, Some(Offline));
}

#[tokio::test]
async fn one_origin_that_answers_is_enough_and_every_one_is_asked_in_its_turn() {
    let mut origins = Vec::new();
    for _ in 0..9 {
        let (dead, server) = server().await;
        stop(server).await;
        origins.push(dead);
    }
    let (alive, _server) = server().await;
    origins.push(alive);
    let ask = ask_by_head(Rc::new(move || origins.clone()), "test").unwrap();
    assert_eq!([ask().await, ask().await], [Reach::Missed, Reach::Missed]);
    assert_eq!(ask().await, Reach::Reached);
    let nobody = ask_by_head(Rc::new(Vec::new), "test").unwrap();
    assert_eq!(nobody().await, Reach::Reached);
}

#[tokio::test]
async fn a_probe_needs_an_http_address() {
    let probe = Probe::Url(Url::parse("ftp://files.test/").unwrap());
    let network = RealNetwork { probe, ..RealNetwork::default() };
    let error = RealSignal::start(network, "test").await.err().unwrap();
    let message = "the network cannot be probed at ftp://files.test/: give an http or https URL";
    assert_eq!(error.to_string(), message);
    assert_eq!("ftp://files.test/".parse::<Probe>(), Err(error));
    let message = "the network cannot be probed at files.test: give an http or https URL";
    assert_eq!("files.test".parse::<Probe>().unwrap_err().to_string(), message);
    assert_eq!("none".parse(), Ok(Probe::Never));
}
