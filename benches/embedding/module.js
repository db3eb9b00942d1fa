// One module of the bundle, as a bundler would write it.

modules.mNUMBER = (function (exports) {
  class Store {
    constructor(name, options = {}) {
      this.name = name;
      this.options = options;
      this.items = new Map();
    }

    get(key) {
      return this.items.has(key) ? this.items.get(key) : this.options.fallback;
    }

    put(key, value) {
      if (value === undefined) throw new TypeError(`no value for ${key}`);
      this.items.set(key, value);
      return this;
    }

    *entries() {
      for (const [key, value] of this.items) yield { key, value, store: this.name };
    }
  }

  const match = (pattern, text) =>
    pattern.split("*").every((part, at) =>
      at === 0 ? text.startsWith(part) : text.includes(part),
    );
  exports.create = (name) => new Store(name, { fallback: NUMBER }).put("made", NUMBER);
  exports.match = match;
  exports.routes = [
    { path: "/mNUMBER/*", handler: (request) => exports.create(request.url) },
  ];
  return exports;
})({});
