// What is known: the events of a run as lanes of bars and marks.
//
// Invariant: every event that is shown is one bar or mark of one lane at most, and each lane is in
// the order of its events.

"use strict";

/** Kinds as the page groups them, in the order of their lanes. */
const KINDS = [
  ["network", "Network"],
  ["lifecycle", "Workers and pages"],
  ["sync", "Background sync"],
  ["fetch", "Fetches"],
  ["message", "Messages"],
  ["push", "Push and notifications"],
  ["console", "Console"],
  ["error", "Errors"],
];

/** The group of an event. */
function groupOf(event) {
  if (event.kind === "dispatch") return "sync";
  if (event.kind === "notification") return "push";
  return event.kind;
}

/** Milliseconds as the trace writes them: `5m10s`. */
function timeText(milliseconds) {
  const units = [["h", 3_600_000], ["m", 60_000], ["s", 1000], ["ms", 1]];
  const days = Math.floor(milliseconds / 86_400_000);
  let rest = Math.round(milliseconds) - days * 86_400_000;
  let text = days === 0 ? "" : days === 1 ? "1day" : `${days}days`;
  for (const [name, size] of units) {
    const count = Math.floor(rest / size);
    if (count > 0) text += `${count}${name}`;
    rest -= count * size;
  }
  return text || "0s";
}

/** A URL without what everybody knows of it. */
function pathOf(url) {
  try {
    const { pathname, search } = new URL(url);
    return pathname + search;
  } catch {
    return url;
  }
}

function hostOf(url) {
  try {
    return new URL(url).host;
  } catch {
    return "";
  }
}

/** Collects lanes by a key, in the order in which they are first needed. */
class Lanes {
  #lanes = new Map();

  lane(key, group, title, subtitle = "", rows = 1) {
    if (!this.#lanes.has(key)) {
      this.#lanes.set(key, { key, group, title, subtitle, rows, items: [] });
    }
    return this.#lanes.get(key);
  }

  /** The title, with a number if it is another lane's: versions of a script have one URL. */
  newTitle(title, key) {
    const others = [...this.#lanes.values()].filter((lane) => lane.key !== key);
    const isSame = (lane) => lane.title === title || lane.title.startsWith(`${title} (`);
    const count = others.filter(isSame).length;
    return count === 0 ? title : `${title} (${count + 1})`;
  }

  /** Something begins: what the lane's last bar was about has ended. */
  bar(lane, event, look, label, short = "") {
    this.end(lane, event);
    lane.items.push({ event, from: event.index, to: null, look, label, short });
  }

  mark(lane, event, look, label) {
    lane.items.push({ event, from: event.index, to: event.index, look, label, short: "" });
  }

  end(lane, event) {
    const last = lane.items.at(-1);
    if (last?.to === null) last.to = event.index;
  }

  /** In the order of the kinds, and workers before pages. */
  all() {
    const places = new Map(KINDS.map(([group], index) => [group, index]));
    const place = ({ group, key }) => places.get(group) + (key === "pages" ? 0.5 : 0);
    return [...this.#lanes.values()].sort((a, b) => place(a) - place(b));
  }
}

/** How each kind of event enters its lane. */
const ENTER = {
  network(lanes, event) {
    const lane = lanes.lane("network", "network", "Network");
    if (lane.items.length === 0 && event.index > 0) {
      // A runtime starts with its network up, and only changes are events.
      lane.items.push({ event, from: -1, to: null, look: "online", label: "", short: "" });
    }
    const look = event.state === "online" && event.conditions ? "poor" : event.state;
    lanes.bar(lane, event, look, [event.state, event.conditions].filter(Boolean).join(" "));
  },

  lifecycle(lanes, event) {
    if (event.subject === "page") {
      const lane = lanes.lane("pages", "lifecycle", "Pages", "", 3);
      return lanes.mark(lane, event, "page", `${pathOf(event.url)} ${event.state}`);
    }
    const key = `worker ${event.worker ?? event.url}`;
    const scope = event.scope ? `scope ${pathOf(event.scope)}` : "";
    const lane = lanes.lane(key, "lifecycle", lanes.newTitle(pathOf(event.url), key), scope);
    if (event.state === "redundant") {
      lanes.end(lane, event);
      return lanes.mark(lane, event, "redundant", "redundant");
    }
    lanes.bar(lane, event, event.state, event.state);
  },

  sync(lanes, event) {
    const periodic = event.sync_type === "periodic";
    const key = `sync ${event.sync_type ?? ""} ${event.scope} ${event.tag}`;
    const title = event.tag === "" ? '""' : event.tag;
    const lane = lanes.lane(key, "sync", title, periodic ? "periodic sync" : "sync");
    const delay = event.delay_ms === undefined ? "" : timeText(event.delay_ms);
    const chance = event.last_chance ? ", last chance" : "";
    switch (event.state) {
      case "registered":
        return lanes.bar(lane, event, "registered", delay ? `registered, ${delay}` : "registered");
      case "firing":
        return lanes.bar(lane, event, "firing", `attempt ${event.attempt}${chance}`,
          `${event.attempt}`);
      case "waiting":
        return lanes.bar(lane, event, "waiting", `waits ${delay}`, delay);
      case "reregistered":
        return lanes.bar(lane, event, "firing", "registered again", "+");
      case "done":
        lanes.end(lane, event);
        lanes.mark(lane, event, "done", delay ? `done, again in ${delay}` : "done");
        return;
      default:
        lanes.end(lane, event);
        lanes.mark(lane, event, event.state, event.state.replace("-", " "));
    }
  },

  dispatch(lanes, event) {
    const lane = lanes.lane(`dispatch ${event.scope} ${event.tag}`, "sync", event.tag,
      "dispatched by hand");
    if (event.state === "dispatched") return lanes.bar(lane, event, "firing", "dispatched");
    lanes.end(lane, event);
    lanes.mark(lane, event, event.state === "fulfilled" ? "done" : "gave-up",
      event.state.replace("-", " "));
  },

  fetch(lanes, event) {
    const lane = lanes.lane(`fetch ${hostOf(event.url)}`, "fetch", hostOf(event.url), "fetches", 4);
    const answer = event.status === undefined ? "failed" : String(event.status);
    const by = event.source === undefined ? "" : " by the worker";
    const took = event.elapsed_ms ? ` in ${timeText(event.elapsed_ms)}` : "";
    const label = `${event.method} ${pathOf(event.url)} ${answer}${by}${took}`;
    let look = "answered";
    if (event.status === undefined) look = "failed";
    else if (event.status >= 400) look = "refused";
    else if (event.source !== undefined) look = "worker";
    lanes.mark(lane, event, look, label);
    if (event.elapsed_ms) lane.items.at(-1).startMs = event.at_ms - event.elapsed_ms;
  },

  message(lanes, event) {
    const lane = lanes.lane("messages", "message", "Messages", "", 3);
    const arrow = event.to === "worker" ? "→ worker" : "→ page";
    lanes.mark(lane, event, `to-${event.to}`, `${arrow}  ${event.text}`);
  },

  push(lanes, event) {
    const lane = lanes.lane("push", "push", "Push", "", 3);
    const text = event.text ? `  ${event.text}` : "";
    lanes.mark(lane, event, event.state, `${event.state}${text}`);
  },

  notification(lanes, event) {
    const lane = lanes.lane("notifications", "push", "Notifications", "", 3);
    lanes.mark(lane, event, event.state, `${event.title} ${event.state}`);
  },

  console(lanes, event) {
    const lane = lanes.lane("console", "console", "Console", "", 3);
    lanes.mark(lane, event, `console-${event.level}`, event.text);
  },

  error(lanes, event) {
    const lane = lanes.lane("errors", "error", "Errors", "nobody caught them", 3);
    lanes.mark(lane, event, "uncaught", event.message);
  },
};

/** The lanes of events. A kind that this page does not know has no lane; the list has it. */
function lanesOf(events) {
  const lanes = new Lanes();
  for (const event of events) ENTER[event.kind]?.(lanes, event);
  return lanes.all();
}
