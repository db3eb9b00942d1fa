//! The command `kittiwake`, killed time and again with one state folder, at instants that a seed
//! chooses: so many lines after its start, and then some microseconds more.
//!
//! Invariant: over all those deaths every tag whose registration was reported is sent, or stays if
//! it is periodic, and none is heard of again once its end was reported. That a tag was done is on
//! disk before it is reported, so that a death may fall between the two: the worker's own word that
//! it has sent it comes before.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::{Syncs, stored};

/// Deaths for each seed.
const ROUNDS: u64 = 60;

/// A sync fails when a process meets it first, and succeeds at its next attempt.
const WORKER: &str = r#"
const met = new Set();
self.addEventListener("sync", (event) => event.waitUntil(meet(event.tag)));

async function meet(tag) {
  await fetch("/sw.js");
  if (!met.has(tag)) {
    met.add(tag);
    throw new Error("not yet");
  }
  console.log(`sent ${tag}`);
}
"#;

/// One test for each seed.
pub fn trials() -> Vec<Trial> {
    let trial = |seed| {
        let name = format!("killed/at_{ROUNDS}_instants_of_seed_{seed}");
        Trial::test(name, move || kill_and_go_on(seed))
    };
    (1..=4).map(trial).collect()
}

fn kill_and_go_on(seed: u64) -> Result<(), Failed> {
    let project = tempfile::tempdir()?;
    fs::write(project.path().join("sw.js"), WORKER)?;
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut record = Record::default();
    for round in 0..ROUNDS {
        write_page(project.path(), round)?;
        let (lines, after) = (chance.usize(0..60), chance.u64(0..3_000));
        let said = kill_after(project.path(), lines, Duration::from_micros(after))?;
        record.killed_at_work += u64::from(said.len() >= lines);
        said.iter().for_each(|event| record.follow(event));
    }
    let last = command(project.path(), &[]).output()?;
    for line in String::from_utf8(last.stdout)?.lines() {
        record.follow(&serde_json::from_str(line)?);
    }
    let stderr = String::from_utf8_lossy(&last.stderr).into_owned();
    match last.status.success() {
        true => record.judge(&stored(&project.path().join("state"))?).map_err(Failed::from),
        false => Err(format!("the last run ended with {}: {stderr}", last.status).into()),
    }
}

/// What all the processes said.
#[derive(Default)]
struct Record {
    syncs: Syncs,
    registered: BTreeSet<String>,
    sent: BTreeSet<String>,
    /// How many of them died before they were done.
    killed_at_work: u64,
}

impl Record {
    fn follow(&mut self, event: &Value) {
        self.syncs.follow(event);
        match (event["state"].as_str(), event["tag"].as_str(), event["text"].as_str()) {
            (Some("registered"), Some(tag), _) if event["sync_type"] != "periodic" => {
                self.registered.insert(tag.to_owned());
            }
            (_, _, Some(text)) => self.sent.extend(text.strip_prefix("sent ").map(str::to_owned)),
            _ => {}
        }
    }

    fn judge(&self, stored: &BTreeSet<String>) -> Result<(), String> {
        let lost: Vec<_> = self.registered.difference(&self.sent).collect();
        // That it is gone may be on disk and not told.
        let stays = |tag: &&String| !tag.contains("brief");
        let gone: Vec<_> = self.syncs.periodic.difference(stored).filter(stays).collect();
        let again = &self.syncs.risen;
        if !lost.is_empty() || !gone.is_empty() || !again.is_empty() {
            return Err(format!(
                "never sent: {lost:?}; not stored: {gone:?}; after its end: {again:?}"
            ));
        }
        // It would show nothing if processes ended before they were killed, or did nothing.
        let (killed, tags) = (self.killed_at_work, self.registered.len() as u64);
        let periodic = self.syncs.periodic.len() as u64;
        match killed > ROUNDS / 2 && tags > ROUNDS && periodic > ROUNDS / 2 {
            true => Ok(()),
            false => Err(format!(
                "only {killed} were killed at work; {tags} tags and {periodic} periodic ones were \
                 registered"
            )),
        }
    }
}

/// A page that registers tags of its own, of both types, one after the other; and brief periodic
/// ones, which it unregisters at once.
fn write_page(folder: &Path, round: u64) -> std::io::Result<()> {
    let page = format!(
        r#"navigator.serviceWorker.ready.then(async ({{ sync, periodicSync }}) => {{
  for (let i = 0; i < 10; i++) {{
    await sync.register(`{round}-${{i}}`);
    await periodicSync.register(`{round}-${{i}}`);
    await periodicSync.register(`brief {round}-${{i}}`);
    await periodicSync.unregister(`brief {round}-${{i}}`);
  }}
}});"#
    );
    fs::write(folder.join("page.js"), page)
}

fn command(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kittiwake"));
    command
        .current_dir(folder)
        .args(["run", "sw.js", "--state", "state", "--clock", "simulated", "--format", "json"])
        // More attempts than deaths can use up.
        .args(["--retry", "attempts=100,initial=1s,factor=1"])
        .args(more)
        .stdin(Stdio::null());
    command
}

/// Starts the command and kills it once it has said so many lines and some time has passed, or its
/// next line comes. Answers all that it said.
fn kill_after(folder: &Path, lines: usize, after: Duration) -> Result<Vec<Value>, Failed> {
    let mut command = command(folder, &["--page", "page.js"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let said = listen(child.stdout.take().expect("it is piped"));
    let mut trace: Vec<String> = said.iter().take(lines).collect();
    // Ends at once if the process has ended by itself.
    trace.extend(said.recv_timeout(after));
    kill(&mut child)?;
    trace.extend(said);
    let events = trace.iter().map(|line| serde_json::from_str(line));
    Ok(events.collect::<Result<_, _>>()?)
}

fn kill(child: &mut Child) -> Result<(), Failed> {
    child.kill()?;
    let status = child.wait()?;
    let mut stderr = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut stderr)?;
    // No code: it died of the signal. Otherwise it was done, and nothing may have gone wrong.
    match status.code() {
        None | Some(0) => Ok(()),
        Some(code) => Err(format!("it ended with code {code}: {stderr}").into()),
    }
}

/// Its whole lines; the one that death cut off was never said.
fn listen(stdout: ChildStdout) -> Receiver<String> {
    let (send, lines) = channel();
    spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        while let Ok(1..) = stdout.read_line(&mut line) {
            if !line.ends_with('\n') || send.send(std::mem::take(&mut line)).is_err() {
                break;
            }
        }
    });
    lines
}
