// A page's location: https://html.spec.whatwg.org/#the-location-interface
//
// Invariant: whoever changes it navigates the page's window; only a fragment changes in place.

import { core, primordials } from "ext:core/mod.js";
import { navigateToFragment } from "ext:kittiwake/history.js";
import { DOMStringList } from "ext:kittiwake/indexed_db/string_list.js";
import {
  hostKey,
  requireArguments,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { getLocationHref } = core.loadExtScript("ext:deno_web/12_location.js");
const { op_location_navigate, op_location_reload } = core.ops;
const {
  ObjectDefineProperty,
  ObjectGetOwnPropertyDescriptor,
  ObjectKeys,
  StringPrototypeIndexOf,
  StringPrototypeSlice,
  TypeError,
} = primordials;

const here = () => new URL(getLocationHref());

// [LegacyUnforgeable]: each of these is the object's own.
const members = (self) => {
  const own = (receiver) => {
    if (receiver !== self) throw new TypeError("Illegal invocation");
  };
  const part = (name) => ({
    get [name]() {
      own(this);
      return here()[name];
    },
    set [name](value) {
      own(this);
      const url = here();
      url[name] = value;
      navigate(url, "push");
    },
  });
  const parts = {};
  for (const name of ["protocol", "host", "hostname", "port", "pathname", "search", "hash"]) {
    ObjectDefineProperty(parts, name, ObjectGetOwnPropertyDescriptor(part(name), name));
  }
  return [parts, {
    get href() {
      own(this);
      return getLocationHref();
    },
    set href(value) {
      own(this);
      navigate(parse(value, "Failed to set the 'href' property on 'Location'"), "push");
    },
    get origin() {
      own(this);
      return here().origin;
    },
    get ancestorOrigins() {
      own(this);
      return ancestorOrigins ??= new DOMStringList(hostKey, []);
    },
    assign(url) {
      own(this);
      const prefix = "Failed to execute 'assign' on 'Location'";
      requireArguments(arguments.length, 1, prefix);
      navigate(parse(url, prefix), "push");
    },
    replace(url) {
      own(this);
      const prefix = "Failed to execute 'replace' on 'Location'";
      requireArguments(arguments.length, 1, prefix);
      navigate(parse(url, prefix), "replace");
    },
    reload() {
      own(this);
      op_location_reload();
    },
    toString() {
      own(this);
      return getLocationHref();
    },
  }];
};

let ancestorOrigins;

// https://html.spec.whatwg.org/#location
export class Location {
  constructor(key = undefined) {
    requireHostKey(key, "Location");
    this[webidl.brand] = webidl.brand;
    for (const part of members(this)) {
      for (const name of ObjectKeys(part)) {
        const descriptor = ObjectGetOwnPropertyDescriptor(part, name);
        descriptor.configurable = false;
        if (descriptor.get === undefined) descriptor.writable = false;
        ObjectDefineProperty(this, name, descriptor);
      }
    }
  }
}
webidl.configureInterface(Location);

export function createLocation() {
  return new Location(hostKey);
}

function parse(value, prefix) {
  const text = string(value, prefix);
  try {
    return new URL(text, getLocationHref());
  } catch {
    throw new DOMException(`${prefix}: '${text}' is not a valid URL.`, "SyntaxError");
  }
}

// https://html.spec.whatwg.org/#location-object-navigate
function navigate(url, handling) {
  if (url.hash !== "" && withoutFragment(url.href) === withoutFragment(getLocationHref())) {
    if (url.href !== getLocationHref()) navigateToFragment(url.href, handling);
    return;
  }
  // Nothing else shows a document here.
  if (url.protocol === "http:" || url.protocol === "https:") {
    op_location_navigate(url.href, handling);
  }
}

function withoutFragment(href) {
  const at = StringPrototypeIndexOf(href, "#");
  return at === -1 ? href : StringPrototypeSlice(href, 0, at);
}
