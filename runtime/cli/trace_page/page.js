// The page: which run is shown, what is selected, and what the toolbar and the keys do.
//
// Invariant: list, details and timeline show the same selection; texts of scripts are only ever
// texts.

"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);

const LIST_ROW = 25;
/** Of the timeline, on a sheet of A4 or Letter that lies on its side, as page.css has it. */
const PAPER_WIDTH = 780;
const GLYPHS = { passed: "✓", failed: "✗", skipped: "–", todo: "…" };

/** An element with a class, and with children that are elements or texts. */
function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** A run with its events: `told` is what a line of the trace says after time and kind. */
function runOf({ events, ...run }) {
  const told = (line) => line.replace(/^\S+\s+\S+\s+/, "");
  const known = events.map(([event, line], index) => ({ ...event, index, told: told(line) }));
  return { ...run, events: known };
}

const state = {
  run: null,
  hidden: new Set(),
  wanted: "",
  linear: false,
  selected: null,
  listed: [],
};

const tip = find("tip");
const chart = new Chart(find("chart"), {
  onSelect: select,
  onPoint(event, { clientX, clientY }) {
    tip.hidden = event === null;
    if (event === null) return;
    tip.replaceChildren(make("b", "", timeText(event.at_ms)), `  ${event.told}`);
    const { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = `${Math.min(clientX + 14, innerWidth - width - 8)}px`;
    const isBelow = clientY + height + 24 <= innerHeight;
    tip.style.top = `${isBelow ? clientY + 16 : clientY - height - 12}px`;
  },
});

// --- runs ---

function showSums() {
  find("title").textContent = data.title;
  const counts = Map.groupBy(data.runs, ({ outcome }) => outcome);
  const sums = ["failed", "passed", "skipped", "todo"].filter((outcome) => counts.has(outcome));
  const one = data.runs.length === 1;
  const told = (outcome) => `${GLYPHS[outcome]} ${counts.get(outcome).length} ${outcome}`;
  const parts = sums.map((outcome) => make("span", `outcome ${outcome}`, told(outcome)));
  find("sum").replaceChildren(...one ? [] : parts);
  find("runs").hidden = one;
  document.body.classList.toggle("several", !one);
}

function listRuns() {
  const wanted = find("find-run").value.toLowerCase();
  const failedOnly = find("failed-only").checked;
  const list = find("run-list");
  list.replaceChildren();
  let file;
  for (const [number, run] of data.runs.entries()) {
    const name = `${run.file ?? ""} ${run.name}`.toLowerCase();
    if (!name.includes(wanted) || failedOnly && run.outcome !== "failed") continue;
    if (run.file !== file) list.append(make("h2", "", run.file ?? ""));
    file = run.file;
    const glyph = make("span", `outcome ${run.outcome}`, GLYPHS[run.outcome] ?? "·");
    glyph.setAttribute("role", "img");
    glyph.setAttribute("aria-label", run.outcome);
    const button = make("button", "run", glyph, make("span", "name", run.name));
    button.type = "button";
    button.dataset.run = number;
    if (number === state.number) button.setAttribute("aria-current", "true");
    list.append(button);
  }
  if (list.childElementCount === 0) list.append(make("p", "none", "No test is like that."));
}

function showRun(number) {
  state.number = number;
  state.run = runOf(data.runs[number]);
  state.axis = state.linear ? new LinearAxis(state.run.events) : new EventAxis(state.run.events);
  state.selected = null;
  chart.selected = null;
  for (const button of document.querySelectorAll("button.run")) {
    const isCurrent = Number(button.dataset.run) === number;
    if (isCurrent) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  showHead(state.run);
  showKinds();
  showEvents();
  find("events").scrollTop = 0;
  showDetails(null);
}

function showHead({ name, file, outcome, elapsed_ms: elapsed, failures, events, left_out: rest }) {
  const virtual = timeText(events.at(-1)?.at_ms ?? 0);
  const facts = [
    `${events.length} event${events.length === 1 ? "" : "s"} over ${virtual}`,
    `${elapsed < 10 ? elapsed.toFixed(1) : Math.round(elapsed)} ms of real time`,
  ];
  if (file !== undefined) facts.unshift(file);
  if (rest > 0) facts.push(`${rest} later events are left out`);
  find("run-head").replaceChildren(
    make("h2", "", make("span", `outcome ${outcome}`, GLYPHS[outcome] ?? "·"), ` ${name}`),
    make("p", "facts", facts.join(" · ")),
    ...failures.map((failure) => make("pre", "failure", ...failure.split("\n").map(failureLine))),
  );
}

/** A line of a failure: what was expected in one colour, what was there in another. */
function failureLine(line, index) {
  const className = index === 0 ? "what" : { "-": "expected", "+": "actual" }[line[0]] ?? "";
  return make("span", className, `${line}\n`);
}

// --- kinds ---

function showKinds() {
  const counts = new Map();
  for (const event of state.run.events) {
    counts.set(groupOf(event), (counts.get(groupOf(event)) ?? 0) + 1);
  }
  const there = KINDS.filter(([group]) => counts.has(group));
  find("kinds").replaceChildren(...there.map(([group, name]) => {
    const button = make("button", `kind group-${group}`, make("i", ""), name,
      make("small", "", String(counts.get(group))));
    button.type = "button";
    button.dataset.group = group;
    button.setAttribute("aria-pressed", String(!state.hidden.has(group)));
    return button;
  }));
}

function showEvents() {
  const wanted = state.wanted.toLowerCase();
  const isShown = (event) => !state.hidden.has(groupOf(event));
  state.lanes = lanesOf(state.run.events).filter(({ group }) => !state.hidden.has(group));
  chart.show(state.lanes, state.axis);
  state.listed = state.run.events.filter((event) =>
    isShown(event) && `${event.kind} ${event.told}`.toLowerCase().includes(wanted));
  find("count").textContent = state.listed.length === state.run.events.length
    ? `${state.listed.length}` : `${state.listed.length} of ${state.run.events.length}`;
  drawList();
}

// --- the list ---

function drawList(all = false) {
  const list = find("events");
  const first = all ? 0 : Math.max(0, Math.floor(list.scrollTop / LIST_ROW) - 10);
  const last = all ? 5000 : first + Math.ceil(list.clientHeight / LIST_ROW) + 20;
  const rows = state.listed.slice(first, last).map((event, place) => row(event, first + place));
  const space = make("div", "space", ...rows);
  space.style.height = `${state.listed.length * LIST_ROW}px`;
  space.style.paddingTop = `${first * LIST_ROW}px`;
  if (state.listed.length === 0) space.append(make("p", "none", "No event is like that."));
  list.replaceChildren(space);
  const active = state.selected && document.getElementById(`event-${state.selected.index}`);
  if (active) list.setAttribute("aria-activedescendant", active.id);
  else list.removeAttribute("aria-activedescendant");
}

function row(event, place) {
  const before = state.listed[place - 1];
  const same = before?.at_ms === event.at_ms ? " same" : "";
  const element = make("div", `row group-${groupOf(event)}${isBad(event) ? " bad" : ""}`,
    make("span", `at${same}`, timeText(event.at_ms)),
    make("span", "kind", event.sync_type ?? event.kind),
    make("span", "text", event.told));
  element.id = `event-${event.index}`;
  element.dataset.event = event.index;
  element.setAttribute("role", "option");
  element.setAttribute("aria-posinset", place + 1);
  element.setAttribute("aria-setsize", state.listed.length);
  element.setAttribute("aria-selected", String(event === state.selected));
  return element;
}

function isBad(event) {
  return event.kind === "error" || event.state === "gave-up" || event.error !== undefined
    || event.level === "error";
}

function select(event) {
  state.selected = event;
  const place = state.listed.indexOf(event);
  const list = find("events");
  if (place >= 0) {
    const top = place * LIST_ROW;
    if (top < list.scrollTop || top + LIST_ROW > list.scrollTop + list.clientHeight) {
      list.scrollTop = Math.max(0, top - list.clientHeight / 2);
    }
  }
  drawList();
  chart.select(event);
  showDetails(event);
}

/** The event so many places on in the list. */
function move(by) {
  if (state.listed.length === 0) return;
  const place = state.listed.indexOf(state.selected);
  const next = place === -1 ? (by > 0 ? 0 : state.listed.length - 1) : place + by;
  select(state.listed[Math.min(state.listed.length - 1, Math.max(0, next))]);
}

// --- details ---

/** What stands above the fields. */
const HEADED = new Set(["at_ms", "kind"]);

function showDetails(event) {
  const details = find("details");
  if (event === null) {
    const hint = "Select an event to see all that is known of it.";
    return details.replaceChildren(make("p", "none", hint));
  }
  const before = state.run.events[event.index - 1];
  const passed = before && event.at_ms > before.at_ms ? timeText(event.at_ms - before.at_ms) : null;
  const since = passed === null ? "" : ` · ${passed} after the event before it`;
  const list = make("dl", "");
  const add = (name, value) => list.append(make("dt", "", name), make("dd", "", value));
  const [original] = data.runs[state.number].events[event.index];
  for (const [name, value] of Object.entries(original)) {
    if (HEADED.has(name) || value === null) continue;
    const words = name.replace(/_ms$/, "").replaceAll("_", " ");
    if (name === "stack") add(words, make("pre", "", value));
    else add(words, name.endsWith("_ms") ? timeText(value) : String(value));
  }
  details.replaceChildren(
    make("h3", `group-${groupOf(event)}`, make("i", ""), event.told),
    make("p", "facts", `${event.kind} at ${timeText(event.at_ms)}${since}`),
    list,
  );
}

// --- what the reader does ---

const KEYS = {
  ArrowRight: () => move(1),
  ArrowLeft: () => move(-1),
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
  PageDown: () => move(15),
  PageUp: () => move(-15),
  Home: () => state.listed.length > 0 && select(state.listed[0]),
  End: () => state.listed.length > 0 && select(state.listed.at(-1)),
  "+": () => chart.zoom(1.5),
  "=": () => chart.zoom(1.5),
  "-": () => chart.zoom(1 / 1.5),
  0: () => chart.fit(),
};

function useLinear(linear) {
  state.linear = linear;
  find("axis-events").setAttribute("aria-pressed", String(!linear));
  find("axis-linear").setAttribute("aria-pressed", String(linear));
  state.axis = linear ? new LinearAxis(state.run.events) : new EventAxis(state.run.events);
  chart.show(state.lanes, state.axis);
  if (state.selected) chart.select(state.selected);
}

function listen() {
  for (const place of [find("chart"), find("events")]) {
    place.addEventListener("keydown", (key) => {
      if (key.ctrlKey || key.metaKey || key.altKey || !(key.key in KEYS)) return;
      key.preventDefault();
      KEYS[key.key]();
    });
  }
  const onClick = (id, act) => find(id).addEventListener("click", act);
  onClick("axis-events", () => useLinear(false));
  onClick("axis-linear", () => useLinear(true));
  onClick("zoom-in", () => chart.zoom(1.5));
  onClick("zoom-out", () => chart.zoom(1 / 1.5));
  onClick("zoom-fit", () => chart.fit());
  onClick("kinds", ({ target }) => {
    const group = target.closest("button")?.dataset.group;
    if (group === undefined) return;
    if (!state.hidden.delete(group)) state.hidden.add(group);
    target.closest("button").setAttribute("aria-pressed", String(!state.hidden.has(group)));
    showEvents();
  });
  onClick("events", ({ target }) => {
    const index = target.closest(".row")?.dataset.event;
    if (index !== undefined) select(state.run.events[index]);
  });
  onClick("run-list", ({ target }) => {
    const number = target.closest("button")?.dataset.run;
    if (number !== undefined) location.hash = `run=${number}`;
  });
  find("events").addEventListener("scroll", () => drawList());
  find("find-run").addEventListener("input", listRuns);
  find("failed-only").addEventListener("input", listRuns);
  find("find-event").addEventListener("input", ({ target }) => {
    state.wanted = target.value;
    showEvents();
  });
  find("chart").addEventListener("pointerleave", () => tip.hidden = true);
  addEventListener("hashchange", showWanted);
  // Paper shows all of it.
  addEventListener("beforeprint", () => {
    chart.print(PAPER_WIDTH);
    drawList(true);
  });
  addEventListener("afterprint", () => {
    chart.print();
    drawList();
  });
}

/** The run that the address names, or the first that failed. */
function showWanted() {
  const number = Number(/run=(\d+)/.exec(location.hash)?.[1] ?? -1);
  const failed = data.runs.findIndex(({ outcome }) => outcome === "failed");
  showRun(number in data.runs ? number : Math.max(0, failed));
}

showSums();
listRuns();
listen();
if (data.runs.length > 0) showWanted();
else document.querySelector("main").replaceChildren(make("p", "none", "No test has run."));
