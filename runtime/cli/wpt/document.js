// Put before the checkout's /resources/testharness.js: what the harness itself asks of a window, as
// far as a page has none of it. It is no DOM: whatever a test asks for besides throws.

if (!("WorkerGlobalScope" in self)) {
  const there_is_none = (what) => () => {
    throw new Error(`a page has no DOM: ${what}`);
  };
  self.parent = self.top = self;
  self.opener = null;
  self.document = {
    readyState: "loading",
    visibilityState: "visible",
    getElementsByTagName: () => [],
    getElementById: () => null,
    // Of the script that runs, as far as its place tells it.
    get currentScript() {
      const places = new Error().stack.match(/https?:[^\s)]+(?=:\d+:\d+)/g) ?? [];
      return { src: places.find((place) => !place.endsWith("/testharness.js")) };
    },
    createElement: there_is_none("createElement"),
    createElementNS: there_is_none("createElementNS"),
  };
  // The vendor's part of the harness: every permission is granted already.
  self.test_driver = { set_permission: () => Promise.resolve() };
  self.addEventListener("load", () => self.document.readyState = "complete");
}
