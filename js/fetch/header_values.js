// https://fetch.spec.whatwg.org/#header-value-get-decode-and-split

import { core, primordials } from "ext:core/mod.js";

const {
  collectHttpQuotedString,
  collectSequenceOfCodepoints,
  HTTP_TAB_OR_SPACE_PREFIX_RE,
  HTTP_TAB_OR_SPACE_SUFFIX_RE,
} = core.loadExtScript("ext:deno_web/00_infra.js");
const { ArrayPrototypePush, StringPrototypeReplaceAll } = primordials;

/** The values of a header, of which there may be several; null if it is not there. */
export function decodeAndSplit(input) {
  if (input === null) return null;
  const values = [];
  let [value, position] = ["", 0];
  while (position < input.length) {
    const plain = collectSequenceOfCodepoints(input, position, (c) => c !== '"' && c !== ",");
    value += plain.result;
    position = plain.position;
    if (input[position] === '"') {
      const quoted = collectHttpQuotedString(input, position, false);
      value += quoted.result;
      position = quoted.position;
      if (position < input.length) continue;
    }
    position += 1;
    value = StringPrototypeReplaceAll(value, HTTP_TAB_OR_SPACE_PREFIX_RE, "");
    ArrayPrototypePush(values, StringPrototypeReplaceAll(value, HTTP_TAB_OR_SPACE_SUFFIX_RE, ""));
    value = "";
  }
  return values;
}
