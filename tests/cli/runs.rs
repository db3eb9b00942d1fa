//! Runs that work: what arrives at the server, what the trace says, and the exit code.

use serde_json::Value;

use crate::process::{run, start};
use crate::server::{Request, Server};
use crate::{PAGE, folder, outbox_worker};

fn mail() -> Request {
    Request { method: "POST".to_owned(), path: "/outbox".to_owned(), body: "mail".to_owned() }
}

#[test]
fn a_post_arrives_once_after_the_network_is_back() {
    let server = Server::start(&[]);
    let folder = folder(&[("sw.js", &outbox_worker(&server.origin)), ("page.js", PAGE)]);
    let options = ["run", "sw.js", "--page", "page.js", "--network", "offline,online@2s"];
    let run = run(folder.path(), &options).expect_code(0);
    assert_eq!(server.requests(), [mail()]);

    let position = |part: &str| {
        let found = run.stdout.iter().position(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("{part:?} is not in {run:#?}"))
    };
    let order = [
        position("network    offline"),
        position("sync       mail  registered"),
        position("network    online"),
        position("sync       mail  firing  attempt 1"),
        position(&format!("fetch      POST {}/outbox  200", server.origin)),
        position("sync       mail  done"),
    ];
    assert!(order.is_sorted(), "{order:?} in {run:#?}");
    assert!(run.stdout[order[2]].starts_with("2s"), "{run:#?}");
    assert_eq!(run.stderr, "");
}

#[test]
fn a_module_runs_with_its_type_and_is_explained_without() {
    let files = [
        ("sw.js", "import { text } from './text.js'; console.log(text);"),
        ("text.js", "export const text = 'imported';"),
    ];
    let folder = folder(&files);
    let as_module = run(folder.path(), &["run", "sw.js", "--type", "module"]);
    as_module.expect_code(0).expect_stderr("imported");
    let as_classic = run(folder.path(), &["run", "sw.js"]).expect_code(1);
    as_classic.expect_stderr("if it is a module, add --type module");
}

#[test]
fn json_lines_have_the_keys_that_machines_rely_on() {
    let server = Server::start(&[]);
    let page = format!("{PAGE}\nconsole.warn('from the page');");
    let folder = folder(&[("sw.js", &outbox_worker(&server.origin)), ("page.js", &page)]);
    let options = ["run", "sw.js", "--page", "page.js", "--network", "offline,online@1s"];
    let run = run(folder.path(), &[&options[..], &["--format", "json"]].concat()).expect_code(0);
    let lines: Vec<Value> = run
        .stdout
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    for line in &lines {
        assert!(line["at_ms"].is_u64() && line["kind"].is_string(), "{line}");
    }
    let of_kind = |kind: &'static str| lines.iter().filter(move |line| line["kind"] == kind);
    for kind in ["lifecycle", "network", "sync", "fetch", "console"] {
        assert!(of_kind(kind).count() > 0, "no line of kind {kind}: {run:#?}");
    }
    for sync in of_kind("sync") {
        assert!(sync["tag"] == "mail" && sync["state"].is_string(), "{sync}");
        assert!(sync["attempt"].is_u64() && sync["last_chance"].is_boolean(), "{sync}");
    }
    let workers = of_kind("lifecycle").filter(|line| line["subject"] == "worker");
    for worker in workers {
        assert!(worker["worker"].is_u64(), "which one it is: {worker}");
        assert!(worker["scope"].as_str().is_some_and(|scope| scope.ends_with('/')), "{worker}");
    }
    let states: Vec<&Value> = of_kind("sync").map(|sync| &sync["state"]).collect();
    assert_eq!(states, ["registered", "firing", "done"]);
    assert!(of_kind("network").all(|line| line["state"].is_string()));
    assert!(run.stderr.contains("warn: from the page"), "{run:#?}");
}

#[test]
fn a_waiting_sync_says_in_json_why_and_for_how_long() {
    let failing = r#"
        self.addEventListener("sync", (event) => {
          event.waitUntil(Promise.reject(new Error(`not on attempt ${++attempts}`)));
        });
        let attempts = 0;
    "#;
    let folder = folder(&[("sw.js", failing), ("page.js", PAGE)]);
    let options = ["run", "sw.js", "--page", "page.js", "--clock", "simulated", "--format", "json"];
    let run = run(folder.path(), &options).expect_code(1);
    let mut waits = Vec::new();
    for line in run.lines_with("\"waiting\"") {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let reason = line["reason"].as_str().expect("a reason");
        assert!(reason.starts_with("Error: not on attempt "), "{line}");
        waits.push(line["delay_ms"].as_u64().expect("a delay"));
    }
    assert_eq!(waits, [5 * 60_000, 15 * 60_000]);
    assert_eq!(run.lines_with("\"gave-up\"").len(), 1);
}

#[test]
fn a_fetch_says_in_json_how_long_it_took() {
    let folder =
        folder(&[("sw.js", ""), ("page.js", "fetch('/sw.js').then(() => fetch('/sw.js'))")]);
    let network = ["--clock", "simulated", "--network", "latency=250ms,online@250ms"];
    let options =
        [&["run", "sw.js", "--page", "page.js", "--format", "json"], &network[..]].concat();
    let run = run(folder.path(), &options).expect_code(0);
    let fetches = run.lines_with("\"fetch\"").into_iter();
    let fetches = fetches.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let took: Vec<_> = fetches.map(|fetch| fetch["elapsed_ms"].as_u64()).collect();
    assert_eq!(took, [Some(250), None], "{run:#?}");
}

#[test]
fn lines_of_requests_are_out_before_the_process_waits_and_before_later_lines() {
    let page = r#"
(async () => {
  await fetch("/sw.js");
  await fetch("/page.js");
  navigator.serviceWorker.controller.postMessage("asked");
  await fetch("/sw.js?last");
})();
"#;
    let folder = folder(&[("sw.js", ""), ("page.js", page)]);
    let options = ["run", "sw.js", "--page", "page.js", "--until", "forever"];
    let mut run = start(folder.path(), &options);
    // In this order: a line that is waited for has those after it unread.
    for part in ["/sw.js  200", "/page.js  200", "message    to worker  asked", "/sw.js?last  200"]
    {
        run.wait_for_line(part);
    }
    run.kill();
}

#[test]
fn a_sync_that_was_given_up_is_exit_code_1() {
    let failing = r#"self.onsync = (event) => event.waitUntil(Promise.reject(new Error("no")));"#;
    let folder = folder(&[("sw.js", failing), ("page.js", PAGE)]);
    let options = ["run", "sw.js", "--page", "page.js", "--clock", "simulated"];
    let run = run(folder.path(), &options);
    assert_eq!(run.lines_with("gave-up").len(), 1, "{run:#?}");
    run.expect_code(1);
}

#[test]
fn a_sync_that_still_waits_for_the_network_is_exit_code_1() {
    let folder = folder(&[("sw.js", "onsync = () => {};"), ("page.js", PAGE)]);
    let options = ["run", "sw.js", "--page", "page.js", "--network", "offline"];
    let run = run(folder.path(), &options).expect_code(1);
    run.expect_stderr("left: \"mail\" of https://app.test/ waits for the network");
}

#[test]
fn a_worker_is_loaded_by_its_url_and_fetches_from_its_own_server() {
    let script = r#"
        importScripts("/lib.js");
        self.onsync = (event) => event.waitUntil(fetch(path, { method: "POST", body: event.tag }));
    "#;
    let server = Server::start(&[
        ("/app/sw.js", script),
        ("/lib.js", "const path = '/outbox';"),
        ("/app/page.js", PAGE),
    ]);
    let folder = folder(&[]);
    let script = format!("{}/app/sw.js", server.origin);
    let page = format!("{}/app/page.js", server.origin);
    let run = run(folder.path(), &["run", &script, "--page", &page]).expect_code(0);
    assert_eq!(server.requests(), [mail()]);
    assert_eq!(run.lines_with(&format!("{script}  activated")).len(), 1);
}

#[test]
fn pages_alone_may_register_the_worker() {
    let page = format!("navigator.serviceWorker.register('sw.js');\n{PAGE}");
    let folder = folder(&[("sw.js", "onsync = () => {};"), ("page.js", &page)]);
    let run = run(folder.path(), &["run", "--page", "page.js"]).expect_code(0);
    assert_eq!(run.lines_with("sync       mail  done").len(), 1, "{run:#?}");
}

#[test]
fn a_simulated_run_is_the_same_each_time() {
    let worker = r#"
        onsync = () => console.log(Date.now(), Math.random(), crypto.randomUUID());
    "#;
    let folder = folder(&[("sw.js", worker), ("page.js", PAGE)]);
    let options = ["run", "sw.js", "--page", "page.js", "--clock", "simulated", "--seed"];
    let seeded = |seed| {
        let run = run(folder.path(), &[&options[..], &[seed]].concat()).expect_code(0);
        assert!(run.stderr.starts_with("log: "), "{run:#?}");
        (run.stdout, run.stderr)
    };
    assert_eq!(seeded("1"), seeded("1"));
    assert_ne!(seeded("1").1, seeded("2").1);
}
