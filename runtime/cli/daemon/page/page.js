// The page of the daemon: what it shows, it asks of the control API with the reader's token.
//
// Invariant: text that scripts have chosen becomes text nodes and nothing else; the token is kept
// for this tab alone, and sent to this server alone.

const KEPT = 500;
const KINDS = [
  "lifecycle", "sync", "dispatch", "fetch", "background-fetch", "push", "message", "network",
  "notification", "badge", "content", "console", "error",
];
const POLL_MS = 5000;
const REFRESH_MS = 1000;
const LONGEST_WAIT_MS = 30_000;

const $ = (id) => document.getElementById(id);
// Kinds that the reader does not want to see.
const left = new Set();
let token = "";
let last = "";
let paused = false;
let held = [];
let planned = 0;
let streaming = new AbortController();

/** An element with its content. */
function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...content);
  return made;
}

const badge = (text, mood = "") => element("span", { class: `badge ${mood}` }, text);

/** Asks the API; a problem is an error with its detail. */
async function ask(path, options = {}) {
  const headers = { authorization: `Bearer ${token}`, ...options.headers };
  if (options.body) headers["content-type"] = "application/json";
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const error = new Error(problem.detail ?? `the daemon answered ${response.status}`);
  error.status = response.status;
  throw error;
}

const read = async (path) => (await ask(path)).json();

// --- the token ---

function showSignIn(problem = "") {
  streaming.abort();
  token = "";
  sessionStorage.removeItem("token");
  $("content").hidden = $("sign-out").hidden = $("network").hidden = true;
  $("sign-in").hidden = false;
  $("sign-in-problem").textContent = problem;
  connection("not connected");
  $("token").focus();
}

async function signIn(given) {
  token = given;
  try {
    // A private socket, or a proxy that shows the token itself, needs none from here.
    await read("/v1/status");
  } catch (error) {
    const isRefused = error.status === 401;
    showSignIn(given || !isRefused ? error.message : "");
    return;
  }
  if (given) sessionStorage.setItem("token", given);
  $("sign-in").hidden = true;
  $("content").hidden = false;
  $("sign-out").hidden = !given;
  $("token").value = "";
  streaming = new AbortController();
  refresh();
  follow(streaming.signal);
}

// --- lists ---

function plan() {
  if (planned || document.hidden) return;
  planned = setTimeout(() => {
    planned = 0;
    refresh();
  }, REFRESH_MS);
}

async function refresh() {
  if ($("content").hidden) return;
  try {
    const [status, registrations, syncs, network] = await Promise.all([
      read("/v1/status"),
      read("/v1/registrations?limit=200"),
      read("/v1/syncs?limit=200"),
      read("/v1/network"),
    ]);
    showNumbers(status);
    showRegistrations(registrations);
    showSyncs(syncs);
    showNetwork(network);
  } catch (error) {
    if (error.status === 401) showSignIn(error.message);
  }
}

function showNumbers(status) {
  const count = (list, ...states) =>
    list.filter((each) => states.includes(each.state)).reduce((sum, each) => sum + each.count, 0);
  const numbers = {
    "Active workers": count(status.workers, "activated", "activating"),
    "Syncs pending": count(status.syncs, "pending"),
    "Syncs waiting": count(status.syncs, "waiting"),
    "Syncs firing": status.firing,
    "Realms in memory": status.realms,
  };
  const cards = Object.entries(numbers).map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value.toLocaleString())));
  $("numbers").replaceChildren(...cards);
  const started = new Date(status.started_ms);
  $("version").textContent = `Kittiwake ${status.version}, since ${started.toLocaleString()}`;
}

function showNetwork({ state, network, signal, syncs_may_fire }) {
  const pill = $("network");
  pill.hidden = false;
  pill.className = `pill ${state === "online" ? "good" : "wait"}`;
  const rest = syncs_may_fire || state === "offline" ? "" : ", syncs are held";
  pill.textContent = `network: ${network}${signal === "manual" ? " (by hand)" : ""}${rest}`;
}

/** Brings rows up to date, and leaves what is as it was: somebody may be about to click at it. */
function fill(id, rows) {
  const before = new Map([...$(id).rows].map((row) => [row.dataset.key, row]));
  const after = rows.map((row) => {
    const known = before.get(row.dataset.key);
    if (!known) return row;
    [...row.cells].forEach((cell, column) => {
      if (!known.cells[column].isEqualNode(cell)) known.cells[column].replaceWith(cell);
    });
    return known;
  });
  const isSame = after.length === before.size && after.every((row, at) => row === $(id).rows[at]);
  if (!isSame) $(id).replaceChildren(...after);
  $(`${id}-empty`).hidden = rows.length > 0;
}

function more(id, shownCount, next) {
  $(id).textContent = next === null ? "" : `the first ${shownCount}`;
}

function showRegistrations({ registrations, next }) {
  const rows = registrations.map(({ scope, active, waiting, installing }) => {
    const workers = [
      [active, active?.state === "activated" ? "good" : "wait"],
      [waiting, "wait"],
      [installing, "wait"],
    ].filter(([worker]) => worker);
    const newest = (installing ?? waiting ?? active);
    const states = workers.map(([worker, mood]) => badge(worker.state, mood));
    const runs = workers.some(([worker]) => worker.running);
    return element("tr", { "data-key": scope },
      element("td", { class: "code" }, scope),
      element("td", { class: "narrow" }, ...states),
      element("td", { class: "code" }, newest.script, newest.type === "module" ? " (module)" : ""),
      element("td", { class: "narrow" },
        runs ? badge("running", "good") : badge("sleeping")));
  });
  fill("registrations", rows);
  more("registrations-more", rows.length, next);
}

const MOODS = { pending: "", waiting: "wait", firing: "good", "reregistered-while-firing": "good" };

function showSyncs({ syncs, next, now }) {
  const rows = syncs.map((sync) => {
    const { tag, scope, type, state, failed_attempts: failed, next_due: due } = sync;
    const fire = element("button", {
      type: "button",
      "aria-label": `Fire ${tag || "the empty tag"} now`,
      onclick: (event) => fireNow(event.currentTarget, { scope, tag, type }),
    }, "Fire now");
    fire.disabled = state.includes("firing");
    return element("tr", { "data-key": JSON.stringify([scope, type, tag]) },
      element("td", { class: "code" },
        tag || "(empty)", " ", type === "periodic" ? badge("periodic") : ""),
      element("td", { class: "code" }, scope),
      element("td", { class: "narrow" }, badge(state, MOODS[state])),
      element("td", { class: "number" }, String(failed)),
      element("td", { class: "narrow" }, due ? dueText(due, now) : whenText(state)),
      element("td", { class: "narrow number" }, fire));
  });
  fill("syncs", rows);
  more("syncs-more", rows.length, next);
}

const whenText = (state) => (state === "pending" ? "when online" : "now");

function dueText(due, now) {
  const at = new Date(due).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
  const text = inText(Date.parse(due) - Date.parse(now));
  return element("time", { datetime: due, title: at }, text);
}

function inText(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const units = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const [size, unit] = units.find(([length]) => seconds >= length) ?? [1, "s"];
  return `in ${Math.round(seconds / size)} ${unit}`;
}

async function fireNow(button, sync) {
  button.disabled = true;
  $("syncs-problem").textContent = "";
  try {
    await ask("/v1/syncs/fire", { method: "POST", body: JSON.stringify(sync) });
  } catch (error) {
    $("syncs-problem").textContent = error.message;
  }
  plan();
}

// --- the timeline ---

function connection(text, mood = "") {
  $("connection").textContent = text;
  $("connection").className = `pill ${mood}`;
}

const pause = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    resolve();
  });
});

/** Reads the stream of events, and again from where it broke; EventSource can send no token. */
async function follow(signal) {
  for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    try {
      const headers = last ? { "last-event-id": last } : {};
      const response = await ask("/v1/trace/stream", { headers, signal });
      connection("live", "good");
      wait = 500;
      await readEvents(response.body.pipeThrough(new TextDecoderStream()).getReader());
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) return showSignIn(error.message);
    }
    connection("reconnecting", "wait");
    await pause(wait, signal);
  }
}

async function readEvents(reader) {
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    const lines = blocks.map(parse).filter((event) => event.data);
    lines.forEach((event) => { last = event.id || last; });
    if (lines.length > 0) take(lines);
  }
}

/** One server-sent event; its data is JSON on one line. */
function parse(block) {
  const event = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 2);
  }
  if (event.data) event.data = JSON.parse(event.data);
  return event;
}

function take(events) {
  if (paused) {
    held = held.concat(events).slice(-KEPT);
    $("pause").textContent = `Go on (${held.length} new)`;
  } else {
    append(events);
  }
  const moves = ["sync", "lifecycle", "network", "dispatch"];
  if (events.some(({ data }) => moves.includes(data.kind))) plan();
}

function append(events) {
  const rows = events.slice(-KEPT).map(
    ({ event, data }) => (event === "gap" ? gapRow(data) : row(data)));
  $("timeline").prepend(...rows.reverse());
  while ($("timeline").childElementCount > KEPT) $("timeline").lastElementChild.remove();
  $("timeline-empty").hidden = true;
}

function gapRow({ missed }) {
  const text = missed === null
    ? "the daemon has started anew"
    : `${missed.toLocaleString()} events are not kept any more`;
  return element("li", { class: "gap" }, text);
}

function row(data) {
  const at = new Date(data.time_ms);
  const thousandths = String(at.getMilliseconds()).padStart(3, "0");
  const clock = `${at.toLocaleTimeString([], { hour12: false })}.${thousandths}`;
  const made = element("li", { class: "new", "data-kind": data.kind },
    element("time", { datetime: at.toISOString() }, clock),
    badge(data.kind, moodOf(data)),
    element("span", { class: "text" }, describe(data)));
  made.hidden = left.has(data.kind);
  return made;
}

function moodOf({ kind, state, level, status, error }) {
  const isBad = kind === "error" || level === "error" || ["gave-up", "rejected"].includes(state);
  if (isBad) return "bad";
  if (kind === "fetch") return error || status >= 500 ? "bad" : status >= 400 ? "wait" : "";
  if (state === "waiting" || level === "warn" || state === "offline") return "wait";
  return ["done", "activated", "fulfilled", "online"].includes(state) ? "good" : "";
}

/** An event in words; one that is too long for the timeline has its text already. */
function describe(data) {
  const join = (...parts) => parts.filter((part) => part !== undefined && part !== "").join("  ");
  const by = data.source ? "by the worker" : "";
  const { kind, state, text, tag, scope, reason, attempt } = data;
  if (data.cut) return text;
  switch (kind) {
    case "lifecycle": return join(data.url, state);
    case "sync": {
      const which = state === "firing" ? `attempt ${attempt}` : "";
      const wait = data.delay_ms ? inText(data.delay_ms) : "";
      return join(tag || "(empty)", state, which, wait, scope, reason);
    }
    case "dispatch": return join(tag || "(empty)", state, scope, reason);
    case "fetch": return join(`${data.method} ${data.url}`, data.status, by, data.error);
    case "network": return join(state, data.conditions);
    case "console": return join(data.level, text);
    case "error": return join(data.message, data.file ? `${data.file}:${data.line}` : "");
    case "message": return join(`to ${data.to}`, text);
    default: return join(data.id, state, scope, data.title, data.body, tag, text);
  }
}

function setUpKinds() {
  const boxes = KINDS.map((kind) => {
    const box = element("input", {
      type: "checkbox",
      onchange: (event) => {
        if (event.currentTarget.checked) left.delete(kind);
        else left.add(kind);
        for (const each of $("timeline").querySelectorAll(`[data-kind="${kind}"]`)) {
          each.hidden = left.has(kind);
        }
      },
    });
    box.checked = true;
    return element("label", {}, box, kind);
  });
  $("kinds").append(...boxes);
}

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn($("token").value.trim());
});
$("sign-out").addEventListener("click", () => showSignIn());
$("pause").addEventListener("click", (event) => {
  paused = !paused;
  event.currentTarget.setAttribute("aria-pressed", String(paused));
  event.currentTarget.textContent = paused ? "Go on" : "Pause";
  if (!paused) append(held.splice(0));
});
document.addEventListener("visibilitychange", plan);
setInterval(plan, POLL_MS);
setUpKinds();
// A link may bring the token after its `#`, where no server sees it; it does not stay there.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) history.replaceState(null, "", "/");
signIn(given ?? sessionStorage.getItem("token") ?? "");
