// Runs a script as a page of headless Chromium, and prints what it logs.
// Usage: node chromium.mjs EXECUTABLE SCRIPT [WORKER], in a folder where npm has installed
// puppeteer-core. WORKER is served as /sw.js.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

const puppeteer = createRequire(join(process.cwd(), "package.json"))("puppeteer-core");
const [executablePath, script, worker] = process.argv.slice(2);
const files = { "/script.js": script, "/sw.js": worker };

// A page with an origin of its own; IndexedDB has no place for others.
const server = createServer(async (request, response) => {
  const file = files[request.url];
  response.setHeader("content-type", file ? "text/javascript" : "text/html");
  response.end(file ? await readFile(file) : "<!doctype html>");
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const args = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"];
const browser = await puppeteer.launch({ executablePath, headless: true, args });
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const logged = new Promise((resolve, reject) => {
    page.on("console", (message) => resolve(message.text()));
    page.on("pageerror", reject);
  });
  await page.addScriptTag({ url: "/script.js" });
  console.log(await logged);
} finally {
  await browser.close();
  server.close();
}
