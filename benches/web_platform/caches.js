// What the Cache API costs, in Kittiwake and in Deno alike: milliseconds per operation, as JSON.

const body = "x".repeat(1024);
const url = (number) => `https://app.test/${number}`;

async function putOne(cache, number) {
  await cache.put(url(number), new Response(body));
}

async function matchOne(cache, number) {
  const response = await cache.match(url(number));
  if ((await response.text()).length !== body.length) throw new Error("the body is wrong");
}

/** Milliseconds per operation, `atOnce` of them under way. */
async function measure(operation, count, atOnce) {
  const cache = await caches.open("bench");
  const started = performance.now();
  for (let number = 0; number < count; number += atOnce) {
    const batch = Array.from({ length: atOnce }, (_, index) => operation(cache, number + index));
    await Promise.all(batch);
  }
  return (performance.now() - started) / count;
}

(async () => {
  await measure(putOne, 100, 10);
  await measure(matchOne, 100, 10);
  console.log(JSON.stringify({
    put: await measure(putOne, 200, 1),
    putTogether: await measure(putOne, 4_000, 200),
    match: await measure(matchOne, 2_000, 1),
    matchTogether: await measure(matchOne, 4_000, 200),
  }));
})();
