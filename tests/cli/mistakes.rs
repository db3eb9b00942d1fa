//! Runs that cannot work: each mistake has its message and exit code, and leaves nothing behind.

use std::net::TcpListener;

use crate::process::{Finished, run};
use crate::{PAGE, folder, write};

/// Runs a worker with this source; its state is in memory.
fn run_worker(source: &str) -> Finished {
    let folder = folder(&[("sw.js", source)]);
    run(folder.path(), &["run", "sw.js"])
}

#[test]
fn wrong_usage_is_exit_code_2_and_says_what_to_write() {
    let folder = folder(&[("sw.js", ""), ("page.js", PAGE)]);
    let cases: [(&[&str], &str); 15] = [
        (&[], "Usage: kittiwake"),
        (&["run"], "give a script, a scenario folder, a --page or a --state folder"),
        (&["run", "."], ". has no scenario.toml; give a script or a scenario folder"),
        (&["run", "sw.js", "--wrong"], "--wrong"),
        (&["run", "sw.js", "--network", "sometimes"], "write `online` or `offline`"),
        (&["run", "sw.js", "--network", "offline,online"], "as in `online@10s`"),
        (&["run", "sw.js", "--network", "offline,online@soon"], "write the time as in `10s`"),
        (
            &["run", "sw.js", "--network", "real", "--probe", "ftp://a.test"],
            "give an http or https",
        ),
        (&["run", "sw.js", "--probe", "https://a.test"], "--probe is for --network real"),
        (&["run", "sw.js", "--network", "real", "--debounce", "soon"], "as in `500ms` or `2s`"),
        (&["run", "sw.js", "--debounce", "2s"], "--debounce is for --network real"),
        (&["run", "sw.js", "--until", "later"], "write `idle`, `forever` or `10s`"),
        (&["run", "sw.js", "--origin", "app.test"], "write https://app.test"),
        (&["run", "http://app.test/sw.js"], "service workers need https"),
        (&["run", "sw.js", "--seed", "1"], "--seed is for --clock simulated"),
    ];
    for (arguments, message) in cases {
        let run = run(folder.path(), arguments).expect_code(2).expect_stderr(message);
        assert_eq!(run.stdout, [""; 0], "{arguments:?}");
    }
}

#[test]
fn a_file_that_is_missing_is_named() {
    let folder = folder(&[("sw.js", "")]);
    for arguments in [&["run", "none.js"][..], &["run", "sw.js", "--page", "none.js"]] {
        let run = run(folder.path(), arguments).expect_code(1);
        let run = run.expect_stderr("cannot read none.js: No such file");
        assert_eq!(run.stdout, [""; 0], "{arguments:?}");
    }
}

#[test]
fn http_is_taken_from_this_machine_only() {
    let folder = folder(&[]);
    let far = ["run", "http://192.0.2.1/sw.js"];
    run(folder.path(), &far).expect_code(2).expect_stderr("service workers need https");
    // These are accepted, and then nobody is there.
    let port = closed_port();
    for host in ["127.0.0.1", "localhost"] {
        let near = format!("http://{host}:{port}/sw.js");
        run(folder.path(), &["run", &near]).expect_code(1).expect_stderr(&near);
    }
}

/// A port that was free a moment ago, and that the system does not give to anyone else soon.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

#[test]
fn a_syntax_error_names_file_line_and_message() {
    let run = run_worker("// line 1\nlet x = ;\n").expect_code(1);
    let run = run.expect_stderr("SyntaxError: Unexpected token ';'");
    run.expect_stderr("https://app.test/sw.js:2:9");
}

#[test]
fn a_script_that_throws_names_file_line_and_message() {
    let run = run_worker("// line 1\n\n  throw new RangeError('too far');\n").expect_code(1);
    let run = run.expect_stderr("RangeError: too far");
    run.expect_stderr("https://app.test/sw.js:3:9");
}

#[test]
fn an_imported_script_that_throws_names_its_own_place() {
    let folder = folder(&[("sw.js", "importScripts('lib.js');"), ("lib.js", "\nmissing();\n")]);
    let run = run(folder.path(), &["run", "sw.js"]).expect_code(1);
    let run = run.expect_stderr("ReferenceError: missing is not defined");
    run.expect_stderr("https://app.test/lib.js:2:1");
}

#[test]
fn a_rejected_install_names_file_line_and_message() {
    let source =
        "oninstall = (event) => {\n  event.waitUntil(Promise.reject(new Error('full')));\n}";
    let run = run_worker(source).expect_code(1);
    let run = run.expect_stderr("was not installed: Error: full");
    run.expect_stderr("https://app.test/sw.js:2:34");
}

#[test]
fn a_file_that_is_no_javascript_is_refused() {
    let folder = folder(&[("notes.txt", "hello"), ("sw.json", "{}")]);
    for (file, kind) in [("notes.txt", "text/plain"), ("sw.json", "application/json")] {
        let message = format!("The script has an unsupported MIME type ('{kind}').");
        run(folder.path(), &["run", file]).expect_code(1).expect_stderr(&message);
    }
}

#[test]
fn a_page_that_throws_is_exit_code_1_and_the_next_page_opens() {
    let folder = folder(&[
        ("sw.js", "onsync = () => {};"),
        ("broken.js", "\nthrow new Error('page fault');"),
        ("page.js", PAGE),
    ]);
    let options = ["run", "sw.js", "--page", "broken.js", "--page", "page.js"];
    let run = run(folder.path(), &options).expect_code(1);
    assert_eq!(run.lines_with("sync       mail  done").len(), 1, "{run:#?}");
    run.expect_stderr("Error: page fault (https://app.test/broken.js:2:7)");
}

#[test]
fn a_scenario_with_an_unknown_key_names_the_line() {
    let folder = folder(&[("sw.js", "")]);
    write(folder.path(), "scenario.toml", "about = \"x\"\n\nnetwrok = \"offline\"\n");
    let run = run(folder.path(), &["run", "."]).expect_code(1);
    let run = run.expect_stderr("scenario.toml is not a scenario");
    run.expect_stderr("line 3").expect_stderr("netwrok");
}

#[test]
fn a_scenario_with_a_wrong_timeline_says_what_to_write() {
    let folder = folder(&[("sw.js", "")]);
    write(folder.path(), "scenario.toml", "about = \"x\"\nnetwork = \"offline,online\"\n");
    let run = run(folder.path(), &["run", "."]).expect_code(1);
    run.expect_stderr("line 2").expect_stderr("as in `online@10s`");
}
