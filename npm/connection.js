// The way to a process `kittiwake drive`: a line of JSON for each request, and one for each answer.
//
// Invariant: every request is resolved or rejected, also when the process ends; a test that has
// nothing under way may end without closing anything.

import { spawn } from "node:child_process";

/** Real time after which a request that waits for time to pass is given up. */
const PATIENCE_MS = 3000;

/** Real time that the process has to end by itself. */
const GRACE_MS = 5000;

const STANDS_STILL =
  "it waits for something that never comes by itself: time stands still until the test moves it " +
  "(clock.advance, clock.runUntilIdle, clock.runUntil)";

/** What went wrong in Kittiwake, and not in a script of yours. */
export class KittiwakeError extends Error {
  constructor(code, message, options) {
    super(message, options);
    this.name = "KittiwakeError";
    this.code = code;
  }
}

export class Connection {
  /** Milliseconds since the epoch by the world's clock, as of the last answer. */
  now = 0;
  #child;
  #requests = new Map();
  #lastId = 0;
  #rest = "";
  #said = "";
  #closing = false;
  #patience;

  constructor(binary) {
    this.#child = spawn(binary, ["drive"], { stdio: ["pipe", "pipe", "pipe"] });
    const { stdin, stdout, stderr } = this.#child;
    // Whoever asks is told by the end of the process.
    stdin.on("error", () => {});
    stdout.setEncoding("utf8").on("data", (text) => this.#hear(text));
    stderr.setEncoding("utf8").on("data", (text) => this.#said = (this.#said + text).slice(-4000));
    this.ended = new Promise((resolve) => {
      this.#child.on("error", (error) => resolve(`${binary} cannot be started: ${error.message}`));
      this.#child.on("close", (code, signal) => {
        if (code === 0 && this.#closing) return resolve(null);
        const said = this.#said.trim();
        const how = signal ?? `exit code ${code}`;
        resolve(`kittiwake has ended (${how})${said && `: ${said}`}`);
      });
    });
    this.ended.then((why) => this.#end(why ?? "the app is closed"));
    this.#letGo();
  }

  /** Of the process. */
  get pid() {
    return this.#child.pid;
  }

  /**
   * Asks for a verb; `page` is for one that is not the world's own. The stack of an error begins
   * where `caller` was called, which is the line of the test.
   */
  ask(verb, { values = [], page, caller = this.ask } = {}) {
    const list = [...values];
    // JSON has no undefined; at the end of a list it is nothing.
    while (list.length > 0 && list.at(-1) === undefined) list.pop();
    return this.send({ verb, page, arguments: list }, caller);
  }

  send(request, caller) {
    // Made now, before anything is waited for.
    const failure = new Error();
    Error.captureStackTrace?.(failure, caller);
    if (this.#closing) return Promise.reject(refused(failure, "closed", "the app is closed"));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#requests.set(id, { resolve, reject, failure, waiting: false });
      this.#hold();
      this.#child.stdin.write(`${JSON.stringify({ id, ...request })}\n`);
    });
  }

  /** Ends the process, which ends in order when nobody asks it any more. */
  async close() {
    if (!this.#closing) {
      this.#closing = true;
      this.#hold();
      this.#child.stdin.end();
      const timer = setTimeout(() => this.#child.kill("SIGKILL"), GRACE_MS);
      this.ended.then(() => clearTimeout(timer));
    }
    const why = await this.ended;
    if (why !== null) throw new KittiwakeError("ended", why);
  }

  #hear(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    for (const line of lines) this.#take(JSON.parse(line));
  }

  #take({ id, now, value, error, waiting }) {
    if (now !== undefined) this.now = now;
    const request = this.#requests.get(id);
    if (request === undefined) return;
    if (waiting) {
      request.waiting = true;
    } else {
      this.#requests.delete(id);
      if (error === undefined) request.resolve(value);
      else request.reject(failed(request.failure, error));
    }
    this.#wait();
  }

  /** Gives up what waits for time to pass, if nothing else is under way for a while. */
  #wait() {
    clearTimeout(this.#patience);
    const requests = [...this.#requests.values()];
    if (requests.length === 0) return this.#letGo();
    if (!requests.every(({ waiting }) => waiting)) return;
    this.#patience = setTimeout(() => {
      this.#requests.clear();
      this.#letGo();
      for (const { reject, failure } of requests) {
        reject(refused(failure, "waiting", STANDS_STILL));
      }
    }, PATIENCE_MS);
  }

  #end(why) {
    clearTimeout(this.#patience);
    this.#closing = true;
    const requests = [...this.#requests.values()];
    this.#requests.clear();
    for (const { reject, failure } of requests) reject(refused(failure, "ended", why));
  }

  #hold() {
    clearTimeout(this.#patience);
    this.#child.ref();
    for (const pipe of this.#child.stdio) pipe.ref?.();
  }

  #letGo() {
    if (this.#closing) return;
    this.#child.unref();
    for (const pipe of this.#child.stdio) pipe.unref?.();
  }
}

function refused(failure, code, message) {
  const error = new KittiwakeError(code, message);
  error.stack = `${error.name}: ${message}\n${frames(failure.stack)}`;
  return error;
}

/** What a script threw is an error of its name, with where it was thrown and who asked. */
function failed(failure, { code, name, message, stack }) {
  if (code !== "script") return refused(failure, code, message);
  const error = new Error(message);
  Object.defineProperty(error, "name", { value: name, configurable: true, writable: true });
  const inside = stack === undefined ? "" : `${frames(stack)}\n`;
  error.stack = `${name}: ${message}\n${inside}${frames(failure.stack)}`;
  return error;
}

/** The lines of a stack that are frames. */
function frames(stack) {
  return stack.split("\n").filter((line) => /^\s+at /.test(line)).join("\n");
}
