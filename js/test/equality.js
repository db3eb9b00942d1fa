// `kittiwake:test/equality`: when two values are equal, and the patterns that stand for a value.
//
// Invariant: comparing has no effect on what is compared, and ends for values that hold themselves.

/** Stands in an expected value for all values that it matches. */
export class Pattern {
  constructor(text, matches) {
    this.text = text;
    this.matches = matches;
  }

  [Symbol.for("Deno.customInspect")]() {
    return this.text;
  }
}

const LOOSE = { strict: false };

/** As `toEqual`: what is `undefined` counts as absent. With `strict`, classes must agree too. */
export function equals(actual, expected, { strict = false } = {}) {
  return compare(actual, expected, { strict, seen: [] });
}

function compare(actual, expected, options) {
  if (expected instanceof Pattern) return expected.matches(actual);
  if (Object.is(actual, expected)) return true;
  if (!isObject(actual) || !isObject(expected)) return false;
  const seen = options.seen.find(([one, other]) => one === actual && other === expected);
  if (seen !== undefined) return true;
  if (kindOf(actual) !== kindOf(expected)) return false;
  if (options.strict && Object.getPrototypeOf(actual) !== Object.getPrototypeOf(expected)) {
    return false;
  }
  options.seen.push([actual, expected]);
  const alike = compareKind(actual, expected, options);
  options.seen.pop();
  return alike;
}

function isObject(value) {
  return typeof value === "object" && value !== null;
}

function kindOf(value) {
  return Object.prototype.toString.call(value);
}

function compareKind(actual, expected, options) {
  if (actual instanceof Date) return Object.is(actual.getTime(), expected.getTime());
  if (actual instanceof RegExp) return String(actual) === String(expected);
  if (actual instanceof URL) return actual.href === expected.href;
  if (actual instanceof Error) {
    return actual.name === expected.name && actual.message === expected.message;
  }
  if (actual instanceof ArrayBuffer || ArrayBuffer.isView(actual)) {
    return sameBytes(actual, expected);
  }
  if (actual instanceof Headers || actual instanceof URLSearchParams) {
    return compare([...actual], [...expected], options);
  }
  if (actual instanceof Map) return sameEntries(actual, expected, options);
  if (actual instanceof Set) return sameMembers([...actual], [...expected], options);
  if (actual instanceof Number || actual instanceof String || actual instanceof Boolean) {
    return Object.is(actual.valueOf(), expected.valueOf());
  }
  if (Array.isArray(actual) && actual.length !== expected.length) return false;
  return sameProperties(actual, expected, options);
}

function sameBytes(actual, expected) {
  const [one, other] = [actual, expected].map((value) =>
    ArrayBuffer.isView(value)
      ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
      : new Uint8Array(value)
  );
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}

function sameEntries(actual, expected, options) {
  if (actual.size !== expected.size) return false;
  const entries = [...actual];
  return [...expected].every(([key, value]) => {
    if (actual.has(key)) return compare(actual.get(key), value, options);
    return entries.some((entry) => compare(entry, [key, value], options));
  });
}

/** Each of one side has a partner of its own on the other. */
function sameMembers(actual, expected, options) {
  const left = [...actual];
  return actual.length === expected.length && expected.every((member) => {
    const found = left.findIndex((other) => compare(other, member, options));
    if (found >= 0) left.splice(found, 1);
    return found >= 0;
  });
}

function sameProperties(actual, expected, options) {
  const keys = (value) =>
    Reflect.ownKeys(value).filter((key) => {
      const { enumerable } = Object.getOwnPropertyDescriptor(value, key);
      return enumerable && (options.strict || value[key] !== undefined);
    });
  const [own, wanted] = [keys(actual), keys(expected)];
  return own.length === wanted.length && wanted.every((key) =>
    Object.hasOwn(actual, key) && compare(actual[key], expected[key], options)
  );
}

/** As `toMatchObject`: `actual` has all that `expected` has. */
export function containsObject(actual, expected) {
  if (expected instanceof Pattern) return expected.matches(actual);
  if (Array.isArray(expected)) {
    return Array.isArray(actual) && actual.length === expected.length &&
      expected.every((member, index) => containsObject(actual[index], member));
  }
  if (!isObject(expected) || kindOf(expected) !== "[object Object]") {
    return equals(actual, expected, LOOSE);
  }
  return isObject(actual) && Reflect.ownKeys(expected).every((key) =>
    key in actual && containsObject(actual[key], expected[key])
  );
}

/** The part of `actual` that `expected` speaks of, so that a difference shows nothing else. */
export function partOf(actual, expected) {
  if (expected instanceof Pattern) return expected.matches(actual) ? expected : actual;
  if (Array.isArray(actual) && Array.isArray(expected)) {
    return actual.map((member, index) =>
      index < expected.length ? partOf(member, expected[index]) : member
    );
  }
  if (!isObject(actual) || !isObject(expected) || kindOf(expected) !== "[object Object]") {
    return actual;
  }
  const keys = Reflect.ownKeys(expected).filter((key) => key in actual);
  return Object.fromEntries(keys.map((key) => [key, partOf(actual[key], expected[key])]));
}
