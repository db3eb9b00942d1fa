// `kittiwake:test/scope`: where the tests of a file run: in a page, or in a service worker, whose
// install event waits for the test.
//
// Invariant: the worker is activated before a test begins that does not ask for its install event.
// One that is not installed ends, and the test with it.

class PageScope {
  check(name, during) {
    if (during === undefined) return;
    throw new TypeError(`test("${name}") runs in a page; a worker has the event "${during}"`);
  }

  enter() {}
}

class WorkerScope {
  #installed = Promise.withResolvers();
  #event;

  constructor() {
    addEventListener("install", (event) => {
      this.#event = event;
      event.waitUntil(this.#installed.promise);
    });
  }

  check(name, during) {
    if (during === undefined || during === "install") return;
    throw new TypeError(`test("${name}") may run during "install", and not during "${during}"`);
  }

  /** Answers the event in which the test runs, if it is in one. */
  async enter(during) {
    if (during === "install") return this.#event;
    this.#installed.resolve();
    const { serviceWorker } = globalThis;
    while (serviceWorker.state !== "activated") {
      await new Promise((changed) => {
        serviceWorker.addEventListener("statechange", changed, { once: true });
      });
    }
    return undefined;
  }
}

/** Whether the file runs in a worker. */
export const isWorker = "ServiceWorkerGlobalScope" in globalThis;

export const ownScope = isWorker ? new WorkerScope() : new PageScope();
