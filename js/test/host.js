// `kittiwake:test/host`: questions to the host of the test's world, and its answers.
//
// Invariant: what lets time pass is asked, and answered when the world is quiet again; what does
// not is called, and answered at once.

import { ask as send, call as callHost, onMessage } from "kittiwake:test/door";

const waiting = new Map();
let lastId = 0;
let obey = () => {};

/** Asks for what takes time, or enters other realms. */
export function ask(verb, options) {
  const id = ++lastId;
  // Made now, so that its stack names the line of the test.
  const failure = new Error();
  return new Promise((resolve, reject) => {
    waiting.set(id, { failure, resolve, reject });
    send(id, JSON.stringify({ verb, ...options }));
  });
}

/** Asks for what the host knows at once. */
export function call(verb, options) {
  const answer = JSON.parse(callHost(JSON.stringify({ verb, ...options })));
  if ("error" in answer) throw new Error(answer.error);
  return answer.value;
}

/** Says who hears the host's orders. */
export function onOrder(listener) {
  obey = listener;
}

onMessage((id, text) => {
  const message = JSON.parse(text);
  if (id === 0) return obey(message);
  const { failure, resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (!("error" in message)) return resolve(message.value);
  reject(withMessage(failure, message.error));
});

/** An error that was made where its cause is, and learns later what is wrong. */
export function withMessage(failure, message) {
  // Its stack has the message in its first line, which was empty when it was made.
  const stack = failure.stack.replace(/^Error\n?/, `Error: ${message}\n`);
  failure.message = message;
  Object.defineProperty(failure, "stack", { value: stack, configurable: true, writable: true });
  return failure;
}
