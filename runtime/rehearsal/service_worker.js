// What most workers do, so that the snapshot holds its bytecode (../rehearsal.rs).

const host = globalThis.__kittiwake;

const scriptUrl = "https://rehearsal.test/sw.js";
const worker = { id: 1, scriptUrl, state: "parsed" };
const scope = "https://rehearsal.test/";
const registration = (states) => ({
  scope, updateViaCache: "imports", installing: null, waiting: null, active: null, ...states,
});
host("start", {
  kind: "service-worker",
  url: scriptUrl,
  origin: "https://rehearsal.test",
  rehearsal: true,
  simulated: true,
  timerLimit: 100,
  bufferLimit: 1048576,
  userAgent: "",
  registration: registration({}),
  worker,
});

self.addEventListener("install", (event) => event.waitUntil(self.skipWaiting()));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("message", (event) => {
  event.waitUntil(self.registration.sync.register(`${event.data}`));
});
self.onsync = (event) => {
  const init = { method: "POST", headers: { "content-type": "text/plain" }, body: event.tag };
  event.waitUntil(fetch(new URL("outbox", location.href), init).then((it) => it.ok && it.text()));
};

host("changeRegistration", registration({ installing: worker }), true);
host("dispatchExtendable", "install", 1, undefined);
host("changeWorkerState", 1, "installed");
host("changeRegistration", registration({ active: worker }), false);
host("changeWorkerState", 1, "activating");
host("dispatchExtendable", "activate", 2, undefined);
host("changeWorkerState", 1, "activated");
host("dispatchExtendable", "message", 3, {
  message: null, json: "outbox", source: { client: null, worker: null },
});
host("resolveSyncs", 1);
host("dispatchExtendable", "sync", 4, ["outbox", false]);
new Response("{}", { status: 201 }).json();
