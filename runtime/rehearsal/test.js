// What most tests do in their page, so that the snapshot holds its bytecode (../rehearsal.rs).

const host = globalThis.__kittiwake;

host("start", {
  kind: "page",
  url: "https://rehearsal.test/",
  origin: "https://rehearsal.test",
  rehearsal: true,
  simulated: true,
  userAgent: "",
  registration: null,
  worker: null,
});
host("lendTestDoor", 0);

const door = globalThis.__kittiwakeTest;
door.onMessage(() => {});
door.call("{}");
door.ask(1, "{}");
host("testMessage", 1, "{}");
navigator.serviceWorker.addEventListener("message", () => {});
navigator.serviceWorker.startMessages();
navigator.serviceWorker.register("/sw.js").then((registration) => {
  const worker = registration.installing ?? registration.waiting ?? registration.active;
  worker.addEventListener("statechange", () => {}, { once: true });
  host("changeWorkerState", 1, "redundant");
});
host("dispatchSimple", "offline");
host("changeConnection");
const { pathname, search } = new URL("/outbox", location.href);
`${pathname}${search}`;
