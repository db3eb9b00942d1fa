//! The machine's own network, in namespaces: the signal against the suite, and the command while
//! links, cables, routes and servers come and go.
//!
//! Invariant: a test waits for what a process says, never for time to pass; except to see that
//! something does not happen, and then it goes on until it has proof that the cause was noticed.

use std::collections::VecDeque;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Uri};
use kittiwake::conformance::{self, NetworkWorld};
use kittiwake::{NetworkState, Probe, RealNetwork, RealSignal};
use tokio::net::TcpListener;

use crate::namespaces::{Addresses, Lab, Namespace, SERVER as HOST};
use crate::process::{Process, kittiwake};

/// The flag with which this binary is an HTTP server.
pub const SERVER: &str = "--serve";
/// The flag with which it runs one case of the suite, inside a namespace.
pub const CONFORMANCE: &str = "--conform";

const PORT: u16 = 8080;

type Test = Box<dyn FnOnce() + Send>;

/// Every test that needs namespaces.
pub fn tests() -> Vec<(String, Test)> {
    let named: [(&str, fn()); 7] = [
        ("a link that goes holds the sync, and its return sends it once", link_v4),
        ("the same with IPv6", link_v4_and_v6),
        ("a cable that is pulled is noticed", cable),
        ("a default route that is withdrawn is noticed", route),
        ("a link without an answer is offline until the server is back", silent_server),
        ("the worker's own origin is asked unless another address is given", own_origin),
        ("a link that flaps within the debounce is not told", flapping),
    ];
    let mut tests: Vec<(String, Test)> =
        named.into_iter().map(|(name, test)| (name.to_owned(), Box::new(test) as Test)).collect();
    tests.extend(conformance::NETWORK_SIGNAL_CASES.iter().map(|case| {
        let test: Test = Box::new(|| conform_in_a_namespace(case));
        ((*case).to_owned(), test)
    }));
    tests
}

// --- the signal ---

fn conform_in_a_namespace(case: &str) {
    let lab = Lab::new(Addresses::V4);
    let program = std::env::current_exe().expect("this program has a path");
    Process::start(lab.machine.command(program).args([CONFORMANCE, case])).finish().expect_code(0);
}

/// Runs a case of the suite over the network of this process.
pub fn conform(case: &str) -> ExitCode {
    let mut tokio = tokio::runtime::Builder::new_current_thread();
    let tokio = tokio.enable_all().build().expect("a runtime");
    tokio.block_on(conformance::network_signal::<Routes>(case));
    ExitCode::SUCCESS
}

/// A default route that comes and goes.
struct Routes {
    states: VecDeque<NetworkState>,
}

impl NetworkWorld for Routes {
    type Signal = RealSignal;

    async fn start(states: &[NetworkState]) -> (Routes, RealSignal) {
        let mut world = Routes { states: states.to_vec().into() };
        world.advance().await;
        let network = RealNetwork { probe: Probe::Never, debounce: Duration::from_millis(50) };
        let signal = RealSignal::start(network, "test").await.expect("links can be watched");
        (world, signal)
    }

    async fn advance(&mut self) {
        let change = match self.states.pop_front().expect("a case asks for no more than it gave") {
            NetworkState::Online => ["route", "replace", "default", "dev", "uplink"].as_slice(),
            NetworkState::Offline => &["route", "flush", "default"],
        };
        let status = std::process::Command::new("ip").args(change).status();
        assert!(status.expect("ip runs").success());
    }
}

// --- the command ---

/// Asks for a sync once the page has heard that the network is away.
const PAGE: &str = r#"
addEventListener("offline", async () => {
  const { sync } = await navigator.serviceWorker.ready;
  await sync.register("mail");
});
"#;

struct Run {
    // Dropped in this order: processes first, then what they run in.
    command: Process,
    server: Option<Process>,
    _folder: tempfile::TempDir,
    lab: Lab,
}

impl Run {
    /// Starts a server, if one is wanted, and then the command with `--network real`.
    fn start(addresses: Addresses, server: bool, options: &[&str]) -> Run {
        let lab = Lab::new(addresses);
        let server = server.then(|| start_other(&lab));
        let folder = tempfile::tempdir().expect("a temporary folder");
        write(folder.path(), "page.js", PAGE);
        let worker = format!(
            r#"addEventListener("sync", (event) => event.waitUntil(
                 fetch("http://{HOST}:{PORT}/outbox", {{ method: "POST", body: event.tag }})));"#
        );
        write(folder.path(), "sw.js", &worker);
        let mut command = lab.machine.command(kittiwake().get_program());
        command.current_dir(folder.path());
        command.args(["run", "sw.js", "--page", "page.js", "--until", "forever"]);
        command.args(["--network", "real"]).args(options);
        let command = Process::start(&mut command);
        Run { command, server, _folder: folder, lab }
    }

    fn wait_for(&mut self, line: &str) {
        self.command.wait_for_line(line);
    }

    fn server(&mut self) -> &mut Process {
        self.server.as_mut().expect("the test started one")
    }

    /// Ends the command; answers its trace.
    fn end(self) -> Vec<String> {
        self.command.terminate();
        self.command.finish().expect_code(0).stdout
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a file in a temporary folder");
}

fn probe() -> String {
    format!("http://{HOST}:{PORT}/")
}

/// Waits until it serves.
fn start_server(machine: &Namespace, address: &str) -> Process {
    let program = std::env::current_exe().expect("this program has a path");
    let mut server = Process::start(machine.command(program).args([SERVER, address]));
    server.wait_for_line("serving");
    server
}

/// Starts the server of the other machine.
fn start_other(lab: &Lab) -> Process {
    start_server(&lab.other, &format!("{HOST}:{PORT}"))
}

/// Answers everything with an empty script, and says what it was.
pub fn serve(address: &str) -> ExitCode {
    let mut tokio = tokio::runtime::Builder::new_current_thread();
    let tokio = tokio.enable_all().build().expect("a runtime");
    let answer = async |method: Method, uri: Uri| {
        println!("{method} {uri}");
        [(CONTENT_TYPE, "text/javascript")]
    };
    tokio.block_on(async {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        println!("serving");
        axum::serve(listener, Router::new().fallback(answer)).await.expect("it serves for ever");
    });
    ExitCode::SUCCESS
}

fn link_v4() {
    link(Addresses::V4);
}

fn link_v4_and_v6() {
    link(Addresses::V4AndV6);
}

fn link(addresses: Addresses) {
    let mut run = Run::start(addresses, true, &["--probe", &probe()]);
    run.wait_for("opened");
    run.lab.link_down();
    run.wait_for("network    offline");
    run.wait_for("mail  registered");
    run.lab.link_up();
    run.wait_for("network    online");
    run.wait_for("mail  done");
    let posted = run.server.take().expect("it was started").kill_and_read();
    assert_eq!(posted.iter().filter(|line| *line == "POST /outbox").count(), 1, "{posted:#?}");
    let trace = run.end();
    let firing = trace.iter().filter(|line| line.contains("mail  firing"));
    assert_eq!(firing.count(), 1, "{trace:#?}");
}

fn cable() {
    let mut run = Run::start(Addresses::V4, true, &["--probe", "none"]);
    run.wait_for("opened");
    run.lab.pull_cable();
    run.wait_for("network    offline");
    run.wait_for("mail  registered");
    run.lab.plug_cable();
    run.wait_for("network    online");
    run.wait_for("mail  done");
}

fn route() {
    let mut run = Run::start(Addresses::V4, true, &["--probe", "none"]);
    run.wait_for("opened");
    run.lab.withdraw_route();
    run.wait_for("network    offline");
    run.wait_for("mail  registered");
    run.lab.add_route();
    run.wait_for("network    online");
    run.wait_for("mail  done");
}

fn silent_server() {
    let mut run = Run::start(Addresses::V4, false, &["--probe", &probe()]);
    run.wait_for("network    offline");
    run.wait_for("opened");
    run.server = Some(start_other(&run.lab));
    run.server().wait_for_line("HEAD /");
    run.wait_for("network    online");
    // It goes again: the link is probed anew when it changes, and found to lead nowhere.
    run.server.take().expect("it was started").kill();
    run.lab.pull_cable();
    run.wait_for("network    offline");
    run.wait_for("mail  registered");
    run.lab.plug_cable();
    run.server = Some(start_other(&run.lab));
    run.wait_for("network    online");
    run.wait_for("mail  done");
    let trace = run.end();
    let states: Vec<_> = trace.iter().filter(|line| line.contains("  network    ")).collect();
    assert_eq!(states.len(), 4, "{trace:#?}");
}

fn own_origin() {
    // Of the machine itself, for which no route is needed.
    let lab = Lab::new(Addresses::V4);
    lab.machine.ip("link set lo up");
    lab.withdraw_route();
    let origin = format!("http://127.0.0.1:{PORT}");
    let mut server = start_server(&lab.machine, &format!("127.0.0.1:{PORT}"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), "sw.js", "");
    let run = |options: &[&str]| {
        let mut command = lab.machine.command(kittiwake().get_program());
        command.args(["run", "--network", "real", "--until", "forever"]).args(options);
        Process::start(command.current_dir(folder.path()))
    };
    let remote = run(&[&format!("{origin}/sw.js")]);
    server.wait_for_line("HEAD /");
    drop(remote);
    // What the command serves itself says nothing of the network.
    run(&["sw.js", "--origin", &origin]).wait_for_line("network    offline");
    let _other = run(&["sw.js", "--origin", &origin, "--probe", &format!("{origin}/there")]);
    assert_eq!(server.wait_for_line("HEAD"), "HEAD /there");
}

fn flapping() {
    let mut run = Run::start(Addresses::V4, true, &["--probe", &probe(), "--debounce", "1h"]);
    run.wait_for("opened");
    run.server().wait_for_line("HEAD /");
    // A machine is asked again only after it was seen to lose its link and to find it again; a link
    // that is gone for too short a time is not seen to go at all, and then it goes once more.
    let mut seen = 0;
    for gone in (1..).map(|attempt| Duration::from_millis(300 * attempt)) {
        run.lab.link_down();
        let answered = run.server().line_within("HEAD /", gone);
        assert_eq!(answered, None, "nobody reaches a server over a link that is down");
        run.lab.link_up();
        seen += usize::from(run.server().line_within("HEAD /", Duration::from_secs(3)).is_some());
        if seen == 3 {
            break;
        }
    }
    let trace = run.end();
    assert!(!trace.iter().any(|line| line.contains("  network    ")), "{trace:#?}");
}
