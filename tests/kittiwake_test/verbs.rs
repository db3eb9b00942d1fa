//! What a test can do with its world, and expect of it.

use super::process::{kittiwake, run};
use super::{app, test, test_file, text, write};

#[test]
fn an_outbox_is_tested_with_its_retry() {
    let body = r#"
test("sent when the network returns, and again after five minutes", async (world) => {
  const { clock, host, network, server, worker } = world;
  server.on("POST /outbox", [503, 204]);
  expect(worker.state).toBe("none");
  const { sync } = await worker.register("/sw.js");
  expect(worker.state).toBe("activated");

  await network.offline();
  expect(navigator.onLine).toBe(false);
  await sync.register("outbox");
  expect(await sync.getTags()).toEqual(["outbox"]);
  expect(server.requests).toEqual([]);

  await network.online();
  expect(server.requests).toHaveLength(1);
  expect(server.lastRequest).toMatchObject({
    method: "POST",
    url: "https://app.test/outbox",
    path: "/outbox",
    body: "a letter",
  });

  expect(server.lastRequest.headers).toMatchObject({ Origin: "https://app.test" });

  const before = clock.now;
  await clock.advance("4m59s");
  expect(server.requests).toHaveLength(1);
  await clock.advance(1000);
  expect(server.requests).toHaveLength(2);
  expect(clock.now - before).toBe(300_000);
  expect(worker.events.slice(-2)).toMatchObject([
    { type: "sync", tag: "outbox", lastChance: false, outcome: "rejected" },
    { type: "sync", tag: "outbox", lastChance: false, outcome: "fulfilled" },
  ]);
  expect(host.trace.at(-1)).toBe("5m  sync       outbox  done");
});"#;
    let finished = test(body, &[]).expect_code(0);
    assert!(text(&finished).contains("1 passed"), "{finished:#?}");
}

#[test]
fn each_test_has_a_world_of_its_own() {
    let body = r#"
let shared = 0;
const look = async ({ clock, host, server, worker }) => {
  shared += 1;
  expect(shared).toBe(1);
  expect(worker.state).toBe("none");
  expect(server.requests).toEqual([]);
  expect(host.trace).toEqual(["0s  lifecycle  page  https://app.test/  opened"]);
  expect(clock.now).toBe(Date.UTC(2025, 0, 1));
  expect(await caches.keys()).toEqual([]);
  server.on("POST /outbox", 204);
  await (await caches.open("kept")).put("/a", new Response("b"));
  const { sync } = await worker.register();
  await sync.register("outbox");
  await clock.advance("1h");
  return Math.random();
};
test("one", look);
test("two", look);
test("three", look);
"#;
    assert!(text(&test(body, &["--jobs", "2"]).expect_code(0)).contains("3 passed"));
}

#[test]
fn the_host_crashes_kills_and_denies() {
    let body = r#"
beforeEach(({ server }) => server.on("POST /outbox", [503, 204]));
test("a crash leaves what is stored", async ({ clock, host, network, server, worker }) => {
  const { sync } = await worker.register();
  await network.offline();
  await sync.register("outbox");
  await host.restart();
  expect(worker.running).toBe(false);
  expect(await (await navigator.serviceWorker.ready).sync.getTags()).toEqual(["outbox"]);
  await network.online();
  await clock.runUntilIdle();
  expect(server.requests).toHaveLength(2);
});
test("a crash in mid-event counts no attempt", async ({ clock, host, network, server, worker }) => {
  server.on("POST /outbox", [{ status: 204, delay: "10s" }, 204]);
  const { sync } = await worker.register();
  await sync.register("outbox");
  await clock.advance("5s");
  await host.restart();
  await clock.runUntilIdle();
  expect(host.trace.filter((line) => line.includes("firing"))).toEqual([
    "0s  sync       outbox  firing  attempt 1",
    "5s  sync       outbox  firing  attempt 1",
  ]);
});
test("a killed worker's event has failed", async ({ clock, host, server, worker }) => {
  server.on("POST /outbox", [{ status: 204, delay: "10s" }, 204]);
  const registration = await worker.register();
  await registration.sync.register("outbox");
  await clock.advance("5s");
  await host.kill(registration);
  expect(worker.events.at(-1)).toMatchObject({ type: "sync", outcome: "terminated" });
  expect(worker.running).toBe(false);
  await clock.runUntil(() => server.requests.length === 2);
  expect(host.trace.at(-1)).toContain("5m5s");
});
test("a denied permission", async ({ host, worker }) => {
  const { sync } = await worker.register();
  host.permissions.deny("background-sync");
  await expect(sync.register("outbox")).rejects.toThrow("Permission denied.");
  host.permissions.grant("background-sync");
  await expect(sync.register("outbox")).resolves.toBeUndefined();
});
test("an event at will", async ({ host, worker }) => {
  await worker.register();
  expect(await host.sync("outbox", { lastChance: true })).toBe("Rejected");
  expect(worker.events.at(-1)).toMatchObject({ tag: "outbox", lastChance: true });
});
"#;
    assert!(text(&test(body, &[]).expect_code(0)).contains("5 passed"));
}

#[test]
fn a_push_message_shows_a_notification_that_is_clicked_at() {
    let worker = r#"
self.addEventListener("push", (event) => {
  const { title = "News" } = event.data?.json() ?? {};
  event.waitUntil(registration.showNotification(title, { tag: "sale" }));
});
self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(clients.openWindow(`/sale.html?${event.action}`));
});
self.addEventListener("notificationclose", () => console.log("nobody wanted it"));
"#;
    let body = r#"
test("a click opens a window", async ({ host, worker }) => {
  await worker.register("/push.js");
  expect(await host.push({ title: "Half price" })).toBe("Fulfilled");
  expect(host.notifications).toMatchObject([{ title: "Half price", tag: "sale" }]);
  expect(await host.click("sale", { action: "buy" })).toBe("Fulfilled");
  expect(host.notifications).toEqual([]);
  expect(host.trace.join("\n")).toContain("https://app.test/sale.html?buy");
});
test("it is taken away", async ({ host, worker }) => {
  await worker.register("/push.js");
  await host.push({ title: "Half price" });
  await host.dismiss("sale");
  expect(host.trace.at(-1)).toContain("nobody wanted it");
  await expect(host.click("sale")).rejects.toThrow('no notification with the tag "sale" is shown');
});
test("a message may be empty", async ({ host, worker }) => {
  await worker.register("/push.js");
  expect(await host.push()).toBe("Fulfilled");
  expect(worker.events.at(-1)).toMatchObject({ type: "push" });
  expect(host.notifications).toMatchObject([{ title: "News" }]);
});
"#;
    let app = app(&[("app.test.js", &test_file(body)), ("push.js", worker), ("sale.html", "")]);
    assert!(text(&run(app.path(), &["test"]).expect_code(0)).contains("3 passed"));
}

#[test]
fn the_network_has_conditions_and_a_timeline() {
    let body = r#"
beforeEach(({ server }) => server.on("GET https://api.test/data", { json: { a: 1 } }));
const load = async () => (await fetch("https://api.test/data")).json();
test("latency", async ({ clock, network }) => {
  await network.latency("2s");
  const before = clock.now;
  let loaded;
  load().then((data) => loaded = data);
  await clock.advance(1999);
  expect(loaded).toBeUndefined();
  await clock.advance(1);
  expect(loaded).toEqual({ a: 1 });
  expect(clock.now - before).toBe(2000);
});
test("a host that is down", async ({ network }) => {
  await network.fail("https://api.test/");
  await expect(load()).rejects.toThrow(TypeError);
  await network.recover("api.test");
  await expect(load()).resolves.toEqual({ a: 1 });
});
test("a timeline", async ({ clock, network }) => {
  const changes = fn();
  addEventListener("online", () => changes("online"));
  addEventListener("offline", () => changes("offline"));
  await network.timeline("online,offline@10s,online@1m");
  expect(network.state).toBe("online");
  await clock.advance("10s");
  expect(network.state).toBe("offline");
  await clock.runUntilIdle();
  expect(changes.mock.calls).toEqual([["offline"], ["online"]]);
});
test("until something is true", async ({ clock }) => {
  let answered = false;
  setTimeout(() => answered = true, 3000);
  const before = clock.now;
  await clock.runUntil(() => answered);
  expect(clock.now - before).toBe(3000);
  await expect(clock.runUntil(() => false, { within: "1m" })).rejects.toThrow("within 1m");
  expect(clock.now - before).toBe(63_000);
});
test("mistakes name what to write", async ({ clock, network, server }) => {
  await expect(clock.advance("soon")).rejects.toThrow('`soon` is no duration');
  await expect(network.timeline("onlin")).rejects.toThrow("onlin");
  expect(() => server.on("/outbox", 204)).toThrow('as in "GET /data"');
  expect(() => server.on("GET /outbox", 99)).toThrow("99 is no status");
});
"#;
    assert!(text(&test(body, &[]).expect_code(0)).contains("5 passed"));
}

#[test]
fn pages_and_messages() {
    let page = "<script>fetch('/from-page');</script>";
    let body = r#"
test("another page", async ({ host, server }) => {
  server.on("GET /from-page", 200);
  const page = await host.openPage("/page.html");
  expect(page.url).toBe("https://app.test/page.html");
  expect(server.requests.map(({ path }) => path)).toEqual(["/from-page"]);
  await page.reload();
  await page.navigate("/page.html?again");
  expect(server.requests).toHaveLength(3);
  await page.hide();
  await page.focus();
  await page.close();
  await expect(page.reload()).rejects.toThrow("the page is closed");
});
test("messages of the worker", async ({ clock, page, worker }) => {
  const { active } = await worker.register();
  active.postMessage("hello");
  await clock.runUntil(() => page.messages.length > 0);
  expect(page.messages).toEqual(["heard hello"]);
});
test("a timer of no time needs no clock", async () => {
  await new Promise((resolve) => setTimeout(resolve));
});
test("what threads do needs no clock", async () => {
  const digest = await crypto.subtle.digest("SHA-256", new Uint8Array(1 << 20));
  expect(digest.byteLength).toBe(32);
  const cache = await caches.open("large");
  await cache.put("/large", new Response(new Uint8Array(1 << 20)));
  expect(await (await cache.match("/large")).arrayBuffer()).toHaveProperty("byteLength", 1 << 20);
});
"#;
    let app = app(&[("app.test.js", &test_file(body)), ("page.html", page)]);
    assert!(text(&run(app.path(), &["test"]).expect_code(0)).contains("4 passed"));
}

#[test]
fn a_test_imports_the_app_s_own_modules() {
    let app = app(&[
        ("public/index.html", ""),
        ("public/sw.js", super::WORKER),
        ("public/outbox.js", "export { size } from './size.js';"),
        ("public/size.js", "export const size = 3;"),
        ("public/data.json", "[1]"),
        (
            "public/tests/outbox.test.js",
            &test_file(
                r#"import { size } from "../outbox.js";
import { size as again } from "/outbox.js";
import data from "../data.json" with { type: "json" };
test("imports", async ({ worker }) => {
  expect([size, again, data]).toEqual([3, 3, [1]]);
  await worker.register("/sw.js");
});"#,
            ),
        ),
    ]);
    let finished = run(app.path(), &["test"]).expect_code(0);
    assert!(text(&finished).contains("public/tests/outbox.test.js  (serves public)"));
}

#[test]
fn groups_hooks_and_marks() {
    let body = r#"
const order = [];
beforeEach(() => order.push("before"));
afterEach(() => order.push("after"));
describe("group", () => {
  beforeEach(() => order.push("inner before"));
  afterEach(() => { order.push("inner after"); console.log(order.join(", ")); });
  test("runs", () => order.push("test"));
  test.skip("is skipped", () => { throw new Error("no"); });
  test.todo("is to be written");
  test.each([[1, 1], [2, 4]])("%i squared is %i", (one, square) => expect(one * one).toBe(square));
  const named = test.each([{ name: "a" }, { name: "b" }]);
  named("named $name", ({ name }) => expect(name).toMatch(/^[ab]$/));
  test.each(["x"])("%s and the world", (text, { clock }) => {
    expect([text, typeof clock.advance]).toEqual(["x", "function"]);
  });
});
"#;
    let finished = test(body, &[]).expect_code(0);
    let text = text(&finished);
    for line in [
        "✓ group > runs",
        "| before, inner before, test, inner after",
        "- skipped: group > is skipped",
        "- todo: group > is to be written",
        "✓ group > 2 squared is 4",
        "✓ group > named b",
        "✓ group > x and the world",
        "6 passed, 1 skipped, 1 todo",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let only = "test('a', () => { throw new Error('no'); }); test.only('b', () => {});";
    let finished = super::text(&super::test(only, &[]).expect_code(0));
    assert!(finished.contains("1 passed, 1 left out"), "{finished}");
}

#[test]
fn scenario_folders_are_tests_too() {
    let app = app(&[]);
    write(app.path(), "waits/scenario.toml", "about = \"It waits.\"\n");
    write(app.path(), "waits/sw.js", "");
    write(app.path(), "waits/trace.txt", "nothing\n");
    let finished = run(app.path(), &["test", "waits"]).expect_code(1);
    let text = text(&finished);
    assert!(text.contains("- nothing"), "{text}");
    assert!(text.contains("+ 0s  lifecycle  worker  https://app.test/sw.js  installing"), "{text}");
}

#[test]
fn no_colour_where_nobody_looks() {
    let app = app(&[("app.test.js", &test_file("test('a', () => {});"))]);
    let output = kittiwake().current_dir(app.path()).arg("test").output().unwrap();
    assert!(!String::from_utf8(output.stdout).unwrap().contains('\u{1b}'));
}
