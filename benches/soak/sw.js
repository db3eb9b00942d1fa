// Uses what a worker may hold: caches, IndexedDB, syncs, timers, and garbage.

const KEYS = 8;
let count = 0;

onfetch = (event) => event.respondWith(answer(event.request));
onpush = (event) => event.waitUntil(store(event.data.text()));
onsync = (event) => event.waitUntil(fetch("/data").then((response) => response.text()));
onmessage = (event) => event.waitUntil(registration.sync.register(`tag-${event.data}`));

async function answer(request) {
  const cache = await caches.open("answers");
  const key = `/cached/${count++ % KEYS}`;
  const found = await cache.match(key);
  if (found && count % 3 !== 0) return found;
  const response = await fetch("/data");
  await cache.put(key, response.clone());
  return response;
}

async function store(text) {
  const database = await open();
  const transaction = database.transaction("items", "readwrite");
  const items = transaction.objectStore("items");
  const garbage = Array.from({ length: 500 }, (_, at) => `${text} ${at}`);
  items.put({ text, garbage }, count++ % KEYS);
  items.getAll();
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error);
  });
  database.close();
  await caches.delete("answers");
}

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("soak", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("items");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
