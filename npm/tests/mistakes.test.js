// What is said of mistakes, and that nothing is left of a process when its test has ended.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { KittiwakeError, launch } from "kittiwake";

const root = new URL("./app/", import.meta.url);

test("an option that is not there is refused", async () => {
  await assert.rejects(launch({ root, ofline: true }), /launch\(\) has no option `ofline`/);
});

test("a folder that is not there is refused", async () => {
  await assert.rejects(launch({ root: "no/such/folder" }), (error) => {
    assert.ok(error instanceof KittiwakeError);
    assert.equal(error.code, "bad-request");
    assert.equal(error.message, "root: no/such/folder is no folder");
    return true;
  });
});

test("a network that nobody understands is refused", async () => {
  await assert.rejects(launch({ root, network: "of" }), KittiwakeError);
});

test("a command that is not there is named", async () => {
  const named = launch({ root, binary: "/no/such/kittiwake" });
  await assert.rejects(named, /`binary` names \/no\/such\/kittiwake, which is no executable file/);
});

test("a command that is no kittiwake is named with what it said", async () => {
  await assert.rejects(launch({ root, binary: process.execPath }), (error) => {
    assert.equal(error.code, "ended");
    assert.match(error.message, /^kittiwake has ended \(exit code 1\): [^]*drive/);
    return true;
  });
});

test("a verb's mistake is an error at the line of the test, and the app goes on", async () => {
  const app = await launch({ root });
  await assert.rejects(app.server.on("nonsense", 200), (error) => {
    assert.equal(error.code, "failed");
    assert.match(error.message, /"nonsense" is no route/);
    assert.match(error.stack, /mistakes\.test\.js/);
    return true;
  });
  await assert.rejects(app.worker.register("/missing.js"), /missing\.js/);
  await assert.rejects(app.clock.advance("soon"), /`soon` is no duration/);
  await assert.rejects(app.page.evaluate("syntax error"), { name: "SyntaxError" });
  const cycle = app.page.evaluate(() => { const one = {}; one.one = one; return one; });
  await assert.rejects(cycle, /circular/);
  assert.throws(() => app.page.evaluate(3), /takes a function or a script/);
  assert.equal(await app.page.evaluate("1 + 1"), 2);
  await app.close();
  await app.close();
  await assert.rejects(app.network.offline(), { code: "closed" });
});

test("a script without an end is ended, and its page with it", async () => {
  const app = await launch({ root, timeout: 300 });
  await assert.rejects(app.page.evaluate("for (;;);"), { code: "page-closed" });
  await app.close();
});

test("what takes too long is given up, and the app goes on", async () => {
  const app = await launch({ root, timeout: 100 });
  await app.page.evaluate(() => void setInterval(() => {}, 1));
  const code = "timed-out";
  await assert.rejects(app.clock.advance("1000h"), { code, message: /within 100ms/ });
  assert.equal(await app.page.evaluate("1 + 1"), 2);
  await app.close();
});

/** Runs a module in a node of its own; answers it and what it prints first. */
async function nodeWith(script) {
  const args = ["--input-type=module", "--eval", script];
  const stdio = ["ignore", "pipe", "inherit"];
  const node = spawn(process.execPath, args, { cwd: import.meta.dirname, stdio });
  const first = await new Promise((heard, failed) => {
    node.stdout.once("data", heard);
    node.once("close", (code) => failed(new Error(`it ended with ${code}, and printed nothing`)));
  });
  return { node, pid: Number(first) };
}

const LAUNCH = `import { launch } from "kittiwake";
  const app = await launch({ root: ${JSON.stringify(root.pathname)} });
  console.log(app.pid);`;

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    // One that has ended, and that nobody has asked how, is still there.
    return !/\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch (error) {
    return error.code !== "ESRCH" && !existsSync("/proc/self");
  }
}

/** Waits until the process of this number has ended. */
async function gone(pid) {
  assert.ok(pid > 1);
  while (isRunning(pid)) await new Promise(setImmediate);
}

test("a test that forgets to close ends all the same, and so does the process", async () => {
  const { node, pid } = await nodeWith(LAUNCH);
  const [code] = await new Promise((ended) => node.once("close", (...how) => ended(how)));
  assert.equal(code, 0);
  await gone(pid);
});

test("the process ends with a parent that is killed", async () => {
  const { node, pid } = await nodeWith(`${LAUNCH}
    setInterval(() => {}, 1000);`);
  node.kill("SIGKILL");
  await gone(pid);
});
