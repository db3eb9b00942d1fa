// `kittiwake:test/world`: what a test is given to move its world: `network`, `clock`, `server`,
// `worker`, `host` and `page`.
//
// Invariant: time stands still but for `clock`, and for what a verb of `host` has to wait for.

import { ask, call, withMessage } from "kittiwake:test/host";
import { isWorker } from "kittiwake:test/scope";

/** "5m", or a number of milliseconds, as the host reads it. */
export function duration(value) {
  if (typeof value === "number" && Number.isFinite(value) && value >= 0) return `${value}ms`;
  if (typeof value === "string") return value;
  throw new TypeError(`write a duration as "5m" or a number of milliseconds, not ${value}`);
}

class Network {
  #down = new Set();
  #state = "online";
  #conditions = {};

  async #apply() {
    const parts = Object.entries(this.#conditions).map(([name, value]) => `${name}=${value}`);
    for (const host of this.#down) parts.push(`down=${host}`);
    const isOnline = this.#state === "online";
    // At once, for whoever forgets to wait; then until nothing more comes of it.
    call("network", { text: isOnline ? ["online", ...parts].join("+") : this.#state });
    await ask("settle");
  }

  #become(state) {
    this.#state = state;
    return this.#apply();
  }

  #set(condition, value) {
    this.#conditions[condition] = value;
    return this.#apply();
  }

  /** Takes the network away: requests fail, syncs wait. */
  offline() {
    return this.#become("offline");
  }

  /** Brings it back, with the conditions that it had. Waits for what needs no time. */
  online() {
    return this.#become("online");
  }

  /** A response begins so much later, in virtual time. */
  latency(time) {
    return this.#set("latency", duration(time));
  }

  /** So many requests and responses never arrive: "10%". */
  loss(share) {
    return this.#set("loss", share);
  }

  /** Bodies pass at this rate: "64kbit". */
  bandwidth(rate) {
    return this.#set("bandwidth", rate);
  }

  /** The host of a URL, or `host:port`, refuses connections from now on. */
  fail(host) {
    this.#down.add(hostOf(host));
    return this.#apply();
  }

  /** It answers again; without an argument every host does, and no condition is left. */
  recover(host) {
    if (host === undefined) {
      this.#down.clear();
      this.#conditions = {};
    } else {
      this.#down.delete(hostOf(host));
    }
    return this.#apply();
  }

  /** Follows what comes: "offline,online@10s,offline@1m". Its changes come as time passes. */
  async timeline(text) {
    call("network", { text });
    await ask("settle");
  }

  get state() {
    return navigator.onLine ? "online" : "offline";
  }
}

function hostOf(host) {
  return host.includes("://") ? new URL(host).host : host;
}

class Clock {
  #event;

  constructor(event) {
    this.#event = event;
  }

  /** Milliseconds since the Unix epoch, as `Date.now()`. */
  get now() {
    return Date.now();
  }

  /** Lets so much time pass: "5m", or milliseconds. */
  async advance(time) {
    await ask("advance", { time: duration(time) });
  }

  /** Lets time pass until nothing is left to do: no event, timer, request or retry. */
  async runUntilIdle() {
    if (this.#event !== undefined) {
      throw new Error(`the world is busy with the test's own ${this.#event.type} event; let time ` +
        "pass with clock.advance or clock.runUntil");
    }
    await ask("idle");
  }

  /** Lets time pass until the predicate is true. It is asked after whatever happens. */
  async runUntil(predicate, { within = "24h" } = {}) {
    const failure = new Error();
    const deadline = call("deadline", { time: duration(within) });
    for (let last = ""; ; last = await ask("step", { deadline })) {
      // What needs no time happens first.
      await ask("settle");
      if (await predicate()) return;
      if (last === "deadline") {
        throw withMessage(failure, `the predicate did not become true within ${within}`);
      }
    }
  }
}

/** A request as a test reads it. */
function request({ method, url, headers, body }) {
  const { pathname, search } = new URL(url);
  const fields = {
    method,
    url,
    path: pathname + search,
    headers: Object.fromEntries(headers),
    body,
  };
  // Not enumerable, so that a request equals an object with its fields.
  return Object.defineProperty(fields, "json", { value: () => JSON.parse(body) });
}

function createServer() {
  return {
    /** Scripts a route: `on("POST /outbox", [503, 204])`. A path is one of the page's origin. */
    on(route, answers) {
      const [, method, target] = /^(\S+)\s+(\S+)$/.exec(route) ?? [];
      if (target === undefined) {
        throw new TypeError(`"${route}" is no route; write method and path, as in "GET /data"`);
      }
      const url = new URL(target, location.href);
      const list = Array.isArray(answers) ? answers : [answers];
      call("server", {
        origin: url.origin,
        route: `${method} ${url.pathname}${url.search}`,
        answers: list.map(answer),
      });
    },
    /** What arrived at scripted servers so far, in order. */
    get requests() {
      return call("requests").map(request);
    },
    /** The last of them. */
    get lastRequest() {
      return call("requests").map(request).at(-1);
    },
  };
}

/** A status, or { status, headers, body or json, delay, fail, breaks }. */
function answer(value) {
  if (value === null || typeof value !== "object") return value;
  const { json, delay, headers = {}, ...rest } = value;
  if (delay !== undefined) rest.delay = duration(delay);
  if (json !== undefined) {
    rest.body = JSON.stringify(json);
    return { ...rest, headers: { "content-type": "application/json", ...headers } };
  }
  return "fail" in rest ? rest : { ...rest, headers };
}

const ENDS = new Set(["activated", "redundant"]);

function createWorker() {
  return {
    /** Registers the script as the page would, and waits until it is activated. */
    async register(script = "/sw.js", options = {}) {
      const failure = new Error();
      const registration = await navigator.serviceWorker.register(script, options);
      const { installing, waiting, active } = registration;
      const worker = installing ?? waiting ?? active;
      while (!ENDS.has(worker.state)) {
        await new Promise((changed) => {
          worker.addEventListener("statechange", changed, { once: true });
        });
      }
      if (worker.state === "activated") return registration;
      throw withMessage(failure, call("why_redundant", { script: worker.scriptURL }));
    },
    /** "none" before there is one, then as `ServiceWorker.state`. */
    get state() {
      return call("worker").state;
    },
    /** Whether its script runs now; a worker that has nothing to do is stopped. */
    get running() {
      return call("worker").running;
    },
    /** The extendable events that workers got: `{ type, tag?, lastChance?, outcome }`. */
    get events() {
      return call("events");
    },
    /** Stops it in the midst of what it does, as a browser may. Its next event starts it. */
    kill: () => ask("kill"),
  };
}

/** What a person does with a page: follows a link, reloads it, looks at it or away, closes it. */
export function pageMoves(id) {
  const move = (how) => ask("move_page", { id, how });
  return {
    navigate: (url) => move({ navigate: new URL(url, location.href).href }),
    reload: () => move("reload"),
    focus: () => move("focus"),
    hide: () => move("hide"),
    close: () => ask("close_page", { id }),
  };
}

const host = {
  /** Opens another page by its URL; its scripts run in a realm of their own. */
  async openPage(url = "/") {
    const page = await ask("open_page", { url: new URL(url, location.href).href });
    return { ...page, ...pageMoves(page.id) };
  },
  /** Stops the worker, or the one of a registration or scope. */
  kill: (worker) => ask("kill", { scope: worker?.scope ?? worker?.registration?.scope }),
  /** What a crash of the host does: every worker and every other page is gone, in the midst of
   * what it does; what was stored is there. This page goes on. */
  restart: () => ask("restart"),
  /** Dispatches one sync event now, beside the registrations, as DevTools can. */
  sync: (tag, { lastChance = false } = {}) => ask("sync", { tag, last_chance: lastChance }),
  /** Dispatches one push message now, with a text or with anything else as JSON. */
  push: (data) => {
    const text = typeof data === "string" || data === undefined ? data : JSON.stringify(data);
    return ask("push", { data: text });
  },
  /** Clicks at the newest notification with this tag, or at an action of it. */
  click: (tag, { action = "", reply } = {}) => ask("click", { tag, action, reply }),
  /** Takes that notification away. */
  dismiss: (tag) => ask("dismiss", { tag }),
  permissions: {
    grant: (name) => call("permission", { name, state: "granted" }),
    deny: (name) => call("permission", { name, state: "denied" }),
  },
  /** All that happened, a line each, as `kittiwake run` prints it. */
  get trace() {
    return call("trace");
  },
  /** The notifications that are shown. */
  get notifications() {
    return call("notifications");
  },
};

/** What a page has of itself. */
function createPage() {
  const messages = [];
  navigator.serviceWorker.addEventListener("message", ({ data }) => messages.push(data));
  navigator.serviceWorker.startMessages();
  return { url: location.href, messages };
}

/** What a test function is given, and the event in which it runs. Once in each world. */
export function createWorld(event) {
  const world = {
    network: new Network(),
    clock: new Clock(event),
    server: createServer(),
    worker: createWorker(),
    host,
  };
  if (!isWorker) return { ...world, page: createPage() };
  return {
    ...world,
    event,
    get page() {
      throw new Error("a test in a worker has no page; host.openPage() opens one");
    },
  };
}
