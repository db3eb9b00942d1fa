// The content index: https://wicg.github.io/content-index/spec/
//
// Invariant: a promise of add() or delete() resolves only after the host has the change on disk.

import { core, primordials } from "ext:core/mod.js";
import { ExtendableEvent } from "ext:kittiwake/extendable_event.js";
import { imageResources } from "ext:kittiwake/image_resource.js";
import {
  assertThis,
  enumMember,
  hostKey,
  requireArguments,
  requiredDictionary,
  requiredStringMember,
  requireHostKey,
  string,
  webidl,
} from "ext:kittiwake/webidl.js";

const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { getLocationHref } = core.loadExtScript("ext:deno_web/12_location.js");
const { op_content_add, op_content_all, op_content_delete } = core.ops;
const { ArrayPrototypeMap, SafeArrayIterator, StringPrototypeToWellFormed, TypeError } =
  primordials;

const categories = ["", "homepage", "article", "video", "audio"];

// https://wicg.github.io/content-index/spec/#content-index
export class ContentIndex {
  #scope;

  constructor(key = undefined, scope = undefined) {
    requireHostKey(key, "ContentIndex");
    this[webidl.brand] = webidl.brand;
    this.#scope = scope;
  }

  // https://wicg.github.io/content-index/spec/#dom-contentindex-add
  async add(description) {
    const prefix = "Failed to execute 'add' on 'ContentIndex'";
    assertThis(this, ContentIndex, prefix);
    requireArguments(arguments.length, 1, prefix);
    op_content_add(this.#scope, contentDescription(description, prefix));
  }

  // https://wicg.github.io/content-index/spec/#dom-contentindex-delete
  async delete(id) {
    const prefix = "Failed to execute 'delete' on 'ContentIndex'";
    assertThis(this, ContentIndex, prefix);
    requireArguments(arguments.length, 1, prefix);
    op_content_delete(this.#scope, string(id, prefix));
  }

  // https://wicg.github.io/content-index/spec/#dom-contentindex-getall
  async getAll() {
    assertThis(this, ContentIndex, "Failed to execute 'getAll' on 'ContentIndex'");
    return ArrayPrototypeMap(op_content_all(this.#scope), (each) => ({
      ...each,
      icons: ArrayPrototypeMap(each.icons, (icon) => ({ ...icon })),
    }));
  }
}
webidl.configureInterface(ContentIndex);

/** The content index of the registration with this scope. */
export function createContentIndex(scope) {
  return new ContentIndex(hostKey, scope);
}

// https://wicg.github.io/content-index/spec/#dictdef-contentdescription
function contentDescription(value, prefix) {
  const name = "ContentDescription";
  const init = requiredDictionary(value, name, prefix);
  const text = (member) => requiredStringMember(init, member, name, prefix);
  const description = {
    category: enumMember(
      init.category, "", categories, "category", name, "ContentCategory", prefix,
    ),
    description: text("description"),
    icons: imageResources(init.icons, name, prefix),
    id: text("id"),
    title: text("title"),
    url: StringPrototypeToWellFormed(text("url")),
  };
  for (const icon of new SafeArrayIterator(description.icons)) requireHttp(icon.src, prefix);
  description.launchUrl = requireHttp(description.url, prefix);
  return description;
}

function requireHttp(text, prefix) {
  const url = URL.parse(text, getLocationHref());
  if (url !== null && (url.protocol === "https:" || url.protocol === "http:")) return url.href;
  throw new TypeError(`${prefix}: '${text}' is no URL of the http or https scheme.`);
}

// https://wicg.github.io/content-index/spec/#content-index-event
export class ContentIndexEvent extends ExtendableEvent {
  #id;

  constructor(type, init) {
    const prefix = "Failed to construct 'ContentIndexEvent'";
    requireArguments(arguments.length, 2, prefix);
    super(string(type, prefix), requiredDictionary(init, "ContentIndexEventInit", prefix));
    this.#id = requiredStringMember(init, "id", "ContentIndexEventInit", prefix);
  }

  get id() {
    return this.#id;
  }
}
webidl.configureInterface(ContentIndexEvent);
