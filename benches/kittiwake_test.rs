//! What `kittiwake test` costs: a thousand tests, the same test in headless Chromium, the first
//! result of one file beside an empty `deno test`, and whether a thousand runs with one seed have
//! one trace.
//! What the numbers mean and how they are taken: benches/README.md.
//!
//! Invariant: peers and Kittiwake take turns in one run, so that a busy machine slows all alike;
//! a missed target is printed, and fails nothing.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time; no script sees it")]

mod peers;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kittiwake::{Snapshots, TestWorld, TestWorldOptions};
use peers::{Peers, ROOT, Result, kittiwake, last_json};
use url::Url;

/// Runs of each process; odd, so that the median is one of them.
const PROCESS_RUNS: usize = 15;
const TESTS: usize = 1000;
/// Each takes Chromium a good part of a second.
const CHROMIUM_TESTS: usize = 20;
const SAME_RUNS: usize = 1000;

const WORKER: &str = r#"
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("sync", (event) => {
  event.waitUntil(fetch("/outbox", { method: "POST", body: event.tag }));
});
"#;

/// Installs a worker, goes offline, registers, goes online, checks the server.
const BODY: &str = r#"async ({ network, server, worker }) => {
  server.on("POST /outbox", 204);
  const { sync } = await worker.register();
  await network.offline();
  await sync.register("outbox");
  await network.online();
  expect(server.requests.map(({ body }) => body)).toEqual(["outbox"]);
}"#;

fn main() {
    if let Err(error) = run() {
        println!("not measured: {error}");
    }
}

fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text);
    write("sw.js", WORKER)?;
    write(
        "many.test.js",
        &format!(
            "import {{ expect, test }} from 'kittiwake:test';\n\
             for (let number = 0; number < {TESTS}; number++) test(`test ${{number}}`, {BODY});\n"
        ),
    )?;
    write(
        "one.test.js",
        &format!(
            "import {{ expect, test }} from 'kittiwake:test';\ntest('the only one', {BODY});\n"
        ),
    )?;
    write("empty_test.ts", "Deno.test('empty', () => {});\n")?;
    let each = measure_many(folder.path())?;
    if let Err(error) = measure_chromium(folder.path(), each) {
        println!("Chromium was not measured: {error}");
    }
    measure_first(folder.path())?;
    measure_sameness(folder.path())
}

fn kittiwake_test(folder: &Path, file: &str) -> Command {
    let mut command = Command::new(kittiwake());
    command.args(["test", file]).current_dir(folder);
    command
}

/// Answers the real time of each, in milliseconds.
fn measure_many(folder: &Path) -> Result<f64> {
    let time = time(kittiwake_test(folder, "many.test.js"))?;
    let cores = std::thread::available_parallelism()?;
    let each = time.as_secs_f64() * 1e3 * cores.get() as f64 / TESTS as f64;
    let verdict = if time <= Duration::from_secs(10) { "met" } else { "MISSED" };
    println!(
        "{TESTS} tests on {cores} processors: {:.2} s, {each:.1} ms of a processor each; at most \
         10 s on two: {verdict}",
        time.as_secs_f64()
    );
    Ok(time.as_secs_f64() * 1e3 / TESTS as f64)
}

/// The same test in a browser, one after the other: what a person has who tests without Kittiwake.
fn measure_chromium(folder: &Path, own: f64) -> Result<()> {
    let program = Peers::chromium().ok_or("there is none; install Debian's `chromium`")?;
    let script = Path::new(ROOT).join("benches/kittiwake_test/chromium.mjs");
    let mut command = Peers::puppeteer(&script)?;
    command.arg(program).arg(folder.join("sw.js")).arg(CHROMIUM_TESTS.to_string());
    let measured = last_json(command)?;
    let browser = measured["milliseconds"].as_f64().ok_or("it printed no time")?;
    let ratio = browser / own;
    let verdict = if ratio >= 100.0 { "met" } else { "MISSED" };
    println!(
        "one of them: {own:.1} ms; in headless Chromium {browser:.0} ms; {ratio:.0} times as fast, \
         at least 100: {verdict}"
    );
    Ok(())
}

fn measure_first(folder: &Path) -> Result<()> {
    let peers = Peers::find()?;
    let (mut own, mut deno) = (Vec::new(), Vec::new());
    // The first round fills the file cache and is not counted.
    for round in 0..=PROCESS_RUNS {
        let mut empty = Command::new(&peers.deno);
        empty.args(["test", "--no-check", "empty_test.ts"]).current_dir(folder);
        empty.env("DENO_NO_UPDATE_CHECK", "1");
        let times = [time(kittiwake_test(folder, "one.test.js"))?, time(empty)?];
        if round > 0 {
            own.push(times[0]);
            deno.push(times[1]);
        }
    }
    own.sort();
    deno.sort();
    let middle = PROCESS_RUNS / 2;
    let ratio = own[middle].as_secs_f64() / deno[middle].as_secs_f64();
    let verdict = if ratio <= 1.5 { "met" } else { "MISSED" };
    println!(
        "one test, the whole process: {:.1} ms (least {:.1}); an empty `deno test` {:.1} ms (least \
         {:.1}); ratio {ratio:.2}, at most 1.5: {verdict}",
        own[middle].as_secs_f64() * 1e3,
        own[0].as_secs_f64() * 1e3,
        deno[middle].as_secs_f64() * 1e3,
        deno[0].as_secs_f64() * 1e3,
    );
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn measure_sameness(folder: &Path) -> Result<()> {
    let options = TestWorldOptions {
        origin: Url::parse("https://app.test")?,
        root: folder.to_owned(),
        seed: 7,
        limit: Duration::from_secs(10),
        snapshots: Arc::new(Snapshots::default()),
        coverage: None,
        inspector: None,
    };
    let (mut first, mut others) = (None, 0);
    for _ in 0..SAME_RUNS {
        let world = TestWorld::open(&folder.join("one.test.js"), &options).await?;
        let trace = world.run(&world.tests()[0]).await?.trace;
        world.close().await?;
        others += usize::from(*first.get_or_insert_with(|| trace.clone()) != trace);
    }
    println!("{SAME_RUNS} runs with one seed: {others} had another trace than the first");
    Ok(())
}

fn time(mut command: Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status()?;
    let elapsed = started.elapsed();
    match status.success() {
        true => Ok(elapsed),
        false => Err(format!("{command:?} failed: {status}").into()),
    }
}
