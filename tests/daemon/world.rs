//! The network, numbers for Prometheus, and the log.

use serde_json::json;

use crate::client::{Daemon, WORKER, finished, of_scope};
use crate::server::Server;

pub const TESTS: &[(&str, fn())] = &[
    ("the_network_is_set_by_hand_unless_it_is_the_machines", network),
    ("prometheus_reads_what_workers_and_syncs_did", metrics),
    ("prometheus_reads_which_limits_struck_and_what_is_in_memory", limits),
    ("a_state_folder_keeps_the_number_of_shards_that_it_was_given", shards),
    ("the_log_is_json_for_machines_and_has_the_level_that_is_wanted", log),
];

fn network() {
    let daemon = Daemon::start(&["--network", "offline"]);
    let offline = daemon.get("/v1/network").expect_status(200).json();
    let expected = json!({
        "state": "offline", "network": "offline", "syncs_may_fire": false, "signal": "manual",
    });
    assert_eq!(offline, expected);
    let slow = json!({ "network": "online+latency=200ms" });
    let slow = daemon.put("/v1/network", &slow).expect_status(200).json();
    assert_eq!(
        (&slow["network"], &slow["state"]),
        (&json!("online+latency=200ms"), &json!("online"))
    );
    assert_eq!(slow["syncs_may_fire"], true);
    for bad in ["", "sideways", "online+warp=9"] {
        let answer = daemon.put("/v1/network", &json!({ "network": bad }));
        answer.expect_problem(400, "bad-request");
    }
    let daemon = Daemon::start(&["--network", "real"]);
    assert_eq!(daemon.get("/v1/network").expect_status(200).json()["signal"], "real");
    let answer = daemon.put("/v1/network", &json!({ "network": "offline" }));
    let detail = answer.expect_problem(409, "network-is-real");
    assert!(detail.contains("--network online"), "{detail}");
}

fn value(daemon: &Daemon, series: &str) -> f64 {
    let text = daemon.get("/metrics").expect_status(200).text;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("no {series} in {text}"));
    line.parse().unwrap_or_else(|error| panic!("{series} {line}: {error}"))
}

fn limits() {
    let options = ["--limit", "console=40", "--log-level", "debug", "--resident", "1"];
    let (mut daemon, server) = Daemon::with_worker(&options);
    let scope = format!("{}/", server.origin);
    daemon.post(&of_scope(&scope, "/message"), &json!({ "message": { "lines": 20 } }));
    daemon.process.wait_for_line("dropped");
    let struck = r#"kittiwake_limits_total{limit="console",outcome="dropped"}"#;
    assert_eq!(value(&daemon, struck), 1.0);
    // The budget is for one: another worker takes the place of the first, and nothing is spare.
    let other = Server::start(&[("/sw.js", WORKER)]);
    daemon.register(&other);
    assert_eq!(value(&daemon, r#"kittiwake_realms{kind="worker"}"#), 1.0);
    assert_eq!(value(&daemon, r#"kittiwake_realms{kind="spare"}"#), 0.0);
}

fn shards() {
    let options = ["--shards", "2", "--resident-memory", "64", "--no-spare-realm"];
    let (daemon, _server) = Daemon::with_worker(&options);
    daemon.process.terminate();
    let state = daemon.state();
    let Daemon { process, folder, .. } = daemon;
    process.finish().expect_code(0);
    let state = state.to_str().expect("UTF-8");
    for (shards, complaint) in [("3", "2 shards"), ("0", "0 shards")] {
        let options = ["serve", "--state", state, "--listen", "127.0.0.1:0", "--shards", shards];
        let refused = finished(&options).expect_code(1);
        assert_eq!(refused.lines_with(complaint).len(), 1, "{refused:#?}");
    }
    let daemon = Daemon::start_in(folder, &["--network", "online"]);
    assert_eq!(value(&daemon, r#"kittiwake_registrations{worker="activated"}"#), 1.0);
}

fn metrics() {
    let (mut daemon, server) = Daemon::with_worker(&[]);
    let scope = format!("{}/", server.origin);
    let attempts = r#"kittiwake_sync_attempts_total{type="one-shot",outcome="#;
    assert_eq!(value(&daemon, &format!("{attempts}\"done\"}}")), 0.0, "it is there from the start");
    daemon.register_syncs(&scope, &["a", "fail"]);
    // Its failure needs no request, so it comes first.
    daemon.process.wait_for_line("fail  waiting");
    daemon.process.wait_for_line("a  done");
    daemon.post("/v1/fetch", &json!({ "url": format!("{scope}hi") })).expect_status(200);
    for (series, expected) in [
        (format!("{attempts}\"done\"}}"), 1.0),
        (format!("{attempts}\"failed\"}}"), 1.0),
        (format!("{attempts}\"gave-up\"}}"), 0.0),
        (r#"kittiwake_syncs{type="one-shot",state="waiting"}"#.to_owned(), 1.0),
        (r#"kittiwake_registrations{worker="activated"}"#.to_owned(), 1.0),
        (r#"kittiwake_realms{kind="worker"}"#.to_owned(), 1.0),
        (
            r#"kittiwake_event_duration_seconds_count{event="sync",outcome="rejected"}"#.to_owned(),
            1.0,
        ),
        (
            r#"kittiwake_event_duration_seconds_count{event="fetch",outcome="fulfilled"}"#
                .to_owned(),
            1.0,
        ),
        (r#"kittiwake_fetches_total{outcome="2xx",source="worker"}"#.to_owned(), 1.0),
        (r#"kittiwake_fetches_total{outcome="2xx",source="network"}"#.to_owned(), 1.0),
        ("kittiwake_network_online".to_owned(), 1.0),
        ("kittiwake_log_lines_dropped_total".to_owned(), 0.0),
    ] {
        assert_eq!(value(&daemon, &series), expected, "{series}");
    }
    // Two registrations and two settlements.
    assert_eq!(value(&daemon, "kittiwake_committed_writes_total"), 4.0);
    assert!(value(&daemon, "process_resident_memory_bytes") > 1e6);
    let answer = daemon.get("/metrics");
    assert!(answer.text.ends_with("# EOF\n"), "{}", answer.text);
    assert!(answer.headers["content-type"].to_str().expect("text").contains("openmetrics"));
    // No label is a script's, so that nobody can fill Prometheus.
    assert!(!answer.text.contains(&server.origin) && !answer.text.contains("fail\""));
}

fn log() {
    let daemon = Daemon::start(&["--log-format", "text", "--log-level", "info"]);
    daemon.get("/v1/status").expect_status(200);
    daemon.process.terminate();
    let said = daemon.process.finish().expect_code(0);
    assert!(said.lines_with("answered").is_empty(), "{said:#?}");

    let (mut daemon, server) = {
        let options = ["--log-format", "json", "--log-level", "debug"];
        Daemon::with_worker(&options)
    };
    let scope = format!("{}/", server.origin);
    daemon.post(&of_scope(&scope, "/message"), &json!({ "message": { "syncs": ["a"] } }));
    let line = daemon.process.wait_for_line("a  done");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&line["kind"], &line["level"]), (&json!("sync"), &json!("INFO")));
    assert_eq!(line["scope"], scope);
    daemon.get("/v1/nothing");
    let line = daemon.process.wait_for_line("/v1/nothing");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&line["status"], &line["method"]), (&json!(404), &json!("GET")));
}
