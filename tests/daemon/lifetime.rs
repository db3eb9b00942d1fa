//! The daemon's beginning and its end: what it needs, what it tells a service manager, and what
//! becomes of what is under way.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::spawn;

use serde_json::json;

use crate::client::{Daemon, command, finished, of_scope};
use crate::process::Process;
use crate::server::Server;

pub const TESTS: &[(&str, fn())] = &[
    ("what_is_under_way_ends_before_the_daemon_does", drained),
    ("a_sync_that_takes_longer_than_the_drain_is_given_back_uncounted", given_back),
    ("a_second_signal_gives_back_at_once", second_signal),
    ("a_script_that_does_not_let_go_keeps_no_second_signal_waiting", stuck),
    ("what_was_registered_is_there_after_a_restart", restarted),
    ("a_folder_or_port_of_another_process_is_refused", refused),
    ("the_service_manager_hears_that_it_is_ready_lives_and_stops", notified),
];

/// A server that keeps each request until it is let go.
struct Gate {
    address: String,
    arrived: Receiver<()>,
    let_go: Sender<()>,
}

impl Gate {
    fn start() -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let ((tell, arrived), (let_go, gone)) = (channel(), channel());
        spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.expect("a connection");
                let mut head = [0; 4096];
                let _ = connection.read(&mut head).expect("a request");
                if tell.send(()).is_err() || gone.recv().is_err() {
                    return;
                }
                let answer = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
                connection.write_all(answer.as_bytes()).expect("it reads");
            }
        });
        Gate { address, arrived, let_go }
    }

    fn wait(&self) {
        let patience = std::time::Duration::from_secs(120);
        self.arrived.recv_timeout(patience).expect("the worker asks");
    }
}

/// A daemon whose worker is in its sync event, which lasts until the gate opens.
fn in_mid_event(options: &[&str]) -> (Daemon, Server, Gate, String) {
    let gate = Gate::start();
    let script = format!(
        "onmessage = (event) => event.waitUntil(registration.sync.register(event.data));
         onsync = (event) => event.waitUntil(fetch('http://{}/'));",
        gate.address
    );
    let daemon = Daemon::start(options);
    let server = Server::start(&[("/sw.js", &script)]);
    let scope = daemon.register(&server);
    let message = json!({ "message": "slow" });
    daemon.post(&of_scope(&scope, "/message"), &message).expect_status(202);
    gate.wait();
    (daemon, server, gate, scope)
}

/// What `kittiwake syncs` says of the state that a daemon has left: state and failed attempts.
fn left_in(folder: &Path) -> Vec<(String, u64)> {
    let state = folder.join("state");
    let state = state.to_str().expect("UTF-8");
    let listed = finished(&["syncs", "--state", state, "--format", "json"]).expect_code(0);
    let lines = listed.stdout.iter().map(|line| {
        let sync: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let state = sync["state"].as_str().expect("a state").to_owned();
        (state, sync["failed_attempts"].as_u64().expect("a number"))
    });
    lines.collect()
}

fn drained() {
    let (mut daemon, _server, gate, _) = in_mid_event(&["--drain", "1h"]);
    let address = daemon.base.strip_prefix("http://").expect("HTTP").to_owned();
    // An answer that has no end of its own, too.
    let mut reader = TcpStream::connect(&address).expect("it listens");
    let token = &daemon.token;
    let head = format!(
        "GET /v1/trace/stream HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    reader.write_all(head.as_bytes()).expect("it reads");
    let mut status = [0; 15];
    reader.read_exact(&mut status).expect("it answers");
    assert_eq!(&status, b"HTTP/1.1 200 OK");
    daemon.process.terminate();
    daemon.process.wait_for_line("stopping");
    TcpStream::connect(&address).expect_err("nobody is let in any more");
    gate.let_go.send(()).expect("the gate is there");
    daemon.process.wait_for_line("slow  done");
    let Daemon { process, folder, .. } = daemon;
    let finished = process.finish().expect_code(0);
    assert_eq!(finished.lines_with("all_ended=true").len(), 1, "{finished:#?}");
    assert_eq!(left_in(folder.path()), []);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("the stream ends in order");
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
}

fn given_back() {
    let (daemon, _server, _gate, _) = in_mid_event(&["--drain", "1ms"]);
    daemon.process.terminate();
    let Daemon { process, folder, .. } = daemon;
    let finished = process.finish().expect_code(0);
    assert_eq!(finished.lines_with("broke off what took longer than 1ms").len(), 1);
    assert_eq!(left_in(folder.path()), [("pending".to_owned(), 0)]);
}

fn second_signal() {
    let (mut daemon, _server, _gate, _) = in_mid_event(&["--drain", "1h"]);
    daemon.process.terminate();
    daemon.process.wait_for_line("stopping");
    daemon.process.terminate();
    let Daemon { process, folder, .. } = daemon;
    let finished = process.finish().expect_code(0);
    assert_eq!(finished.lines_with("asked to stop again").len(), 1, "{finished:#?}");
    assert_eq!(left_in(folder.path()), [("pending".to_owned(), 0)]);
}

fn stuck() {
    let mut daemon = Daemon::start(&["--drain", "1h", "--log-level", "debug"]);
    let script = "onmessage = () => { console.log('stuck'); for (;;); };";
    let server = Server::start(&[("/sw.js", script)]);
    let scope = daemon.register(&server);
    daemon.post(&of_scope(&scope, "/message"), &json!({ "message": 1 })).expect_status(202);
    daemon.process.wait_for_line("stuck");
    daemon.process.terminate();
    daemon.process.wait_for_line("stopping");
    daemon.process.terminate();
    let finished = daemon.process.finish().expect_code(1);
    assert_eq!(finished.lines_with("did not let go of the host thread").len(), 1, "{finished:#?}");
}

fn restarted() {
    let (daemon, server) = Daemon::with_worker(&[]);
    let scope = format!("{}/", server.origin);
    daemon.process.terminate();
    let Daemon { process, folder, .. } = daemon;
    process.finish().expect_code(0);
    let daemon = Daemon::start_in(folder, &["--network", "online"]);
    let found = daemon.get(&of_scope(&scope, "")).expect_status(200).json();
    assert_eq!(found["active"]["state"], "activated");
    assert_eq!(found["active"]["running"], false, "it sleeps until its first event");
    let list = daemon.get("/v1/registrations").json();
    assert_eq!(list["registrations"][0], found);
}

fn refused() {
    let daemon = Daemon::start(&[]);
    let state = daemon.state();
    let state = state.to_str().expect("UTF-8");
    let said = |arguments: &[&str]| finished(arguments).expect_code(1).stdout.join("\n");
    let held = said(&["serve", "--state", state, "--listen", "127.0.0.1:0"]);
    assert!(held.contains(&format!("process {}", daemon.process.id())), "{held}");
    let other = daemon.folder.path().join("other");
    let address = daemon.base.strip_prefix("http://").expect("HTTP");
    let taken = ["serve", "--state", other.to_str().expect("UTF-8"), "--listen", address];
    let taken = said(&taken);
    assert!(taken.contains(&format!("cannot listen at {address}")), "{taken}");
    assert!(!other.exists(), "nothing was made");
    let nowhere = said(&["serve", "--state", "/dev/null/x", "--listen", "127.0.0.1:0"]);
    assert!(nowhere.contains("/dev/null/x"), "{nowhere}");
    daemon.get("/readyz").expect_status(200);
}

fn notified() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    let patience = std::time::Duration::from_secs(120);
    manager.set_read_timeout(Some(patience)).expect("it is a time");
    let heard = |expected: &str| loop {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).expect("it is told");
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if text.lines().any(|line| line == expected) {
            return text;
        }
    };
    let state = folder.path().join("state");
    let state = state.to_str().expect("UTF-8");
    let mut command = command(&["serve", "--state", state, "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "20000").env_remove("WATCHDOG_PID");
    let mut process = Process::start(&mut command);
    let ready = heard("READY=1");
    assert!(ready.contains("STATUS=listening on http://127.0.0.1:"), "{ready}");
    process.wait_for_line("listening");
    heard("WATCHDOG=1");
    process.terminate();
    let stopping = heard("STOPPING=1");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC="), "{stopping}");
    process.finish().expect_code(0);
}

/// Whether there is a systemd that could say what it thinks of a unit, or why not.
pub fn can_verify_units() -> Result<(), String> {
    let runs = Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status();
    match runs.is_ok_and(|status| status.success()) {
        true => Ok(()),
        false => Err("there is no `systemd-analyze`; install Debian's package systemd".to_owned()),
    }
}

/// The unit, with the command where it is here.
pub fn unit_is_valid() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/kittiwake.service");
    let unit = std::fs::read_to_string(unit).expect("the unit is there");
    let installed = "/usr/local/bin/kittiwake";
    assert!(unit.contains(&format!("ExecStart={installed} serve")), "{unit}");
    let unit =
        unit.replace(&format!("={installed}"), &format!("={}", env!("CARGO_BIN_EXE_kittiwake")));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("kittiwake.service");
    std::fs::write(&file, unit).expect("a file in a temporary folder");
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output();
    let verified = verified.expect("it starts");
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("kittiwake.service"), "{said}");
}
