//! `kittiwake wpt`, as a person uses it, on a small tree of our own: WPT itself is not in the
//! repository.
//!
//! Invariant: every claim is about what the process writes, and its exit code.

mod comparison;
mod expectations;
#[path = "../process/mod.rs"]
mod process;
mod running;

use std::path::Path;

use process::{Finished, run};

/// A checkout with these files beside the harness.
fn checkout(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), "resources/testharness.js", include_str!("testharness.js"));
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
    std::fs::write(path, text).expect("a file in a temporary folder");
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).expect("a file that the command wrote")
}

/// Runs `kittiwake wpt` in the checkout, without Python.
fn wpt(checkout: &Path, arguments: &[&str]) -> Finished {
    let fixed = ["wpt", "--root", ".", "--expectations", "expected", "--python", "none"];
    run(checkout, &[&fixed[..], arguments].concat())
}

/// The lines but for the table at the end.
fn told(finished: &Finished) -> Vec<&str> {
    let lines = finished.stdout.iter().map(String::as_str);
    lines.take_while(|line| !line.starts_with("area ")).collect()
}
