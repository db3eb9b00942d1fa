//! Test files that run in the scope of a service worker: `NAME.worker.test.js`.

use super::process::run;
use super::{app, test_file, text};

/// What a file of that name says when it has this body.
fn in_worker(body: &str, code: i32) -> String {
    let app = app(&[
        ("app.worker.test.js", &test_file(body)),
        ("letters.js", "export const addressOf = ({ scope }) => `${scope}outbox`;"),
    ]);
    text(&run(app.path(), &["test"]).expect_code(code))
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn a_test_has_the_scope_of_an_activated_worker_and_moves_its_world() {
    let body = r#"
import { addressOf } from "./letters.js";

test("imports what the worker is made of", () => {
  expect(addressOf(registration)).toBe("https://app.test/outbox");
});

test("is in a worker", async ({ clock, host, network, server, worker }) => {
  expect(self).toBeInstanceOf(ServiceWorkerGlobalScope);
  expect([serviceWorker.state, registration.active === serviceWorker]).toEqual([
    "activated", true,
  ]);
  expect([worker.state, worker.running]).toEqual(["activated", true]);
  server.on("POST /outbox", 204);
  await network.offline();
  await expect(fetch("/outbox", { method: "POST" })).rejects.toThrow("Failed to fetch");
  await network.online();
  expect((await fetch("/outbox", { method: "POST", body: "a letter" })).status).toBe(204);
  expect(server.requests).toHaveLength(1);
  const before = clock.now;
  await clock.advance("2h");
  expect(clock.now - before).toBe(7_200_000);
  await clock.runUntilIdle();
  expect(host.trace.filter((line) => line.includes("stopped"))).toEqual([]);
});

test("meets its own pages", async ({ clock, host }) => {
  addEventListener("fetch", (event) => {
    event.respondWith(new Response("<title>from the test</title>", {
      headers: { "content-type": "text/html" },
    }));
  });
  await clients.claim();
  await host.openPage("/list.html");
  const [page] = await clients.matchAll();
  expect(page.url).toBe("https://app.test/list.html");
});

describe("a sync", () => {
  let fired;
  beforeEach(() => {
    addEventListener("sync", (event) => fired = event.tag);
    return registration.sync.register("outbox");
  });

  test("reaches the test's own listener", async ({ clock }) => {
    await clock.runUntil(() => fired !== undefined);
    expect(fired).toBe("outbox");
  });
});
"#;
    assert_has(&in_worker(body, 0), &["app.worker.test.js", "4 passed"]);
}

#[test]
fn a_worker_that_is_there_already_is_imported_as_it_is() {
    let body = r#"
importScripts("/sw.js");
test("has its functions", async ({ server }) => {
  server.on("POST /outbox", [503, 204]);
  await expect(send()).rejects.toThrow("the outbox said 503");
  await send();
});
"#;
    assert_has(&in_worker(body, 0), &["1 passed"]);
}

#[test]
fn a_test_may_run_in_the_install_event() {
    let body = r#"
test("installs", { during: "install" }, async ({ clock, event }) => {
  expect(event).toBeInstanceOf(InstallEvent);
  expect(registration.installing).toBe(serviceWorker);
  await expect(registration.sync.register("x")).rejects.toThrow("no active Service Worker");
  await clock.advance("1m");
  event.waitUntil(Promise.resolve());
});
test("is activated", ({ event }) => {
  expect(event).toBeUndefined();
  expect(registration.active).toBe(serviceWorker);
});
test("never idles", { during: "install" }, ({ clock }) => clock.runUntilIdle());
"#;
    let text = in_worker(body, 1);
    assert_has(&text, &["✓ installs", "✓ is activated", "✗ never idles", "own install event"]);
}

#[test]
fn what_a_worker_has_not_is_told() {
    let body = r#"
test("page", ({ page }) => {});
test("restart", ({ host }) => host.restart());
test("killed", ({ host }) => host.kill());
test("waits", () => new Promise(() => {}));
test("throws", async ({ clock }) => {
  setTimeout(() => { throw new Error("late"); }, 10);
  await clock.advance(20);
});
test("good", () => {});
"#;
    let text = in_worker(body, 1);
    assert_has(&text, &["a test in a worker has no page", "a crash would end the test too"]);
    assert_has(&text, &["the test's worker was ended", "time stands still until the test moves"]);
    assert_has(&text, &["nobody caught this: Error: late", "5 failed, 1 passed"]);
    let during = in_worker("test('bad', { during: 'fetch' }, () => {});", 1);
    assert_has(&during, &["may run during \"install\", and not during \"fetch\""]);
    let awaits = in_worker("await 1; test('bad', () => {});", 1);
    assert_has(&awaits, &["Top-level await is disallowed in service workers"]);
    assert_has(&in_worker("throw new Error('at once');", 1), &["Error: at once"]);
    assert_has(&in_worker("import './gone.js';", 1), &["gone.js was not imported"]);
    let redundant = "oninstall = (event) => event.waitUntil(Promise.reject(new Error('no room')));
test('bad', () => {});";
    assert_has(&in_worker(redundant, 1), &["the test's worker was ended: Error: no room"]);
    let page = super::test("test('bad', { during: 'install' }, () => {});", &[]).expect_code(1);
    assert_has(&super::text(&page), &["runs in a page; a worker has the event \"install\""]);
}

#[test]
fn a_test_that_is_known_to_fail_says_when_it_does_so_no_more() {
    let body = r#"
test.failing("known", () => expect(1).toBe(2));
test.failing("mended", () => expect(1).toBe(1));
test.failing("with options", { timeout: 5000 }, () => { throw new Error("known"); });
test.failing.each([1, 2])("each %i", (number) => expect(number).toBe(0));
"#;
    let text = in_worker(body, 1);
    assert_has(&text, &["✓ known", "✗ mended", "it does not fail any more", "1 failed, 4 passed"]);
}
