// What a person sees on the daemon's page, in a real Chromium.
//
// Invariant: every wait is for something that the page shows; an error of the page is a failure.

import assert from "node:assert/strict";
import path from "node:path";
import puppeteer from "puppeteer-core";

const [executablePath, base, token, scope, folder] = process.argv.slice(2);
const problems = [];

const api = async (target, method, body) => {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const response = await fetch(base + target, { method, headers, body: JSON.stringify(body) });
  assert.ok(response.ok, await response.text());
};

const post = (message) =>
  api(`/v1/registrations/${encodeURIComponent(scope)}/message`, "POST", { message });

/** Waits until an element's text has a part. */
const text = (page, selector, part) =>
  page.waitForFunction(
    (selector, part) => [...document.querySelectorAll(selector)]
      .some((element) => element.checkVisibility() && element.textContent.includes(part)),
    {}, selector, part);

const count = (page, selector) => page.$$eval(selector, (found) => found.length);

async function signsIn(page) {
  await page.goto(`${base}/`);
  await page.waitForSelector("#sign-in:not([hidden])");
  await page.type("#token", "wrong-wrong-wrong-wrong");
  await page.keyboard.press("Enter");
  await text(page, "#sign-in-problem", "this is not the token of the daemon");
  assert.equal(await page.$eval("#content", (content) => content.hidden), true);
  await page.$eval("#token", (input) => { input.value = ""; });
  await page.type("#token", token);
  await page.click("#sign-in button");
  await text(page, "#connection", "live");
}

async function showsWorkersAndSyncs(page) {
  await text(page, "#registrations", scope);
  await text(page, "#registrations .badge", "activated");
  await text(page, "#numbers", "Active workers1");
  await post({ syncs: ["fail", "<b>bold</b>"] });
  await text(page, "#timeline li", "<b>bold</b>  done");
  await text(page, "#syncs tr", "fail");
  await text(page, "#syncs .badge", "waiting");
  await text(page, "#syncs td", "in 5 min");
  assert.equal(await count(page, "#timeline b"), 0, "text of scripts is text");
}

async function firesOne(page) {
  await page.click("#syncs button");
  await text(page, "#timeline li", "fail  firing  attempt 2");
  await text(page, "#syncs .number", "2");
}

async function filtersAndPauses(page) {
  const [box] = await page.$$("#kinds input[type=checkbox]");
  await box.click();
  const visible = "#timeline li[data-kind=lifecycle]:not([hidden])";
  assert.equal(await count(page, visible), 0);
  await box.click();
  assert.ok(await count(page, visible) > 0);
  await page.click("#pause");
  const before = await count(page, "#timeline li");
  await post({ syncs: ["later"] });
  await text(page, "#pause", "Go on (");
  assert.equal(await count(page, "#timeline li"), before);
  await page.click("#pause");
  await text(page, "#timeline li", "later  registered");
}

/** Names, contrast and order that assistive software relies on. */
async function isAccessible(page) {
  const unnamed = await page.evaluate(() => {
    const named = (element) =>
      element.textContent.trim() || element.getAttribute("aria-label") || element.labels?.length;
    return [...document.querySelectorAll("button, input, a")]
      .filter((element) => element.checkVisibility() && !named(element))
      .map((element) => element.outerHTML);
  });
  assert.deepEqual(unnamed, []);
  assert.equal(await page.$eval("html", (html) => html.lang), "en");
  assert.equal(await count(page, "h1"), 1);
  assert.equal(await count(page, "th:not([scope])"), 0);
  const tree = await page.accessibility.snapshot();
  const names = JSON.stringify(tree);
  for (const name of ["Registrations", "Syncs", "Timeline", "Fire fail now", "Pause"]) {
    assert.ok(names.includes(name), `${name} has no name in ${names}`);
  }
}

async function looksAsTheSystemDoes(page) {
  const grounds = [];
  for (const scheme of ["light", "dark"]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    grounds.push(await page.$eval("body", (body) => getComputedStyle(body).backgroundColor));
    await page.screenshot({ path: path.join(folder, `page-${scheme}.png`), fullPage: true });
  }
  assert.notEqual(grounds[0], grounds[1]);
  await page.setViewport({ width: 390, height: 800 });
  const overflows = await page.evaluate(
    () => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  assert.equal(overflows, false, "a narrow window does not scroll sideways");
  await page.screenshot({ path: path.join(folder, "page-narrow.png") });
}

async function remembersTheToken(page) {
  await page.reload();
  await text(page, "#connection", "live");
  await text(page, "#timeline li", "later  registered");
  await page.click("#sign-out");
  await page.waitForSelector("#sign-in:not([hidden])");
  await page.goto(`${base}/#token=${token}`);
  await page.reload();
  await text(page, "#connection", "live");
  assert.ok(!page.url().includes(token), "the token does not stay in the address");
}

const browser = await puppeteer.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run"],
});
try {
  const page = await browser.newPage();
  await page.setViewport({ width: 1200, height: 900 });
  page.setDefaultTimeout(100_000);
  page.on("pageerror", (error) => problems.push(`${error}`));
  page.on("console", (message) => {
    // A wrong token is a 401, which Chromium tells.
    const isError = message.type() === "error" && !message.text().includes("401");
    if (isError) problems.push(message.text());
  });
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(base) && !url.startsWith("data:")) problems.push(`loads ${url}`);
  });
  await signsIn(page);
  await showsWorkersAndSyncs(page);
  await firesOne(page);
  await filtersAndPauses(page);
  await isAccessible(page);
  await looksAsTheSystemDoes(page);
  await remembersTheToken(page);
  assert.deepEqual(problems, []);
} finally {
  await browser.close();
}
