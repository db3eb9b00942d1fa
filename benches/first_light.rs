//! How long first light takes, and what a realm costs, as ratios to an empty script in a peer.
//! What the numbers mean and how they are taken: benches/README.md.
//!
//! Invariant: peers and Kittiwake take turns in one run, so that a busy machine slows all alike;
//! a missed target is printed, and fails nothing.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time; no script sees it")]

mod peers;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kittiwake::{PageSource, Runtime};
use peers::{Peers, ROOT, Result, version};

/// Runs of each process; odd, so that the median is one of them.
const PROCESS_RUNS: usize = 25;
/// Pages that are open together when the last one is measured.
const PAGES: usize = 200;
/// Pages opened first, so that what a process pays once is not counted per page.
const WARM_UP_PAGES: usize = 8;

fn main() {
    if let Err(error) = run() {
        println!("not measured: {error}");
    }
}

fn run() -> Result<()> {
    let peers = Peers::find()?;
    println!("kittiwake  {}", version(Command::new(peers::kittiwake())));
    println!("deno       {}", version(Command::new(&peers.deno)));
    println!("node       {}", version(Command::new(&peers.node)));
    println!();

    let processes = measure_processes(&peers)?;
    let realms = measure_realms()?;
    print_times(&processes, &realms);
    print_targets(&processes, &realms);
    Ok(())
}

/// From the start of a process to its end.
struct Processes {
    kittiwake: Sample,
    deno: Sample,
    node: Sample,
}

fn measure_processes(peers: &Peers) -> Result<Processes> {
    let (mut kittiwake, mut deno, mut node) = (Vec::new(), Vec::new(), Vec::new());
    // The first round fills the file cache and is not counted.
    for round in 0..=PROCESS_RUNS {
        let mut own = Command::new(peers::kittiwake());
        own.arg("run").arg(Path::new(ROOT).join("benches/one_sync"));
        let times = [
            time(own)?,
            time(peers.deno_run(&[], &peers.empty))?,
            time(peers.node_run(&peers.empty))?,
        ];
        if round > 0 {
            kittiwake.push(times[0]);
            deno.push(times[1]);
            node.push(times[2]);
        }
    }
    Ok(Processes {
        kittiwake: Sample::of(kittiwake),
        deno: Sample::of(deno),
        node: Sample::of(node),
    })
}

fn time(mut command: Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let started = Instant::now();
    let status = command.status()?;
    let took = started.elapsed();
    if !status.success() {
        return Err(format!("{command:?} ended with {status}").into());
    }
    Ok(took)
}

/// Pages of one process, all open at the end.
struct Realms {
    /// From the call to the answer that the page's script, an empty one, has run.
    open: Sample,
    /// Growth of the resident memory per page, in bytes, where the system tells.
    memory: Option<f64>,
}

#[tokio::main(flavor = "current_thread")]
async fn measure_realms() -> Result<Realms> {
    let runtime = Runtime::builder().start()?;
    for _ in 0..WARM_UP_PAGES {
        open_empty_page(&runtime).await?;
    }
    let before = resident_bytes();
    let mut times = Vec::new();
    for _ in 0..PAGES {
        times.push(open_empty_page(&runtime).await?);
    }
    runtime.idle().await?;
    let after = resident_bytes();
    runtime.shut_down().await?;
    let memory = before.zip(after).map(|(before, after)| (after - before) / PAGES as f64);
    Ok(Realms { open: Sample::of(times), memory })
}

async fn open_empty_page(runtime: &Runtime) -> Result<Duration> {
    let page = "https://app.test/".parse()?;
    let script = "https://app.test/empty.js".parse()?;
    let source = PageSource::Script(script, String::new());
    let started = Instant::now();
    runtime.open_page(page, source).await?;
    Ok(started.elapsed())
}

/// What the process has in memory, from Linux's `/proc`.
fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// Durations, in order.
struct Sample(Vec<Duration>);

impl Sample {
    fn of(mut times: Vec<Duration>) -> Sample {
        times.sort();
        Sample(times)
    }

    fn median_ms(&self) -> f64 {
        self.at(0.5)
    }

    fn at(&self, part: f64) -> f64 {
        let index = (self.0.len() - 1) as f64 * part;
        self.0[index.round() as usize].as_secs_f64() * 1e3
    }
}

fn print_times(processes: &Processes, realms: &Realms) {
    println!("{:<44} {:>5} {:>10} {:>10} {:>10}", "time in ms", "runs", "median", "10 %", "90 %");
    let rows = [
        ("kittiwake run, one sync event done", &processes.kittiwake),
        ("deno run, empty script", &processes.deno),
        ("node, empty script", &processes.node),
        ("kittiwake, a page with an empty script", &realms.open),
    ];
    for (name, sample) in rows {
        let (median, low, high) = (sample.median_ms(), sample.at(0.1), sample.at(0.9));
        let runs = sample.0.len();
        println!("{name:<44} {runs:>5} {median:>10.2} {low:>10.2} {high:>10.2}");
    }
    println!();
}

fn print_targets(processes: &Processes, realms: &Realms) {
    let deno = processes.deno.median_ms();
    let first_light = processes.kittiwake.median_ms();
    let realm = realms.open.median_ms();
    println!("{:<44} {:>10} {:>10}", "what must hold", "measured", "at most");
    print_target("whole process / empty deno run", first_light / deno, 1.0);
    print_target("page's realm ready / empty deno run", realm / deno, 0.15);
    print_target("  the same, aim", realm / deno, 0.06);
    match realms.memory {
        Some(bytes) => print_target("resident MB per extra idle page", bytes / 1e6, 4.0),
        None => println!("resident memory: this system has no /proc/self/status"),
    }
    let node = processes.node.median_ms();
    println!("\nbesides: whole process / empty node run {:.3}", first_light / node);
}

fn print_target(name: &str, measured: f64, at_most: f64) {
    let verdict = if measured <= at_most { "met" } else { "MISSED" };
    println!("{name:<44} {measured:>10.3} {at_most:>10.2}  {verdict}");
}
