// `kittiwake:test/spies`: functions that remember their calls.

const SPY = Symbol("spy");

export function isSpy(value) {
  return typeof value === "function" && SPY in value;
}

/** A function that remembers its calls, and does what `implementation` does. */
export function fn(implementation = () => undefined) {
  const state = { calls: [], results: [], once: [], implementation };
  function spy(...args) {
    state.calls.push(args);
    const act = state.once.shift() ?? state.implementation;
    const result = { type: "incomplete", value: undefined };
    state.results.push(result);
    try {
      result.value = act.apply(this, args);
      result.type = "return";
      return result.value;
    } catch (error) {
      Object.assign(result, { type: "throw", value: error });
      throw error;
    }
  }
  const chain = (act) => (...args) => {
    act(...args);
    return spy;
  };
  return Object.assign(spy, {
    [SPY]: true,
    /** What it was called with, and what became of it. */
    mock: {
      get calls() {
        return state.calls;
      },
      get lastCall() {
        return state.calls.at(-1);
      },
      get results() {
        return state.results;
      },
    },
    mockClear: chain(() => {
      state.calls = [];
      state.results = [];
    }),
    mockImplementation: chain((act) => state.implementation = act),
    mockImplementationOnce: chain((act) => state.once.push(act)),
    mockReturnValue: chain((value) => state.implementation = () => value),
    mockReturnValueOnce: chain((value) => state.once.push(() => value)),
    mockResolvedValue: chain((value) => state.implementation = () => Promise.resolve(value)),
    mockRejectedValue: chain((value) => state.implementation = () => Promise.reject(value)),
  });
}

/** Replaces a method by a spy that does the same. Its world ends with the test. */
export function spyOn(object, name) {
  const original = object[name];
  if (typeof original !== "function") {
    throw new TypeError(`spyOn: ${String(name)} is no method of the object`);
  }
  const spy = fn(original);
  spy.mockRestore = () => object[name] = original;
  object[name] = spy;
  return spy;
}
