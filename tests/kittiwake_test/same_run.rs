//! The same test with the same seed is the same run, to the last byte of its trace, whatever else
//! the machine does.

use std::sync::Arc;
use std::time::Duration;

use kittiwake::{Snapshots, TestRun, TestWorld, TestWorldOptions};
use url::Url;

use super::{app, test_file};

/// Enough to meet what is rare; a thousand take the bench's release build some seconds.
const RUNS: usize = 40;

/// Uses what could differ: chance, a lossy network, threads beside the host's, tasks at one time,
/// a crash.
const BUSY: &str = r#"
test("busy", async ({ clock, host, network, server, worker }) => {
  server.on("POST /outbox", [503, 500, 204]);
  server.on("GET https://api.test/data", { json: [1, 2, 3], delay: "70ms" });
  const { sync } = await worker.register();
  await network.latency("30ms");
  await network.loss("20%");
  console.log(Math.random(), crypto.randomUUID(), Date.now());
  const load = async (number) => {
    const response = await fetch(`https://api.test/data?${number}`).catch((error) => error);
    const body = new Uint8Array(100_000).fill(number);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
    const cache = await caches.open("busy");
    await cache.put(`/${number}`, new Response(body));
    console.log(number, response.status ?? String(response), digest.slice(0, 4).join(), Date.now());
  };
  const all = Promise.all([1, 2, 3, 4, 5, 6].map(load));
  await sync.register("one");
  await sync.register("two");
  await clock.advance("40s");
  await all;
  await host.restart();
  await clock.runUntilIdle();
  console.log(JSON.stringify(worker.events), (await (await caches.open("busy")).keys()).length);
});"#;

async fn run_once(file: &std::path::Path, options: &TestWorldOptions) -> TestRun {
    let world = TestWorld::open(file, options).await.unwrap();
    let run = world.run(&world.tests()[0]).await.unwrap();
    world.close().await.unwrap();
    assert_eq!(run.failures, [], "{}", run.trace.join("\n"));
    run
}

#[tokio::test(flavor = "current_thread")]
async fn one_seed_has_one_trace() {
    let app = app(&[("app.test.js", &test_file(BUSY))]);
    let file = app.path().join("app.test.js");
    let mut options = TestWorldOptions {
        origin: Url::parse("https://app.test").unwrap(),
        root: app.path().to_owned(),
        seed: 7,
        limit: Duration::from_secs(120),
        snapshots: Arc::new(Snapshots::default()),
        coverage: None,
        inspector: None,
    };
    let first = run_once(&file, &options).await.trace;
    assert!(first.len() > 30, "{}", first.join("\n"));
    for _ in 1..RUNS {
        assert_eq!(run_once(&file, &options).await.trace, first);
    }
    options.seed = 8;
    assert_ne!(run_once(&file, &options).await.trace, first);
}
