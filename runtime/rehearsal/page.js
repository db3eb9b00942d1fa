// What most pages do, so that the snapshot holds its bytecode (../rehearsal.rs).

const host = globalThis.__kittiwake;

host("start", {
  kind: "page",
  url: "https://rehearsal.test/",
  origin: "https://rehearsal.test",
  rehearsal: true,
  simulated: true,
  timerLimit: 100,
  bufferLimit: 1048576,
  userAgent: "",
  registration: null,
  worker: null,
});

self.addEventListener("online", () => {});
host("dispatchSimple", "online");
navigator.serviceWorker.register("/sw.js").then(async (registration) => {
  const registered = registration.sync.register("outbox");
  host("resolveSyncs", 1);
  await registered;
  registration.active.postMessage({ a: 1 });
});
