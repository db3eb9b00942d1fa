// The agent's worker: what it is given is on disk before it answers, and leaves when the network is
// there. In a browser it would be the same.

const UPSTREAM = new URL(location).searchParams.get("upstream");

self.addEventListener("fetch", (event) => {
  if (event.request.method === "POST") event.respondWith(keep(event.request));
});
self.addEventListener("sync", (event) => event.waitUntil(forward()));

async function keep(request) {
  const outbox = await caches.open("outbox");
  await outbox.put(request.url, new Response(await request.text()));
  await registration.sync.register("outbox");
  return new Response(null, { status: 202 });
}

async function forward() {
  const outbox = await caches.open("outbox");
  for (const request of await outbox.keys()) {
    const body = await (await outbox.match(request)).text();
    const response = await fetch(UPSTREAM, { method: "POST", body });
    if (!response.ok) throw new Error(`${UPSTREAM} said ${response.status}`);
    await outbox.delete(request);
  }
}
