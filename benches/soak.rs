//! A long life at a high rate: workers are registered, wake, store and are stopped, pages come and
//! go; memory, file handles and disk must stay flat. What the numbers mean: benches/README.md.
//!
//! Invariant: whatever is created is used again or goes, so that anything that grows is a leak.

#![expect(clippy::disallowed_methods, reason = "a soak lasts for real time; no script sees it")]

#[path = "soak/graph.rs"]
mod graph;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use graph::Panel;
use kittiwake::{
    ClientBody, ClientRequest, ClientRequestKind, DoorAnswer, DoorRequest, DoorResponse, HttpDoor,
    LastChance, PageSource, Runtime,
};
use serde_json::json;
use url::Url;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const ORIGINS: usize = 300;
/// Far fewer than origins, so that realms come and go all the time.
const RESIDENT: usize = 40;
const CLIENTS: usize = 16;
const SAMPLES: u32 = 240;
/// Of the whole time, what allocators and caches have to fill up.
const WARM_UP: f64 = 0.25;
/// More than this is no noise.
const GROWTH_AT_MOST: f64 = 1.15;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let length = Duration::from_secs(1) * numbers.next().unwrap_or(3600);
    // Beside other work, the load is even only if it is not as much as the machine gives.
    let pace = numbers.next().map(|a_second| Duration::from_secs(CLIENTS as u64) / a_second);
    let picture = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/soak.png"));
    let folder = tempfile::tempdir()?;
    let builder = Runtime::builder().state_folder(folder.path()).shards(2).http(Site);
    let builder = builder.idle_limit(Duration::from_secs(2)).resident_limit(RESIDENT, 1 << 30);
    let runtime = builder.start()?;
    let (until, done) = (Instant::now() + length, Arc::new(AtomicU64::new(0)));
    let clients = (0..CLIENTS).map(|client| {
        let (runtime, done) = (runtime.clone(), done.clone());
        tokio::spawn(async move { use_it(&runtime, client, until, pace, &done).await })
    });
    let clients: Vec<_> = clients.collect();
    let samples = sample(folder.path(), length, &done).await?;
    for client in clients {
        client.await??;
    }
    runtime.shut_down().await?;
    report(&samples, length, done.load(Ordering::Relaxed), &picture)
}

/// Every server in the world.
struct Site;

impl HttpDoor for Site {
    fn exchange(&self, request: DoorRequest) -> DoorAnswer {
        let (kind, body) = match request.url.path() {
            "/sw.js" => ("text/javascript", include_str!("soak/sw.js").to_owned()),
            _ => ("text/plain", "x".repeat(4096)),
        };
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        let body = stream::iter([Ok(body.into_bytes().into())]).boxed();
        let response = DoorResponse { status: 200, status_text: String::new(), headers, body };
        std::future::ready(Ok(response)).boxed()
    }
}

/// One client, until the time is over; at most one use a `pace`.
async fn use_it(
    runtime: &Runtime,
    seed: usize,
    until: Instant,
    pace: Option<Duration>,
    done: &AtomicU64,
) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(seed as u64);
    let mut ticks = pace.map(tokio::time::interval);
    while Instant::now() < until {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let scope = Url::parse(&format!("https://app{}.test/", random.usize(..ORIGINS)))?;
        // At its first use it is registered; later on, it is compared with its server's.
        let message = runtime.post_message(Some(scope.clone()), json!(1)).await;
        if message.is_err() || random.u8(..20) == 0 {
            runtime.register(scope.join("sw.js")?, None).await?;
        }
        match random.u8(..10) {
            0..=3 => fetch(runtime, scope.join("answer")?).await?,
            4..=6 => {
                let data = format!("push {}", random.u64(..)).into_bytes();
                runtime.dispatch_push(Some(scope), Some(data)).await?;
            }
            7..=8 => {
                runtime.dispatch_sync(Some(scope), "soak", LastChance::No).await?;
            }
            _ => {
                let script = "setInterval(() => {}, 50); navigator.serviceWorker.ready.then(\
                    ({ active }) => active.postMessage('from a page'));";
                let source = PageSource::Script(scope.clone(), script.to_owned());
                let page = runtime.open_page(scope, source).await?;
                runtime.close_page(page).await?;
            }
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn fetch(runtime: &Runtime, url: Url) -> Result<()> {
    let kind = ClientRequestKind::Subresource { destination: String::new(), no_cors: false };
    let (method, headers, body) = ("GET".to_owned(), Vec::new(), ClientBody::Empty);
    let response = runtime.fetch(ClientRequest { method, url, headers, body, kind }).await?;
    if let Some(body) = response.body {
        body.try_for_each(async |_| Ok(())).await?;
    }
    Ok(())
}

/// What the process and its folder have at one moment.
struct Sample {
    memory_mib: f64,
    handles: f64,
    disk_mib: f64,
    a_second: f64,
}

async fn sample(folder: &Path, length: Duration, done: &AtomicU64) -> Result<Vec<Sample>> {
    let (started, mut samples, mut before) = (Instant::now(), Vec::new(), 0);
    for number in 1..=SAMPLES {
        let next = started + length * number / SAMPLES;
        tokio::time::sleep_until(next.into()).await;
        let now = done.load(Ordering::Relaxed);
        samples.push(Sample {
            memory_mib: resident_bytes()? as f64 / 1048576.0,
            handles: fs::read_dir("/proc/self/fd")?.count() as f64,
            disk_mib: bytes_in(folder)? as f64 / 1048576.0,
            a_second: (now - before) as f64 / (length.as_secs_f64() / f64::from(SAMPLES)),
        });
        before = now;
    }
    Ok(samples)
}

fn report(samples: &[Sample], length: Duration, done: u64, picture: &Path) -> Result<()> {
    let seconds = length.as_secs_f64();
    println!("{done} uses in {seconds:.0} s, {:.0} a second", done as f64 / seconds);
    let series = |of: fn(&Sample) -> f64| samples.iter().map(of).collect::<Vec<_>>();
    let panels = [
        Panel { title: "resident memory, MiB", values: series(|sample| sample.memory_mib) },
        Panel { title: "file handles", values: series(|sample| sample.handles) },
        Panel { title: "disk, MiB", values: series(|sample| sample.disk_mib) },
        Panel { title: "uses a second", values: series(|sample| sample.a_second) },
    ];
    for panel in &panels[..3] {
        let warm = &panel.values[(panel.values.len() as f64 * WARM_UP) as usize..];
        let quarter = warm.len() / 3;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (early, late) = (mean(&warm[..quarter]), mean(&warm[warm.len() - quarter..]));
        let verdict = if late <= early * GROWTH_AT_MOST { "flat" } else { "GROWS" };
        println!("{:<24} {early:>9.1} early, {late:>9.1} late: {verdict}", panel.title);
    }
    graph::draw(picture, seconds, &panels).map_err(|error| error.to_string())?;
    println!("drawn in {}", picture.display());
    Ok(())
}

/// Resident memory of this process.
fn resident_bytes() -> Result<usize> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).ok_or("the second number counts resident pages")?;
    Ok(pages.parse::<usize>()? * rustix::param::page_size())
}

fn bytes_in(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    let Ok(entries) = fs::read_dir(folder) else { return Ok(0) };
    for entry in entries.flatten() {
        // A body may go while it is looked at.
        let Ok(metadata) = entry.metadata() else { continue };
        sum += if metadata.is_dir() { bytes_in(&entry.path())? } else { metadata.len() };
    }
    Ok(sum)
}
