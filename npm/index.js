// `kittiwake`: the world of a service worker, for tests in Vitest, Jest or node:test.
//
// Invariant: a verb means what it means in `kittiwake test`, because it is the same one: this file
// only asks for it.

import { fileURLToPath } from "node:url";

import { findBinary } from "./binary.js";
import { Connection, KittiwakeError } from "./connection.js";

export { KittiwakeError };

/** The protocol that this package speaks. */
const PROTOCOL = 1;

/** What is asked for with a call, by the part of the world that has it. */
const METHODS = {
  network: [
    "offline", "online", "latency", "loss", "bandwidth", "fail", "recover", "timeline",
  ],
  clock: ["advance", "runUntilIdle"],
  server: ["on"],
  worker: ["register", "kill"],
  host: ["restart", "sync", "push", "click", "dismiss"],
  "host.permissions": ["grant", "deny"],
};

/** What is read, each time anew: a promise of what there is now. */
const FIELDS = {
  network: ["state"],
  worker: ["state", "running", "events"],
  host: ["trace", "notifications"],
};

/** Starts a world: an app under test with its own network, clock, servers and storage. */
export async function launch(options = {}) {
  const { binary, root, origin, worker, network, seed, timeout, traceHtml, ...unknown } = options;
  const [wrong] = Object.keys(unknown);
  if (wrong !== undefined) throw new TypeError(`launch() has no option \`${wrong}\``);
  const connection = new Connection(findBinary(binary));
  try {
    const { kittiwake, origin: own } = await connection.send({
      verb: "launch",
      protocol: PROTOCOL,
      root: text(root),
      origin: text(origin),
      seed,
      timeout_ms: timeout,
      trace_html: text(traceHtml),
    });
    const app = createApp(connection, { version: kittiwake, origin: own });
    if (worker !== undefined) await app.worker.register(String(worker));
    // Once the worker is there, as with `kittiwake run`: it comes by the network too.
    if (network === "offline") await app.network.offline();
    else if (network !== undefined && network !== "online") await app.network.timeline(network);
    return app;
  } catch (error) {
    // What it says of its end is said already.
    await connection.close().catch(() => {});
    throw error;
  }
}

/** A path or a URL of a file. */
function text(value) {
  if (value instanceof URL && value.protocol === "file:") return fileURLToPath(value);
  return value === undefined ? undefined : String(value);
}

function createApp(connection, { version, origin }) {
  const parts = createParts(connection);
  const { network, clock, server, worker, host } = parts;
  return {
    version,
    origin,
    pid: connection.pid,
    network,
    clock: addClock(clock, connection),
    server: addServer(server, connection),
    worker,
    host: addHost(host, parts["host.permissions"], connection),
    page: createPage(connection),
    get trace() {
      return host.trace;
    },
    close: () => connection.close(),
    [Symbol.asyncDispose]: () => connection.close(),
  };
}

function createParts(connection) {
  const parts = {};
  for (const [part, names] of Object.entries(METHODS)) {
    const methods = names.map((name) => {
      const caller = (...values) => connection.ask(`${part}.${name}`, { values, caller });
      return [name, caller];
    });
    parts[part] = Object.fromEntries(methods);
  }
  for (const [part, names] of Object.entries(FIELDS)) {
    for (const name of names) {
      const get = () => connection.ask(`${part}.${name}`, { caller: get });
      Object.defineProperty(parts[part], name, { get, configurable: true, enumerable: true });
    }
  }
  return parts;
}

function addClock(clock, connection) {
  /** Time stands still between requests, so the last answer's time is that of now. */
  Object.defineProperty(clock, "now", { get: () => connection.now, enumerable: true });
  clock.runUntil = async (predicate, { within = "24h" } = {}) => {
    const failure = new KittiwakeError("failed", "");
    const deadline = await connection.ask("clock.deadline", { values: [within] });
    const step = () => connection.ask("clock.step", { values: [deadline] });
    for (let last = ""; ; last = await step()) {
      // What needs no time happens first.
      await connection.ask("clock.settle");
      if (await predicate()) return;
      if (last !== "deadline") continue;
      failure.message = `the predicate did not become true within ${within}`;
      throw failure;
    }
  };
  return clock;
}

function addServer(server, connection) {
  const withJson = (request) =>
    // Not enumerable, so that a request equals an object with its fields.
    request && Object.defineProperty(request, "json", { value: () => JSON.parse(request.body) });
  return Object.defineProperties(server, {
    requests: {
      get: async () => (await connection.ask("server.requests")).map(withJson),
    },
    lastRequest: {
      get: async () => withJson(await connection.ask("server.lastRequest")),
    },
  });
}

function addHost(host, permissions, connection) {
  host.permissions = permissions;
  host.kill = (worker) => {
    const values = [worker && { scope: worker.scope }];
    return connection.ask("host.kill", { values, caller: host.kill });
  };
  host.openPage = async (url) => {
    const order = { values: [url], caller: host.openPage };
    const { id, ...page } = await connection.ask("host.openPage", order);
    // From now on it keeps the messages that it gets.
    await connection.ask("page.messages", { page: id }).catch(() => {});
    return Object.assign(createPage(connection, id), page);
  };
  return host;
}

/** The world's own page, or one that was opened. */
function createPage(connection, page) {
  /** A function is called in the page with the values; a text is a script of the page. */
  function evaluate(script, ...values) {
    const isFunction = typeof script === "function";
    if (!isFunction && typeof script !== "string") {
      throw new TypeError(`evaluate() takes a function or a script, not ${script}`);
    }
    const order = { source: String(script), isFunction, values };
    return connection.ask("page.evaluate", { values: [order], page, caller: evaluate });
  }
  const own = {
    evaluate,
    get messages() {
      return connection.ask("page.messages", { page });
    },
  };
  if (page === undefined) return own;
  for (const name of ["navigate", "reload", "focus", "hide", "close"]) {
    own[name] = (...values) =>
      connection.ask(`page.${name}`, { values: [page, ...values], caller: own[name] });
  }
  return own;
}
