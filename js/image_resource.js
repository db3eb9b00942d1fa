// Images by reference: https://www.w3.org/TR/image-resource/
//
// Invariant: nothing is fetched for them: there is nobody to show them to.

import { primordials } from "ext:core/mod.js";
import { isObject, requiredMember, string, webidl } from "ext:kittiwake/webidl.js";

const { ArrayPrototypeMap, TypeError } = primordials;

const sequenceOfAny = webidl.createSequenceConverter(webidl.converters.any);

/** The member `icons` of a dictionary: a `sequence<ImageResource>`, converted. */
export function imageResources(icons, dictionaryName, prefix) {
  if (icons === undefined) return [];
  const reading = `${prefix}: Failed to read the 'icons' property from '${dictionaryName}'`;
  if (!isObject(icons)) {
    throw new TypeError(`${reading}: The provided value cannot be converted to a sequence.`);
  }
  return ArrayPrototypeMap(sequenceOfAny(icons, reading), (each) => imageResource(each, reading));
}

function imageResource(value, prefix) {
  if (value !== undefined && value !== null && !isObject(value)) {
    throw new TypeError(`${prefix}: The provided value is not of type 'ImageResource'.`);
  }
  const reading = (member) =>
    `${prefix}: Failed to read the '${member}' property from 'ImageResource'`;
  const resource = {};
  for (const member of ["sizes", "src", "type"]) {
    const given = value?.[member];
    if (member === "src") requiredMember(given, reading(member));
    if (given !== undefined) resource[member] = string(given, reading(member));
  }
  return resource;
}
