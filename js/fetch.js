// fetch(): https://fetch.spec.whatwg.org/#fetch-method
//
// Invariant: whatever stops a request is "Failed to fetch" to the script; the trace has the cause.

import { core, primordials } from "ext:core/mod.js";
import { requireArguments } from "ext:kittiwake/webidl.js";

const { Request, toInnerRequest } = core.loadExtScript("ext:deno_fetch/23_request.js");
const { fromInnerResponse, newInnerResponse, nullBodyStatus } = core.loadExtScript(
  "ext:deno_fetch/23_response.js",
);
const { InnerBody } = core.loadExtScript("ext:deno_fetch/22_body.js");
const { readableStreamForRid, readableStreamCollectIntoUint8Array } = core.loadExtScript(
  "ext:deno_web/06_streams.js",
);
const abortSignal = core.loadExtScript("ext:deno_web/03_abort_signal.js");
const { op_http_send } = core.ops;
const { StringPrototypeSplit } = primordials;

async function sendRequest(request, inner, cancel) {
  const body = inner.body === null
    ? null
    : await readableStreamCollectIntoUint8Array(inner.body.stream);
  return op_http_send({
    method: inner.method,
    url: StringPrototypeSplit(inner.currentUrl(), "#", 1)[0],
    headers: inner.headerList,
    redirect: inner.redirectMode,
  }, body, cancel);
}

function responseFrom(head, signal, forgetAbort) {
  const inner = newInnerResponse(head.status, head.statusText);
  inner.type = "basic";
  inner.headerList = head.headers;
  inner.urlList = head.urlList;
  if (nullBodyStatus(head.status)) {
    core.tryClose(head.body);
    forgetAbort();
  } else {
    const stream = readableStreamForRid(head.body, true, undefined, (controller, error) => {
      controller.error(signal.aborted ? signal.reason : error);
    }, forgetAbort);
    inner.body = new InnerBody(stream);
  }
  return fromInnerResponse(inner, "immutable");
}

// https://fetch.spec.whatwg.org/#fetch-method
export async function fetch(input, init = undefined) {
  const scope = globalThis.constructor.name === "Window" ? "Window" : "WorkerGlobalScope";
  const prefix = `Failed to execute 'fetch' on '${scope}'`;
  requireArguments(arguments.length, 1, prefix);
  const request = new Request(input, init);
  const inner = toInnerRequest(request);
  const { signal } = request;
  if (signal.aborted) throw signal.reason;

  const cancel = core.createCancelHandle();
  let responseBody;
  const abort = () => {
    core.tryClose(cancel);
    if (responseBody !== undefined) core.tryClose(responseBody);
  };
  signal[abortSignal.add](abort);
  const forgetAbort = () => signal[abortSignal.remove](abort);
  try {
    const head = await sendRequest(request, inner, cancel);
    responseBody = head.body;
    return responseFrom(head, signal, forgetAbort);
  } catch (error) {
    forgetAbort();
    throw signal.aborted ? signal.reason : error;
  } finally {
    core.tryClose(cancel); // or each request would leave its handle behind
  }
}
