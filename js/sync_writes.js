// The promises of register() and unregister() of both types of background sync, while the host
// writes what was asked for. One call of the host settles those of a whole commit.
//
// Invariant: a promise settles once, when the host has the change on disk or could not make it.

import { primordials } from "ext:core/mod.js";

const { Promise, SafeMap } = primordials;

// The host's number of each write -> the functions of its promise.
const waiting = new SafeMap();

/** Resolves when the write of this number is on disk. */
export function onDisk(number) {
  return new Promise((resolve, reject) => waiting.set(number, { resolve, reject }));
}

/** The host has these on disk. */
export function resolveSyncs(...numbers) {
  for (let i = 0; i < numbers.length; i++) take(numbers[i]).resolve();
}

/** The host could not make this one. */
export function rejectSync(number, error) {
  take(number).reject(error);
}

function take(number) {
  const promise = waiting.get(number);
  waiting.delete(number);
  return promise;
}
