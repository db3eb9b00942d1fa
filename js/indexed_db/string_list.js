// DOMStringList: https://html.spec.whatwg.org/#the-domstringlist-interface

import { primordials } from "ext:core/mod.js";
import { hostKey, requireArguments, requireHostKey, string, webidl } from "ext:kittiwake/webidl.js";

const {
  Array,
  ArrayPrototypeIncludes,
  ArrayPrototypeSort,
  ObjectDefineProperty,
  SymbolIterator,
} = primordials;

export class DOMStringList {
  #strings;

  constructor(key = undefined, strings = undefined) {
    requireHostKey(key, "DOMStringList");
    this[webidl.brand] = webidl.brand;
    this.#strings = strings;
    for (let i = 0; i < strings.length; i++) {
      const descriptor = { __proto__: null, value: strings[i], enumerable: true };
      descriptor.configurable = true;
      ObjectDefineProperty(this, i, descriptor);
    }
  }

  get length() {
    return this.#strings.length;
  }

  // https://html.spec.whatwg.org/#dom-domstringlist-item
  item(index) {
    requireArguments(arguments.length, 1, "Failed to execute 'item' on 'DOMStringList'");
    return this.#strings[index >>> 0] ?? null;
  }

  // https://html.spec.whatwg.org/#dom-domstringlist-contains
  contains(text) {
    const prefix = "Failed to execute 'contains' on 'DOMStringList'";
    requireArguments(arguments.length, 1, prefix);
    return ArrayPrototypeIncludes(this.#strings, string(text, prefix));
  }
}
webidl.configureInterface(DOMStringList);
// https://webidl.spec.whatwg.org/#js-iterator
ObjectDefineProperty(DOMStringList.prototype, SymbolIterator, {
  __proto__: null,
  value: Array.prototype[SymbolIterator],
  writable: true,
  configurable: true,
});

/** A sorted list: https://w3c.github.io/IndexedDB/#create-a-sorted-name-list */
export function sortedList(names) {
  return new DOMStringList(hostKey, ArrayPrototypeSort([...names]));
}
