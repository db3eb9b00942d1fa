// What a test in node:test sees of a world: every verb, once.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { launch } from "kittiwake";

const root = new URL("./app/", import.meta.url);

/** A world that ends with its test. */
async function start(t, options = {}) {
  const app = await launch({ root, ...options });
  t.after(() => app.close());
  return app;
}

const register = async (tag) => {
  const { sync } = await navigator.serviceWorker.ready;
  await sync.register(tag);
};

test("an outbox is sent again, five minutes later", async (t) => {
  const app = await start(t, { worker: "/sw.js", network: "offline" });
  assert.equal(await app.network.state, "offline");
  assert.equal(await app.worker.state, "activated");
  await app.server.on("POST /outbox", [503, 204]);
  await app.page.evaluate(register, "outbox");
  assert.deepEqual(await app.server.requests, []);

  const before = app.clock.now;
  await app.network.online();
  assert.equal((await app.server.requests).length, 1);
  await app.clock.advance("5m");
  assert.equal(app.clock.now - before, 300_000);
  const request = await app.server.lastRequest;
  assert.equal(`${request.method} ${request.path}`, "POST /outbox");
  assert.deepEqual(request.json(), { tag: "outbox" });
  const syncs = (await app.worker.events).filter(({ type }) => type === "sync");
  assert.deepEqual(syncs.map(({ outcome }) => outcome), ["rejected", "fulfilled"]);
  const last = (await app.trace).at(-1);
  assert.match(last, /^5m +sync +outbox +done$/);
});

test("a predicate in the test says how long time passes", async (t) => {
  const app = await start(t);
  await app.server.on("POST /outbox", [500, 500, 204]);
  const { scope, script } = await app.worker.register();
  assert.deepEqual([scope, script], ["https://app.test/", "https://app.test/sw.js"]);
  await app.page.evaluate(register, "outbox");
  const started = app.clock.now;
  await app.clock.runUntil(async () => (await app.server.requests).length === 3);
  assert.equal(app.clock.now - started, 20 * 60_000);
  const never = app.clock.runUntil(() => false, { within: "1h" });
  await assert.rejects(never, /the predicate did not become true within 1h/);
});

test("a page is evaluated in, and waits as long as time stands still", async (t) => {
  const app = await start(t);
  assert.equal(await app.page.evaluate((a, b) => a + b, 1, 2), 3);
  assert.equal(await app.page.evaluate("location.href"), "https://app.test/");
  assert.equal(await app.page.evaluate(() => null), null);
  assert.equal(await app.page.evaluate(() => undefined), undefined);
  const later = app.page.evaluate(() => new Promise((done) => setTimeout(done, 60_000, "late")));
  await app.clock.advance("1m");
  assert.equal(await later, "late");

  const thrown = app.page.evaluate(function missing() { throw new RangeError("too far"); });
  await assert.rejects(thrown, (error) => {
    assert.equal(`${error}`, "RangeError: too far");
    assert.match(error.stack, /\n +at missing \(evaluate.*\n +at .*app\.test\.js/);
    return true;
  });
  const stuck = app.page.evaluate(() => new Promise(() => {}));
  await assert.rejects(stuck, { code: "waiting", message: /time stands still until the test/ });
});

test("pages, messages, pushes and permissions are the test's to move", async (t) => {
  const app = await start(t);
  await app.worker.register("/sw.js");
  await app.page.evaluate(() => navigator.serviceWorker.controller.postMessage("a letter"));
  assert.deepEqual(await app.page.messages, ["heard a letter"]);

  const page = await app.host.openPage("/list.html");
  assert.deepEqual(await page.evaluate(() => [location.pathname, letters]), [
    "/list.html",
    ["a", "b"],
  ]);
  await page.hide();
  await page.focus();
  await page.close();
  await assert.rejects(page.reload(), /the page is closed/);
  await assert.rejects(page.evaluate("1"), { code: "page-closed" });

  assert.equal(await app.host.push({ title: "Sale", tag: "sale" }), "Fulfilled");
  const [{ title, tag }] = await app.host.notifications;
  assert.deepEqual([title, tag], ["Sale", "sale"]);
  assert.equal(await app.host.click("sale"), "Fulfilled");
  assert.deepEqual(await app.host.notifications, []);
  await app.host.permissions.deny("background-sync");
  await assert.rejects(app.page.evaluate(register, "outbox"), { name: "NotAllowedError" });
});

test("a worker is killed, and the whole host crashes", async (t) => {
  const app = await start(t);
  await app.server.on("POST /outbox", [503, 503, 204, 204]);
  const registration = await app.worker.register("/sw.js");
  await app.page.evaluate(register, "outbox");
  assert.equal(await app.worker.running, true);
  await app.host.kill(registration);
  assert.equal(await app.worker.running, false);
  await app.host.restart();
  await app.clock.runUntilIdle();
  assert.equal((await app.server.requests).length, 3);
  assert.equal(await app.host.sync("outbox"), "Fulfilled");
  assert.equal(await app.worker.state, "activated");
});

test("the network is slow, or one host is down", async (t) => {
  const app = await start(t);
  await app.server.on("GET https://api.example/data", { json: { ok: true } });
  await app.network.latency("2s");
  const answer = app.page.evaluate(async () => (await fetch("https://api.example/data")).json());
  await app.clock.advance("2s");
  assert.deepEqual(await answer, { ok: true });
  await app.network.recover();
  await app.network.fail("https://api.example");
  const failed = app.page.evaluate(() => fetch("https://api.example/data").then(() => "there"));
  await assert.rejects(failed, /TypeError: Failed to fetch/);
});

test("equal tests make equal traces", async (t) => {
  const traces = [];
  for (let round = 0; round < 2; round++) {
    const app = await start(t, { seed: 7 });
    await app.server.on("POST /outbox", [503, 204]);
    await app.worker.register("/sw.js");
    const random = app.page.evaluate(async () => {
      console.log(Math.random());
      await new Promise((done) => setTimeout(done, 90_000));
    });
    await app.page.evaluate(register, "outbox");
    await app.clock.runUntilIdle();
    await random;
    traces.push(await app.trace);
  }
  assert.deepEqual(traces[0], traces[1]);
  assert.ok(traces[0].length > 8);
});

test("a page of the trace is written when the app is closed", async () => {
  const file = join(mkdtempSync(join(tmpdir(), "kittiwake-")), "trace.html");
  {
    const app = await launch({ root, traceHtml: file });
    await app.worker.register("/sw.js");
    await app[Symbol.asyncDispose]();
  }
  assert.ok(existsSync(file));
  assert.match(readFileSync(file, "utf8"), /"state":"activated"/);
});
