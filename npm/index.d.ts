/** "5m", "250ms", or a number of milliseconds. */
export type Duration = string | number;

export interface LaunchOptions {
  /** The folder that is served at the origin. Default: the current one. */
  root?: string | URL;
  /** The origin of the app under test. Default: https://app.test */
  origin?: string | URL;
  /** A script to register first, as `worker.register()` does. Default: none */
  worker?: string | URL;
  /**
   * "online", "offline", or a timeline like "offline,online@10s", once the worker of the option
   * `worker` is activated. Default: "online"
   */
  network?: string;
  /** Of the world's random numbers. The same seed makes the same run. Default: 0 */
  seed?: number;
  /** Milliseconds of real time that a request may take. Default: 10000 */
  timeout?: number;
  /** Where to write a page that shows what happened, when the app is closed. */
  traceHtml?: string | URL;
  /** The command `kittiwake`. Default: KITTIWAKE_BINARY, or the one in PATH. */
  binary?: string;
}

/** Starts a world: an app under test with its own network, clock, servers and storage. */
export function launch(options?: LaunchOptions): Promise<App>;

export interface App extends AsyncDisposable {
  /** Of the command. */
  readonly version: string;
  readonly origin: string;
  /** Of the command's process. */
  readonly pid: number;
  readonly network: Network;
  readonly clock: Clock;
  readonly server: Server;
  readonly worker: Worker;
  readonly host: Host;
  /** A page at the root of the origin. */
  readonly page: Page;
  /** All that happened, a line each, as `kittiwake run` prints it. */
  readonly trace: Promise<string[]>;
  /** Ends the world and its process. */
  close(): Promise<void>;
}

export interface Network {
  /** Takes the network away: requests fail, syncs wait. */
  offline(): Promise<void>;
  /** Brings it back, with the conditions that it had. */
  online(): Promise<void>;
  /** A response begins so much later, in virtual time. */
  latency(time: Duration): Promise<void>;
  /** So many requests and responses never arrive: "10%". */
  loss(share: string): Promise<void>;
  /** Bodies pass at this rate: "64kbit". */
  bandwidth(rate: string): Promise<void>;
  /** The host of a URL, or `host:port`, refuses connections from now on. */
  fail(host: string): Promise<void>;
  /** It answers again; without an argument every host does, and no condition is left. */
  recover(host?: string): Promise<void>;
  /** Follows what comes: "offline,online@10s,offline@1m". */
  timeline(text: string): Promise<void>;
  readonly state: Promise<"online" | "offline">;
}

export interface Clock {
  /** Milliseconds since the Unix epoch, as `Date.now()` in the world. */
  readonly now: number;
  /** Lets so much time pass. */
  advance(time: Duration): Promise<void>;
  /** Lets time pass until nothing is left to do: no event, timer, request or retry. */
  runUntilIdle(): Promise<void>;
  /** Lets time pass until the predicate is true. It is asked after whatever happens. */
  runUntil(
    predicate: () => unknown | Promise<unknown>,
    options?: { within?: Duration },
  ): Promise<void>;
}

/** A status, or more about a response; `fail` is the reason why there is none. */
export type Answer = number | {
  status?: number;
  headers?: Record<string, string>;
  body?: string;
  json?: unknown;
  delay?: Duration;
} | { fail: string };

export interface RecordedRequest {
  method: string;
  url: string;
  /** With its query. */
  path: string;
  headers: Record<string, string>;
  body: string | null;
  /** The body as JSON. */
  json(): any;
}

export interface Server {
  /** Scripts a route: `on("POST /outbox", [503, 204])`. A path is one of the app's origin. */
  on(route: string, answers: Answer | Answer[]): Promise<void>;
  /** What arrived at scripted servers so far, in order. */
  readonly requests: Promise<RecordedRequest[]>;
  readonly lastRequest: Promise<RecordedRequest | undefined>;
}

export interface WorkerEvent {
  type: string;
  tag?: string;
  lastChance?: boolean;
  url?: string;
  /** Absent while it is under way. */
  outcome?: "fulfilled" | "rejected" | "timed-out" | "terminated";
  reason?: string;
}

export interface Worker {
  /** Registers the script as the page would, and waits until it is activated. */
  register(
    script?: string,
    options?: { scope?: string; type?: "classic" | "module"; updateViaCache?: string },
  ): Promise<{ scope: string; script: string }>;
  /** "none" before there is one, then as `ServiceWorker.state`. */
  readonly state: Promise<string>;
  /** Whether its script runs now. */
  readonly running: Promise<boolean>;
  /** The extendable events that workers got. */
  readonly events: Promise<WorkerEvent[]>;
  /** Stops it in the midst of what it does, as a browser may. */
  kill(): Promise<void>;
}

export type PermissionName = "background-sync" | "notifications" | "periodic-background-sync";

export interface Host {
  /** Opens another page by its URL; its scripts run in a realm of their own. */
  openPage(url?: string): Promise<OpenedPage>;
  /** Stops the worker of a registration, or the one that there is. */
  kill(worker?: { scope: string }): Promise<void>;
  /** What a crash does: workers and other pages are gone, what was stored is there. */
  restart(): Promise<void>;
  /** Dispatches one sync event now; answers how it ended. */
  sync(tag: string, options?: { lastChance?: boolean }): Promise<string>;
  /** Dispatches one push message now: a text, or anything else as JSON. */
  push(data?: unknown): Promise<string>;
  /** Clicks at the newest notification with this tag, or at an action of it. */
  click(tag: string, options?: { action?: string; reply?: string }): Promise<string>;
  /** Takes that notification away. */
  dismiss(tag: string): Promise<string>;
  readonly permissions: {
    grant(name: PermissionName): Promise<void>;
    deny(name: PermissionName): Promise<void>;
  };
  readonly trace: Promise<string[]>;
  /** The notifications that are shown. */
  readonly notifications: Promise<{ title: string; body: string; tag: string }[]>;
}

export interface Page {
  /**
   * Calls a function in the page, with values that JSON has a form for, and answers what it
   * returns or its promise becomes. The function sees nothing of the test around it.
   */
  evaluate<V extends unknown[], R>(
    script: (...values: V) => R | Promise<R>,
    ...values: V
  ): Promise<R>;
  /** Runs a script of the page for its last value. */
  evaluate<R = unknown>(script: string): Promise<R>;
  /** What workers have posted to it. */
  readonly messages: Promise<unknown[]>;
}

export interface OpenedPage extends Page {
  readonly url: string;
  /** What its scripts threw, if they did. */
  readonly error: string | null;
  /** Follows a link to another URL, in its window. */
  navigate(url: string): Promise<void>;
  reload(): Promise<void>;
  /** Brings it to the front: visible and focused. */
  focus(): Promise<void>;
  hide(): Promise<void>;
  close(): Promise<void>;
}

/** What went wrong in Kittiwake, and not in a script of yours. */
export class KittiwakeError extends Error {
  /** As in "unknown-verb", "failed", "timed-out", "waiting", "page-closed", "ended". */
  readonly code: string;
}
