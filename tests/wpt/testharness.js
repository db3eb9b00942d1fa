// A stand-in for WPT's testharness.js, with as much of it as the runner and these tests need.
//
// Invariant: nothing of WPT's own code is in the repository.

(() => {
  const callbacks = { state: [], result: [], completion: [] };
  const all = [];
  let open = 1; // until done() or the install event

  const tell = (kind, ...values) => callbacks[kind].forEach((callback) => callback(...values));

  const finish = (test, status, message) => {
    Object.assign(test, { status, message });
    tell("result", test);
    close();
  };

  const close = () => {
    open -= 1;
    if (open === 0) tell("completion", all, { status: 0, message: null });
  };

  const begin = (name) => {
    const test = { name: name ?? self.META_TITLE ?? "untitled", status: null, message: null };
    all.push(test);
    open += 1;
    tell("state", test);
    return test;
  };

  self.test = (run, name) => {
    const test = begin(name);
    try {
      run();
      finish(test, 0, null);
    } catch (error) {
      finish(test, 1, `${error.message}`);
    }
  };
  self.promise_test = (run, name) => {
    const test = begin(name);
    run().then(() => finish(test, 0, null), (error) => finish(test, 1, `${error.message}`));
  };
  self.assert_equals = (actual, expected) => {
    if (actual !== expected) throw new Error(`expected ${expected} but got ${actual}`);
  };
  self.done = () => {};
  self.setup = () => {};
  self.add_test_state_callback = (callback) => callbacks.state.push(callback);
  self.add_result_callback = (callback) => callbacks.result.push(callback);
  self.add_completion_callback = (callback) => callbacks.completion.push(callback);
  self.addEventListener("WorkerGlobalScope" in self ? "install" : "load", close);
})();
