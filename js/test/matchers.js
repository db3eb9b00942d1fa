// `kittiwake:test/matchers`: what can be expected of a value.
//
// Invariant: a matcher answers `pass`, and a `message` for when it should pass and does not. With
// `expected` and `actual`, texts of several lines, the host shows how they differ.

import { containsObject, equals, partOf, Pattern } from "kittiwake:test/equality";
import { brief, show } from "kittiwake:test/failure";
import { call } from "kittiwake:test/host";
import { isSpy } from "kittiwake:test/spies";

/** Both values, to be compared. */
function differ(pass, actual, expected, message = "they differ") {
  return { pass, message, actual: show(actual), expected: show(expected) };
}

function said(pass, message) {
  return { pass, message };
}

/** A matcher of one value. */
function is(text, holds) {
  return (actual) => said(holds(actual), `it is ${brief(actual)}, which is not ${text}`);
}

function compares(text, holds) {
  return (actual, expected) =>
    said(holds(actual, expected), `${brief(actual)} is not ${text} ${brief(expected)}`);
}

const values = {
  toBe: (actual, expected) => {
    const pass = Object.is(actual, expected);
    const hint = !pass && equals(actual, expected)
      ? "they are equal, but not the same object; use toEqual"
      : undefined;
    return differ(pass, actual, expected, hint);
  },
  toEqual: (actual, expected) => differ(equals(actual, expected), actual, expected),
  toStrictEqual: (actual, expected) => {
    const pass = equals(actual, expected, { strict: true });
    const hint = !pass && equals(actual, expected)
      ? "they are equal but for classes or properties that are undefined; see toEqual"
      : undefined;
    return differ(pass, actual, expected, hint);
  },
  toMatchObject: (actual, expected) =>
    differ(containsObject(actual, expected), partOf(actual, expected), expected),
  toBeTruthy: is("truthy", (value) => Boolean(value)),
  toBeFalsy: is("falsy", (value) => !value),
  toBeNull: is("null", (value) => value === null),
  toBeUndefined: is("undefined", (value) => value === undefined),
  toBeDefined: is("defined", (value) => value !== undefined),
  toBeNaN: is("NaN", (value) => Number.isNaN(value)),
  toBeGreaterThan: compares("greater than", (one, other) => one > other),
  toBeGreaterThanOrEqual: compares("at least", (one, other) => one >= other),
  toBeLessThan: compares("less than", (one, other) => one < other),
  toBeLessThanOrEqual: compares("at most", (one, other) => one <= other),
  toBeCloseTo: (actual, expected, digits = 2) =>
    said(
      Math.abs(actual - expected) < 10 ** -digits / 2 || actual === expected,
      `${actual} differs from ${expected} by ${Math.abs(actual - expected)}`,
    ),
  toBeInstanceOf: (actual, type) =>
    said(
      actual instanceof type,
      `it is ${brief(actual)} of ${Object(actual).constructor?.name}, and not of ${type.name}`,
    ),
};

const parts = {
  toContain: (actual, member) =>
    said(
      typeof actual === "string" ? actual.includes(member) : [...actual].includes(member),
      `${brief(member)} is not in\n${show(actual)}`,
    ),
  toContainEqual: (actual, member) =>
    said(
      [...actual].some((other) => equals(other, member)),
      `nothing equal to ${brief(member)} is in\n${show(actual)}`,
    ),
  toMatch: (actual, pattern) =>
    said(
      typeof pattern === "string" ? String(actual).includes(pattern) : pattern.test(actual),
      `${brief(pattern)} does not match\n${show(actual)}`,
    ),
  toHaveLength: (actual, length) =>
    said(
      actual?.length === length,
      `its length is ${actual?.length}, and not ${length}:\n${show(actual)}`,
    ),
  toHaveProperty: (actual, path, ...expected) => {
    const keys = Array.isArray(path) ? path : String(path).split(/[.[\]]+/).filter(Boolean);
    let value = actual;
    for (const key of keys) {
      if (value === null || value === undefined || !(key in Object(value))) {
        return said(false, `there is no ${brief(key)} in\n${show(value)}`);
      }
      value = value[key];
    }
    if (expected.length === 0) return said(true, "");
    return differ(equals(value, expected[0]), value, expected[0]);
  },
};

/** Whether what was thrown is what was meant: a text within it, a pattern, a class, or an equal. */
function isMeant(error, meant) {
  const message = String(error?.message ?? error);
  if (meant === undefined) return true;
  if (meant instanceof Pattern) return meant.matches(error);
  if (typeof meant === "string") return message.includes(meant);
  if (meant instanceof RegExp) return meant.test(message);
  if (typeof meant === "function") return error instanceof meant;
  return message === String(meant.message ?? meant);
}

const thrown = {
  toThrow: (actual, meant) => {
    // After `rejects` the value is what was thrown.
    if (typeof actual !== "function") {
      return said(isMeant(actual, meant), `it was rejected with ${brief(actual)}`);
    }
    try {
      actual();
    } catch (error) {
      return said(isMeant(error, meant), `it threw ${brief(error)}`);
    }
    return said(false, "it did not throw");
  },
};
thrown.toThrowError = thrown.toThrow;

function callsOf(spy) {
  if (!isSpy(spy)) throw new TypeError(`${brief(spy)} is no spy; make one with fn()`);
  return spy.mock.calls;
}

const spies = {
  toHaveBeenCalled: (spy) => said(callsOf(spy).length > 0, "it was not called"),
  toHaveBeenCalledTimes: (spy, count) =>
    said(callsOf(spy).length === count, `it was called ${callsOf(spy).length} times`),
  toHaveBeenCalledWith: (spy, ...args) =>
    said(
      callsOf(spy).some((each) => equals(each, args)),
      `it was called with\n${show(callsOf(spy))}`,
    ),
  toHaveBeenLastCalledWith: (spy, ...args) =>
    differ(equals(callsOf(spy).at(-1), args), callsOf(spy).at(-1), args),
  toHaveBeenNthCalledWith: (spy, number, ...args) =>
    differ(equals(callsOf(spy)[number - 1], args), callsOf(spy)[number - 1], args),
  toHaveReturnedWith: (spy, value) => {
    callsOf(spy);
    const returned = spy.mock.results.filter(({ type }) => type === "return");
    return said(
      returned.some((result) => equals(result.value, value)),
      `it returned\n${show(returned.map((result) => result.value))}`,
    );
  },
};

const snapshots = {
  /** Compares with what an earlier run wrote; `--update` accepts what there is now. */
  toMatchSnapshot: (actual, hint = "") => {
    const lines = Array.isArray(actual) && actual.every((line) => typeof line === "string");
    const text = lines ? actual.join("\n") : typeof actual === "string" ? actual : show(actual);
    const { pass, expected, problem } = call("snapshot", { hint, text });
    if (problem !== undefined) return said(false, problem);
    const message = "it is not the snapshot; if it is right, accept it with --update";
    return { pass, message, actual: text, expected };
  },
};

export const matchers = {
  __proto__: null,
  ...values,
  ...parts,
  ...thrown,
  ...spies,
  ...snapshots,
};
