// Prioritized Task Scheduling: https://wicg.github.io/scheduling-apis/
//
// Invariant: one task is one turn of the event loop; of the tasks that may run it is the oldest of
// the highest priority, as the priorities are at that moment.

import { core, primordials } from "ext:core/mod.js";
import { defineHandler, dispatchTrusted } from "ext:kittiwake/events.js";
import {
  assertThis,
  dictionary,
  enumMember,
  enumValue,
  hostKey,
  isObject,
  requireArguments,
  requiredDictionary,
  requiredMember,
  requireHostKey,
  string,
  unsignedLongLong,
  webidl,
} from "ext:kittiwake/webidl.js";

const { Event } = core.loadExtScript("ext:deno_web/02_event.js");
const abortSignal = core.loadExtScript("ext:deno_web/03_abort_signal.js");
const { setTimeout, clearTimeout } = core.loadExtScript("ext:deno_web/02_timers.js");
const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { AbortController, AbortSignal, AbortSignalPrototype } = abortSignal;
const { op_void_async_deferred } = core.ops;
const {
  ArrayPrototypeIndexOf,
  ObjectPrototypeIsPrototypeOf,
  ObjectSetPrototypeOf,
  Promise,
  PromisePrototypeThen,
  ReflectApply,
  SafeMap,
  SafeSet,
  SafeWeakMap,
  TypeError,
} = primordials;

const priorities = ["user-blocking", "user-visible", "background"];

// What the task that is running was posted with; yield() inherits it, also after an await.
// https://wicg.github.io/scheduling-apis/#scheduling-state
const schedulingState = new core.AsyncVariable();

// --- signals ---

// TaskSignal -> { priority, isChanging, dependents }
const taskSignals = new SafeWeakMap();

function makeTaskSignal(signal, priority) {
  taskSignals.set(signal, { priority, isChanging: false, dependents: new SafeSet() });
  return ObjectSetPrototypeOf(signal, TaskSignal.prototype);
}

function taskSignalRecord(signal) {
  const record = isObject(signal) ? taskSignals.get(signal) : undefined;
  if (record === undefined) throw new TypeError("Illegal invocation");
  return record;
}

// https://wicg.github.io/scheduling-apis/#sec-task-signal
export class TaskSignal extends AbortSignal {
  constructor() {
    requireHostKey(undefined, "TaskSignal");
    super();
  }

  // https://wicg.github.io/scheduling-apis/#dom-tasksignal-any
  static any(signals, init = undefined) {
    const prefix = "Failed to execute 'any' on 'TaskSignal'";
    requireArguments(arguments.length, 1, prefix);
    const { priority } = dictionary(init, "TaskSignalAnyInit", prefix);
    const source = taskSignals.get(isObject(priority) ? priority : {});
    const name = "TaskSignalAnyInit";
    const fixed = source?.priority ??
      enumMember(priority, "user-visible", priorities, "priority", name, "TaskPriority", prefix);
    const signal = makeTaskSignal(ReflectApply(AbortSignal.any, AbortSignal, [signals]), fixed);
    source?.dependents.add(signal);
    return signal;
  }

  get priority() {
    return taskSignalRecord(this).priority;
  }
}
webidl.configureInterface(TaskSignal);
defineHandler(TaskSignal.prototype, "prioritychange");

// https://wicg.github.io/scheduling-apis/#sec-task-controller
export class TaskController extends AbortController {
  #signal;

  constructor(init = undefined) {
    const prefix = "Failed to construct 'TaskController'";
    const { priority } = dictionary(init, "TaskControllerInit", prefix);
    const name = "TaskControllerInit";
    const initial = enumMember(
      priority, "user-visible", priorities, "priority", name, "TaskPriority", prefix,
    );
    super();
    this.#signal = makeTaskSignal(super.signal, initial);
  }

  // https://wicg.github.io/scheduling-apis/#dom-taskcontroller-setpriority
  setPriority(priority) {
    const prefix = "Failed to execute 'setPriority' on 'TaskController'";
    const signal = this.#signal;
    requireArguments(arguments.length, 1, prefix);
    changePriority(signal, enumValue(priority, priorities, "TaskPriority", prefix), prefix);
  }
}
webidl.configureInterface(TaskController);

// https://wicg.github.io/scheduling-apis/#tasksignal-signal-priority-change
function changePriority(signal, priority, prefix) {
  const record = taskSignalRecord(signal);
  if (record.isChanging) {
    const text = "Cannot change priority when a prioritychange event is in progress.";
    throw new DOMException(`${prefix}: ${text}`, "NotAllowedError");
  }
  if (record.priority === priority) return;
  record.isChanging = true;
  const previousPriority = record.priority;
  record.priority = priority;
  const event = new TaskPriorityChangeEvent("prioritychange", { previousPriority });
  dispatchTrusted(signal, event);
  for (const dependent of record.dependents) changePriority(dependent, priority, prefix);
  record.isChanging = false;
}

// https://wicg.github.io/scheduling-apis/#sec-task-priority-change-event
export class TaskPriorityChangeEvent extends Event {
  #previousPriority;

  constructor(type, priorityChangeEventInitDict) {
    const prefix = "Failed to construct 'TaskPriorityChangeEvent'";
    requireArguments(arguments.length, 2, prefix);
    const name = "TaskPriorityChangeEventInit";
    const init = requiredDictionary(priorityChangeEventInitDict, name, prefix);
    super(string(type, prefix), init);
    this[webidl.brand] = webidl.brand;
    const reading = `${prefix}: Failed to read the 'previousPriority' property from '${name}'`;
    const given = requiredMember(init.previousPriority, reading);
    this.#previousPriority = enumValue(given, priorities, "TaskPriority", reading);
  }

  get previousPriority() {
    return this.#previousPriority;
  }
}
webidl.configureInterface(TaskPriorityChangeEvent);

// --- tasks ---

// What decides a priority (a name or a TaskSignal) -> its tasks that wait, oldest first. Those that
// yielded go before those of the same priority that have not begun.
// https://wicg.github.io/scheduling-apis/#scheduler-task-queue
const queues = { continuations: new SafeMap(), tasks: new SafeMap() };
let lastOrder = 0;
let isPumping = false;

function enqueue(kind, prioritySource, run) {
  const order = ++lastOrder;
  let queue = kind.get(prioritySource);
  if (queue === undefined) kind.set(prioritySource, queue = new SafeMap());
  queue.set(order, run);
  pump();
  return () => removeTask(kind, prioritySource, order);
}

function removeTask(kind, prioritySource, order) {
  const queue = kind.get(prioritySource);
  queue?.delete(order);
  if (queue?.size === 0) kind.delete(prioritySource);
}

function pump() {
  if (isPumping || (queues.tasks.size === 0 && queues.continuations.size === 0)) return;
  isPumping = true;
  PromisePrototypeThen(op_void_async_deferred(), () => {
    isPumping = false;
    const run = takeNext();
    pump();
    run?.();
  });
}

// https://wicg.github.io/scheduling-apis/#select-the-task-queue-of-the-next-scheduler-task
function takeNext() {
  let best;
  for (const kind of [queues.continuations, queues.tasks]) {
    for (const { 0: source, 1: queue } of kind) {
      const rank = ArrayPrototypeIndexOf(priorities, priorityOf(source));
      const { 0: order, 1: run } = queue.entries().next().value;
      const isBetter = best === undefined || rank < best.rank ||
        (rank === best.rank && kind === best.kind && order < best.order);
      if (isBetter) best = { kind, source, rank, order, run };
    }
  }
  if (best !== undefined) removeTask(best.kind, best.source, best.order);
  return best?.run;
}

function priorityOf(source) {
  return typeof source === "string" ? source : taskSignals.get(source).priority;
}

// https://wicg.github.io/scheduling-apis/#sec-scheduler
export class Scheduler {
  constructor(key = undefined) {
    requireHostKey(key, "Scheduler");
    this[webidl.brand] = webidl.brand;
  }

  // https://wicg.github.io/scheduling-apis/#dom-scheduler-posttask
  async postTask(callback, options = undefined) {
    const prefix = "Failed to execute 'postTask' on 'Scheduler'";
    assertThis(this, Scheduler, prefix);
    requireArguments(arguments.length, 1, prefix);
    if (typeof callback !== "function") {
      throw new TypeError(`${prefix}: parameter 1 is not of type 'Function'.`);
    }
    const { delay, priority, signal } = convertOptions(options, prefix);
    const isTaskSignal = signal !== undefined && taskSignals.get(signal) !== undefined;
    const prioritySource = priority ?? (isTaskSignal ? signal : "user-visible");
    const state = { signal, prioritySource };
    return await untilAborted(signal, (resolve, reject) => {
      const run = () => runTask(callback, state, resolve, reject);
      if (delay === 0) return enqueue(queues.tasks, prioritySource, run);
      let cancel = () => clearTimeout(timer);
      const timer = setTimeout(() => cancel = enqueue(queues.tasks, prioritySource, run), delay);
      return () => cancel();
    });
  }

  // https://wicg.github.io/scheduling-apis/#dom-scheduler-yield
  async yield() {
    assertThis(this, Scheduler, "Failed to execute 'yield' on 'Scheduler'");
    const { signal, prioritySource } = schedulingState.get() ?? { prioritySource: "user-visible" };
    await untilAborted(
      signal,
      (resolve) => enqueue(queues.continuations, prioritySource, () => resolve()),
    );
  }
}
webidl.configureInterface(Scheduler);

function runTask(callback, state, resolve, reject) {
  const before = core.getAsyncContext();
  schedulingState.enter(state);
  try {
    resolve(ReflectApply(callback, undefined, []));
  } catch (error) {
    reject(error);
  } finally {
    core.setAsyncContext(before);
  }
}

/** A promise of what `begin` starts; it answers how to take it back, for when `signal` aborts. */
function untilAborted(signal, begin) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = () => {
      cancel();
      reject(signal.reason);
    };
    const settled = (how) => (value) => {
      signal?.[abortSignal.remove](abort);
      how(value);
    };
    const cancel = begin(settled(resolve), settled(reject));
    signal?.[abortSignal.add](abort);
  });
}

// https://wicg.github.io/scheduling-apis/#dictdef-schedulerposttaskoptions
function convertOptions(options, prefix) {
  const name = "SchedulerPostTaskOptions";
  const { delay, priority, signal } = dictionary(options, name, prefix);
  const reading = (member) => `${prefix}: Failed to read the '${member}' property from '${name}'`;
  const converted = {
    delay: delay === undefined ? 0 : unsignedLongLong(delay, reading("delay")),
    priority: enumMember(
      priority, undefined, priorities, "priority", name, "TaskPriority", prefix,
    ),
    signal,
  };
  if (signal !== undefined && !ObjectPrototypeIsPrototypeOf(AbortSignalPrototype, signal)) {
    throw new TypeError(`${reading("signal")}: Failed to convert value to 'AbortSignal'.`);
  }
  return converted;
}

/** The realm's `scheduler`. */
export function createScheduler() {
  return new Scheduler(hostKey);
}
