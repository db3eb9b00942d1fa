// The least that a service worker with background sync can be.
self.addEventListener("message", (event) => {
  event.waitUntil(self.registration.sync.register("outbox"));
});

self.addEventListener("sync", (event) => {
  event.waitUntil(fetch("https://api.test/outbox", { method: "POST", body: event.tag }));
});
