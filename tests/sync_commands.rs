//! `kittiwake syncs`, `kittiwake sync`, and the options that make a policy: real processes with one
//! state folder.
//!
//! Invariant: neither command changes a registration; what is refused leaves the disk as it was.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const WORKER: &str = r#"
self.addEventListener("sync", (event) => {
  console.log(`${event.tag}, last chance: ${event.lastChance}`);
  if (event.tag === "wrong") event.waitUntil(Promise.reject(new Error("no")));
  if (event.tag === "endless") event.waitUntil(new Promise(() => {}));
  if (event.tag === "fetch") event.waitUntil(tell());
});

async function tell() {
  console.log(navigator.onLine ? "online" : "offline");
  await fetch("/sw.js");
}
"#;

const PAGE: &str = r#"
navigator.serviceWorker.ready.then(async ({ sync }) => {
  for (const tag of ["wrong", "mail"]) await sync.register(tag);
});
"#;

/// Code, standard output, standard error.
fn kittiwake(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kittiwake"));
    let output = command.current_dir(folder).args(arguments).output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("it writes UTF-8");
    let code = output.status.code().expect("it ends by itself");
    (code, text(output.stdout), text(output.stderr))
}

/// A folder whose `state` holds two syncs that wait for the network.
fn project() -> tempfile::TempDir {
    let project = tempfile::tempdir().expect("a temporary folder");
    fs::write(project.path().join("sw.js"), WORKER).expect("a file");
    fs::write(project.path().join("page.js"), PAGE).expect("a file");
    let options = ["run", "sw.js", "--page", "page.js", "--state", "state", "--network", "offline"];
    let (code, _, stderr) = kittiwake(project.path(), &options);
    assert!(code == 1 && stderr.contains("left: \"mail\""), "{stderr}");
    project
}

fn listed(folder: &Path) -> Vec<Value> {
    let options = ["syncs", "--state", "state", "--format", "json"];
    let (code, stdout, stderr) = kittiwake(folder, &options);
    assert_eq!((code, stderr.as_str()), (0, ""));
    stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn syncs_are_listed_in_order_for_people_and_machines() {
    let project = project();
    let listed = listed(project.path());
    let tags: Vec<&Value> = listed.iter().map(|sync| &sync["tag"]).collect();
    assert_eq!(tags, ["mail", "wrong"]);
    let mail = serde_json::json!({
        "origin": "https://app.test", "scope": "https://app.test/", "tag": "mail",
        "kind": "one-shot", "state": "pending", "failed_attempts": 0, "next_due": null,
    });
    assert_eq!(listed[0], mail);
    let (_, table, _) = kittiwake(project.path(), &["syncs", "--state", "state"]);
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("ORIGIN") && rows.len() == 3, "{table}");
    assert!(rows[1].contains("\"mail\"") && rows[1].ends_with("when online"), "{table}");
}

#[test]
fn a_sync_in_back_off_shows_when_it_is_due() {
    let project = project();
    let online = ["run", "--state", "state", "--until", "1s", "--retry", "initial=1h"];
    kittiwake(project.path(), &online);
    let listed = listed(project.path());
    assert_eq!((listed.len(), &listed[0]["state"]), (1, &Value::from("waiting")));
    assert_eq!(listed[0]["failed_attempts"], 1);
    let due = listed[0]["next_due"].as_str().expect("a time");
    let (_, table, _) = kittiwake(project.path(), &["syncs", "--state", "state"]);
    assert!(table.contains(&format!("{due} (in 59m")), "{table}");
}

#[test]
fn a_folder_is_listed_as_it_is_or_refused() {
    let project = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(project.path().join("state")).expect("a folder");
    assert_eq!(listed(project.path()).len(), 0);
    let kept = fs::read_dir(project.path().join("state")).expect("a folder").count();
    assert_eq!(kept, 0);
    for command in [&["syncs"][..], &["sync", "mail"]] {
        let (code, _, stderr) =
            kittiwake(project.path(), &[command, &["--state", "none"]].concat());
        assert!(code == 1 && stderr.contains("there is no state folder none"), "{stderr}");
        assert!(!project.path().join("none").exists());
    }
}

#[test]
fn an_event_is_dispatched_past_the_registrations() {
    let project = project();
    let before = listed(project.path());
    let cases: [(&[&str], i32, &str); 4] = [
        (&["mail", "--last-chance"], 0, "dispatch   mail  fulfilled"),
        (&["never-registered"], 0, "dispatch   never-registered  fulfilled"),
        (&["wrong"], 1, "dispatch   wrong  rejected  Error: no"),
        (&["endless", "--max-event", "100ms"], 1, "dispatch   endless  timed-out"),
    ];
    for (arguments, expected, line) in cases {
        let options = [&["sync", "--state", "state"], arguments].concat();
        let (code, stdout, stderr) = kittiwake(project.path(), &options);
        assert!(code == expected && stdout.contains(line), "{code}: {stdout}{stderr}");
        assert!(!stdout.contains("sync       "), "{stdout}");
        let chance = format!("{}, last chance: {}", arguments[0], arguments.len() == 2);
        assert!(stderr.contains(&chance), "{stderr}");
        assert_eq!(listed(project.path()), before);
    }
    let elsewhere = ["sync", "--state", "state", "mail", "--scope", "https://b.test/"];
    let (code, _, stderr) = kittiwake(project.path(), &elsewhere);
    assert!(code == 1 && stderr.contains("no service worker is active for https://b.test/"));
}

#[test]
fn an_event_meets_the_network_that_the_option_says() {
    let project = project();
    let before = listed(project.path());
    let cases: [(&[&str], i32, &str, &str); 5] = [
        (&[], 0, "online", "GET https://app.test/sw.js  200"),
        (&["--network", "online"], 0, "online", "dispatch   fetch  fulfilled"),
        (&["--network", "offline"], 1, "offline", "rejected  TypeError: Failed to fetch"),
        (&["--network", "down=app.test"], 1, "online", "rejected  TypeError: Failed to fetch"),
        (&["--network", "offline,online@1h"], 1, "offline", "dispatch   fetch  rejected"),
    ];
    for (network, expected, state, line) in cases {
        let options = [&["sync", "--state", "state", "fetch", "--root", "."], network].concat();
        let (code, stdout, stderr) = kittiwake(project.path(), &options);
        assert!(code == expected && stdout.contains(line), "{network:?}: {stdout}{stderr}");
        assert!(stderr.contains(state), "{stderr}");
        // The network is there, and yet no registered sync fires.
        assert!(!stdout.contains("sync       "), "{stdout}");
        assert_eq!(listed(project.path()), before);
    }
    let wrong = ["sync", "--state", "state", "fetch", "--network", "sometimes"];
    let (code, _, stderr) = kittiwake(project.path(), &wrong);
    assert!(code == 2 && stderr.contains("write `online` or `offline`"), "{stderr}");
}

#[test]
fn a_wrong_rule_is_wrong_usage_and_nothing_starts() {
    let project = tempfile::tempdir().expect("a temporary folder");
    fs::write(project.path().join("sw.js"), WORKER).expect("a file");
    let cases = [
        (["--profile", "firefox"], "write `chromium` or `spec`"),
        (["--retry", "initial=-5s"], "time does not run backwards"),
        (["--retry", "attempts=0"], "write a whole number from 1 on"),
        (["--retry", "tries=3"], "write `attempts=5`"),
        (["--max-event", "0s"], "write `1ms` or more"),
        (["--network", "online,offline@9s,online@1s"], "write one later than 9s"),
        (["--network", "online+loss=200%"], "as in `loss=10%`"),
    ];
    for (wrong, remedy) in cases {
        let options = [&["run", "sw.js", "--state", "state"][..], &wrong].concat();
        let (code, stdout, stderr) = kittiwake(project.path(), &options);
        assert!(code == 2 && stderr.contains(remedy) && stdout.is_empty(), "{stderr}");
        assert!(!project.path().join("state").exists());
    }
}

#[test]
fn a_newer_state_folder_is_refused_and_keeps_every_byte() {
    let project = project();
    let database = project.path().join("state/kittiwake.sqlite");
    let mut bytes = fs::read(&database).expect("a database");
    // The header's user_version: https://www.sqlite.org/fileformat.html#the_database_header
    bytes[60..64].copy_from_slice(&1_000_i32.to_be_bytes());
    fs::write(&database, &bytes).expect("it can be written");
    let commands: [&[&str]; 3] = [&["run", "sw.js"], &["syncs"], &["sync", "mail"]];
    for command in commands {
        let options = [command, &["--state", "state"]].concat();
        let (code, stdout, stderr) = kittiwake(project.path(), &options);
        assert!(code == 1 && stdout.is_empty(), "{stdout}");
        assert!(stderr.contains("has schema version 1000"), "{stderr}");
        assert!(fs::read(&database).expect("it is still there") == bytes);
    }
}
