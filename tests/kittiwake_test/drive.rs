//! `kittiwake drive`: the protocol by itself, and the npm package that speaks it, in node:test.
//!
//! Invariant: every line that is no request is answered, and the next one is understood.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::process::kittiwake;
use super::{app, is_there};

const LAUNCH: &str = r#"{"id":1,"verb":"launch","protocol":1}"#;

/// Says these lines in a folder, and answers the lines that come back.
fn drive(folder: &Path, said: &[u8]) -> Vec<Value> {
    let mut child = kittiwake()
        .arg("drive")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let said = said.to_owned();
    let saying = std::thread::spawn(move || stdin.write_all(&said));
    let output = child.wait_with_output().expect("it ends");
    saying.join().expect("no panic").expect("it listens to the end");
    assert!(output.status.success(), "{output:?}");
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("each line is JSON")).collect()
}

fn lines(folder: &Path, said: &[&str]) -> Vec<Value> {
    drive(folder, said.join("\n").as_bytes())
}

#[test]
fn a_world_is_moved_line_by_line() {
    let app = app(&[]);
    let answers = lines(
        app.path(),
        &[
            LAUNCH,
            r#"{"id":2,"verb":"server.on","arguments":["POST /outbox",[503,204]]}"#,
            r#"{"id":3,"verb":"worker.register","arguments":["/sw.js"]}"#,
            r#"{"id":4,"verb":"page.evaluate","arguments":[{"isFunction":false,"values":[],
                "source":"navigator.serviceWorker.ready.then(({ sync }) => sync.register('a'))"}]}"#
                .replace("\n", "")
                .as_str(),
            r#"{"id":5,"verb":"clock.advance","arguments":["5m"]}"#,
            r#"{"id":6,"verb":"host.trace"}"#,
        ],
    );
    assert_eq!(answers[0]["value"]["protocol"], 1);
    assert_eq!(answers[2]["value"]["scope"], "https://app.test/");
    let passed =
        |answer: &Value| answer["now"].as_f64().unwrap() - answers[0]["now"].as_f64().unwrap();
    assert_eq!(answers.iter().map(passed).collect::<Vec<_>>(), [0.0, 0.0, 0.0, 0.0, 3e5, 3e5]);
    let trace = answers[5]["value"].as_array().expect("a list");
    assert_eq!(trace.last().expect("a line"), "5m  sync       a  done");
}

#[test]
fn each_bad_line_is_answered_and_the_session_goes_on() {
    let app = app(&[]);
    let other = r#"{"id":1,"verb":"launch","protocol":2}"#;
    let said = [
        (r#"{"id":0,"verb":"network.offline"}"#, "not-launched", "`launch` makes it"),
        (other, "protocol", "speaks protocol 1, not 2"),
        (r#"{"id":1,"verb":"launch","protocol":1,"rot":"."}"#, "bad-request", "`rot`"),
        (r#"{"id":1,"verb":"launch","protocol":1,"root":"no"}"#, "bad-request", "no is no folder"),
        (LAUNCH, "", ""),
        (LAUNCH, "already-launched", "start another one"),
        ("nonsense", "bad-request", "the line is no JSON"),
        ("[1, 2]", "bad-request", "a request is an object"),
        (r#"{"id":-1,"verb":"clock.now"}"#, "bad-request", "-1"),
        (r#"{"verb":"clock.now"}"#, "bad-request", "`id`"),
        (r#"{"id":7,"verb":"constructor.call"}"#, "unknown-verb", "\"constructor.call\""),
        (r#"{"id":8,"verb":"clock.advance","arguments":["soon"]}"#, "failed", "no duration"),
        (r#"{"id":9,"verb":"page.evaluate","page":99}"#, "page-closed", "it was closed"),
        (r#"{"id":9,"verb":"clock.now","page":99}"#, "unknown-verb", "is not for one page"),
        (r#"{"id":10,"verb":"page.evaluate","arguments":[3]}"#, "failed", "takes { \"source\""),
        (r#"{"id":11,"verb":"clock.now"}"#, "", ""),
    ];
    let answers = lines(app.path(), &said.map(|(line, ..)| line));
    assert_eq!(answers.len(), said.len(), "{answers:#?}");
    for ((line, code, part), answer) in said.iter().zip(&answers) {
        let error = &answer["error"];
        assert_eq!(error["code"].as_str().unwrap_or_default(), *code, "{line}: {answer}");
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.contains(part), "{line}: {answer}");
    }
    assert_eq!(answers[15]["value"], 1_735_689_600_000_u64);
}

#[test]
fn a_line_that_is_too_long_is_left_out() {
    let app = app(&[]);
    let mut said = format!("{LAUNCH}\n").into_bytes();
    said.extend(std::iter::repeat_n(b'x', 33 << 20));
    said.extend(b"\n{\"id\":2,\"verb\":\"clock.now\"}\n");
    let answers = drive(app.path(), &said);
    assert_eq!(answers.len(), 3, "{answers:#?}");
    assert_eq!(answers[1]["error"]["code"], "too-long");
    assert_eq!(answers[2]["id"], 2);
}

#[test]
fn lines_with_any_byte_changed_are_answered_one_by_one() {
    let app = app(&[]);
    let seeds = [
        r#"{"id":2,"verb":"network.timeline","arguments":["offline,online@10s"]}"#,
        r#"{"id":3,"verb":"server.on","arguments":["GET /a",[{"status":200,"json":[1]}]]}"#,
        r#"{"id":4,"verb":"host.openPage","arguments":["/a"],"page":null}"#,
    ];
    // Of a linear congruential generator: the same in each run.
    let mut random = 7_u32;
    let mut next = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        random >> 16
    };
    let mut said = format!("{LAUNCH}\n").into_bytes();
    for round in 0..300 {
        let mut line = seeds[round % seeds.len()].as_bytes().to_vec();
        for _ in 0..=next() % 3 {
            let place = next() as usize % line.len();
            line[place] = match (next() % 256) as u8 {
                b'\n' => b'n',
                byte => byte,
            };
        }
        said.extend(line);
        said.push(b'\n');
    }
    said.extend(br#"{"id":1000,"verb":"network.state"}"#);
    let answers = drive(app.path(), &said);
    assert_eq!(answers.len(), 302);
    let last = answers.last().expect("there are some");
    assert_eq!(last["id"], 1000, "{last}");
    let codes = ["bad-request", "failed", "unknown-verb", "page-closed"];
    for error in answers.iter().filter_map(|answer| answer.get("error")) {
        assert!(codes.map(|code| json!(code)).contains(&error["code"]), "{error}");
    }
}

#[test]
fn the_package_for_node_passes_its_own_tests() {
    if !is_there("node") {
        println!("skipped: there is no node; install Debian's package nodejs");
        return;
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("npm");
    let output = Command::new("node")
        .arg("--test")
        .current_dir(package)
        .env("KITTIWAKE_BINARY", env!("CARGO_BIN_EXE_kittiwake"))
        .env_remove("NODE_TEST_CONTEXT")
        .output()
        .expect("node starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let passed = said
        .lines()
        .find_map(|line| line.trim_start_matches(['#', 'ℹ', ' ']).strip_prefix("pass "));
    assert_eq!(passed, Some("18"), "{said}");
}
