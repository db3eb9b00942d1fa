// Web Locks: https://w3c.github.io/web-locks/
//
// Invariant: the host grants a lock and takes it back, for all realms of an origin alike; a realm
// that dies holds none.

import { core, primordials } from "ext:core/mod.js";
import {
  assertThis,
  dictionary,
  enumMember,
  hostKey,
  requireArguments,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const abortSignal = core.loadExtScript("ext:deno_web/03_abort_signal.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const {
  op_lock_abort,
  op_lock_broken,
  op_lock_granted,
  op_lock_query,
  op_lock_release,
  op_lock_request,
} = core.ops;
const {
  ArrayPrototypeMap,
  ArrayPrototypePush,
  ObjectPrototypeIsPrototypeOf,
  Promise,
  PromisePrototypeThen,
  ReflectApply,
  StringFromCharCode,
  StringPrototypeCharCodeAt,
  StringPrototypeStartsWith,
  TypeError,
} = primordials;

// https://w3c.github.io/web-locks/#api-lock
export class Lock {
  #name;
  #mode;

  constructor(key = undefined, name = undefined, mode = undefined) {
    requireHostKey(key, "Lock");
    this[webidl.brand] = webidl.brand;
    this.#name = name;
    this.#mode = mode;
  }

  get name() {
    return this.#name;
  }

  get mode() {
    return this.#mode;
  }
}
webidl.configureInterface(Lock);

// https://w3c.github.io/web-locks/#api-lock-manager
export class LockManager {
  constructor(key = undefined) {
    requireHostKey(key, "LockManager");
    this[webidl.brand] = webidl.brand;
  }

  // https://w3c.github.io/web-locks/#api-lock-manager-request
  async request(name, callback) {
    const prefix = "Failed to execute 'request' on 'LockManager'";
    assertThis(this, LockManager, prefix);
    requireArguments(arguments.length, 2, prefix);
    const lockName = string(name, prefix);
    const hasOptions = arguments.length > 2;
    const options = convertOptions(hasOptions ? callback : undefined, prefix);
    const run = hasOptions ? arguments[2] : callback;
    if (typeof run !== "function") {
      throw new TypeError(`${prefix}: parameter ${hasOptions ? 3 : 2} is not of type 'Function'.`);
    }
    refuseCombinations(lockName, options, prefix);
    if (options.signal?.aborted) throw options.signal.reason;

    const id = op_lock_request({ ...options, signal: undefined, name: codeUnits(lockName) });
    if (!await granted(id, options.signal)) return ReflectApply(run, undefined, [null]);
    return await hold(id, run, new Lock(hostKey, lockName, options.mode));
  }

  // https://w3c.github.io/web-locks/#api-lock-manager-query
  async query() {
    assertThis(this, LockManager, "Failed to execute 'query' on 'LockManager'");
    const { held, pending } = op_lock_query();
    return { held: ArrayPrototypeMap(held, info), pending: ArrayPrototypeMap(pending, info) };
  }
}
webidl.configureInterface(LockManager);

// https://w3c.github.io/web-locks/#dictdef-lockoptions
function convertOptions(value, prefix) {
  const name = "LockOptions";
  const options = dictionary(value, name, prefix);
  const ifAvailable = Boolean(options.ifAvailable);
  const modes = ["shared", "exclusive"];
  const mode = enumMember(options.mode, "exclusive", modes, "mode", name, "LockMode", prefix);
  const { signal } = options;
  if (
    signal !== undefined && !ObjectPrototypeIsPrototypeOf(abortSignal.AbortSignalPrototype, signal)
  ) {
    const reading = `${prefix}: Failed to read the 'signal' property from '${name}'`;
    throw new TypeError(`${reading}: Failed to convert value to 'AbortSignal'.`);
  }
  return { ifAvailable, mode, signal, steal: Boolean(options.steal) };
}

function refuseCombinations(name, { ifAvailable, mode, signal, steal }, prefix) {
  const together = (one, other) => `The '${one}' and '${other}' options cannot be used together.`;
  let refusal;
  if (StringPrototypeStartsWith(name, "-")) refusal = "Names cannot start with '-'.";
  else if (steal && ifAvailable) refusal = together("steal", "ifAvailable");
  else if (steal && mode !== "exclusive") {
    refusal = "The 'steal' option may only be used with 'exclusive' locks.";
  } else if (signal && steal) refusal = together("signal", "steal");
  else if (signal && ifAvailable) refusal = together("signal", "ifAvailable");
  if (refusal !== undefined) throw new DOMException(`${prefix}: ${refusal}`, "NotSupportedError");
}

/** Waits for the host's answer; a signal that aborts takes the request back. */
async function granted(id, signal) {
  // Waiting is no work: whoever holds the lock has it.
  const answer = op_lock_granted(id);
  core.unrefOpPromise(answer);
  if (signal === undefined) return await answer;
  return await new Promise((resolve, reject) => {
    const abort = () => {
      if (op_lock_abort(id)) reject(signal.reason);
    };
    signal[abortSignal.add](abort);
    // In this order: a lock that was granted and taken back in one turn is not granted.
    PromisePrototypeThen(answer, (isGranted) => {
      signal[abortSignal.remove](abort);
      resolve(isGranted);
    }, reject);
  });
}

/** Runs `run` with the lock, which is held until the promise of `run` has settled. */
function hold(id, run, lock) {
  const broken = op_lock_broken(id);
  core.unrefOpPromise(broken);
  return new Promise((resolve, reject) => {
    const refuse = () => {
      const text = "Lock broken by another request with the 'steal' option.";
      reject(new DOMException(text, "AbortError"));
    };
    PromisePrototypeThen(broken, (isBroken) => {
      if (isBroken) refuse();
    });
    const settle = (how) => (value) => op_lock_release(id) ? how(value) : refuse();
    PromisePrototypeThen(called(run, lock), settle(resolve), settle(reject));
  });
}

// A callback that throws answers a rejected promise: https://webidl.spec.whatwg.org/#js-invoking-callback-functions
async function called(run, lock) {
  return await ReflectApply(run, undefined, [lock]);
}

// A DOMString may have lone surrogates, which UTF-8 has not: names cross as code units.
function codeUnits(text) {
  const units = [];
  for (let i = 0; i < text.length; i++) {
    ArrayPrototypePush(units, StringPrototypeCharCodeAt(text, i));
  }
  return units;
}

function info({ name, mode, clientId }) {
  let text = "";
  for (let i = 0; i < name.length; i++) text += StringFromCharCode(name[i]);
  return { name: text, mode, clientId };
}

/** The realm's `navigator.locks`. */
export function createLockManager() {
  return new LockManager(hostKey);
}
