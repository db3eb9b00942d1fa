// The way from a test page to the host of its world, and back. Part of the snapshot; the rest of
// this folder is the module `kittiwake:test`, which a test page compiles for itself.
//
// Invariant: no global has the door once `kittiwake:test/door` was evaluated, and that happens
// before any script of a user.

import { core } from "ext:core/mod.js";

const { inspect } = core.loadExtScript("ext:deno_web/01_console.js");
const { op_test_ask, op_test_call } = core.ops;

let receive;

/** What `kittiwake:test/door` takes. */
export const testDoor = {
  __proto__: null,
  /** Asks for what takes time: `receive` gets the answer. */
  ask: (id, question) => op_test_ask(id, question),
  /** Asks for what is answered at once. */
  call: (question) => op_test_call(question),
  inspect,
  /** Says who hears the host. */
  onMessage: (listener) => receive = listener,
};

/** A message of the host: an answer, or with the id 0 an order. */
export function testMessage(id, text) {
  receive(id, text);
}
