//! The trace as it happens: server-sent events, their names, and gaps.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::client::{Daemon, of_scope};

pub const TESTS: &[(&str, fn())] = &[
    ("what_happens_is_streamed_and_resumed_where_it_was_left", resumed),
    ("a_stream_has_the_kinds_that_are_wanted", filtered),
    ("a_reader_that_is_too_slow_is_told_how_much_it_has_missed", gap),
    ("a_reader_of_an_earlier_process_is_told_that_all_is_new", restarted),
    ("there_are_so_many_streams_and_no_more", bounded),
];

/// A stream under way.
struct Stream(BufReader<TcpStream>);

#[derive(Debug, PartialEq)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

impl Stream {
    fn open(daemon: &Daemon, query: &str, headers: &str) -> Stream {
        let address = daemon.base.strip_prefix("http://").expect("HTTP");
        let mut connection = TcpStream::connect(address).expect("it listens");
        let (token, headers) = (&daemon.token, headers.trim());
        let mut head = format!("GET /v1/trace/stream{query} HTTP/1.1\r\nHost: {address}\r\n");
        head += &format!("Authorization: Bearer {token}\r\n");
        if !headers.is_empty() {
            head += &format!("{headers}\r\n");
        }
        connection.write_all(format!("{head}\r\n").as_bytes()).expect("it reads");
        Stream(BufReader::new(connection))
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let bytes = self.0.read_line(&mut line).expect("it answers");
        (bytes > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// The next event; `None` at the end. The sizes of chunks stand on lines of their own.
    fn next(&mut self) -> Option<Event> {
        let mut event = Event { name: String::new(), id: String::new(), data: Value::Null };
        loop {
            let line = self.line()?;
            if let Some(name) = line.strip_prefix("event: ") {
                event.name = name.to_owned();
            } else if let Some(id) = line.strip_prefix("id: ") {
                event.id = id.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                event.data = serde_json::from_str(data).expect("JSON");
            } else if line.is_empty() && !event.name.is_empty() && !event.id.is_empty() {
                return Some(event);
            }
        }
    }

    /// The next event that `is_it` is.
    fn until(&mut self, is_it: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().expect("the stream goes on");
            if is_it(&event) {
                return event;
            }
        }
    }
}

fn is_sync<'a>(tag: &'a str, state: &'a str) -> impl Fn(&Event) -> bool + 'a {
    move |event| event.data["tag"] == tag && event.data["state"] == state
}

fn resumed() {
    let (mut daemon, server) = Daemon::with_worker(&[]);
    let scope = format!("{}/", server.origin);
    let mut stream = Stream::open(&daemon, "", "");
    let installing = stream.next().expect("what has happened is kept");
    assert_eq!(installing.name, "trace");
    assert_eq!(installing.data["state"], "installing");
    assert_eq!(installing.data["id"], installing.id);
    assert!(installing.data["time_ms"].as_u64() > Some(1_600_000_000_000));
    daemon.register_syncs(&scope, &["one"]);
    let done = stream.until(is_sync("one", "done"));
    drop(stream);
    daemon.register_syncs(&scope, &["two"]);
    daemon.process.wait_for_line("two  done");
    let mut stream = Stream::open(&daemon, "", &format!("Last-Event-ID: {}", done.id));
    let next = stream.until(|event| event.data["kind"] == "sync");
    assert_eq!((&next.data["tag"], &next.data["state"]), (&json!("two"), &json!("registered")));
    // The same without the header, for whoever cannot set one.
    let mut again = Stream::open(&daemon, &format!("?after={}", done.id), "");
    assert_eq!(again.until(|event| event.data["kind"] == "sync"), next);

    let kept = daemon.get("/v1/trace?limit=2").expect_status(200).json();
    assert_eq!(kept["events"].as_array().expect("a list").len(), 2);
    assert_eq!(kept["events"][1]["state"], "done");
    daemon.get("/v1/trace/stream?after=nonsense").expect_problem(400, "bad-request");
}

fn filtered() {
    let (mut daemon, server) = Daemon::with_worker(&[]);
    let scope = format!("{}/", server.origin);
    let mut stream = Stream::open(&daemon, "?kind=sync,push", "");
    daemon.register_syncs(&scope, &["fail"]);
    let states = [(); 3].map(|()| stream.next().expect("it goes on").data["state"].clone());
    assert_eq!(states, ["registered", "firing", "waiting"]);
}

fn gap() {
    let (daemon, server) = Daemon::with_worker(&[]);
    let scope = format!("{}/", server.origin);
    let first = daemon.get("/v1/trace?limit=1").json()["events"][0]["id"].clone();
    let first = first.as_str().expect("a name").to_owned();
    let message = json!({ "message": { "lines": 12_000, "syncs": ["last"] } });
    daemon.post(&of_scope(&scope, "/message"), &message).expect_status(202);
    let mut live = Stream::open(&daemon, "?kind=sync", "");
    live.until(is_sync("last", "done"));
    let mut stream = Stream::open(&daemon, "", &format!("Last-Event-ID: {first}"));
    let gap = stream.next().expect("it begins");
    assert_eq!(gap.name, "gap");
    let missed = gap.data["missed"].as_u64().expect("a number");
    assert!((2_000..3_000).contains(&missed), "{missed}");
    let next = stream.next().expect("it goes on");
    assert_eq!((next.name.as_str(), &next.data["kind"]), ("trace", &json!("console")));
    // Whoever goes on after the gap has missed nothing more.
    let mut again = Stream::open(&daemon, "", &format!("Last-Event-ID: {}", gap.id));
    assert_eq!(again.next(), Some(next));
}

fn restarted() {
    let (daemon, _server) = Daemon::with_worker(&[]);
    let last = daemon.get("/v1/trace?limit=1").json()["events"][0]["id"].clone();
    daemon.process.terminate();
    let Daemon { process, folder, .. } = daemon;
    process.finish().expect_code(0);
    let daemon = Daemon::start_in(folder, &["--network", "online"]);
    let last = last.as_str().expect("a name");
    let mut stream = Stream::open(&daemon, "", &format!("Last-Event-ID: {last}"));
    let gap = stream.next().expect("it begins");
    assert_eq!((gap.name.as_str(), &gap.data), ("gap", &json!({ "missed": null })));
}

fn bounded() {
    let daemon = Daemon::start(&[]);
    let mut streams: Vec<Stream> = (0..64).map(|_| Stream::open(&daemon, "", "")).collect();
    for stream in &mut streams {
        assert_eq!(stream.line().as_deref(), Some("HTTP/1.1 200 OK"));
    }
    daemon.get("/v1/trace/stream").expect_problem(503, "streams");
    // They end with the daemon, and keep it from nothing.
    daemon.process.terminate();
    daemon.process.finish().expect_code(0);
    for stream in &mut streams {
        assert_eq!(stream.next(), None);
    }
}
