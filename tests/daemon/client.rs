//! A daemon under test, and a client that has its token.
//!
//! Invariant: a daemon listens when its test begins, and does not outlive it.

use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::process::{Finished, Process};
use crate::server::Server;

/// Registers syncs of the tags that a message lists; fails `fail`, and is asked to `/outbox`
/// otherwise.
pub const WORKER: &str = r#"
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("message", (event) => {
  const { syncs = [], periodic = [], lines = 0 } = event.data;
  for (let line = 1; line <= lines; line++) console.log(`line ${line}`);
  const { sync, periodicSync } = self.registration;
  event.waitUntil(Promise.all([
    ...syncs.map((tag) => sync.register(tag)),
    ...periodic.map((tag) => periodicSync.register(tag, { minInterval: 0 })),
  ]));
});
const send = async (tag) => {
  if (tag === "fail") throw new Error("no luck");
  const answer = await fetch(`/outbox/${tag}`, { method: "POST", body: tag });
  if (!answer.ok) throw new Error(`the outbox said ${answer.status}`);
};
self.addEventListener("sync", (event) => event.waitUntil(send(event.tag)));
self.addEventListener("periodicsync", (event) => event.waitUntil(send(event.tag)));
self.addEventListener("push", (event) => {
  if (event.data?.text() === "bad") event.waitUntil(Promise.reject(new Error("bad push")));
});
self.addEventListener("fetch", (event) => {
  const { pathname } = new URL(event.request.url);
  if (pathname === "/hi") event.respondWith(new Response("hi", { headers: { "x-by": "worker" } }));
  if (pathname === "/bytes") event.respondWith(new Response(new Uint8Array([255, 0])));
});
"#;

/// A daemon that listens.
pub struct Daemon {
    pub process: Process,
    /// `http://127.0.0.1:<port>`.
    pub base: String,
    pub token: String,
    pub folder: tempfile::TempDir,
}

/// What it answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

/// The command, with its standard error on its standard output, where tests wait for lines.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1", env!("CARGO_BIN_EXE_kittiwake")]);
    command.args(arguments);
    command
}

/// Runs the command to its end.
pub fn finished(arguments: &[&str]) -> Finished {
    Process::start(&mut command(arguments)).finish()
}

impl Daemon {
    /// A daemon with a folder of its own, online.
    pub fn start(options: &[&str]) -> Daemon {
        let folder = tempfile::tempdir().expect("a temporary folder");
        match options.contains(&"--network") {
            true => Daemon::start_in(folder, options),
            false => Daemon::start_in(folder, &[&["--network", "online"], options].concat()),
        }
    }

    /// A daemon with the state of an earlier one.
    pub fn start_in(folder: tempfile::TempDir, options: &[&str]) -> Daemon {
        let state = folder.path().join("state");
        let state = state.to_str().expect("UTF-8");
        let usual = ["serve", "--state", state, "--listen", "127.0.0.1:0"];
        let mut process = Process::start(&mut command(&[&usual[..], options].concat()));
        let line = process.wait_for_line("listening on http://");
        let (_, address) = line.split_once("listening on ").expect("it says where");
        let address = address.split('/').nth(2).expect("a host with a port");
        let token = std::fs::read_to_string(folder.path().join("state/token"));
        let token = token.unwrap_or_default().trim().to_owned();
        Daemon { process, base: format!("http://{address}"), token, folder }
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// With a worker, and the server that it comes from.
    pub fn with_worker(options: &[&str]) -> (Daemon, Server) {
        let daemon = Daemon::start(options);
        let server = Server::start(&[("/sw.js", WORKER)]);
        daemon.register(&server);
        (daemon, server)
    }

    pub fn register(&self, server: &Server) -> String {
        let script = format!("{}/sw.js", server.origin);
        let body = serde_json::json!({ "script": script });
        let answer = self.post("/v1/registrations", &body).expect_status(201);
        let scope = answer.json()["scope"].as_str().expect("a scope").to_owned();
        assert_eq!(scope, format!("{}/", server.origin));
        scope
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path))
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path))
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).body(body.to_string()))
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PUT, path).body(body.to_string()))
    }

    /// A request with the token, whose body is JSON.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.base));
        request.bearer_auth(&self.token).header("content-type", "application/json")
    }

    pub fn send(&self, request: RequestBuilder) -> Answer {
        block_on(async {
            let response = request.send().await.expect("the daemon answers");
            Answer {
                status: response.status().as_u16(),
                headers: response.headers().clone(),
                text: response.text().await.expect("a whole body"),
            }
        })
    }

    /// Has the worker register syncs, and waits until they are on disk.
    pub fn register_syncs(&mut self, scope: &str, tags: &[&str]) {
        let message = serde_json::json!({ "message": { "syncs": tags } });
        self.post(&of_scope(scope, "/message"), &message).expect_status(202);
        self.wait_for_all(tags, "registered");
    }

    /// Waits until the log has said so of each sync, in whatever order.
    pub fn wait_for_all(&mut self, tags: &[&str], state: &str) {
        let mut left: Vec<String> = tags.iter().map(|tag| format!("{tag}  {state}")).collect();
        while !left.is_empty() {
            let line = self.process.wait_for_line(&format!("  {state}"));
            left.retain(|part| !line.contains(part));
        }
    }
}

/// The path of a registration.
pub fn of_scope(scope: &str, rest: &str) -> String {
    let all = percent_encoding::NON_ALPHANUMERIC;
    format!("/v1/registrations/{}{rest}", percent_encoding::utf8_percent_encode(scope, all))
}

/// Waits for a future of the client.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
    tokio.expect("the system gives an event queue").block_on(future)
}

/// Writes a file.
pub fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file in a temporary folder");
    path.to_str().expect("UTF-8").to_owned()
}

impl Answer {
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }

    /// Fails unless this is a problem of the kind that names its request; answers its detail.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status, status, "{self:#?}");
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:#?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:kittiwake:problem:{kind}"), "{problem:#}");
        assert_eq!(problem["status"], status, "{problem:#}");
        let id = self.headers["x-request-id"].to_str().expect("a plain name");
        assert_eq!(problem["instance"], format!("urn:kittiwake:request:{id}"), "{problem:#}");
        assert!(!problem["title"].as_str().expect("a title").is_empty());
        problem["detail"].as_str().expect("a detail").to_owned()
    }
}
