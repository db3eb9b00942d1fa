// `kittiwake:test/failure`: what a matcher throws, and how any thrown value is told to the host.

import { inspect } from "kittiwake:test/door";

/** An expectation that does not hold. */
export class AssertionError extends Error {
  constructor(message, details = {}) {
    super(message);
    this.name = "AssertionError";
    Object.assign(this, details);
  }
}

// The host shows the difference itself.
for (const name of ["expected", "actual"]) {
  Object.defineProperty(AssertionError.prototype, name, { value: undefined, writable: true });
}

/** A value on several lines, so that two of them can be compared line by line. */
export function show(value) {
  return inspect(value, {
    breakLength: 80,
    compact: false,
    depth: 20,
    iterableLimit: 1000,
    sorted: true,
    strAbbreviateSize: 100_000,
    trailingComma: true,
  });
}

/** A value in a sentence. */
export function brief(value) {
  const text = inspect(value, { breakLength: Infinity, compact: true, depth: 2 });
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}

/** What the host reports. */
export function describeError(error) {
  if (error instanceof AssertionError) {
    const { message, stack, expected, actual } = error;
    return { message, stack, expected, actual };
  }
  if (error instanceof Error || error instanceof DOMException) {
    const causes = [];
    for (let cause = error.cause; cause !== undefined && causes.length < 8; cause = cause?.cause) {
      causes.push(cause instanceof Error ? `${cause}` : inspect(cause));
    }
    const because = causes.map((cause) => `\ncaused by ${cause}`).join("");
    return { message: `${error}${because}`, stack: error.stack };
  }
  return { message: `thrown: ${inspect(error)}` };
}
