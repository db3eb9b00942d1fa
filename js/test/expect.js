// `kittiwake:test/expect`: `expect(value)` with its modifiers, and the patterns beside it.
//
// Invariant: a matcher is a function of the value that says whether it holds and why not; `not`,
// `resolves` and `rejects` are the same for all of them.

import { containsObject, equals, Pattern } from "kittiwake:test/equality";
import { AssertionError, brief } from "kittiwake:test/failure";
import { matchers } from "kittiwake:test/matchers";

let asserted = 0;
let wanted;

/** Says what is expected of a value: `expect(value).toBe(3)`. `note` is shown if it fails. */
export function expect(value, note) {
  return {
    ...all((check) => check(value), { not: false, note, path: "expect(actual)" }),
    not: all((check) => check(value), { not: true, note, path: "expect(actual).not" }),
    resolves: waiting(value, note, "resolves", fulfilled),
    rejects: waiting(value, note, "rejects", rejected),
  };
}

/** Every matcher, given its value by `withValue`. */
function all(withValue, { not, note, path }) {
  const bound = {};
  for (const name in matchers) {
    bound[name] = (...args) =>
      withValue((value) => {
        asserted += 1;
        const found = matchers[name](value, ...args);
        if (found.pass !== not) return;
        const reason = not ? found.unexpected ?? `it does: ${brief(value)}` : found.message;
        const text = `${path}.${name}(${args.map(brief).join(", ")})\n${reason}`;
        const details = not ? {} : { expected: found.expected, actual: found.actual };
        const failure = new AssertionError(note ? `${note}\n${text}` : text, details);
        Error.captureStackTrace?.(failure, bound[name]);
        throw failure;
      });
  }
  return bound;
}

/** The same for what a promise becomes. */
function waiting(promise, note, word, become) {
  const asked = new Error();
  const later = async (check) => {
    const value = await become(promise);
    try {
      check(value);
    } catch (failure) {
      // The stack after an `await` does not name the line of the test.
      if (failure instanceof AssertionError) setStack(failure, asked);
      throw failure;
    }
  };
  return {
    ...all(later, { not: false, note, path: `expect(promise).${word}` }),
    not: all(later, { not: true, note, path: `expect(promise).${word}.not` }),
  };
}

function setStack(failure, asked) {
  const frames = asked.stack.replace(/^Error\n?/, "");
  const value = `${failure.name}: ${failure.message}\n${frames}`;
  Object.defineProperty(failure, "stack", { value, configurable: true, writable: true });
}

async function fulfilled(promise) {
  try {
    return await promise;
  } catch (error) {
    const text = `the promise was rejected with ${brief(error)}; it should resolve`;
    throw new AssertionError(`expect(promise).resolves\n${text}`);
  }
}

async function rejected(promise) {
  let value;
  try {
    value = await (typeof promise === "function" ? promise() : promise);
  } catch (error) {
    return error;
  }
  const text = `the promise resolved with ${brief(value)}; it should be rejected`;
  throw new AssertionError(`expect(promise).rejects\n${text}`);
}

/** So many expectations must be looked at in this test. */
expect.assertions = (count) => wanted = { count };

/** One expectation at least must be looked at in this test. */
expect.hasAssertions = () => wanted = { count: undefined };

/** What `expect.assertions` has to complain of. */
export function takeAssertionError() {
  if (wanted === undefined) return undefined;
  const { count } = wanted;
  if (count === undefined && asserted > 0 || count === asserted) return undefined;
  const text = count === undefined ? "one at least" : `${count}`;
  return new AssertionError(`expectations looked at: ${asserted}; expected: ${text}`);
}

// --- patterns ---

const PRIMITIVES = new Map([
  [String, "string"], [Number, "number"], [Boolean, "boolean"], [BigInt, "bigint"],
  [Symbol, "symbol"], [Function, "function"],
]);

/** All but null and undefined. */
expect.anything = () =>
  new Pattern("anything", (value) => value !== null && value !== undefined);

/** What was made by this constructor: `expect.any(Number)`. */
expect.any = (type) => {
  const primitive = PRIMITIVES.get(type);
  return new Pattern(`any ${type.name}`, (value) =>
    primitive === undefined ? value instanceof type : typeof value === primitive);
};

/** An object that has all of these. */
expect.objectContaining = (part) =>
  new Pattern(`object containing ${brief(part)}`, (value) =>
    typeof value === "object" && value !== null && containsObject(value, part));

/** An array that has each of these somewhere. */
expect.arrayContaining = (members) =>
  new Pattern(`array containing ${brief(members)}`, (value) =>
    Array.isArray(value) &&
    members.every((member) => value.some((other) => equals(other, member))));

expect.stringContaining = (part) =>
  new Pattern(`string containing ${brief(part)}`, (value) =>
    typeof value === "string" && value.includes(part));

expect.stringMatching = (pattern) =>
  new Pattern(`string matching ${pattern}`, (value) =>
    typeof value === "string" && new RegExp(pattern).test(value));

expect.closeTo = (number, digits = 2) =>
  new Pattern(`close to ${number}`, (value) =>
    typeof value === "number" && Math.abs(value - number) < 10 ** -digits / 2);
