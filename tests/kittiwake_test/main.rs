//! The command `kittiwake test`, as a web developer uses it: test files on disk, what is printed,
//! and the exit code.
//!
//! Invariant: every claim is about what the process writes and its exit code.

mod bad_input;
mod browser;
mod coverage;
#[path = "../debugger/mod.rs"]
mod debugger;
mod drive;
mod guide;
mod habits;
mod inspect;
mod modules;
#[path = "../process/mod.rs"]
mod process;
mod reporters;
mod same_run;
mod trace_page;
mod verbs;
mod worker_scope;

use std::path::Path;

use process::{Finished, run};

/// A worker that posts to the outbox of its own origin.
const WORKER: &str = r#"
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(clients.claim()));
self.addEventListener("sync", (event) => event.waitUntil(send()));
self.addEventListener("message", ({ data, source }) => source.postMessage(`heard ${data}`));

async function send() {
  const response = await fetch("/outbox", { method: "POST", body: "a letter" });
  if (!response.ok) throw new Error(`the outbox said ${response.status}`);
}
"#;

/// A folder with the worker and these files.
fn app(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), "sw.js", WORKER);
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder");
    std::fs::write(path, text).expect("a file in a temporary folder");
}

/// A test file whose only statement after the import is this.
fn test_file(body: &str) -> String {
    format!(
        "import {{ afterEach, beforeEach, describe, expect, fn, spyOn, test }} from \
         \"kittiwake:test\";\n{body}\n"
    )
}

/// Runs `kittiwake test` with these options in an app that has one test file.
fn test(body: &str, options: &[&str]) -> Finished {
    let app = app(&[("app.test.js", &test_file(body))]);
    run(app.path(), &[&["test"], options].concat())
}

/// Whether this machine has a program.
fn is_there(program: &str) -> bool {
    let version = std::process::Command::new(program).arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// All of what was printed.
fn text(finished: &Finished) -> String {
    finished.stdout.join("\n")
}
