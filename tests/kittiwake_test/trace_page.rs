//! `--trace-html`: the page, as a person sees it in Chromium. Where there is none, the tests say
//! so and are skipped.
//!
//! Invariant: no page that is opened here complains, or asks for anything but its own file.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::browser::Browser;
use super::process::run;
use super::{app, test_file};

/// Two tests: an outbox with one retry, and one that fails with an error of its own.
const TESTS: &str = r#"
test("the outbox is sent again", async ({ worker, network, server, clock }) => {
  server.on("POST /outbox", [503, { status: 204, delay: "2s" }]);
  const { sync } = await worker.register("/sw.js");
  await network.offline();
  await sync.register("outbox");
  console.log("</script><script>document.title = 'taken'</script><!-- {{scripts}} <b>bold</b>");
  await clock.advance("10s");
  await network.online();
  await clock.runUntilIdle();
});
test("nothing is as it should be", async ({ worker }) => {
  await worker.register("/sw.js");
  setTimeout(() => { throw new TypeError("nobody catches this") });
  await new Promise((later) => setTimeout(later, 1));
  expect("one").toBe("two");
});
"#;

/// The bars and marks of a lane: class, label and width in pixels, from left to right.
const LANE: &str = "((group) => [...document.querySelectorAll(`.lane.group-${group} .item`)]
  .map((item) => ({ look: /look-(\\S+)/.exec(item.className.baseVal)[1],
    label: item.textContent, left: item.querySelector('.shape').getBoundingClientRect().left,
    width: item.querySelector('.shape').getBoundingClientRect().width })))";

/// A browser, or none and the reason said.
fn browser() -> Option<Browser> {
    Browser::start().map_err(|reason| println!("skipped: {reason}")).ok()
}

/// The page of a run of `TESTS`.
fn page_of_tests() -> (TempDir, PathBuf) {
    let app = app(&[("app.test.js", &test_file(TESTS))]);
    let finished = run(app.path(), &["test", "--trace-html", "trace.html"]);
    finished.expect_code(1);
    let page = app.path().join("trace.html");
    (app, page)
}

#[track_caller]
fn lane(browser: &mut Browser, group: &str) -> Vec<Value> {
    let items = browser.evaluate(&format!("{LANE}({group:?})"));
    items.as_array().expect("a list").clone()
}

fn texts(items: &[Value], field: &str) -> Vec<String> {
    items.iter().map(|item| item[field].as_str().expect("a text").to_owned()).collect()
}

#[track_caller]
fn expect_no_complaint(browser: &Browser, page: &Path) {
    assert_eq!(browser.complaints, [""; 0]);
    let own = format!("file://{}", page.display());
    let foreign = |url: &&String| !url.starts_with(&own) && *url != "about:blank";
    assert_eq!(browser.requests.iter().find(foreign), None);
}

#[test]
fn a_person_sees_what_happened_in_a_test() {
    let Some(mut browser) = browser() else { return };
    let (_app, page) = page_of_tests();
    browser.open(&page, "#run=0");
    browser.click("#zoom-fit");
    assert_eq!(browser.evaluate("document.title"), "kittiwake test – trace");
    assert_eq!(browser.evaluate("find('sum').innerText"), "✗ 1 failed\n✓ 1 passed");

    let network = lane(&mut browser, "network");
    assert_eq!(texts(&network, "look"), ["online", "offline", "online"]);
    let sync = lane(&mut browser, "sync");
    let looks = ["registered", "firing", "waiting", "firing", "done"];
    assert_eq!(texts(&sync, "look"), looks);
    assert_eq!(sync[2]["label"], "waits 5m");
    let fetches = lane(&mut browser, "fetch");
    assert_eq!(texts(&fetches, "look"), ["refused", "answered"]);
    assert_eq!(
        texts(&fetches, "label"),
        ["POST /outbox 503", "POST /outbox 204 in 2s"],
        "{fetches:#?}"
    );
    assert_eq!(lane(&mut browser, "lifecycle").len(), 5, "a page, and four states of the worker");
    // Five minutes are a bar among bars, until time is linear.
    let width = |item: &Value| item["width"].as_f64().expect("a number");
    let together: f64 = sync.iter().map(width).sum();
    assert!(width(&sync[2]) < together / 2.0, "{sync:#?}");
    browser.click("#axis-linear");
    let linear = lane(&mut browser, "sync");
    let wait = linear.iter().find(|item| item["look"] == "waiting").expect("it is drawn");
    assert!(width(wait) > 700.0, "{linear:#?}");
    expect_no_complaint(&browser, &page);
}

#[test]
fn the_page_is_used_with_keys_alone() {
    let Some(mut browser) = browser() else { return };
    let (_app, page) = page_of_tests();
    browser.open(&page, "#run=0");
    browser.evaluate("find('chart').focus()");
    browser.press("Home");
    browser.press("ArrowRight");
    let selected = "document.querySelector('.row[aria-selected=true]').innerText";
    let row = browser.evaluate(selected);
    assert!(row.as_str().expect("a text").contains("installing"), "{row}");
    let details = browser.evaluate("find('details').innerText");
    for part in ["lifecycle at 0s", "scope\nhttps://app.test/", "state\ninstalling"] {
        assert!(details.as_str().expect("a text").contains(part), "{part:?} is not in {details}");
    }
    assert_eq!(browser.evaluate("document.querySelectorAll('.item.selected').length"), 1);
    let width = "document.querySelector('.space').clientWidth";
    let before = browser.evaluate(width).as_f64();
    browser.press("+");
    assert!(browser.evaluate(width).as_f64() > before);
    browser.press("End");
    let last = browser.evaluate(selected);
    assert!(last.as_str().expect("a text").contains("outbox  done"), "{last}");

    // What is filtered is in neither the timeline nor the list.
    browser.click("button.kind.group-sync");
    assert!(lane(&mut browser, "sync").is_empty());
    assert_eq!(browser.evaluate("document.querySelectorAll('.row.group-sync').length"), 0);
    browser.evaluate("find('find-event').value = '503'");
    browser.evaluate("find('find-event').dispatchEvent(new Event('input'))");
    assert_eq!(browser.evaluate("document.querySelectorAll('.row').length"), 1);
    expect_no_complaint(&browser, &page);
}

#[test]
fn a_failed_test_comes_first_with_what_is_wrong() {
    let Some(mut browser) = browser() else { return };
    let (_app, page) = page_of_tests();
    browser.open(&page, "");
    let head = browser.evaluate("find('run-head').innerText");
    let head = head.as_str().expect("a text");
    for part in ["✗ nothing is as it should be", "- \"two\"", "+ \"one\"", "nobody catches this"]
    {
        assert!(head.contains(part), "{part:?} is not in {head}");
    }
    assert_eq!(texts(&lane(&mut browser, "error"), "look"), ["uncaught"]);
    browser.click("button.run[data-run='0']");
    browser.evaluate("new Promise(requestAnimationFrame)");
    assert_eq!(browser.evaluate("document.querySelector('[aria-current]').dataset.run"), "0");
    assert_eq!(texts(&lane(&mut browser, "sync"), "look").len(), 5);
    expect_no_complaint(&browser, &page);
}

#[test]
fn what_a_script_writes_is_only_text() {
    let Some(mut browser) = browser() else { return };
    let (_app, page) = page_of_tests();
    browser.open(&page, "#run=0");
    assert_eq!(browser.evaluate("document.title"), "kittiwake test – trace");
    // The data and the page's own.
    assert_eq!(browser.evaluate("document.querySelectorAll('script').length"), 5);
    let row = browser.evaluate("document.querySelector('.row.group-console').innerText");
    let text = "</script><script>document.title = 'taken'</script><!-- {{scripts}} <b>bold</b>";
    assert!(row.as_str().expect("a text").contains(text), "{row}");
    expect_no_complaint(&browser, &page);
}

/// How bright the timeline's ground is, from 0 to 255.
fn brightness(browser: &mut Browser) -> f64 {
    let shown = "getComputedStyle(find('chart')).backgroundColor.match(/[\\d.]+/g).map(Number)";
    let parts = browser.evaluate(shown);
    parts.as_array().expect("a list").iter().filter_map(Value::as_f64).take(3).sum::<f64>() / 3.0
}

#[test]
fn the_page_follows_the_readers_theme_and_fits_paper() {
    let Some(mut browser) = browser() else { return };
    let (_app, page) = page_of_tests();
    browser.open(&page, "#run=0");
    assert!(brightness(&mut browser) > 200.0);
    let light = browser.screenshot();
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.ask("Emulation.setEmulatedMedia", dark);
    assert!(brightness(&mut browser) < 60.0);
    let dark = browser.screenshot();
    // What a picture of one colour takes is far less.
    assert!(light.len() > 20_000 && dark.len() > 20_000 && light != dark);
    browser.resize(420, 800);
    let fits = "document.documentElement.scrollWidth <= innerWidth";
    assert_eq!(browser.evaluate(fits), true, "nothing is out of sight on a narrow screen");
    browser.ask("Emulation.setEmulatedMedia", json!({ "media": "print" }));
    browser.evaluate("dispatchEvent(new Event('beforeprint'))");
    assert!(brightness(&mut browser) > 200.0);
    let rows = "document.querySelectorAll('.row').length === state.run.events.length";
    assert_eq!(browser.evaluate(rows), true, "paper has every event");
    expect_no_complaint(&browser, &page);
}

/// The page of a run of a scenario.
fn page_of(scenario: &str) -> (TempDir, PathBuf) {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/scenarios");
    let scenario = scenarios.join(scenario);
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("trace.html");
    let options = ["run".as_ref(), scenario.as_os_str(), "--trace-html".as_ref(), page.as_os_str()];
    run(folder.path(), &options).expect_code(0);
    (folder, page)
}

#[test]
fn versions_of_a_worker_are_told_apart() {
    let Some(mut browser) = browser() else { return };
    let (_folder, page) = page_of("a_new_worker_that_skips_waiting_takes_over_open_pages");
    browser.open(&page, "");
    let titles =
        browser.evaluate("[...document.querySelectorAll('.label b')].map((b) => b.innerText)");
    assert_eq!(titles, json!(["/sw.js", "/sw.js (2)", "Pages", "Console"]));
    let looks = texts(&lane(&mut browser, "lifecycle"), "look");
    let states = ["installing", "installed", "activating", "activated"];
    let all = [&states[..], &["redundant"], &states, &["page"]].concat();
    assert_eq!(looks, all);
    expect_no_complaint(&browser, &page);
}

#[test]
fn a_run_of_a_scenario_has_its_page_too() {
    let Some(mut browser) = browser() else { return };
    let (_folder, page) = page_of("an_outbox_is_sent_when_the_network_returns");
    browser.open(&page, "");
    let head = browser.evaluate("find('run-head').innerText");
    let head = head.as_str().expect("a text");
    assert!(head.contains("✓ an_outbox_is_sent_when_the_network_returns"), "{head}");
    assert!(head.contains("14 events over 5m10s"), "{head}");
    assert_eq!(browser.evaluate("find('runs').hidden"), true);
    assert_eq!(
        texts(&lane(&mut browser, "fetch"), "label"),
        ["POST /outbox 503", "POST /outbox 204"]
    );
    expect_no_complaint(&browser, &page);
}

#[test]
fn a_page_that_cannot_be_written_is_named_before_anything_runs() {
    let app = app(&[("app.test.js", &test_file(TESTS))]);
    for command in [&["test"][..], &["run", "sw.js"]] {
        let options = [command, &["--trace-html", "no/such/folder.html"]].concat();
        let finished = run(app.path(), &options).expect_code(1);
        let finished = finished.expect_stderr("cannot write no/such/folder.html: ");
        assert_eq!(finished.stdout, [""; 0]);
    }
}
