//! Crash tests: processes that are killed, and what another process makes of their state folder.
//! Each scenario is stopped at every line of its trace (`stopped.rs`), and the command at instants
//! that a seed chooses (`killed.rs`).
//!
//! Invariant: every process here dies by SIGKILL or ends by itself; none is asked to be gentle.

mod killed;
mod stopped;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::Arguments;
use serde_json::Value;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, folder, state, line] = &arguments[..]
        && flag == stopped::CHILD
    {
        let line = line.parse().expect("the parent gives a number");
        return stopped::run_until(Path::new(folder), Path::new(state), line);
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut trials = stopped::trials(&fixtures.join("scenarios"));
    trials.extend(killed::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// What a trace says of background syncs, each by its type, scope and tag; and of background
/// fetches, which begin and end like one-shot syncs.
#[derive(Debug, Default)]
struct Syncs {
    /// One-shot: registered, and not done or given up since.
    open: BTreeSet<String>,
    /// Periodic: registered, and not unregistered since. They have no other end.
    periodic: BTreeSet<String>,
    /// Done, given up or unregistered, and not registered since.
    ended: BTreeSet<String>,
    /// Fired or ended though they had ended before, and nobody had registered them again.
    risen: BTreeSet<String>,
    /// Their event is under way, as far as the trace has told.
    firing: BTreeSet<String>,
    /// Fired at least once.
    fired: BTreeSet<String>,
    /// The last line told what a commit has changed.
    committing: bool,
}

impl Syncs {
    /// Events whose end may be on disk and not told: changes that come together share one commit,
    /// and the process died as it told one of them.
    fn ended_untold(&self) -> BTreeSet<String> {
        if self.committing { self.firing.clone() } else { BTreeSet::new() }
    }

    /// Follows one event of the trace, in its JSON form.
    fn follow(&mut self, event: &Value) {
        self.committing = false;
        let text = |key: &str| event[key].as_str().expect("the kind has it");
        if event["kind"] == "background-fetch" {
            let id = name("background-fetch", text("scope"), text("id"));
            match text("state") {
                "begun" => {
                    self.ended.remove(&id);
                    self.open.insert(id);
                }
                "done" => self.end(id),
                _ if self.ended.contains(&id) => {
                    self.risen.insert(id);
                }
                _ => {}
            }
            return;
        }
        if event["kind"] != "sync" {
            return;
        }
        let sync_type = event["sync_type"].as_str().unwrap_or("one-shot");
        let tag = name(sync_type, text("scope"), text("tag"));
        let state = text("state");
        self.committing = state != "firing";
        if state == "firing" {
            self.firing.insert(tag.clone());
            self.fired.insert(tag.clone());
        } else {
            self.firing.remove(&tag);
        }
        let periodic = sync_type == "periodic";
        match state {
            "registered" | "reregistered" => {
                self.ended.remove(&tag);
                let open = if periodic { &mut self.periodic } else { &mut self.open };
                open.insert(tag);
            }
            "done" | "gave-up" if !periodic => self.end(tag),
            "unregistered" => self.end(tag),
            _ if self.ended.contains(&tag) => {
                self.risen.insert(tag);
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: String) {
        self.open.remove(&tag);
        self.periodic.remove(&tag);
        if !self.ended.insert(tag.clone()) {
            self.risen.insert(tag);
        }
    }
}

/// What names a background sync among all.
fn name(sync_type: &str, scope: &str, tag: &str) -> String {
    format!("{sync_type} {tag:?} of {scope}")
}

/// The background syncs of a state folder that no process uses.
fn stored(state: &Path) -> Result<BTreeSet<String>, kittiwake::Error> {
    let stored = loop {
        match kittiwake::stored_syncs(state) {
            // Another test starts a process at this moment: between fork and exec it holds a copy
            // of whatever was open here.
            Err(kittiwake::Error::Store(error))
                if matches!(*error, kittiwake::StoreError::Locked { .. }) =>
            {
                std::thread::yield_now();
            }
            stored => break stored?.syncs,
        }
    };
    Ok(stored.iter().map(|sync| name(sync.kind.as_str(), &sync.scope, &sync.tag)).collect())
}
