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

/// What a trace says of background syncs, by scope and tag.
#[derive(Debug, Default)]
struct Syncs {
    /// Registered, and not done or given up since.
    open: BTreeSet<String>,
    /// Done or given up, and not registered since.
    ended: BTreeSet<String>,
    /// Fired or ended though they had ended before, and nobody had registered them again.
    risen: BTreeSet<String>,
    /// Their event is under way, as far as the trace has told.
    firing: BTreeSet<String>,
    /// The last line told how an event ended.
    settling: bool,
}

impl Syncs {
    /// Events whose end may be on disk and not told: ends that come together share one commit, and
    /// the process died as it told the first of them.
    fn settled_untold(&self) -> BTreeSet<String> {
        if self.settling { self.firing.clone() } else { BTreeSet::new() }
    }
}

impl Syncs {
    /// Follows one event of the trace, in its JSON form.
    fn follow(&mut self, event: &Value) {
        // A periodic sync has no end that a restart could reach.
        if event["kind"] != "sync" || event["sync_type"] == "periodic" {
            return;
        }
        let text = |key: &str| event[key].as_str().expect("a sync has it").to_owned();
        let tag = name(&text("scope"), &text("tag"));
        let state = event["state"].as_str().expect("a sync has a state");
        self.settling = matches!(state, "done" | "gave-up" | "waiting");
        match state {
            "firing" => self.firing.insert(tag.clone()),
            _ => self.firing.remove(&tag),
        };
        match state {
            "registered" | "reregistered" => {
                self.ended.remove(&tag);
                self.open.insert(tag);
            }
            "done" | "gave-up" => {
                self.open.remove(&tag);
                if !self.ended.insert(tag.clone()) {
                    self.risen.insert(tag);
                }
            }
            _ if self.ended.contains(&tag) => {
                self.risen.insert(tag);
            }
            _ => {}
        }
    }
}

/// What names a background sync among all workers.
fn name(scope: &str, tag: &str) -> String {
    format!("{tag:?} of {scope}")
}
