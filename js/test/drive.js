// `kittiwake:test/drive`: does in a page what a test outside asks for, by the verbs that a test
// inside has.
//
// Invariant: every request is answered once, with a value that JSON has a form for or with an
// error.

import { ask, call, onOrder } from "kittiwake:test/host";
import { createWorld, duration, pageMoves } from "kittiwake:test/world";

const world = createWorld();
// Indirect, so that what it evaluates is a script of the page.
const evaluateScript = globalThis.eval;

/** What is there in each part of the world: a method is called, and anything else is read. */
const PARTS = {
  network: [
    "offline", "online", "latency", "loss", "bandwidth", "fail", "recover", "timeline", "state",
  ],
  clock: ["now", "advance", "runUntilIdle"],
  server: ["on", "requests", "lastRequest"],
  worker: ["state", "running", "events", "kill"],
  host: [
    "kill", "restart", "sync", "push", "click", "dismiss", "trace", "notifications", "openPage",
  ],
  "host.permissions": ["grant", "deny"],
  page: ["messages", "url"],
};

/** What differs outside. */
const VERBS = {
  __proto__: null,
  "page.evaluate": evaluate,
  "page.navigate": (id, url) => pageMoves(id).navigate(url),
  "page.reload": (id) => pageMoves(id).reload(),
  "page.focus": (id) => pageMoves(id).focus(),
  "page.hide": (id) => pageMoves(id).hide(),
  "page.close": (id) => pageMoves(id).close(),
  "worker.register": async (script, options) => {
    const { scope, active } = await world.worker.register(script, options);
    return { scope, script: active.scriptURL };
  },
  // The predicate of `clock.runUntil` is outside.
  "clock.deadline": (within) => call("deadline", { time: duration(within) }),
  "clock.settle": () => ask("settle"),
  "clock.step": (deadline) => ask("step", { deadline }),
};
for (const [part, names] of Object.entries(PARTS)) {
  const target = part.split(".").reduce((found, name) => found[name], world);
  for (const name of names) {
    VERBS[`${part}.${name}`] = (...values) => {
      const found = target[name];
      return typeof found === "function" ? found.apply(target, values) : found;
    };
  }
}

/** Evaluates a function's source and calls it, or a script for its last value. */
async function evaluate({ source, isFunction = false, values = [] } = {}) {
  if (typeof source !== "string" || !Array.isArray(values)) {
    throw new TypeError('page.evaluate takes { "source": "1 + 1" }, isFunction and values');
  }
  try {
    const script = isFunction ? `(${source}\n)` : source;
    const found = evaluateScript(`${script}\n//# sourceURL=evaluate`);
    return await (isFunction ? found(...values) : found);
  } catch (error) {
    throw { thrown: error };
  }
}

function described(error, code) {
  if (!(error instanceof Error || error instanceof DOMException)) {
    return { code, name: "Error", message: `thrown: ${String(error)}` };
  }
  // Without the frames of this module and what it calls.
  const isOwn = (line) => /kittiwake:test\/|ext:kittiwake\//.test(line);
  const stack = error.stack?.split("\n").filter((line) => !isOwn(line)).join("\n");
  return { code, name: error.name, message: error.message, stack };
}

async function answer(request, verb, values) {
  if (!(verb in VERBS)) {
    const message = `there is no verb ${JSON.stringify(verb)}`;
    return call("answered", { request, error: { code: "unknown-verb", message } });
  }
  try {
    const value = await VERBS[verb](...values);
    // Before the call, so that what JSON has no form for is this request's error.
    JSON.stringify(value);
    call("answered", { request, value });
  } catch (error) {
    const told = error !== null && typeof error === "object" && "thrown" in error
      ? described(error.thrown, "script")
      : described(error, "failed");
    call("answered", { request, error: told });
  }
}

onOrder(({ request, verb, arguments: values }) => answer(request, verb, values));
