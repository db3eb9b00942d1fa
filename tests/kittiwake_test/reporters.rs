//! What machines read, and places as their author knows them.

use std::fs;

use super::process::run;
use super::{app, test_file, text};

/// One of each outcome.
fn mixed() -> tempfile::TempDir {
    let body = "test('good # 1', () => {});
test('bad <&\"', () => expect('a\\nb').toBe('a\\nc'));
test.skip('skipped', () => {});
test.todo('todo');";
    app(&[("app.test.js", &test_file(body))])
}

fn report(reporter: &str) -> String {
    let app = mixed();
    text(&run(app.path(), &["test", "--reporter", reporter]).expect_code(1))
}

#[test]
fn tap() {
    let tap = report("tap");
    for line in [
        "TAP version 14\n",
        "ok 1 - app.test.js > good \\# 1\n",
        "not ok 2 - app.test.js > bad <&\"\n  ---\n",
        "  at: \"app.test.js:3\"\n  ...\n",
        "ok 3 - app.test.js > skipped # SKIP\n",
        concat!("ok 4 - app.test.js > todo # TO", "DO\n"),
    ] {
        assert!(tap.contains(line), "{line} is not in\n{tap}");
    }
    assert!(tap.ends_with("1..4"), "{tap}");
}

#[test]
fn junit_in_a_file_beside_the_usual_one() {
    let app = mixed();
    let options = ["test", "--reporter", "pretty", "--reporter", "junit=report.xml"];
    let finished = text(&run(app.path(), &options).expect_code(1));
    assert!(finished.contains("1 failed, 1 passed"), "{finished}");
    let xml = fs::read_to_string(app.path().join("report.xml")).unwrap();
    for part in [
        "<testsuites name=\"kittiwake test\" tests=\"4\" failures=\"1\"",
        "<testsuite name=\"app.test.js\" tests=\"4\" failures=\"1\" skipped=\"2\">",
        "<testcase classname=\"app.test.js\" name=\"bad &lt;&amp;&quot;\"",
        "<failure message=\"expect(actual).toBe(&quot;a\\nc&quot;)\">",
        "<skipped/></testcase>",
    ] {
        assert!(xml.contains(part), "{part} is not in\n{xml}");
    }
    assert!(!xml.contains('\u{1b}'));
}

#[test]
fn json_is_one_object_a_line() {
    let objects: Vec<serde_json::Value> =
        report("json").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 5);
    assert_eq!(objects[0]["outcome"], "passed");
    assert_eq!(objects[1]["failures"][0]["line"], 3);
    assert_eq!(objects[1]["failures"][0]["file"], "app.test.js");
    assert_eq!(objects[1]["trace"][0], "0s  lifecycle  page  https://app.test/  opened");
    assert_eq!(objects[4]["failed"], 1);
}

#[test]
fn annotations_name_file_and_line() {
    let github = report("github");
    let start = "::error file=app.test.js,line=3,col=38,title=bad <&\"::expect";
    assert!(github.contains(start), "{github}");
    assert!(github.contains("%0A"), "{github}");
}

#[test]
fn dots() {
    let dots = report("dot");
    assert!(dots.starts_with(".F--"), "{dots}");
    assert!(dots.contains("✗ bad"), "{dots}");
    let app = mixed();
    run(app.path(), &["test", "--reporter", "xml"]).expect_code(2).expect_stderr("pretty, dot");
}

/// `mapped.ts`, of which the bundle below is the second line, is where the error is.
#[test]
fn places_in_bundles_are_those_of_their_sources() {
    // A map of one segment: line 1 of the bundle, column 0, is mapped.ts:2:0.
    let map = r#"{"version":3,"sources":["src/mapped.ts"],"names":[],"mappings":"AACA"}"#;
    let bundle = "export function fail() { throw new Error('in the bundle'); }\n";
    let body = "import { fail } from './bundle.js';\ntest('bad', () => fail());";
    let app = app(&[
        ("bundle.js", &format!("{bundle}//# sourceMappingURL=bundle.js.map\n")),
        ("bundle.js.map", map),
        ("src/mapped.ts", "// one\nexport const fail: () => never = () => { throw 1; };\n"),
        ("app.test.js", &test_file(body)),
    ]);
    let finished = text(&run(app.path(), &["test"]).expect_code(1));
    assert!(finished.contains("at src/mapped.ts:2:1"), "{finished}");
    assert!(finished.contains(">    2 | export const fail: () => never"), "{finished}");
    assert!(finished.contains("at app.test.js:3"), "{finished}");
}
