// A worker that posts to the outbox of its own origin, and shows what is pushed.

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(clients.claim()));
self.addEventListener("sync", (event) => event.waitUntil(send(event.tag)));
self.addEventListener("message", ({ data, source }) => source.postMessage(`heard ${data}`));
self.addEventListener("push", (event) => {
  const { title, tag } = event.data.json();
  event.waitUntil(registration.showNotification(title, { tag }));
});
self.addEventListener("notificationclick", ({ notification }) => notification.close());

async function send(tag) {
  const response = await fetch("/outbox", { method: "POST", body: JSON.stringify({ tag }) });
  if (!response.ok) throw new Error(`the outbox said ${response.status}`);
}
