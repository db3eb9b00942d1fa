// `kittiwake:test`: tests, groups of them, hooks, and `expect`.
//
// Invariant: a module is evaluated to learn which tests it has; one of them runs in each world.

import { expect, takeAssertionError } from "kittiwake:test/expect";
import { describeError } from "kittiwake:test/failure";
import { call, onOrder } from "kittiwake:test/host";
import { fn, spyOn } from "kittiwake:test/spies";
import { createWorld } from "kittiwake:test/world";
import { inspect } from "kittiwake:test/door";

export { expect, fn, spyOn };

const tests = [];
let group = createGroup(null, undefined, "run");

function createGroup(name, parent, mode) {
  return { name, parent, mode, before: [], after: [] };
}

/** From the outermost to `group`. */
function groupsAround(group) {
  const groups = [];
  for (let each = group; each !== undefined; each = each.parent) groups.unshift(each);
  return groups;
}

/** Where a test stands: the first line of a stack that is of a file. */
function placeOfCaller() {
  const frame = /(file:\/\/[^\s)]+?):(\d+):(\d+)/.exec(new Error().stack);
  return frame === null ? {} : { file: frame[1], line: Number(frame[2]), column: Number(frame[3]) };
}

function declare(mode, name, options, body) {
  if (typeof options === "function") [options, body] = [body ?? {}, options];
  if (typeof options === "number") options = { timeout: options };
  if (typeof name !== "string") throw new TypeError(`a test's name is a string, not ${name}`);
  if (typeof body !== "function" && mode !== "todo") {
    throw new TypeError(`test("${name}") has no function; write test.todo("${name}")`);
  }
  const timeout = options?.timeout;
  tests.push({ name, mode, body, group, timeout, place: placeOfCaller() });
}

function describeAs(mode, name, body) {
  const outer = group;
  group = createGroup(String(name), outer, mode);
  try {
    if (body() instanceof Promise) {
      throw new TypeError(`describe("${name}") cannot wait; its function must not be async`);
    }
  } finally {
    group = outer;
  }
}

/** One test for each row: `test.each([[1, 2], [3, 4]])("%i and %i", (one, two, world) => ...)`. */
function each(table, add) {
  return (name, body, options) => {
    for (const row of table) {
      const values = Array.isArray(row) ? row : [row];
      add(title(name, row, values), (...rest) => body(...values, ...rest), options);
    }
  };
}

function title(name, row, values) {
  let next = 0;
  return name
    .replace(/%([sdifjop%])/g, (whole, kind) => {
      if (kind === "%") return "%";
      if (next >= values.length) return whole;
      const value = values[next++];
      if (kind === "j") return JSON.stringify(value);
      return kind === "s" || typeof value === "string" ? String(value) : inspect(value);
    })
    .replace(/\$(\w+)/g, (whole, key) => {
      const value = Object(row)[key];
      if (value === undefined) return whole;
      return typeof value === "string" ? value : inspect(value);
    });
}

/** Declares a test: a name, and a function that is given the world. */
export function test(name, body, options) {
  declare("run", name, options, body);
}
test.only = (name, body, options) => declare("only", name, options, body);
test.skip = (name, body, options) => declare("skip", name, options, body ?? (() => {}));
test.todo = (name) => declare("todo", name);
test.each = (table) => each(table, test);
test.only.each = (table) => each(table, test.only);
test.skip.each = (table) => each(table, test.skip);

/** The same, for those who are used to it. */
export const it = test;

/** Groups tests; hooks within are of the group. */
export function describe(name, body) {
  describeAs("run", name, body);
}
describe.only = (name, body) => describeAs("only", name, body);
describe.skip = (name, body) => describeAs("skip", name, body);
describe.each = (table) => each(table, describe);

/** Runs before each test of the group, in the test's own world, and is given it. */
export function beforeEach(hook) {
  group.before.push(hook);
}

/** Runs after each test of the group, also if it failed. */
export function afterEach(hook) {
  group.after.push(hook);
}

/** skip and todo hold for all within a group; only makes one of every test within. */
function modeOf(test) {
  const modes = [...groupsAround(test.group).map(({ mode }) => mode), test.mode];
  if (test.mode === "todo") return "todo";
  if (modes.includes("skip")) return "skip";
  return modes.includes("only") ? "only" : "run";
}

function list() {
  const described = tests.map((test) => ({
    path: [...groupsAround(test.group).map(({ name }) => name).filter(Boolean), test.name],
    mode: modeOf(test),
    timeout_ms: test.timeout ?? null,
    ...test.place,
  }));
  call("declared", { tests: described });
}

async function run(number) {
  const { body, group } = tests[number];
  const groups = groupsAround(group);
  const world = createWorld();
  const failures = [];
  const attempt = async (step) => {
    try {
      await step(world);
    } catch (error) {
      failures.push(describeError(error));
    }
  };
  for (const hook of groups.flatMap(({ before }) => before)) {
    if (failures.length === 0) await attempt(hook);
  }
  if (failures.length === 0) await attempt(body.length === 0 ? () => body() : body);
  for (const hook of groups.toReversed().flatMap(({ after }) => after)) await attempt(hook);
  const miscounted = takeAssertionError();
  if (failures.length === 0 && miscounted !== undefined) failures.push(describeError(miscounted));
  call("ended", { failures });
}

onOrder((order) => {
  if (order.order === "list") list();
  else run(order.number);
});
