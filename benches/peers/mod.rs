//! The programs that Kittiwake is measured beside, found or fetched.
//!
//! Invariant: the real program is measured, not a script that starts it.

// Each bench uses its own part of this.
#![allow(dead_code, missing_docs)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Kittiwake as somebody would install it: copied, as the others are. Pages of a file that a linker
/// has just written, here and there, take the system longer to map.
pub fn kittiwake() -> &'static Path {
    static COPY: LazyLock<PathBuf> = LazyLock::new(|| {
        let copy = bench_peers().expect("a folder for the peers").join("kittiwake");
        // Another bench may be running the last one.
        let _ = fs::remove_file(&copy);
        fs::copy(env!("CARGO_BIN_EXE_kittiwake"), &copy).expect("room for a copy");
        copy
    });
    &COPY
}

/// The programs that Kittiwake is measured beside.
pub struct Peers {
    pub deno: PathBuf,
    pub node: PathBuf,
    /// An empty script.
    pub empty: PathBuf,
    deno_cache: PathBuf,
}

impl Peers {
    /// Takes deno from the PATH, or from npm into `target/bench-peers`.
    pub fn find() -> Result<Peers> {
        let folder = bench_peers()?;
        let empty = folder.join("empty.js");
        fs::write(&empty, "")?;
        let deno =
            if runs(Path::new("deno")) { PathBuf::from("deno") } else { deno_from_npm(&folder)? };
        let node = PathBuf::from("node");
        if !runs(&node) {
            return Err("there is no `node` on the PATH; install it".into());
        }
        let deno_cache = folder.join("deno-cache");
        Ok(Peers { deno, node, empty, deno_cache })
    }

    /// `node` with a script, and fake-indexeddb as its IndexedDB.
    pub fn fake_indexed_db_run(script: &Path) -> Result<Command> {
        let folder = bench_peers()?;
        if !folder.join("node_modules/fake-indexeddb").exists() {
            install_from_npm(&folder, "fake-indexeddb")?;
        }
        let mut command = Command::new("node");
        command.args(["--require", "fake-indexeddb/auto"]).arg(script).current_dir(folder);
        Ok(command)
    }

    /// Chromium, where a system's package puts it.
    pub fn chromium() -> Option<PathBuf> {
        let places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
        places.into_iter().map(PathBuf::from).find(|program| runs(program))
    }

    /// A page of headless Chromium with a script, which puppeteer-core drives. One argument more
    /// is the file of its worker, `/sw.js`.
    pub fn chromium_run(program: &Path, script: &Path) -> Result<Command> {
        let mut command =
            Self::puppeteer(&Path::new(ROOT).join("benches/indexed_db/chromium.mjs"))?;
        command.args([program, script]);
        Ok(command)
    }

    /// `node` with a script that drives a browser with puppeteer-core.
    pub fn puppeteer(script: &Path) -> Result<Command> {
        let folder = bench_peers()?;
        if !folder.join("node_modules/puppeteer-core").exists() {
            install_from_npm(&folder, "puppeteer-core")?;
        }
        let mut command = Command::new("node");
        command.arg(script).current_dir(folder);
        Ok(command)
    }

    /// Cloudflare's workerd, from npm into `target/bench-peers`.
    pub fn workerd() -> Result<PathBuf> {
        let folder = bench_peers()?;
        let package = "@cloudflare/workerd-linux-64";
        let program = folder.join("node_modules").join(package).join("bin/workerd");
        if !program.exists() {
            install_from_npm(&folder, package)?;
        }
        Ok(program)
    }

    /// `deno run` of a script.
    pub fn deno_run(&self, options: &[&str], script: &Path) -> Command {
        let mut command = Command::new(&self.deno);
        command.arg("run").args(options).arg(script);
        command.env("DENO_DIR", &self.deno_cache);
        command.env("DENO_NO_UPDATE_CHECK", "1");
        command
    }

    /// `node` with a script.
    pub fn node_run(&self, script: &Path) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(script);
        command
    }
}

fn bench_peers() -> Result<PathBuf> {
    let folder = Path::new(ROOT).join("target").join("bench-peers");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The package's own `deno` is a node script that starts the program; the program itself counts.
fn deno_from_npm(folder: &Path) -> Result<PathBuf> {
    if let Some(deno) = installed_deno(folder) {
        return Ok(deno);
    }
    install_from_npm(folder, "deno")?;
    installed_deno(folder).ok_or_else(|| "npm's package `deno` holds no deno".into())
}

fn install_from_npm(folder: &Path, package: &str) -> Result<()> {
    println!("installing the npm package `{package}` into {}", folder.display());
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--prefix"]);
    npm.arg(folder).arg(package).stdin(Stdio::null());
    match npm.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("npm could not install {package}: {status}").into()),
        Err(error) => Err(format!("there is no npm to get {package}: {error}").into()),
    }
}

fn installed_deno(folder: &Path) -> Option<PathBuf> {
    let packages = fs::read_dir(folder.join("node_modules").join("@deno")).ok()?;
    let programs = packages.flatten().map(|package| package.path().join("deno"));
    programs.into_iter().find(|program| runs(program))
}

fn runs(program: &Path) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What a program says of itself.
pub fn version(mut program: Command) -> String {
    let output = program.arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_else(|error| error.to_string());
    text.lines().next().unwrap_or_default().to_owned()
}

/// Runs a script as a page of Kittiwake, with its state on disk; the answer is what it logged last.
/// The folder may have the page's worker, `sw.js`.
pub fn run_page(script: &Path, folder: &Path) -> Result<Value> {
    let worker = folder.join("sw.js");
    if !worker.exists() {
        fs::write(&worker, "")?;
    }
    let mut command = Command::new(kittiwake());
    command.args([Path::new("run"), &worker, Path::new("--page"), script]);
    command.arg("--state").arg(folder.join("state"));
    // Whoever read the trace, which the others do not write, would share their cores.
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output()?;
    let console = String::from_utf8(output.stderr)?;
    let logged = console.lines().rev().find_map(|line| line.strip_prefix("log: "));
    Ok(serde_json::from_str(logged.ok_or_else(|| format!("{command:?} logged: {console}"))?)?)
}

/// What a program printed last.
pub fn last_json(mut command: Command) -> Result<Value> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().last().ok_or_else(|| {
        format!("{command:?} printed nothing, but: {}", String::from_utf8_lossy(&output.stderr))
    })?;
    Ok(serde_json::from_str(line)?)
}

/// The median of what runs say of `key`.
pub fn median(runs: &[Value], key: &str) -> Result<f64> {
    let mut times = Vec::new();
    for run in runs {
        times.push(run[key].as_f64().ok_or_else(|| format!("a run without `{key}`"))?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
