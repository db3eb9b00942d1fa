//! Expectations: compared, rewritten, reported.

use crate::{checkout, read, told, wpt, write};

const TEST: &str = "// META: global=serviceworker
test(() => {}, 'passes');
test(() => { throw new Error('so it is'); }, 'fails \"always\"');
";

/// One failure, expected for a reason.
const EXPECTED: &str = r#"[reasons]
no-feature = "the feature is not built"

[file."a/t.any.js"]
pass = 1
fail.no-feature = [
  "fails \"always\"",
]
"#;

#[test]
fn an_expected_failure_is_no_failure() {
    let tree = checkout(&[("a/t.any.js", TEST), ("expected/a.toml", EXPECTED)]);
    let ran = wpt(tree.path(), &[]);
    assert_eq!((told(&ran).len(), ran.code), (0, 0), "{:?}", ran.stdout);
    let row: Vec<_> = ran.stdout[1].split_whitespace().collect();
    assert_eq!(row, ["a", "1", "2", "1", "50.0", "%", "0", "0", "0"]);
}

#[test]
fn a_test_that_seldom_ends_well_may() {
    let good = "// META: global=serviceworker\ntest(() => {}, 'passes');\n";
    let late = format!("{good}Promise.reject(new Error('late'));\n");
    let expected = "[reasons]\nlate = \"it may be over\"\n\n[file.\"a/t.any.js\"]\npass = 1\n\
                    status = \"ERROR\"\nbecause = \"late\"\nflaky_status = true\n";
    for test in [good, &*late] {
        let tree = checkout(&[("a/t.any.js", test), ("expected/a.toml", expected)]);
        let ran = wpt(tree.path(), &[]);
        assert_eq!((told(&ran).len(), ran.code), (0, 0), "{:?}", ran.stdout);
        assert_eq!(wpt(tree.path(), &["--update-expectations"]).code, 0);
        assert_eq!(read(tree.path(), "expected/a.toml"), expected);
    }
    let strict = expected.replace("flaky_status = true\n", "");
    let tree = checkout(&[("a/t.any.js", good), ("expected/a.toml", &strict)]);
    assert_eq!(wpt(tree.path(), &[]).code, 1);
}

#[test]
fn an_unexpected_failure_fails_the_run() {
    let tree =
        checkout(&[("a/t.any.js", TEST), ("expected/a.toml", "[pass]\n\"a/t.any.js\" = 2\n")]);
    let ran = wpt(tree.path(), &[]);
    let failure = "    unexpected failure: fails \"always\": so it is";
    assert_eq!(told(&ran), ["/a/t.any.serviceworker.html", failure]);
    assert_eq!(ran.code, 1);
}

#[test]
fn an_unexpected_pass_fails_the_run() {
    let better = TEST.replace("throw new Error('so it is');", "");
    let tree = checkout(&[("a/t.any.js", &better), ("expected/a.toml", EXPECTED)]);
    let ran = wpt(tree.path(), &[]);
    assert_eq!(
        told(&ran),
        ["/a/t.any.serviceworker.html", "    unexpected pass: fails \"always\""]
    );
    assert_eq!(ran.code, 1);
}

#[test]
fn a_subtest_that_has_gone_fails_the_run() {
    let fewer = "// META: global=serviceworker\ntest(() => {}, 'passes');\n";
    let tree = checkout(&[("a/t.any.js", fewer), ("expected/a.toml", EXPECTED)]);
    let ran = wpt(tree.path(), &[]);
    let gone = "    expected failure that was not run: fails \"always\"";
    assert_eq!(told(&ran), ["/a/t.any.serviceworker.html", gone]);
    assert_eq!(ran.code, 1);
}

#[test]
fn a_test_is_left_out_for_a_reason() {
    let expected = "[reasons]\nno-window = \"it needs a window\"\n\n[file.\"a/t.any.js\"]\n\
                    skip = \"no-window\"\n";
    let tree = checkout(&[("a/t.any.js", TEST), ("expected/a.toml", expected)]);
    let ran = wpt(tree.path(), &[]);
    let row: Vec<_> = ran.stdout[1].split_whitespace().collect();
    assert_eq!((row, ran.code), (vec!["a", "0", "0", "0", "-", "0", "1", "0"], 0));
}

#[test]
fn expectations_are_rewritten_and_keep_their_reasons() {
    let tree = checkout(&[("a/t.any.js", TEST), ("expected/a.toml", EXPECTED)]);
    let more =
        "// META: global=serviceworker\ntest(() => { throw new Error('b'); }, 'new\\nline');\n";
    write(tree.path(), "a/u.any.js", more);
    let ran = wpt(tree.path(), &["a", "--update-expectations"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("1 failures in expected are `unexplained`"), "{}", ran.stderr);
    let rewritten = format!(
        "{EXPECTED}\n[file.\"a/u.any.js\"]\npass = 0\nfail.unexplained = [\n  \"new\\nline\",\n]\n"
    );
    assert_eq!(read(tree.path(), "expected/a.toml"), rewritten);
    assert_eq!(wpt(tree.path(), &[]).code, 0, "what was written is what happens");
    wpt(tree.path(), &["a", "--update-expectations"]);
    assert_eq!(read(tree.path(), "expected/a.toml"), rewritten);
}

#[test]
fn an_expectation_without_its_reason_is_refused() {
    let expected = EXPECTED.replace("no-feature = \"", "other = \"");
    let tree = checkout(&[("a/t.any.js", TEST), ("expected/a.toml", &expected)]);
    let ran = wpt(tree.path(), &[]);
    assert!(ran.stderr.contains("`no-feature` is not among [reasons]"), "{}", ran.stderr);
    assert_eq!(ran.code, 1);
}

#[test]
fn the_report_is_what_wpt_fyi_reads() {
    let tree = checkout(&[("a/t.any.js", TEST)]);
    let ran = wpt(tree.path(), &["a", "--report", "report.json", "--format", "json"]);
    assert_eq!(ran.code, 1);
    let line: serde_json::Value = serde_json::from_str(&ran.stdout[0]).expect("a line of JSON");
    assert_eq!(line["test"], "/a/t.any.serviceworker.html");
    let report: serde_json::Value =
        serde_json::from_str(&read(tree.path(), "report.json")).expect("JSON");
    assert_eq!(report["run_info"]["product"], "kittiwake");
    assert!(report["time_end"].as_u64() >= report["time_start"].as_u64());
    let result = &report["results"][0];
    assert_eq!(result["test"], "/a/t.any.serviceworker.html");
    assert_eq!(result["status"], "OK");
    assert_eq!(
        result["subtests"],
        serde_json::json!([
            { "name": "passes", "status": "PASS", "message": null },
            { "name": "fails \"always\"", "status": "FAIL", "message": "so it is" },
        ])
    );
}
