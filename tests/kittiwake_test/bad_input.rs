//! Tests that are wrong: each is named with what is wrong, the others run, and the exit code is 1.

use super::process::{run, start};
use super::{app, test, test_file, text};

/// Runs a file with this test and a good one after it; answers what was said.
fn beside_a_good_one(body: &str, options: &[&str]) -> String {
    let body = format!("{body}\ntest('good', () => {{}});");
    let finished = test(&body, options).expect_code(1);
    let text = text(&finished);
    assert!(text.contains("✓ good"), "{text}");
    assert!(text.contains("1 failed, 1 passed"), "{text}");
    text
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn a_difference_is_shown_with_its_line() {
    let text = beside_a_good_one(
        "test('bad', ({ worker }) => {\n  expect({ a: [1, 2], b: worker.state }).toEqual({ a: [1], \
         b: 'none' });\n});",
        &[],
    );
    let line = ">    3 |   expect({ a: [1, 2], b: worker.state }).toEqual({ a: [1], b: 'none' });";
    assert_has(&text, &["✗ bad", "- expected", "+     2,", line, "at app.test.js:3:42"]);
    assert_has(&text, &["the end of the trace:", "0s  lifecycle  page  https://app.test/  opened"]);
}

#[test]
fn a_test_that_waits_for_ever_fails_at_once() {
    let text = beside_a_good_one("test('bad', () => new Promise(() => {}));", &[]);
    assert_has(&text, &["✗ bad", "time stands still until the test moves it"]);
    let text =
        beside_a_good_one("test('bad', () => new Promise((r) => setTimeout(r, 9000)));", &[]);
    assert_has(&text, &["time stands still until the test moves it"]);
}

#[test]
fn an_endless_loop_is_cut_off() {
    let text = beside_a_good_one("test('bad', () => { for (;;); }, 500);", &[]);
    assert_has(&text, &["✗ bad", "ran for longer than its limit"]);
    let promises = "test('bad', async () => { for (;;) await null; }, 500);";
    assert_has(&beside_a_good_one(promises, &[]), &["ran for longer than its limit"]);
    let timers = "test('bad', async ({ clock }) => { for (;;) await clock.advance(1); }, 500);";
    assert_has(&beside_a_good_one(timers, &[]), &["the test did not end within 500ms"]);
    let idle = "test('bad', async ({ clock }) => {
      setInterval(() => {}, 1);
      await clock.runUntilIdle();
    }, 500);";
    assert_has(&beside_a_good_one(idle, &[]), &["the test did not end within 500ms"]);
}

#[test]
fn a_test_that_nobody_can_interrupt_is_given_up_and_named() {
    let endless = "Array.prototype.includes.call({ length: 2 ** 53 - 1 }, 0)";
    let app = app(&[
        ("a_test.test.js", &test_file(&format!("test('bad', () => {endless});"))),
        ("b_file.test.js", &test_file(&format!("{endless};"))),
        ("c_good.test.js", &test_file("test('good', () => {});")),
    ]);
    let finished = run(app.path(), &["test", "--timeout", "500ms", "--jobs", "2"]);
    let text = text(&finished.expect_code(1));
    assert_has(&text, &["a_test.test.js", "✗ bad", "does not come back", "b_file.test.js"]);
    assert_has(&text, &["✓ good", "2 failed, 1 passed"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_test_in_which_the_engine_fails_is_named_and_the_others_go_on() {
    // At once, so that the thread which runs the test is the one that gets no memory.
    let fills = "test('bad', async () => {
  await import('./bad_gate.js');
  new Array(2 ** 24);
});";
    let waits = "test('good', () => import('./good_gate.js'));";
    let app = app(&[("a_bad.test.js", &test_file(fills)), ("b_good.test.js", &test_file(waits))]);
    let gates = ["bad_gate.js", "good_gate.js"].map(|name| app.path().join(name));
    let made = std::process::Command::new("mkfifo").args(&gates).status();
    assert!(made.is_ok_and(|status| status.success()), "pipes with names");
    let mut process = start(app.path(), &["test", "--timeout", "1m", "--jobs", "2"]);
    // Each is open once its test reads it.
    let [bad, good] =
        gates.map(|gate| std::fs::OpenOptions::new().write(true).open(gate).expect("the pipe"));
    // Less than its heap may have: the system refuses what the limit would grant.
    process.allow_more_memory(64 << 20);
    drop(bad);
    process.wait_for_line("✗ bad");
    process.allow_more_memory(1 << 40);
    drop(good);
    let text = text(&process.finish().expect_code(1));
    assert_has(&text, &["V8 failed (", "its world is given up", "✓ good", "1 failed, 1 passed"]);
}

#[test]
fn memory_has_a_bound() {
    let body = "test('bad', () => { const all = []; for (;;) all.push(new Array(100_000).fill(1)); \
                });";
    let text = beside_a_good_one(body, &["--timeout", "2m"]);
    assert_has(&text, &["✗ bad", "used more memory than its limit"]);
}

#[test]
fn a_worker_that_meets_a_limit_is_ended_and_named_and_the_run_goes_on() {
    let bad = "self.oninstall = () => self.skipWaiting();
self.onmessage = ({ data }) => {
  for (const all = [];;) if (data === 'fill') all.push(new Array(100_000).fill(1));
};";
    let body = r#"for (const kind of ["fill", "spin"]) {
  test(`bad ${kind}`, async ({ clock, worker }) => {
    (await worker.register("/bad.js")).active.postMessage(kind);
    await clock.runUntilIdle();
    expect(worker.events.at(-1).outcome).toBe("fulfilled");
  });
}
test("good", () => {});"#;
    let app = app(&[("app.test.js", &test_file(body)), ("bad.js", bad)]);
    let text = text(&run(app.path(), &["test", "--timeout", "2s"]).expect_code(1));
    assert_has(&text, &["✗ bad fill", "limit      heap 256MiB  worker  https://app.test/bad.js"]);
    assert_has(&text, &["✗ bad spin", "limit      turn 2s  worker  https://app.test/bad.js"]);
    assert_has(&text, &["+ \"terminated\"", "✓ good", "2 failed, 1 passed"]);
}

#[test]
fn a_stack_has_a_bound() {
    let text = beside_a_good_one("test('bad', () => { const down = () => down(); down(); });", &[]);
    assert_has(&text, &["✗ bad", "RangeError: Maximum call stack size exceeded"]);
}

#[test]
fn timers_that_are_left_disturb_nobody() {
    let body = "test('leaves them', () => { setInterval(() => { throw new Error('late'); }, 10); \
                });\ntest('next', async ({ clock }) => { await clock.advance('1h'); });";
    assert_has(&text(&test(body, &[]).expect_code(0)), &["2 passed"]);
}

#[test]
fn what_nobody_caught_fails_its_test() {
    let late = "test('bad', async ({ clock }) => {
  setTimeout(() => { throw new Error('late'); }, 10);
  await clock.advance(20);
});";
    let text = beside_a_good_one(late, &[]);
    assert_has(&text, &["✗ bad", "nobody caught this: Error: late", "app.test.js:3"]);
    let rejected = "test('bad', async ({ clock }) => {
  Promise.reject(new Error('lost'));
  await clock.advance(20);
});";
    assert_has(&beside_a_good_one(rejected, &[]), &["nobody caught this: Error: lost"]);
}

#[test]
fn a_worker_s_own_error_is_shown_and_fails_nothing() {
    let body = r#"test("good", async ({ clock, worker }) => {
  const { active } = await worker.register("/bad.js");
  active.postMessage("x");
  await clock.runUntilIdle();
});"#;
    let bad = "self.onmessage = () => { throw new Error('in the worker'); };";
    let app = app(&[("app.test.js", &test_file(body)), ("bad.js", bad)]);
    let text = text(&run(app.path(), &["test"]).expect_code(0));
    assert_has(&text, &["nobody caught Error: in the worker (https://app.test/bad.js:1:"]);
}

#[test]
fn a_worker_that_does_not_install_says_why() {
    let body = r#"test("bad", async ({ worker }) => { await worker.register("/bad.js"); });"#;
    let app = app(&[
        ("app.test.js", &test_file(body)),
        ("bad.js", "self.oninstall = (e) => e.waitUntil(Promise.reject(new Error('no room')));"),
    ]);
    let text = text(&run(app.path(), &["test"]).expect_code(1));
    assert_has(&text, &["bad.js was not installed: Error: no room", "at app.test.js:2"]);
}

#[test]
fn a_file_that_cannot_be_evaluated_is_named_and_the_others_run() {
    let app = app(&[
        ("a_syntax.test.js", "test(;"),
        ("b_import.test.js", "import './not-there.js';"),
        ("c_bare.test.js", "import 'lodash';"),
        ("d_throws.test.js", "throw new Error('at once');"),
        ("e_awaits.test.js", "await new Promise(() => {});"),
        ("f_loops.test.js", "for (;;);"),
        ("g_good.test.js", &test_file("test('good', () => {});")),
        ("h_none.test.js", ""),
        ("i_name.test.js", &test_file("test(3, () => {});")),
        ("j_network.test.js", "import 'https://example.com/a.js';"),
    ]);
    let text = text(&run(app.path(), &["test", "--timeout", "1s"]).expect_code(1));
    assert_has(
        &text,
        &[
            "a_syntax.test.js",
            "SyntaxError: Unexpected token ';'",
            "not-there.js was not imported: No such file or directory",
            "the package \"lodash\" is not installed",
            "run `npm install lodash`",
            "Error: at once",
            "the file awaits at its top level what never comes",
            "ran for longer than its limit",
            "✓ good",
            "a test's name is a string, not 3",
            "a test imports files",
            "8 failed, 1 passed",
        ],
    );
}

#[test]
fn nothing_to_run_is_a_mistake() {
    let app = app(&[]);
    run(app.path(), &["test"]).expect_code(1).expect_stderr("no test is in .");
    run(app.path(), &["test", "nowhere"]).expect_code(1).expect_stderr("nowhere");
    run(app.path(), &["test", "--root", "nowhere"]).expect_code(2).expect_stderr("no such folder");
    run(app.path(), &["test", "--timeout", "0s"]).expect_code(2).expect_stderr("no test is that");
    let none = test("test('a', () => {});", &["--filter", "other"]).expect_code(1);
    assert_has(&text(&none), &["no test ran"]);
}
