// `kittiwake:test`: tests, groups of them, hooks, and `expect`.
//
// Invariant: a module is evaluated to learn which tests it has; one of them runs in each world.

import { expect, takeAssertionError } from "kittiwake:test/expect";
import { describeError } from "kittiwake:test/failure";
import { call, onOrder } from "kittiwake:test/host";
import { ownScope } from "kittiwake:test/scope";
import { fn, spyOn } from "kittiwake:test/spies";
import { createWorld } from "kittiwake:test/world";
import { inspect, wanted } from "kittiwake:test/door";

export { expect, fn, spyOn };

/** By their number; where the world was made for one of them, it is the only one. */
const tests = new Map();
let declared = 0;
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

/** Where a test stands: the first line of its caller's stack that is of a file. */
function placeOf({ stack }) {
  const frame = /(file:\/\/[^\s)]+?):(\d+):(\d+)/.exec(stack);
  return frame === null ? {} : { file: frame[1], line: Number(frame[2]), column: Number(frame[3]) };
}

function declare(mode, name, options, body) {
  const number = declared++;
  // Whoever found the wanted test has looked at the others.
  if (wanted !== null && number !== wanted) return;
  if (typeof options === "function") [options, body] = [body ?? {}, options];
  if (typeof options === "number") options = { timeout: options };
  if (typeof name !== "string") throw new TypeError(`a test's name is a string, not ${name}`);
  if (typeof body !== "function" && mode !== "todo") {
    throw new TypeError(`test("${name}") has no function; write test.todo("${name}")`);
  }
  const { timeout, during, failing = false } = options ?? {};
  ownScope.check(name, during);
  tests.set(number, { name, mode, body, group, timeout, during, failing, caller: new Error() });
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
      // The world is for those who ask for it: a parameter with a default value does not.
      const run = body?.length > values.length
        ? (world) => body(...values, world)
        : () => body(...values);
      add(title(name, row, values), run, options);
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
/** One that is known to fail, which is told when it does so no more. */
test.failing = (name, body, options) => {
  if (typeof body === "object") [body, options] = [options, body];
  const limit = typeof options === "number" ? { timeout: options } : options;
  declare("run", name, { ...limit, failing: true }, body);
};
test.each = (table) => each(table, test);
test.only.each = (table) => each(table, test.only);
test.skip.each = (table) => each(table, test.skip);
test.failing.each = (table) => each(table, test.failing);

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

function pathOf({ group, name }) {
  return [...groupsAround(group).map(({ name }) => name).filter(Boolean), name];
}

/** skip and todo hold for all within a group; only makes one of every test within. */
function modeOf(test) {
  const modes = [...groupsAround(test.group).map(({ mode }) => mode), test.mode];
  if (test.mode === "todo") return "todo";
  if (modes.includes("skip")) return "skip";
  return modes.includes("only") ? "only" : "run";
}

function list() {
  const described = Array.from(tests, ([number, test]) => ({
    number,
    path: pathOf(test),
    mode: modeOf(test),
    timeout_ms: test.timeout ?? null,
    ...placeOf(test.caller),
  }));
  call("declared", { tests: described });
}

async function run({ number, name }) {
  const test = tests.get(number);
  if (test === undefined || pathOf(test).join(" > ") !== name) {
    const message = "its file was changed while the tests ran, and does not have it there any more";
    return call("ended", { failures: [{ message }] });
  }
  const { body, group } = test;
  const groups = groupsAround(group);
  const world = createWorld(await ownScope.enter(test.during));
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
  call("ended", { failures: test.failing ? unlessItFails(failures) : failures });
}

function unlessItFails(failures) {
  if (failures.length > 0) return [];
  return [{ message: "it does not fail any more: write test() instead of test.failing()" }];
}

onOrder((order) => {
  if (order.order === "list") list();
  else run(order);
});
