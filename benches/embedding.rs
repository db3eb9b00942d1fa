//! What it costs to embed very many workers: those that sleep, those that idle, those that wake,
//! and what a second shard gains. What the numbers mean and how they are taken: benches/README.md.
//!
//! Invariant: whatever is compared takes turns in one run; a missed target is printed, and fails
//! nothing.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time; no script sees it")]

use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use kittiwake::{
    Builder, DoorAnswer, DoorError, DoorRequest, DoorResponse, EventOutcome, HttpDoor, LastChance,
    Runtime,
};
use url::Url;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SLEEPING: usize = 10_000;
const IDLE: usize = 1_000;
const SCRIPT_BYTES: usize = 100 << 10;
/// Wakes of each kind; odd, so that the median is one of them.
const WAKES: usize = 41;
/// Wakes before those that count.
const WARM_UP_WAKES: usize = 3;
const EVENTS: usize = 20_000;
/// Workers that have events: as many as are resident on a busy machine, and so few that the bench's
/// own thread is what limits two shards.
const BUSY_WORKERS: [(usize, Option<f64>); 2] = [(200, Some(1.7)), (16, None)];
/// Odd, likewise.
const ROUNDS: usize = 5;

/// Measures one thing, and prints it.
type Bench = fn() -> Result<()>;

fn main() {
    let only = std::env::args().nth(1).filter(|word| !word.starts_with('-'));
    let benches: [(&str, Bench); 4] =
        [("wake", wake), ("shards", shards), ("idle", idle), ("sleeping", sleeping)];
    for (name, bench) in benches {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        if let Err(error) = bench() {
            println!("{name}: not measured: {error}");
        }
    }
}

/// Answers every origin's requests for a script with the same one, but for a comment, which has the
/// runtime's name too: the realms of a process hand on the code of equal texts.
struct OneScript {
    script: Arc<str>,
    runtime: &'static str,
}

impl HttpDoor for OneScript {
    fn exchange(&self, request: DoorRequest) -> DoorAnswer {
        if request.url.path() != "/sw.js" {
            return std::future::ready(Err(DoorError::Refused)).boxed();
        }
        let headers = vec![("content-type".to_owned(), "text/javascript".to_owned())];
        let text = format!("{}// {} {}", self.script, self.runtime, request.url);
        let body = stream::iter([Ok(text.into_bytes().into())]).boxed();
        let response = DoorResponse { status: 200, status_text: String::new(), headers, body };
        std::future::ready(Ok(response)).boxed()
    }
}

fn builder(script: &str) -> Builder {
    named_builder(script, "")
}

fn named_builder(script: &str, runtime: &'static str) -> Builder {
    Runtime::builder().http(OneScript { script: script.into(), runtime })
}

fn origin(number: usize) -> Url {
    Url::parse(&format!("https://tenant{number}.test/")).expect("a URL")
}

async fn register(runtime: &Runtime, number: usize) -> Result<()> {
    runtime.register(origin(number).join("sw.js")?, None).await?;
    Ok(())
}

async fn event(runtime: &Runtime, number: usize) -> Result<()> {
    let outcome = runtime.dispatch_sync(Some(origin(number)), "mail", LastChance::No).await?;
    match outcome {
        EventOutcome::Fulfilled => Ok(()),
        other => Err(format!("an event was {other:?}").into()),
    }
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

/// A script as a bundler makes one: modules in functions that run at the start, of which an event
/// needs half.
fn bundle() -> String {
    let mut script = String::from("const modules = {};\n");
    let mut number = 0;
    while script.len() < SCRIPT_BYTES {
        script += &include_str!("embedding/module.js").replace("NUMBER", &number.to_string());
        number += 1;
    }
    script + include_str!("embedding/events.js")
}

/// From a worker that is not in memory to the end of its event: with a pause before each, until the
/// shard has made a spare realm, as events come to workers that sleep; and one after the other,
/// without a spare.
fn wake() -> Result<()> {
    let script = bundle();
    println!("waking a worker of {} KiB, {WAKES} times in turns", script.len() >> 10);
    let [with, without] = wakes(&script, true)?;
    let ratio = without.as_secs_f64() / with.as_secs_f64();
    println!("  at most 6 ms: {}", verdict(with <= Duration::from_millis(6)));
    println!("  {ratio:.2} times as fast, at least 1.5: {}", verdict(ratio >= 1.5));
    let [with, without] = wakes(&script, false)?;
    let ratio = without.as_secs_f64() / with.as_secs_f64();
    println!("  {ratio:.2} times as fast, without a target\n");
    Ok(())
}

/// The medians with code kept and without.
fn wakes(script: &str, with_pauses: bool) -> Result<[Duration; 2]> {
    let names = match with_pauses {
        true => ["a spare realm, its code kept", "a spare realm, no code kept"],
        false => ["one after the other, its code kept", "one after the other, no code kept"],
    };
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    let start = |number: usize, bytes| {
        let builder = named_builder(script, names[number])
            .state_folder(folders[number].path())
            .code_cache_limit(bytes);
        // Room for one worker: each makes room for the next.
        let realms = if with_pauses { 2 } else { 1 };
        builder.spare_realm(with_pauses).resident_limit(realms, usize::MAX).start()
    };
    let runtimes = [start(0, 512 << 20)?, start(1, 0)?];
    let mut times = [Vec::new(), Vec::new()];
    block_on(async {
        for runtime in &runtimes {
            for worker in 0..WAKES + WARM_UP_WAKES {
                register(runtime, worker).await?;
                event(runtime, worker).await?;
                runtime.idle().await?;
            }
        }
        // Each wakes once: the code that its first realm had is nowhere but on disk.
        for worker in 0..WAKES + WARM_UP_WAKES {
            for (runtime, times) in runtimes.iter().zip(&mut times) {
                // The first warm-up is what has the first spare made.
                if with_pauses && worker > 0 {
                    runtime.idle().await?;
                    let spares = runtime.usage().await?.spare_realms;
                    (spares == 1).then_some(()).ok_or("there is no spare realm")?;
                }
                let started = Instant::now();
                event(runtime, worker).await?;
                if worker >= WARM_UP_WAKES {
                    times.push(started.elapsed());
                }
            }
        }
        for runtime in runtimes {
            runtime.shut_down().await?;
        }
        Ok::<_, Box<dyn Error>>(())
    })?;
    for (name, times) in names.into_iter().zip(&mut times) {
        times.sort();
        let [median, best] = [times[WAKES / 2], times[0]].map(|time| time.as_secs_f64() * 1e3);
        println!("  {name:<34} {median:>8.2} ms, at best {best:>6.2}");
    }
    Ok(times.map(|times| times[WAKES / 2]))
}

/// Events a second of sixteen origins that are warm.
fn shards() -> Result<()> {
    for (workers, target) in BUSY_WORKERS {
        compare_shards(workers, target)?;
    }
    Ok(())
}

fn compare_shards(workers: usize, target: Option<f64>) -> Result<()> {
    let script = "onsync = (event) => event.waitUntil(Promise.resolve(
        Array.from({ length: 200 }, (_, at) => Math.sqrt(at)).reduce((a, b) => a + b)));";
    let runtimes = [builder(script).shards(1).start()?, builder(script).shards(2).start()?];
    let mut rates = [Vec::new(), Vec::new()];
    block_on(async {
        for runtime in &runtimes {
            for number in 0..workers {
                register(runtime, number).await?;
            }
        }
        // The first round compiles.
        for round in 0..=ROUNDS {
            for (runtime, rates) in runtimes.iter().zip(&mut rates) {
                let started = Instant::now();
                let events = (0..workers).map(|number| async move {
                    for _ in 0..EVENTS / workers {
                        event(runtime, number).await?;
                    }
                    Ok::<_, Box<dyn Error>>(())
                });
                // Polls whoever was answered, and not all of them: this thread shares the cores.
                events.collect::<FuturesUnordered<_>>().try_collect::<()>().await?;
                if round > 0 {
                    rates.push(EVENTS as f64 / started.elapsed().as_secs_f64());
                }
            }
        }
        Ok::<_, Box<dyn Error>>(())
    })?;
    for rates in &mut rates {
        rates.sort_by(f64::total_cmp);
    }
    let [one, two] = rates.map(|rates| rates[ROUNDS / 2]);
    let ratio = two / one;
    println!("{EVENTS} events of {workers} workers, medians of {ROUNDS} in turns");
    println!("  one shard  {one:>10.0} a second\n  two shards {two:>10.0} a second");
    match target {
        Some(target) => {
            println!(
                "  {ratio:.2} times as many, at least {target}: {}\n",
                verdict(ratio >= target)
            )
        }
        None => println!("  {ratio:.2} times as many\n"),
    }
    Ok(())
}

/// Workers that have had their event and stay in memory.
fn idle() -> Result<()> {
    let script = "onsync = () => {};";
    let day = Duration::from_secs(24 * 60 * 60);
    let builder = builder(script).idle_limit(day).resident_limit(usize::MAX, usize::MAX);
    let runtime = builder.start()?;
    let before = resident_bytes()?;
    block_on(async {
        for number in 0..IDLE {
            register(&runtime, number).await?;
        }
        let workers = runtime.usage().await?.workers;
        let grown = resident_bytes()? - before;
        println!("{workers} workers that idle in memory");
        println!(
            "  {} MiB, {:.2} MiB each",
            grown >> 20,
            grown as f64 / workers as f64 / 1048576.0
        );
        println!("  at most 4 GiB: {}\n", verdict(workers == IDLE && grown <= 4 << 30));
        runtime.shut_down().await?;
        Ok(())
    })
}

/// Workers that are registered and not in memory.
fn sleeping() -> Result<()> {
    let script = "onsync = () => {};";
    let folder = tempfile::tempdir()?;
    let start =
        || builder(script).state_folder(folder.path()).resident_limit(8, usize::MAX).start();
    let runtime = start()?;
    block_on(async {
        // What the process takes once: allocators, caches of the engine and the store.
        const WARM_UP: usize = SLEEPING / 10;
        for number in 0..WARM_UP {
            register(&runtime, number).await?;
        }
        let before = resident_bytes()?;
        for number in WARM_UP..SLEEPING {
            register(&runtime, number).await?;
        }
        let grown = resident_bytes()?.saturating_sub(before);
        let each = grown as f64 / (SLEEPING - WARM_UP) as f64;
        runtime.idle().await?;
        let busy = processor_time();
        std::thread::sleep(Duration::from_secs(10));
        let busy = processor_time() - busy;
        println!("{SLEEPING} workers of as many origins, of which 8 are in memory");
        println!("  {each:.0} bytes each, at most 4096: {}", verdict(each <= 4096.0));
        println!(
            "  {:.1} ms of the processor in 10 s, at most 10: {}",
            busy.as_secs_f64() * 1e3,
            verdict(busy <= Duration::from_millis(10))
        );
        let started = Instant::now();
        for number in (0..SLEEPING).step_by(100) {
            event(&runtime, number).await?;
        }
        let each = started.elapsed() / 100;
        println!("  {:.2} ms from asleep to the end of an event", each.as_secs_f64() * 1e3);
        runtime.shut_down().await?;
        Ok::<_, Box<dyn Error>>(())
    })?;
    let files = fs::read_dir(folder.path())?.flatten();
    let bytes: u64 = files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
    println!("  {} bytes each on disk", bytes / SLEEPING as u64);
    let before = resident_bytes()?;
    let started = Instant::now();
    let runtime = start()?;
    block_on(event(&runtime, 7))?;
    println!(
        "  {:.0} ms from a new start to the end of the first event, {} MiB\n",
        started.elapsed().as_secs_f64() * 1e3,
        resident_bytes()?.saturating_sub(before) >> 20
    );
    block_on(runtime.shut_down())?;
    Ok(())
}

/// Resident memory of this process.
fn resident_bytes() -> Result<usize> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).ok_or("the second number counts resident pages")?;
    Ok(pages.parse::<usize>()? * rustix::param::page_size())
}

/// What this process has used of the processor.
fn processor_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}
