//! `kittiwake serve`: what a client reads, what the server behind the worker gets, and the end.
//!
//! Invariant: nothing waits for time: a test goes on when bytes or a line have come.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::folder;
use crate::process::{Process, run, start};
use crate::server::{Request, Server};

/// A worker under its server.
struct Served {
    process: Process,
    address: String,
    _folder: tempfile::TempDir,
}

impl Served {
    fn start(files: &[(&str, &str)], options: &[&str]) -> Self {
        let folder = folder(files);
        let usual = ["serve", "sw.js", "--listen", "127.0.0.1:0"];
        let mut process = start(folder.path(), &[&usual[..], options].concat());
        let activated = process.wait_for_line("activated");
        let (_, address) = activated.split_once("http://").expect("the script has a URL");
        let address = address.split('/').next().expect("a host").to_owned();
        Served { process, address, _folder: folder }
    }

    /// Sends a request; its answer is on its way.
    fn send(&self, head: &str, body: &str) -> Answer {
        let mut connection = TcpStream::connect(&self.address).expect("it listens");
        let address = &self.address;
        let request = format!("{head}\r\nHost: {address}\r\nConnection: close\r\n\r\n{body}");
        connection.write_all(request.as_bytes()).expect("it reads");
        Answer { connection, seen: String::new() }
    }

    /// Gets a path, whole: the status line, headers and body.
    fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1"), "").whole()
    }
}

struct Answer {
    connection: TcpStream,
    seen: String,
}

impl Answer {
    /// Reads until `part` has come.
    fn until(&mut self, part: &str) {
        let mut bytes = [0; 1024];
        while !self.seen.contains(part) {
            let count = self.connection.read(&mut bytes).expect("it answers");
            assert!(count > 0, "no {part:?} came, but {:?}", self.seen);
            self.seen += std::str::from_utf8(&bytes[..count]).expect("UTF-8");
        }
    }

    fn whole(mut self) -> String {
        self.connection.read_to_string(&mut self.seen).expect("it answers");
        self.seen
    }
}

/// Answers `/hi`, `/echo`, `/what` and `/throw`, and streams `/stream` until `/go` is asked for.
const WORKER: &str = r#"
const text = new TextEncoder();
let stream;
self.addEventListener("fetch", (event) => {
  const { request } = event;
  const answers = {
    "/hi": () => new Response("hi", { status: 201, headers: { "x-by": "worker" } }),
    "/echo": async () => new Response(`got ${await request.text()}`),
    "/what": () => new Response([request.mode, request.destination, request.url].join(" ")),
    "/throw": () => Promise.reject(new Error("no idea")),
    "/fetch": () => fetch("/from-the-worker"),
    "/stream": () => new Response(new ReadableStream({
      start(controller) {
        stream = controller;
        stream.enqueue(text.encode("first"));
      },
      cancel: () => console.log("nobody reads it"),
    })),
    "/go": async () => {
      const last = await request.text();
      stream.enqueue(text.encode(last));
      stream.close();
      return new Response("gone");
    },
    "/break": () => {
      stream.error(new Error("torn"));
      return new Response();
    },
  };
  const answer = answers[new URL(request.url).pathname];
  if (answer) event.respondWith(answer());
});
"#;

#[test]
fn a_worker_answers_with_its_status_headers_and_body() {
    let served = Served::start(&[("sw.js", WORKER)], &[]);
    let answer = served.get("/hi");
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert!(answer.contains("x-by: worker\r\n") && answer.ends_with("\r\n\r\nhi"), "{answer}");
    assert!(answer.contains("content-length: 2\r\n"), "{answer}");
    let head = served.send("HEAD /hi HTTP/1.1", "").whole();
    assert!(head.contains("201 Created") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn a_request_for_a_document_is_a_navigation_and_others_are_of_a_page() {
    let served = Served::start(&[("sw.js", WORKER)], &[]);
    let what = |headers: &str| served.send(&format!("GET /what?q HTTP/1.1{headers}"), "").whole();
    let expected = |kind: &str| format!("{kind} http://{}/what?q", served.address);
    let cases = [
        ("\r\nSec-Fetch-Mode: navigate", "navigate document"),
        ("\r\nAccept: text/html,*/*", "navigate document"),
        ("\r\nAccept: text/html\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty", "cors "),
        ("\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image", "no-cors image"),
        ("", "cors "),
    ];
    for (headers, kind) in cases {
        let answer = what(headers);
        assert!(answer.contains(&expected(kind)), "{headers:?}: {answer}");
    }
}

#[test]
fn a_body_arrives_in_pieces_as_the_worker_makes_it() {
    let served = Served::start(&[("sw.js", WORKER)], &[]);
    let mut stream = served.send("GET /stream HTTP/1.1", "");
    stream.until("first");
    served.send("POST /go HTTP/1.1\r\nContent-Length: 6", "second").whole();
    assert!(stream.whole().ends_with("6\r\nsecond\r\n0\r\n\r\n"));
}

#[test]
fn a_body_that_breaks_does_not_look_whole() {
    let mut served = Served::start(&[("sw.js", WORKER)], &[]);
    let mut stream = served.send("GET /stream HTTP/1.1", "");
    stream.until("first");
    served.get("/break");
    let whole = stream.whole();
    assert!(whole.contains("first") && !whole.ends_with("0\r\n\r\n"), "{whole}");
    served.process.wait_for_line("torn");
}

#[test]
fn the_body_of_a_post_reaches_the_worker() {
    let served = Served::start(&[("sw.js", WORKER)], &[]);
    let whole = served.send("POST /echo HTTP/1.1\r\nContent-Length: 4", "mail").whole();
    assert!(whole.contains("got mail"), "{whole}");
    let chunked = "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked";
    let streamed = served.send(chunked, "3\r\nlet\r\n3\r\nter\r\n0\r\n\r\n").whole();
    assert!(streamed.contains("got letter"), "{streamed}");
}

#[test]
fn what_the_worker_leaves_goes_upstream_with_its_body() {
    let upstream = Server::start(&[("/lib.js", "from upstream"), ("/page.js", "hidden")]);
    let files = [("sw.js", WORKER), ("page.js", "from the folder")];
    let served = Served::start(&files, &["--upstream", &upstream.origin]);
    assert!(served.get("/lib.js").contains("from upstream"));
    assert!(served.get("/page.js").contains("from the folder"));
    assert!(served.get("/fetch").contains("ok"));
    let post = served.send("POST /outbox HTTP/1.1\r\nContent-Length: 4", "mail").whole();
    assert!(post.starts_with("HTTP/1.1 200 OK") && post.contains("ok"), "{post}");
    let request = |method: &str, path: &str, body: &str| Request {
        method: method.to_owned(),
        path: path.to_owned(),
        body: body.to_owned(),
    };
    let expected = [request("GET", "/from-the-worker", ""), request("POST", "/outbox", "mail")];
    assert_eq!(upstream.requests(), expected);
}

#[test]
fn without_an_upstream_the_folder_is_behind_the_worker() {
    let files = [("sw.js", WORKER), ("index.html", "<p>a page</p>")];
    let served = Served::start(&files, &[]);
    assert!(served.get("/").contains("content-type: text/html"));
    assert!(served.get("/none").starts_with("HTTP/1.1 404"));
}

#[test]
fn pages_of_other_sites_do_not_get_at_the_origin() {
    let served = Served::start(&[("sw.js", WORKER)], &[]);
    let own = format!("\r\nOrigin: http://{}\r\nSec-Fetch-Site: same-origin", served.address);
    let cases = [
        (own.as_str(), "201 Created"),
        ("\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate", "201 Created"),
        ("\r\nOrigin: http://evil.test", "403 Forbidden"),
        ("\r\nOrigin: null", "403 Forbidden"),
        ("\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors", "403 Forbidden"),
    ];
    for (headers, status) in cases {
        let answer = served.send(&format!("GET /hi HTTP/1.1{headers}"), "").whole();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{headers:?}: {answer}");
    }
    // Another site's name that leads to this machine's address.
    let mut rebound = TcpStream::connect(&served.address).expect("it listens");
    let head = "GET /hi HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n";
    rebound.write_all(head.as_bytes()).expect("it reads");
    let mut answer = String::new();
    rebound.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[test]
fn a_network_error_is_a_502_that_says_why() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let upstream = format!("http://{gone}");
    let served = Served::start(&[("sw.js", WORKER)], &["--upstream", &upstream]);
    let thrown = served.get("/throw");
    assert!(thrown.starts_with("HTTP/1.1 502 Bad Gateway"), "{thrown}");
    assert!(thrown.contains("/throw: ") && thrown.contains("text/plain"), "{thrown}");
    let refused = served.get("/other");
    assert!(refused.contains(&format!("connection refused by {gone}")), "{refused}");
}

#[test]
fn the_worker_hears_that_a_client_went_away() {
    let mut served = Served::start(&[("sw.js", WORKER)], &["--format", "json"]);
    let mut stream = served.send("GET /stream HTTP/1.1", "");
    stream.until("first");
    drop(stream);
    served.process.wait_for_line("nobody reads it");
}

#[test]
fn what_is_under_way_is_finished_before_the_process_ends() {
    let served = Served::start(&[("sw.js", WORKER)], &[]);
    let mut stream = served.send("GET /stream HTTP/1.1", "");
    stream.until("first");
    let upload = "POST /go HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue";
    let mut upload = served.send(upload, "");
    upload.until("100 Continue");
    served.process.terminate();
    // Nobody is let in any more, then.
    while TcpStream::connect(&served.address).is_ok() {}
    upload.connection.write_all(b"4\r\nlast\r\n0\r\n\r\n").expect("it reads");
    assert!(upload.whole().contains("gone"));
    assert!(stream.whole().ends_with("4\r\nlast\r\n0\r\n\r\n"));
    let finished = served.process.finish().expect_code(0);
    assert!(finished.stderr.contains(&format!("listening on http://{}/", served.address)));
}

#[test]
fn a_second_signal_breaks_off_what_is_under_way() {
    let served = Served::start(&[("sw.js", WORKER)], &[]);
    let mut stream = served.send("GET /stream HTTP/1.1", "");
    stream.until("first");
    served.process.terminate();
    // Nobody is let in any more, then.
    while TcpStream::connect(&served.address).is_ok() {}
    served.process.terminate();
    served.process.finish().expect_code(0);
}

#[test]
fn serving_what_cannot_be_served_says_so() {
    let folder = folder(&[("sw.js", ""), ("bad.js", "throw new Error('early')")]);
    let occupied = TcpListener::bind("127.0.0.1:0").expect("a port");
    let occupied = (occupied.local_addr().expect("bound").to_string(), occupied);
    let cases: [(&[&str], i32, &str); 5] = [
        (&["sw.js", "--listen", &occupied.0], 1, "give another --listen"),
        (&["none.js", "--listen", "0"], 1, "cannot read none.js"),
        (&["bad.js", "--listen", "0"], 1, "early"),
        (&["sw.js", "--upstream", "ftp://a.test"], 2, "is neither http nor https"),
        (&["sw.js", "--listen", "everywhere"], 2, "write 127.0.0.1:8080"),
    ];
    for (options, code, text) in cases {
        let finished = run(folder.path(), &[&["serve"], options].concat());
        finished.expect_code(code).expect_stderr(text);
    }
}
