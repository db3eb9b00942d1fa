//! What IndexedDB costs beside fake-indexeddb in Node, headless Chromium and bare rusqlite.
//! What the numbers mean and how they are taken: benches/README.md. Operations that are named as
//! arguments are measured alone: `cargo bench --bench indexed_db -- get walk`.
//!
//! Invariant: peers and Kittiwake take turns in one run, so that a busy machine slows all alike;
//! a missed target is printed, and fails nothing.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time; no script sees it")]

#[path = "indexed_db/bare.rs"]
mod bare;
#[path = "indexed_db/million.rs"]
mod million;
mod peers;

use std::fs;
use std::path::Path;
use std::process::Command;

use peers::{Peers, ROOT, Result, kittiwake, last_json, median, run_page, version};
use serde_json::Value;

/// Odd, so that the median is one of them.
const RUNS: usize = 3;

/// What is measured, its name in `operations.js`, and whether it is bulk work.
const OPERATIONS: [(&str, &str, bool); 6] = [
    ("bulk insert", "insert", true),
    ("put, one after the other", "put", false),
    ("get, one after the other", "get", false),
    ("index lookup, likewise", "lookup", false),
    ("a step of a cursor", "walk", true),
    ("getAll of everything", "all", true),
];

fn main() {
    if let Err(error) = run() {
        println!("not measured: {error}");
    }
}

fn run() -> Result<()> {
    // Cargo adds flags of its own.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|name| !name.starts_with('-')).collect();
    println!("kittiwake  {}", version(Command::new(kittiwake())));
    println!("node       {}", version(Command::new("node")));
    let folder = tempfile::tempdir()?;
    let script = script(folder.path(), &wanted)?;
    let chromium = Peers::chromium();
    match &chromium {
        Some(program) => println!("chromium   {}\n", version(Command::new(program))),
        None => println!("chromium   not measured: there is none on this machine\n"),
    }
    let (mut own, mut fake, mut bare, mut browser) = (vec![], vec![], vec![], vec![]);
    for _ in 0..RUNS {
        let folder = tempfile::tempdir()?;
        own.push(run_page(&script, folder.path())?);
        fake.push(last_json(Peers::fake_indexed_db_run(&script)?)?);
        bare.push(bare::run(&folder.path().join("bare.sqlite"))?);
        if let Some(program) = &chromium {
            browser.push(last_json(Peers::chromium_run(program, &script)?)?);
        }
    }
    let heads = ["kittiwake", "fake", "chromium", "rusqlite"];
    print!("{:<26}", "microseconds an operation");
    heads.iter().for_each(|head| print!(" {head:>9}"));
    println!("  {:>6} {:>10} {:>6}", "x fake", "x chromium", "x bare");
    for (name, key, is_bulk) in OPERATIONS {
        if wanted.is_empty() || wanted.contains(&key) {
            let fake_target = if is_bulk { 3.0 } else { 0.0 };
            let peers = [(&fake, fake_target), (&browser, 2.0), (&bare, 0.3)];
            print_line(name, key, &own, peers)?;
        }
    }
    if wanted.is_empty() || wanted.contains(&"million") {
        million::run()?;
    }
    Ok(())
}

/// The script, which knows what is wanted of it.
fn script(folder: &Path, wanted: &[&str]) -> Result<std::path::PathBuf> {
    let operations = fs::read_to_string(Path::new(ROOT).join("benches/indexed_db/operations.js"))?;
    let script = folder.join("operations.js");
    if wanted.is_empty() {
        fs::write(&script, operations)?;
    } else {
        let wanted = serde_json::to_string(wanted)?;
        fs::write(&script, format!("globalThis.wanted = {wanted};\n{operations}"))?;
    }
    Ok(script)
}

/// Times, then how often ours goes into theirs, with a mark where that misses its target.
fn print_line(name: &str, key: &str, own: &[Value], peers: [(&Vec<Value>, f64); 3]) -> Result<()> {
    let own = median(own, key)?;
    print!("{name:<26} {own:>9.2}");
    let mut ratios = String::new();
    for ((runs, target), width) in peers.into_iter().zip([6, 10, 6]) {
        if runs.is_empty() {
            print!(" {:>9}", "-");
            ratios += &format!(" {:>width$}", "-");
            continue;
        }
        let ratio = median(runs, key)? / own;
        print!(" {:>9.2}", ratio * own);
        ratios += &format!(" {ratio:>width$.2}");
        ratios += if ratio < target { "!" } else { " " };
    }
    println!(" {ratios}{}", if ratios.contains('!') { "  MISSED where marked" } else { "  met" });
    Ok(())
}
