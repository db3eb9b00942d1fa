// Loads every part that is not in the snapshot, and does with each what most do first, so that the
// binary holds the bytecode of that (../rehearsal.rs).

const host = globalThis.__kittiwake;

const scriptUrl = "https://rehearsal.test/sw.js";
host("start", {
  kind: "service-worker",
  url: scriptUrl,
  origin: "https://rehearsal.test",
  timerLimit: 100,
  bufferLimit: 1048576,
  userAgent: "",
  registration: {
    scope: "https://rehearsal.test/",
    updateViaCache: "imports",
    installing: null,
    waiting: null,
    active: null,
  },
  worker: { id: 1, scriptUrl, state: "parsed" },
});

for (const owner of [globalThis, navigator, registration]) {
  for (const name of Object.getOwnPropertyNames(owner)) owner[name];
  for (const name in owner) owner[name];
}

addEventListener("install", (event) => {
  event.addRoutes({ condition: { urlPattern: "/a/*" }, source: "network" });
});
host("dispatchExtendable", "install", 1, undefined);

const streamOf = (chunk) =>
  new ReadableStream({
    start(controller) {
      controller.enqueue(chunk);
      controller.close();
    },
  });
(async () => {
  for await (const _ of streamOf("a"));
  const reader = new Response("a").body.getReader();
  while (!(await reader.read()).done);
  const upper = new TransformStream({
    transform: (chunk, controller) => controller.enqueue(chunk.toUpperCase()),
  });
  await streamOf("a").pipeThrough(upper).pipeTo(new WritableStream({ write() {} }));
  const [left, right] = new Response(streamOf(new Uint8Array(1))).clone().body.tee();
  await Promise.all([new Response(left).text(), new Response(right).arrayBuffer()]);
})();
const stream = new ReadableStream();
structuredClone(stream, { transfer: [stream] });

const form = new FormData();
form.append("a", "b");
form.get("a");
new URLPattern({ pathname: "/:name" }).exec("https://rehearsal.test/a");
crypto.getRandomValues(new Uint8Array(1));
crypto.randomUUID();
performance.now();
performance.mark("a");
new AbortController().abort();
IDBKeyRange.bound([1, "a"], [2, new Date()]);
indexedDB.open("a", 1).onupgradeneeded = () => {};
