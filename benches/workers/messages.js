// Messages from a page to its worker and back, one after the other; in Kittiwake and in Chromium.
// Logs the milliseconds of one round trip.

const UNCOUNTED = 500;
const TRIPS = 5000;

(async () => {
  const { serviceWorker } = navigator;
  await serviceWorker.register("/sw.js");
  const { active } = await serviceWorker.ready;
  while (active.state !== "activated") {
    await new Promise((resolve) => active.addEventListener("statechange", resolve));
  }
  const trips = async (count) => {
    for (let n = 0; n < count; n++) {
      await new Promise((resolve) => {
        serviceWorker.onmessage = resolve;
        active.postMessage({ n, text: "a message" });
      });
    }
  };
  await trips(UNCOUNTED);
  const started = performance.now();
  await trips(TRIPS);
  console.log(JSON.stringify({ trip: (performance.now() - started) / TRIPS }));
})();
