//! What a worker costs its clients, beside peers: a request over HTTP, a message there and back.
//! What the numbers mean and how they are taken: benches/README.md.
//!
//! Invariant: peers and Kittiwake take turns in one run, so that a busy machine slows all alike;
//! a missed target is printed, and fails nothing.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time; no script sees it")]

mod peers;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use peers::{Peers, ROOT, Result, kittiwake, last_json, median, run_page, version};
use serde_json::{Value, json};

/// Odd, so that the median is one of them.
const RUNS: usize = 5;
/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    for bench in [measure_serve, measure_messages] {
        if let Err(error) = bench() {
            println!("not measured: {error}");
        }
    }
}

/// A server that answers `hi`.
struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn measure_serve() -> Result<()> {
    if !Path::new("/usr/bin/wrk").exists() {
        return Err("there is no wrk; install Debian's package `wrk`".into());
    }
    let workerd = Peers::workerd()?;
    println!("kittiwake  {}", version(Command::new(kittiwake())));
    println!("workerd    {}\n", version(Command::new(&workerd)));
    let folder = tempfile::tempdir()?;
    let (own, peer) = (start_kittiwake()?, start_workerd(&workerd, folder.path())?);
    // What a just-in-time compiler has to see first.
    load(&own)?;
    load(&peer)?;
    let (mut owns, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        owns.push(load(&own)?);
        peers.push(load(&peer)?);
    }
    println!("{:<36} {:>10} {:>10} {:>9}", "answers of 2 bytes", "kittiwake", "workerd", "ratio");
    let ratio = |name: &str, key: &str| -> Result<f64> {
        let (own, peer) = (median(&owns, key)?, median(&peers, key)?);
        print!("{name:<36} {own:>10.1} {peer:>10.1} {:>9.2}  ", own / peer);
        Ok(own / peer)
    };
    let verdict = |is_met: bool| if is_met { "met" } else { "MISSED" };
    println!("at least 0.7: {}", verdict(ratio("requests a second", "requests")? >= 0.7));
    println!("at most 1: {}", verdict(ratio("99 of 100 within, ms", "p99")? <= 1.0));
    ratio("the processor's time of one, µs", "processor")?;
    println!("\n");
    Ok(())
}

fn start_kittiwake() -> Result<Server> {
    let address = free_address()?;
    let worker = Path::new(ROOT).join("benches/workers/hi.js");
    // Its trace has a line for each request.
    let mut command = on_first_core(kittiwake());
    command.args([Path::new("serve"), &worker]).args(["--listen", &address]);
    start(command, address)
}

fn start_workerd(workerd: &Path, folder: &Path) -> Result<Server> {
    let address = free_address()?;
    fs::copy(Path::new(ROOT).join("benches/workers/hi.js"), folder.join("hi.js"))?;
    let config = format!(
        "using Workerd = import \"/workerd/workerd.capnp\";
         const config :Workerd.Config = (
           services = [(name = \"main\", worker = .hi)],
           sockets = [(name = \"http\", address = \"{address}\", http = (), service = \"main\")]
         );
         const hi :Workerd.Worker = (
           serviceWorkerScript = embed \"hi.js\", compatibilityDate = \"2024-01-01\"
         );"
    );
    let file = folder.join("config.capnp");
    fs::write(&file, config)?;
    let mut command = on_first_core(workerd);
    command.arg("serve").arg(file);
    start(command, address)
}

/// Both servers get one core, the same; `wrk` gets another.
fn on_first_core(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0"]).arg(program);
    command
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn start(mut command: Command, address: String) -> Result<Server> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Server { child: command.spawn()?, url: format!("http://{address}/") };
    let started = Instant::now();
    while TcpStream::connect(&address).is_err() {
        if started.elapsed() > PATIENCE {
            return Err(format!("{command:?} does not listen").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}

/// 16 connections ask for 3 seconds.
fn load(server: &Server) -> Result<Value> {
    let before = processor_seconds(server.child.id())?;
    let mut wrk = Command::new("taskset");
    wrk.args(["--cpu-list", "1", "wrk", "-t1", "-c16", "-d3s", "--latency", &server.url]);
    let said = String::from_utf8(wrk.output()?.stdout)?;
    let spent = processor_seconds(server.child.id())? - before;
    // As in `99%   1.20ms`, `13857 requests in 3.00s, 1.20MB read`, `Requests/sec:   4619.04`.
    let word = |label: &str, place: usize| {
        let line = said.lines().find(|line| line.contains(label));
        let word = line.and_then(|line| line.split_whitespace().nth(place));
        word.ok_or_else(|| format!("wrk did not say `{label}`: {said}"))
    };
    let answered: f64 = word("requests in", 0)?.parse()?;
    Ok(json!({
        "requests": word("Requests/sec:", 1)?.parse::<f64>()?,
        "p99": milliseconds(word("99%", 1)?)?,
        "processor": spent * 1e6 / answered,
    }))
}

/// As `wrk` writes a time: `810.00us`, `1.20ms`, `1.05s`.
fn milliseconds(text: &str) -> Result<f64> {
    for (unit, factor) in [("us", 1e-3), ("ms", 1.0), ("s", 1e3)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Ok(number.parse::<f64>()? * factor);
        }
    }
    Err(format!("`{text}` is no time").into())
}

/// What a process has used of the processor, in its own code and in the system's.
fn processor_seconds(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // After the name, which ends with the last parenthesis, utime and stime are the 12th and 13th.
    let (_, rest) = stat.rsplit_once(')').ok_or("a process has a name")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<std::result::Result<f64, _>>()? / rustix::param::clock_ticks_per_second() as f64)
}

fn measure_messages() -> Result<()> {
    let script = Path::new(ROOT).join("benches/workers/messages.js");
    let echo = Path::new(ROOT).join("benches/workers/echo.js");
    let chromium = Peers::chromium().ok_or("there is no Chromium; install Debian's `chromium`")?;
    println!("chromium   {}\n", version(Command::new(&chromium)));
    let (mut own, mut browser) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let folder = tempfile::tempdir()?;
        fs::copy(&echo, folder.path().join("sw.js"))?;
        own.push(run_page(&script, folder.path())?);
        let mut command = Peers::chromium_run(&chromium, &script)?;
        command.arg(&echo);
        browser.push(last_json(command)?);
    }
    let (own, browser) = (median(&own, "trip")? * 1e3, median(&browser, "trip")? * 1e3);
    let ratio = own / browser;
    let verdict = if ratio <= 0.2 { "met" } else { "MISSED" };
    println!("{:<36} {:>10} {:>10} {:>9}", "microseconds", "kittiwake", "chromium", "ratio");
    println!(
        "{:<36} {own:>10.1} {browser:>10.1} {ratio:>9.3}  at most 0.2: {verdict}",
        "a message to a worker and back"
    );
    Ok(())
}
