// Appended to the checkout's /resources/testharness.js: tells the runner what the harness knows.
//
// Each message is one line of JSON on the console, which the runner watches. Everything that is
// used is taken before a test can replace it.

(() => {
  const { debug } = console;
  const { stringify } = JSON;
  const { apply } = Reflect;
  const { replace } = String.prototype;
  // A lone surrogate is no UTF-8; written as WPT's own runner writes it.
  const lone = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g;
  const escape = (half) => "U+" + half.charCodeAt(0).toString(16);
  const clean = (key, value) =>
    typeof value === "string" ? apply(replace, value, [lone, escape]) : value;
  // The results of a worker that a page has registered come by way of the page.
  const mark = "document" in self ? "kittiwake-wpt-page:" : "kittiwake-wpt-worker:";
  const report = (message) => debug(mark + stringify(message, clean));
  const described = (test) => ({
    name: `${test.name}`,
    status: test.status,
    message: test.message === null || test.message === undefined ? null : `${test.message}`,
  });

  const seen = new WeakSet();
  const { add, has } = WeakSet.prototype;
  add_test_state_callback((test) => {
    if (apply(has, seen, [test])) return;
    apply(add, seen, [test]);
    report({ type: "started", name: `${test.name}` });
  });
  add_result_callback((test) => report({ type: "result", ...described(test) }));
  add_completion_callback((tests, harness) =>
    report({
      type: "complete",
      status: harness.status,
      message: harness.message === null || harness.message === undefined
        ? null
        : `${harness.message}`,
    })
  );
  // The runner has its own limit, and nobody looks at the page.
  if ("document" in self) setup({ explicit_timeout: true, output: false });
})();
