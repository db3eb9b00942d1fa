//! The programs that Kittiwake is measured beside, found or fetched.
//!
//! Invariant: the real program is measured, not a script that starts it.

// Each bench uses its own part of this.
#![allow(dead_code, missing_docs)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub const KITTIWAKE: &str = env!("CARGO_BIN_EXE_kittiwake");
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

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
        let folder = Path::new(ROOT).join("target").join("bench-peers");
        fs::create_dir_all(&folder)?;
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

/// The package's own `deno` is a node script that starts the program; the program itself counts.
fn deno_from_npm(folder: &Path) -> Result<PathBuf> {
    if let Some(deno) = installed_deno(folder) {
        return Ok(deno);
    }
    println!("installing the npm package `deno` into {}", folder.display());
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--prefix"]);
    npm.arg(folder).arg("deno").stdin(Stdio::null());
    match npm.status() {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("npm could not install deno: {status}").into()),
        Err(error) => return Err(format!("there is no deno and no npm to get it: {error}").into()),
    }
    installed_deno(folder).ok_or_else(|| "npm's package `deno` holds no deno".into())
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
