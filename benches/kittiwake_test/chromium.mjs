// Runs the same test in headless Chromium, each time in a browser context of its own: installs a
// worker, takes its network away, registers a sync, brings the network back, waits for the server.
// Usage: node chromium.mjs EXECUTABLE WORKER TESTS, in a folder where npm has installed
// puppeteer-core. Prints { milliseconds }, of one test, the browser's start left out.
//
// Offline is the worker's own, by the DevTools protocol: a page's does not apply to workers.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

const puppeteer = createRequire(join(process.cwd(), "package.json"))("puppeteer-core");
const [executablePath, worker, tests] = process.argv.slice(2);
let arrived = () => {};

const server = createServer(async (request, response) => {
  if (request.method === "POST") {
    let body = "";
    for await (const chunk of request) body += chunk;
    response.writeHead(204).end();
    return arrived(body);
  }
  const isWorker = request.url === "/sw.js";
  response.setHeader("content-type", isWorker ? "text/javascript" : "text/html");
  response.end(isWorker ? await readFile(worker) : "<!doctype html>");
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const origin = `http://127.0.0.1:${server.address().port}`;
const args = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"];
const browser = await puppeteer.launch({ executablePath, headless: true, args });

async function runTest() {
  const context = await browser.createBrowserContext();
  await context.overridePermissions(origin, ["background-sync"]);
  const page = await context.newPage();
  await page.goto(`${origin}/`);
  await page.evaluate(async () => {
    await navigator.serviceWorker.register("/sw.js");
    await navigator.serviceWorker.ready;
  });
  const target = await context.waitForTarget((target) => target.type() === "service_worker");
  const session = await target.createCDPSession();
  const emulate = (offline) =>
    session.send("Network.emulateNetworkConditions", {
      offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1,
    });
  await emulate(true);
  let early = false;
  arrived = () => early = true;
  await page.evaluate(async () => {
    const { sync } = await navigator.serviceWorker.ready;
    await sync.register("outbox");
  });
  if (early) throw new Error("the sync fired while its worker was offline");
  const body = new Promise((resolve) => arrived = resolve);
  await emulate(false);
  if (await body !== "outbox") throw new Error("something else arrived");
  await context.close();
}

try {
  await runTest(); // fills caches
  const started = performance.now();
  for (let number = 0; number < Number(tests); number++) await runTest();
  console.log(JSON.stringify({ milliseconds: (performance.now() - started) / Number(tests) }));
} finally {
  await browser.close();
  server.close();
}
