// importScripts(): the host has the sources; here they run.

import { core, primordials } from "ext:core/mod.js";
import { string } from "ext:kittiwake/webidl.js";

const { DOMException } = core.loadExtScript("ext:deno_web/01_dom_exception.js");
const { URL } = core.loadExtScript("ext:deno_web/00_url.js");
const { op_worker_import } = core.ops;
const { TypeError } = primordials;

let importer;

/** The worker that imports: its URL, its origin, and whether it is a module. */
export function setImporter(options) {
  importer = options;
}

// https://html.spec.whatwg.org/#import-scripts-into-worker-global-scope
export function importScripts(...urls) {
  const prefix = "Failed to execute 'importScripts' on 'WorkerGlobalScope'";
  if (importer.module) {
    throw new TypeError(`${prefix}: Module scripts don't support importScripts().`);
  }
  const resolved = urls.map((each) => {
    const text = string(each, prefix);
    try {
      return new URL(text, importer.url);
    } catch {
      throw new DOMException(`${prefix}: The URL '${text}' is invalid.`, "SyntaxError");
    }
  });
  for (const each of resolved) importScript(each, prefix);
}

function importScript(script, prefix) {
  const failure = op_worker_import(script.href);
  if (failure === null) return;
  const [thrown, isCompileError] = failure;
  if (script.origin !== importer.origin) {
    // Another origin's errors are muted: https://html.spec.whatwg.org/#muted-errors
    const text = `${prefix}: The script at '${script.href}' failed to load.`;
    throw new DOMException(text, "NetworkError");
  }
  if (isCompileError) thrown.message = `${prefix}: ${thrown.message}`;
  throw thrown;
}
