//! Periodic syncs and permissions, from the command line.

use crate::process::run;
use crate::{PAGE, folder};

const PERIODIC_PAGE: &str = r#"
navigator.serviceWorker.ready.then(({ periodicSync }) => periodicSync.register("news"));
"#;

/// A worker whose events end only with it.
const ENDLESS: &str =
    "onperiodicsync = (event) => event.waitUntil(new Promise(() => setTimeout(() => {}, 1e9)));";

const REGISTER: [&str; 8] =
    ["run", "sw.js", "--page", "page.js", "--state", "state", "--clock", "simulated"];
const AGAIN: [&str; 5] = ["run", "--state", "state", "--clock", "simulated"];

#[test]
fn a_run_that_is_idle_does_not_wait_for_a_period() {
    let project = folder(&[("sw.js", "onperiodicsync = () => {};"), ("page.js", PERIODIC_PAGE)]);
    let run = run(project.path(), &["run", "sw.js", "--page", "page.js"]).expect_code(0);
    assert_eq!(run.lines_with("periodic   news  registered  12h").len(), 1, "{run:#?}");
    assert_eq!(run.lines_with("firing").len(), 0, "{run:#?}");
}

#[test]
fn a_periodic_sync_survives_and_a_graceful_stop_gives_its_event_back() {
    let project = folder(&[("sw.js", ENDLESS), ("page.js", PERIODIC_PAGE)]);
    let first = run(project.path(), &[&REGISTER[..], &["--until", "12h 1m"]].concat());
    let first = first.expect_code(0);
    assert_eq!(first.lines_with("periodic   news  firing  attempt 1").len(), 1, "{first:#?}");
    let second = run(project.path(), &[&AGAIN[..], &["--until", "12h 4m"]].concat());
    let second = second.expect_code(0);
    assert_eq!(second.lines_with("periodic   news  firing  attempt 1").len(), 1, "{second:#?}");
    let waiting = "periodic   news  waiting  5m  the event took longer than its limit";
    assert_eq!(second.lines_with(waiting).len(), 1, "{second:#?}");
}

#[test]
fn a_periodic_sync_is_told_apart_in_json() {
    let project = folder(&[("sw.js", "onperiodicsync = () => {};"), ("page.js", PERIODIC_PAGE)]);
    let run = run(project.path(), &["run", "sw.js", "--page", "page.js", "--format", "json"]);
    let run = run.expect_code(0);
    let line = run.lines_with("\"sync_type\"").pop().expect("a line of the periodic sync");
    let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(event["kind"], "sync");
    assert_eq!(event["sync_type"], "periodic");
    assert_eq!(event["state"], "registered");
    assert_eq!(event["delay_ms"], 43_200_000);
}

#[test]
fn while_it_is_denied_a_stored_periodic_sync_does_not_fire() {
    let project = folder(&[("sw.js", "onperiodicsync = () => {};"), ("page.js", PERIODIC_PAGE)]);
    run(project.path(), &REGISTER).expect_code(0);
    let until = ["--until", "25h"];
    let deny = ["--deny", "periodic-background-sync"];
    let denied = run(project.path(), &[&AGAIN[..], &until, &deny].concat()).expect_code(0);
    assert_eq!(denied.lines_with("firing").len(), 0, "{denied:#?}");
    let granted = run(project.path(), &[&AGAIN[..], &until].concat()).expect_code(0);
    assert_eq!(granted.lines_with("firing").len(), 2, "{granted:#?}");
}

#[test]
fn a_denied_sync_is_not_registered() {
    let project = folder(&[("sw.js", "onsync = () => {};"), ("page.js", PAGE)]);
    let options = ["run", "sw.js", "--page", "page.js", "--deny", "background-sync"];
    let run = run(project.path(), &options);
    assert_eq!(run.lines_with("NotAllowedError: Permission denied.").len(), 1, "{run:#?}");
    assert_eq!(run.lines_with("registered").len(), 0, "{run:#?}");
}

#[test]
fn an_unknown_permission_is_wrong_usage() {
    let project = folder(&[("sw.js", "")]);
    let options = ["run", "sw.js", "--deny", "camera"];
    let run = run(project.path(), &options).expect_code(2);
    run.expect_stderr("`camera` is no permission").expect_stderr("periodic-background-sync");
}
