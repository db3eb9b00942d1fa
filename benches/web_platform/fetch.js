// What fetch() costs, in Kittiwake, Deno and Node alike: milliseconds per operation, as JSON.
// `SERVER` is put before this.

async function small() {
  const response = await fetch(`${SERVER}small`);
  if ((await response.text()).length !== 1024) throw new Error("the body is wrong");
}

/** The whole of 100 MiB, as it streams. */
async function large() {
  const response = await fetch(`${SERVER}large`);
  let length = 0;
  for await (const chunk of response.body) length += chunk.length;
  if (length !== 100 << 20) throw new Error("the body is wrong");
}

/** Milliseconds per operation, `atOnce` of them under way. */
async function measure(operation, count, atOnce) {
  const started = performance.now();
  for (let number = 0; number < count; number += atOnce) {
    await Promise.all(Array.from({ length: atOnce }, operation));
  }
  return (performance.now() - started) / count;
}

(async () => {
  await measure(small, 200, 10);
  console.log(JSON.stringify({
    small: await measure(small, 2_000, 1),
    together: await measure(small, 4_000, 20),
    large: await measure(large, 3, 1),
  }));
})();
