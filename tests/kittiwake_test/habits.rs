//! How a developer works: by name, what failed, on every save, in parts, with many seeds; and
//! snapshots.

use std::fs;

use super::process::{run, start};
use super::{app, test, test_file, text, write};

#[test]
fn a_filter_chooses_by_name() {
    let body = "describe('group', () => { test('one', () => {}); test('two', () => {}); });";
    let finished = text(&test(body, &["--filter", "group > two"]).expect_code(0));
    assert!(finished.contains("✓ group > two") && !finished.contains("✓ group > one"));
    assert!(finished.contains("1 passed, 1 left out"), "{finished}");
}

#[test]
fn only_what_failed_runs_again() {
    let bad = "test('good', () => {}); test('bad', () => expect(1).toBe(2));";
    let app = app(&[("a.test.js", &test_file(bad)), ("b.test.js", "test(;")]);
    let test = |options: &[&str]| run(app.path(), &[&["test"], options].concat());
    test(&["--only-failed"]).expect_code(1).expect_stderr("no test failed last; all run");
    let again = text(&test(&["--only-failed"]).expect_code(1));
    assert!(again.contains("2 failed, 0 passed, 1 left out"), "{again}");
    write(app.path(), "a.test.js", &test_file(&bad.replace("toBe(2)", "toBe(1)")));
    write(app.path(), "b.test.js", &test_file("test('mended', () => {});"));
    let mended = text(&test(&["--only-failed"]).expect_code(0));
    assert!(mended.contains("2 passed, 1 left out"), "{mended}");
    test(&["--only-failed"]).expect_code(0).expect_stderr("no test failed last");
    assert_eq!(fs::read_to_string(app.path().join(".kittiwake/.gitignore")).unwrap(), "*\n");
}

#[test]
fn the_first_failure_may_end_it() {
    let body = "test('a', () => {}); test('b', () => { throw new Error('no'); });
test('c', () => {}); test('d', () => {});";
    let finished = text(&test(body, &["--bail", "--jobs", "1"]).expect_code(1));
    assert!(finished.contains("1 failed, 1 passed, 2 left out"), "{finished}");
}

#[test]
fn parts_together_are_all_files() {
    let file = test_file("test('a', () => {});");
    let app = app(&[("a.test.js", &file), ("b.test.js", &file), ("c.test.js", &file)]);
    let part = |part: &str| text(&run(app.path(), &["test", "--shard", part]).expect_code(0));
    let (first, second) = (part("1/2"), part("2/2"));
    assert!(first.contains("a.test.js") && first.contains("c.test.js"), "{first}");
    assert!(!first.contains("b.test.js") && second.contains("b.test.js"), "{second}");
    run(app.path(), &["test", "--shard", "3/2"]).expect_code(2).expect_stderr("as in `1/4`");
}

#[test]
fn one_seed_is_one_world_and_each_repetition_has_the_next() {
    let body = "test('numbers', () => console.log(Math.random(), crypto.randomUUID()));";
    let numbers = |options: &[&str]| {
        let finished = test(body, options).expect_code(0);
        let lines = finished.stdout.into_iter().filter(|line| line.contains("| ")).collect();
        let lines: Vec<String> = lines;
        lines
    };
    let repeated = numbers(&["--seed", "7", "--repeat", "3"]);
    assert_eq!(repeated.len(), 3);
    assert_eq!(repeated[..1], numbers(&["--seed", "7"]));
    assert_eq!(repeated[2..], numbers(&["--seed", "9"]));
    assert_ne!(repeated[0], repeated[1]);
}

#[test]
fn snapshots_are_written_compared_and_accepted() {
    let body = "test('trace', async ({ host, worker }) => {
  await worker.register();
  expect(host.trace).toMatchSnapshot();
  expect({ b: 1, a: 'TEXT' }).toMatchSnapshot('object');
});";
    let app = app(&[("app.test.js", &test_file(body))]);
    let test = |options: &[&str]| run(app.path(), &[&["test"], options].concat());
    let none = text(&test(&["--ci"]).expect_code(1));
    assert!(none.contains("no snapshot was written yet, and --ci accepts none"), "{none}");
    assert!(text(&test(&[]).expect_code(0)).contains("2 snapshots written"));
    let file = app.path().join("__snapshots__/app.test.js.snap");
    let written = fs::read_to_string(&file).unwrap();
    let lines = "== trace 1\n| 0s  lifecycle  page  https://app.test/  opened\n";
    assert!(written.contains(lines), "{written}");
    assert!(!text(&test(&["--ci"]).expect_code(0)).contains("written"));

    write(app.path(), "app.test.js", &test_file(&body.replace("TEXT", "other")));
    let differs = text(&test(&[]).expect_code(1));
    assert!(differs.contains("-   a: \"TEXT\",") && differs.contains("+   a: \"other\","));
    assert!(differs.contains("accept it with --update"), "{differs}");
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
    assert!(text(&test(&["--update"]).expect_code(0)).contains("1 snapshot written"));
    assert!(fs::read_to_string(&file).unwrap().contains("|   a: \"other\","));

    write(app.path(), "app.test.js", &test_file("test('no more', () => {});"));
    test(&["--update"]).expect_code(0);
    assert!(!file.exists());
}

#[test]
fn a_scenario_s_trace_is_accepted() {
    let app = app(&[("waits/sw.js", ""), ("waits/scenario.toml", "about = \"It waits.\"\n")]);
    run(app.path(), &["test", "waits"]).expect_code(1);
    run(app.path(), &["test", "waits", "--update"]).expect_code(0);
    run(app.path(), &["test", "waits"]).expect_code(0);
}

#[test]
fn a_change_runs_what_has_asked_for_the_file() {
    let one = "import { is } from '../lib/is.js';\ntest('one', () => expect(is).toBe(2));";
    let two = "test('two', async ({ worker }) => { await worker.register('/sw.js'); });";
    let app = app(&[
        ("app/index.html", ""),
        ("app/sw.js", "importScripts('/part.js');"),
        ("app/part.js", ""),
        ("app/one.test.js", &test_file(one)),
        ("app/two.test.js", &test_file(two)),
        ("lib/is.js", "export const is = 1;"),
    ]);
    let mut watching = start(app.path(), &["test", "--watch"]);
    watching.wait_for_line("1 failed, 1 passed");
    watching.wait_for_stderr("waiting for a change");
    let mut change = |file: &str, text: &str, runs: &str| {
        write(app.path(), file, text);
        watching.wait_for_line(runs);
        let sum = watching.wait_for_line("passed");
        assert!(sum.starts_with("1 passed"), "{file}: {sum}");
        watching.wait_for_stderr("waiting for a change");
    };
    // A file outside the app, which one test imports.
    change("lib/is.js", "export const is = 2;", "✓ one");
    // What the other one's worker asks for; nobody has asked for the first file.
    write(app.path(), "app/nobodys.js", "");
    change("app/part.js", "// changed", "✓ two");
    change("app/one.test.js", &test_file("test('alone', () => {});"), "✓ alone");
    watching.terminate();
    watching.finish().expect_code(0);
}

#[test]
fn a_first_test_is_written_for_a_worker() {
    let app = app(&[]);
    let initialised = run(app.path(), &["init"]).expect_code(0);
    initialised.expect_stderr("wrote sw.test.js");
    let written = fs::read_to_string(app.path().join("sw.test.js")).unwrap();
    assert!(written.contains("await sync.register(\"outbox\");"), "{written}");
    assert!(text(&run(app.path(), &["test"]).expect_code(0)).contains("2 passed"));
    run(app.path(), &["init"]).expect_code(1).expect_stderr("is there already");

    write(app.path(), "shop/worker.js", "export {};\nself.onfetch = () => {};");
    run(app.path(), &["init", "shop/worker.js"]).expect_code(0);
    let finished = run(app.path(), &["test", "--root", "shop", "shop"]).expect_code(0);
    assert!(text(&finished).contains("2 passed"));
    let empty = tempfile::tempdir().unwrap();
    run(empty.path(), &["init"]).expect_code(2).expect_stderr("name the script");
}

/// The project's own scenarios, as whoever works on it runs one of them.
#[test]
fn scenario_folders_are_tests() {
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/scenarios");
    let finished = run(elsewhere.path(), &["test", folder, "--reporter", "dot"]).expect_code(0);
    let scenarios = fs::read_dir(folder).unwrap().count();
    let sum = format!("{scenarios} passed");
    assert!(text(&finished).contains(&sum), "{sum} is not in\n{}", text(&finished));
}
