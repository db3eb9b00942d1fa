//! Who may ask: never everybody by default.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;

use crate::client::{Daemon, command, finished, write};
use crate::process::Process;

pub const TESTS: &[(&str, fn())] = &[
    ("nothing_but_the_page_and_the_probes_is_answered_without_the_token", token_needed),
    ("the_token_of_a_state_folder_is_its_owners_and_stays", token_file),
    ("a_token_file_has_to_be_private_and_hold_a_token", given_token_file),
    ("a_page_of_another_site_gets_at_nothing", other_sites),
    ("a_name_that_another_site_has_given_this_machine_is_refused", rebinding),
    ("an_address_that_others_reach_has_to_be_wanted", remote),
    ("a_unix_socket_is_its_owners_alone_and_needs_no_token", unix_socket),
    ("options_of_the_other_form_are_refused", wrong_form),
];

fn token_needed() {
    let daemon = Daemon::start(&[]);
    let without = |path: &str, authorization: Option<&str>| {
        let mut request = reqwest::Client::new().get(format!("{}{path}", daemon.base));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        daemon.send(request)
    };
    let document = daemon.get("/openapi.json").json();
    let paths = document["paths"].as_object().expect("paths").keys();
    let mut closed = 0;
    for path in paths.filter(|path| !["/healthz", "/readyz"].contains(&path.as_str())) {
        let path = path.replace("{scope}", "https%3A%2F%2Fapp.test%2F");
        without(&path, None).expect_problem(401, "unauthorized");
        closed += 1;
    }
    assert!(closed > 10, "{closed}");
    without("/not/there", None).expect_problem(401, "unauthorized");
    for wrong in ["Bearer wrong", "Bearer", "Basic a2l0dGl3YWtl", ""] {
        without("/v1/status", Some(wrong)).expect_problem(401, "unauthorized");
    }
    let almost = format!("Bearer {}x", daemon.token);
    without("/v1/status", Some(&almost)).expect_problem(401, "unauthorized");
    without("/v1/status", Some(&format!("Bearer {}", daemon.token))).expect_status(200);
    for open in ["/", "/page.css", "/page.js", "/healthz", "/readyz", "/openapi.json"] {
        let answer = without(open, None).expect_status(200);
        assert!(!answer.text.contains(&daemon.token), "{open} tells the token");
        let policy = answer.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none';"), "{open}: {policy}");
        assert!(!policy.contains("unsafe"), "{open}: {policy}");
    }
}

fn token_file() {
    let daemon = Daemon::start(&[]);
    let file = daemon.state().join("token");
    let mode = std::fs::metadata(&file).expect("it is made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(daemon.token.len() >= 43, "32 random bytes");
    let first = daemon.token.clone();
    daemon.process.terminate();
    let Daemon { process, folder, .. } = daemon;
    let finished = process.finish().expect_code(0);
    assert!(finished.lines_with(&first).is_empty(), "the log has the token: {finished:#?}");
    let again = Daemon::start_in(folder, &["--network", "online"]);
    assert_eq!(again.token, first);
    again.get("/v1/status").expect_status(200);
    again.process.terminate();
    let Daemon { process, folder, .. } = again;
    process.finish().expect_code(0);

    let state = folder.path().join("state");
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(state.join("token"), open).expect("it is ours");
    let state = state.to_str().expect("UTF-8");
    let refused = finished_with(&["serve", "--state", state, "--listen", "127.0.0.1:0"]);
    assert!(refused.contains("others may use the token file"), "{refused}");
    assert!(refused.contains("chmod 600"), "{refused}");
}

/// What the command says that ends with a failure.
fn finished_with(arguments: &[&str]) -> String {
    finished(arguments).expect_code(1).stdout.join("\n")
}

fn given_token_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let state = folder.path().join("s");
    let serve = |file: &str| {
        let state = state.to_str().expect("UTF-8");
        let options = ["--listen", "127.0.0.1:0", "--network", "online", "--token-file", file];
        let options = [&["serve", "--state", state], &options[..]].concat();
        finished_with(&options)
    };
    let absent = serve("/no/such/file");
    assert!(absent.contains("cannot read the token file /no/such/file"), "{absent}");
    let file = write(folder.path(), "mine", "a-token-of-my-own-making\n");
    let open = serve(&file);
    assert!(open.contains("others may use the token file"), "{open}");
    let private = || {
        let mode = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(&file, mode).expect("it is ours");
    };
    private();
    for bad in ["short", "", "two words that are long"] {
        std::fs::write(&file, bad).expect("it is ours");
        let refused = serve(&file);
        assert!(refused.contains("holds no token"), "{bad:?}: {refused}");
    }
    std::fs::write(&file, "a-token-of-my-own-making\n").expect("it is ours");
    let mut daemon = Daemon::start(&["--token-file", &file]);
    assert_eq!(daemon.token, "", "none is made");
    daemon.get("/v1/status").expect_problem(401, "unauthorized");
    daemon.token = "a-token-of-my-own-making".to_owned();
    daemon.get("/v1/status").expect_status(200);
}

fn other_sites() {
    let daemon = Daemon::start(&[]);
    let ask = |path: &str, headers: &[(&str, &str)]| {
        let request = daemon.request(reqwest::Method::GET, path);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        daemon.send(request)
    };
    let own = daemon.base.clone();
    ask("/v1/status", &[("origin", &own), ("sec-fetch-site", "same-origin")]).expect_status(200);
    ask("/v1/status", &[("sec-fetch-site", "none")]).expect_status(200);
    for origin in ["https://evil.example", "null", "http://127.0.0.1", "https://127.0.0.1:1"] {
        ask("/v1/status", &[("origin", origin)]).expect_problem(403, "other-site");
        ask("/", &[("origin", origin)]).expect_problem(403, "other-site");
    }
    for site in ["cross-site", "same-site"] {
        ask("/v1/status", &[("sec-fetch-site", site)]).expect_problem(403, "other-site");
        let link = [("sec-fetch-site", site), ("sec-fetch-mode", "navigate")];
        ask("/", &link).expect_status(200);
        ask("/v1/status", &link).expect_problem(403, "other-site");
    }
    let answer = ask("/v1/status", &[("origin", &own)]);
    assert!(!answer.headers.contains_key("access-control-allow-origin"), "{answer:#?}");
    assert_eq!(answer.headers["cross-origin-resource-policy"], "same-origin");
}

/// The status line of a request for `/v1/status` with this host.
fn status_with_host(daemon: &Daemon, host: &str) -> String {
    let address = daemon.base.strip_prefix("http://").expect("HTTP");
    let mut connection = TcpStream::connect(address).expect("it listens");
    let token = &daemon.token;
    let request = format!(
        "GET /v1/status HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("it answers");
    answer.lines().next().expect("a status line").to_owned()
}

fn rebinding() {
    let daemon = Daemon::start(&["--allow-host", "box.example"]);
    let port = daemon.base.rsplit(':').next().expect("a port");
    for host in ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "box.example", "BOX.example"] {
        let status = status_with_host(&daemon, &format!("{host}:{port}"));
        assert_eq!(status, "HTTP/1.1 200 OK", "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ""] {
        let status = status_with_host(&daemon, host);
        assert_eq!(status, "HTTP/1.1 421 Misdirected Request", "{host}");
    }
}

fn remote() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let state = folder.path().join("state");
    let options = ["serve", "--state", state.to_str().expect("UTF-8"), "--listen"];
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let said = finished(&[&options[..], &[address]].concat()).expect_code(2).stdout.join("\n");
        assert!(said.contains("--allow-remote"), "{said}");
    }
    assert!(!state.exists(), "nothing was made");
    let options = [&options[..], &["0.0.0.0:0", "--allow-remote", "--network", "online"]].concat();
    let mut process = Process::start(&mut command(&options));
    process.wait_for_line("listening on http://0.0.0.0:");
}

fn unix_socket() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("kittiwake.sock");
    let (listen, state) = (format!("unix:{}", path.display()), folder.path().join("state"));
    let state = state.to_str().expect("UTF-8");
    let options = ["serve", "--state", state, "--listen", &listen, "--network", "online"];
    let mut process = Process::start(&mut command(&options));
    process.wait_for_line("listening on unix:");
    let metadata = std::fs::metadata(&path).expect("it is there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert!(!folder.path().join("state/token").exists(), "no token is needed");
    let get = |path_of_url: &str| {
        let mut connection = UnixStream::connect(&path).expect("it listens");
        let head = format!("GET {path_of_url} HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n");
        connection.write_all(head.as_bytes()).expect("it reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("it answers");
        answer
    };
    assert!(get("/v1/status").starts_with("HTTP/1.1 200 OK"), "{}", get("/v1/status"));
    // A second daemon leaves it alone.
    let other = folder.path().join("other");
    let other = other.to_str().expect("UTF-8");
    let said = finished_with(&["serve", "--state", other, "--listen", &listen]);
    assert!(said.contains("another process listens there"), "{said}");
    assert!(get("/v1/status").starts_with("HTTP/1.1 200 OK"));
    process.terminate();
    process.finish().expect_code(0);
    assert!(!path.exists(), "it goes with the daemon");

    // What a crash has left is in nobody's way; a file is.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let mut process = Process::start(&mut command(&options));
    process.wait_for_line("listening on unix:");
    process.terminate();
    process.finish().expect_code(0);
    write(folder.path(), "kittiwake.sock", "a file");
    let said = finished_with(&options);
    assert!(said.contains("a file is there"), "{said}");
}

fn wrong_form() {
    let said = |arguments: &[&str]| finished(arguments).expect_code(2).stdout.join("\n");
    let nothing = said(&["serve"]);
    assert!(nothing.contains("give a SCRIPT") && nothing.contains("--state DIR"), "{nothing}");
    for (option, value) in [
        ("--upstream", "http://127.0.0.1:1"),
        ("--origin", "https://app.test"),
        ("--root", "."),
        ("--type", "module"),
        ("--format", "json"),
    ] {
        let said = said(&["serve", "--state", "s", option, value]);
        assert!(said.contains(&format!("{option} is about one worker")), "{said}");
    }
    for options in [
        &["--token-file", "t"][..],
        &["--allow-remote"],
        &["--allow-host", "h"],
        &["--drain", "1s"],
        &["--log-format", "json"],
        &["--log-level", "warn"],
    ] {
        let said = said(&[&["serve", "sw.js"], options].concat());
        assert!(said.contains(&format!("{} is for a daemon", options[0])), "{said}");
    }
    let socket = said(&["serve", "sw.js", "--listen", "unix:s"]);
    assert!(socket.contains("over TCP, not at unix:s"), "{socket}");
}
