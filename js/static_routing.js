// Static routing: https://w3c.github.io/ServiceWorker/#register-router-method
//
// Invariant: what goes to the host was converted and checked as a whole; of a list with one bad
// rule nothing does.

import { core, primordials } from "ext:core/mod.js";
import { load } from "ext:kittiwake/lazy.js";
import { enumMember, isObject, string } from "ext:kittiwake/webidl.js";

const { URLPattern } = load("ext:deno_web/01_urlpattern.js");
const {
  ArrayIsArray,
  ArrayPrototypeFilter,
  ArrayPrototypeMap,
  ArrayPrototypeSome,
  ObjectPrototypeIsPrototypeOf,
  ReflectOwnKeys,
  RegExpPrototypeTest,
  SafeRegExp,
  StringPrototypeCharCodeAt,
  StringPrototypeToUpperCase,
  SymbolIterator,
  SymbolPrototypeGetDescription,
  TypeError,
} = primordials;

// https://w3c.github.io/ServiceWorker/#check-router-registration-limit
const CONDITIONS = 1024;
const DEPTH = 10;
// Chromium's.
const RULES = 255;

const modes = ["navigate", "same-origin", "no-cors", "cors"];
const destinations = [
  "", "audio", "audioworklet", "document", "embed", "fencedframe", "font", "frame", "iframe",
  "image", "json", "manifest", "object", "paintworklet", "report", "script", "sharedworker",
  "style", "track", "video", "worker", "xslt",
];
const statuses = ["running", "not-running"];
const sources = ["cache", "fetch-event", "network", "race-network-and-fetch-handler"];
const components = [
  "protocol", "username", "password", "hostname", "port", "pathname", "search", "hash",
];

const token = new SafeRegExp("^[!#$%&'*+\\-.^_`|~0-9A-Za-z]+$");
const normalized = new SafeRegExp("^(?:DELETE|GET|HEAD|OPTIONS|POST|PUT)$");
const unsupported = new SafeRegExp("^(?:CONNECT|TRACE|TRACK)$");

/**
 * The rules as the host takes them. `context` has the worker's script as `baseURL`, whether it
 * `hasFetchHandler`, and the number of rules that are `known` already.
 */
export function convertRules(rules, context, prefix) {
  const list = ArrayPrototypeMap(sequenceOf(rules, prefix), (rule) => convertRule(rule, prefix));
  if (list.length + context.known > RULES) {
    throw new TypeError(`${prefix}: Too many router rules.`);
  }
  const all = { ...context, prefix, left: CONDITIONS };
  return ArrayPrototypeMap(list, ({ condition, source }) => {
    const parsed = parseCondition(condition, all, 1);
    requireFetchHandler(source, all);
    return { condition: parsed, source };
  });
}

// --- conversion: https://webidl.spec.whatwg.org/#js-union, #js-dictionary ---

function sequenceOf(rules, prefix) {
  if (rules === null || rules === undefined) return [{}];
  if (!isObject(rules)) {
    const type = "'(RouterRule or sequence<RouterRule>)'";
    throw new TypeError(`${prefix}: The provided value is not of type ${type}.`);
  }
  if (ArrayIsArray(rules)) return rules;
  return rules[SymbolIterator] === undefined ? [rules] : [...rules];
}

function convertRule(rule, prefix) {
  if (!isObject(rule)) {
    throw new TypeError(`${prefix}: The provided value is not of type 'RouterRule'.`);
  }
  const { condition, source } = rule;
  if (condition === undefined) throw new TypeError(`${prefix}: No input condition has been set.`);
  const reading = `${prefix}: Failed to read the 'condition' property from 'RouterRule'`;
  const converted = convertCondition(condition, reading, 0);
  if (source === undefined) throw new TypeError(`${prefix}: No input source has been set.`);
  return { condition: converted, source: convertSource(source, prefix) };
}

function convertCondition(condition, prefix, depth) {
  if (!isObject(condition) && condition !== null && condition !== undefined) {
    throw new TypeError(`${prefix}: The provided value is not of type 'RouterCondition'.`);
  }
  // Deeper ones are refused below; a script could nest them without end.
  if (depth > DEPTH) return {};
  const { urlPattern, requestMethod, requestMode, requestDestination, runningStatus, or, not } =
    condition ?? {};
  const member = (value, allowed, name, type) =>
    enumMember(value, undefined, allowed, name, "RouterCondition", type, prefix);
  return {
    urlPattern,
    requestMethod: requestMethod === undefined ? undefined : byteString(requestMethod, prefix),
    requestMode: member(requestMode, modes, "requestMode", "RequestMode"),
    requestDestination: member(
      requestDestination,
      destinations,
      "requestDestination",
      "RequestDestination",
    ),
    runningStatus: member(runningStatus, statuses, "runningStatus", "RunningStatusEnum"),
    or: or === undefined
      ? undefined
      : ArrayPrototypeMap([...or], (each) => convertCondition(each, prefix, depth + 1)),
    not: not === undefined ? undefined : convertCondition(not, prefix, depth + 1),
  };
}

// https://webidl.spec.whatwg.org/#js-ByteString
function byteString(value, prefix) {
  const reading = `${prefix}: Failed to read the 'requestMethod' property from 'RouterCondition'`;
  const text = string(value, reading);
  for (let i = 0; i < text.length; i++) {
    if (StringPrototypeCharCodeAt(text, i) > 0xff) {
      throw new TypeError(`${reading}: String contains non ISO-8859-1 code point.`);
    }
  }
  return text;
}

function convertSource(source, prefix) {
  if (!isObject(source)) {
    return enumMember(
      source,
      undefined,
      sources,
      "source",
      "RouterRule",
      "RouterSourceEnum",
      prefix,
    );
  }
  if (source.cacheName === undefined) {
    throw new TypeError(`${prefix}: Got a dictionary for source but no field is set`);
  }
  return { cacheName: string(source.cacheName, prefix) };
}

// --- checks: https://w3c.github.io/ServiceWorker/#verify-router-condition ---

function parseCondition(condition, context, depth) {
  const { prefix } = context;
  context.left -= 1;
  if (context.left < 0) throw new TypeError(`${prefix}: Too many router rules.`);
  if (depth > DEPTH) throw new TypeError(`${prefix}: Conditions are nested too much`);
  const { or, not, urlPattern, requestMethod } = condition;
  const isGiven = (name) => condition[name] !== undefined;
  const plain = ["urlPattern", "requestMethod", "requestMode", "requestDestination"];
  const hasPlain = ArrayPrototypeSome(plain, isGiven) || isGiven("runningStatus");
  if (!hasPlain && or === undefined && not === undefined) {
    const text = "At least one condition must be set, but no condition has been set to the rule.";
    throw new TypeError(`${prefix}: ${text}`);
  }
  for (const name of ["or", "not"]) {
    const other = name === "or" ? not : or;
    if (isGiven(name) && (hasPlain || other !== undefined)) {
      const text = `Cannot set other conditions when the \`${name}\` condition is specified`;
      throw new TypeError(`${prefix}: ${text}`);
    }
  }
  return {
    ...condition,
    urlPattern: urlPattern === undefined ? undefined : parsePattern(urlPattern, context),
    requestMethod: requestMethod === undefined ? undefined : parseMethod(requestMethod, prefix),
    or: or === undefined
      ? undefined
      : ArrayPrototypeMap(or, (each) => parseCondition(each, context, depth + 1)),
    not: not === undefined ? undefined : parseCondition(not, context, depth + 1),
  };
}

function parseMethod(method, prefix) {
  if (!RegExpPrototypeTest(token, method)) {
    throw new TypeError(`${prefix}: '${method}' is not a valid HTTP method.`);
  }
  const upper = StringPrototypeToUpperCase(method);
  if (RegExpPrototypeTest(unsupported, upper)) {
    throw new TypeError(`${prefix}: '${method}' HTTP method is unsupported.`);
  }
  return RegExpPrototypeTest(normalized, upper) ? upper : method;
}

// https://urlpattern.spec.whatwg.org/#build-a-url-pattern-from-a-web-idl-value
function parsePattern(input, { baseURL, prefix }) {
  let pattern = input;
  if (!isObject(input) || !ObjectPrototypeIsPrototypeOf(URLPattern.prototype, input)) {
    try {
      pattern = isObject(input)
        ? new URLPattern({ ...input, baseURL: input.baseURL ?? baseURL })
        : new URLPattern(string(input, prefix), baseURL);
    } catch (error) {
      throw new TypeError(`${prefix}: ${error.message}`);
    }
  }
  if (pattern.hasRegExpGroups) {
    const own = (name) => new URLPattern({ [name]: pattern[name] }).hasRegExpGroups;
    const named = ArrayPrototypeMap(
      ArrayPrototypeFilter(components, own),
      (name) => `${name} (${pattern[name]})`,
    );
    const text = "The pattern cannot contain regexp groups, but did in the following components: ";
    throw new TypeError(`${prefix}: ${text}${named.join(", ")}`);
  }
  const parsed = { ignoreCase: ignoresCase(pattern) };
  for (const name of components) parsed[name] = pattern[name];
  return parsed;
}

// A pattern does not tell; deno_web's regular expressions do.
function ignoresCase(pattern) {
  for (const key of ReflectOwnKeys(pattern)) {
    if (typeof key === "symbol" && SymbolPrototypeGetDescription(key) === "components") {
      return pattern[key][0].regexp.ignoreCase;
    }
  }
  return false;
}

function requireFetchHandler(source, { hasFetchHandler, prefix }) {
  if (hasFetchHandler) return;
  if (source === "fetch-event" || source === "race-network-and-fetch-handler") {
    const name = source === "fetch-event" ? source : "race-network-and-fetch-event"; // sic
    throw new TypeError(`${prefix}: ${name} source is specified without a fetch handler`);
  }
}
