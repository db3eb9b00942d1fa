// What IndexedDB costs, in Kittiwake, in Chromium and with fake-indexeddb in Node alike:
// microseconds per operation, as JSON. The records are those of bare.rs. `wanted`, if the bench
// defines it, names the operations; the records are inserted in any case.

const RECORDS = 100_000;
const AWAITED = 10_000;

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
const over = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });

const record = (id) => ({
  id,
  tag: `tag-${id}`,
  url: `https://app.test/outbox/${id}`,
  body: "x".repeat(100),
});
// Every record once, and none beside the last one.
const scattered = (number) => (number * 7919) % RECORDS;

const times = {};

/** Microseconds of each of `count` operations that `work` makes. */
async function measure(name, count, work) {
  if (name !== "insert" && globalThis.wanted?.includes(name) === false) return;
  const started = performance.now();
  await work();
  times[name] = ((performance.now() - started) * 1e3) / count;
}

function expect(value, expected) {
  if (value !== expected) throw new Error(`${value} instead of ${expected}`);
}

(async () => {
  const opening = indexedDB.open("bench", 1);
  opening.onupgradeneeded = () => {
    const store = opening.result.createObjectStore("records", { keyPath: "id" });
    store.createIndex("tag", "tag");
  };
  const database = await done(opening);
  const begin = (mode) => database.transaction("records", mode).objectStore("records");

  await measure("insert", RECORDS, async () => {
    const store = begin("readwrite");
    for (let id = 0; id < RECORDS; id++) store.put(record(id));
    await over(store.transaction);
  });
  await measure("put", AWAITED, async () => {
    const store = begin("readwrite");
    for (let id = 0; id < AWAITED; id++) await done(store.put(record(scattered(id))));
    await over(store.transaction);
  });
  await measure("get", AWAITED, async () => {
    const store = begin("readonly");
    for (let id = 0; id < AWAITED; id++) {
      expect((await done(store.get(scattered(id)))).id, scattered(id));
    }
  });
  await measure("lookup", AWAITED, async () => {
    const index = begin("readonly").index("tag");
    for (let id = 0; id < AWAITED; id++) {
      expect((await done(index.get(`tag-${scattered(id)}`))).id, scattered(id));
    }
  });
  await measure("walk", RECORDS, () => {
    let seen = 0;
    return new Promise((resolve, reject) => {
      const request = begin("readonly").openCursor();
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const cursor = request.result;
        if (cursor === null) {
          expect(seen, RECORDS);
          resolve();
          return;
        }
        expect(cursor.value.id, seen);
        seen += 1;
        cursor.continue();
      };
    });
  });
  await measure("all", RECORDS, async () => {
    expect((await done(begin("readonly").getAll())).length, RECORDS);
  });
  console.log(JSON.stringify(times));
})();
