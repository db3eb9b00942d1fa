//! The command line, as a person or a script uses it: a real process, a real clock, real HTTP.
//!
//! Invariant: every claim is about what the process writes, sends, keeps, and its exit code.

#[path = "../debugger/mod.rs"]
mod debugger;
mod inspect;
mod mistakes;
mod periodic;
#[path = "../process/mod.rs"]
mod process;
mod runs;
mod serve;
mod server;
mod state;
mod storage;

use std::path::Path;

/// A worker that posts each tag to the outbox at `origin`.
fn outbox_worker(origin: &str) -> String {
    format!(
        r#"self.addEventListener("sync", (event) => event.waitUntil(send(event.tag)));

async function send(tag) {{
  const response = await fetch("{origin}/outbox", {{ method: "POST", body: tag }});
  if (!response.ok) throw new Error(`the outbox said ${{response.status}}`);
}}
"#
    )
}

/// A page that requests one sync.
const PAGE: &str = r#"
navigator.serviceWorker.ready.then(({ sync }) => sync.register("mail"));
"#;

/// Writes files into a folder of its own.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a file in a temporary folder");
}
