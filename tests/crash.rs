//! What survives when a process is killed or stopped: real processes, with one state folder.
//!
//! Invariant: a sync whose registration was reported fires after any crash, as often as it must.

mod process;

use std::path::Path;

use process::{Process, run, start};

const PAGE: &str = r#"
navigator.serviceWorker.ready.then(({ sync }) => sync.register("mail"));
"#;

/// Its events hang until `open.txt` is there.
const WORKER: &str = r#"
self.addEventListener("sync", (event) => event.waitUntil(wait(event)));

async function wait(event) {
  console.log(`${event.tag}, last chance: ${event.lastChance}`);
  const response = await fetch("/open.txt");
  if (!response.ok) await new Promise(() => {});
}
"#;

fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), "sw.js", WORKER);
    write(folder.path(), "page.js", PAGE);
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a file in a temporary folder");
}

/// The first run: it registers worker and sync.
fn register(folder: &Path, network: &str) -> Process {
    let options = ["--state", "state", "--network", network, "--until", "forever"];
    start(folder, &[&["run", "sw.js", "--page", "page.js"], &options[..]].concat())
}

/// A later run, which has nothing but the state folder and the files that are served.
fn resume(network: &str) -> [&str; 7] {
    ["run", "--state", "state", "--root", ".", "--network", network]
}

#[test]
fn a_sync_fires_though_the_process_was_killed_before_its_event() {
    let project = project();
    write(project.path(), "open.txt", "");
    let mut first = register(project.path(), "offline");
    first.wait_for_line("sync       mail  registered");
    first.kill();
    let second = run(project.path(), &resume("online")).expect_code(0);
    assert_eq!(second.lines_with("sync       mail  firing  attempt 1").len(), 1, "{second:#?}");
    assert_eq!(second.lines_with("sync       mail  done").len(), 1, "{second:#?}");
    // It is done once and for all.
    let third = run(project.path(), &resume("online")).expect_code(0);
    assert_eq!(third.lines_with("sync").len(), 0, "{third:#?}");
}

#[test]
fn a_crash_in_the_middle_of_an_event_counts_no_attempt() {
    let project = project();
    let mut first = register(project.path(), "online");
    first.wait_for_line("GET https://app.test/open.txt  404");
    first.kill();
    write(project.path(), "open.txt", "");
    let second = run(project.path(), &resume("online")).expect_code(0);
    assert_eq!(second.lines_with("sync       mail  firing  attempt 1").len(), 1, "{second:#?}");
    assert_eq!(second.lines_with("sync       mail  done").len(), 1, "{second:#?}");
    assert!(second.stderr.contains("mail, last chance: false"), "{second:#?}");
}

#[test]
fn a_stop_in_the_middle_of_an_event_counts_no_attempt() {
    let project = project();
    for _ in 0..4 {
        let mut run = register(project.path(), "online");
        run.wait_for_line("sync       mail  firing  attempt 1");
        run.terminate();
        run.finish().expect_code(1).expect_stderr("left: \"mail\"");
    }
    write(project.path(), "open.txt", "");
    let last = run(project.path(), &resume("online")).expect_code(0);
    assert_eq!(last.lines_with("sync       mail  firing  attempt 1").len(), 1, "{last:#?}");
    assert_eq!(last.lines_with("sync       mail  done").len(), 1, "{last:#?}");
}

#[test]
fn an_event_that_was_cut_off_by_three_crashes_has_failed_once() {
    let project = project();
    let mut first = register(project.path(), "online");
    first.wait_for_line("GET https://app.test/open.txt  404");
    first.kill();
    for _ in 0..2 {
        let mut next = start(project.path(), &resume("online"));
        next.wait_for_line("sync       mail  firing  attempt 1");
        next.kill();
    }
    let last = run(project.path(), &resume("offline")).expect_code(1);
    let waiting = last.lines_with("sync       mail  waiting  5m");
    assert_eq!(waiting.len(), 1, "{last:#?}");
    assert!(waiting[0].contains("the process died in its event"), "{waiting:?}");
}

#[test]
fn a_killed_process_leaves_no_lock_behind() {
    let project = project();
    let mut first = register(project.path(), "offline");
    first.wait_for_line("sync       mail  registered");
    first.kill();
    let mut second = register(project.path(), "offline");
    second.wait_for_line("page  https://app.test/  opened");
    second.terminate();
    second.finish().expect_code(1).expect_stderr("left: \"mail\"");
}

/// Writes each number into two object stores in one transaction, and tells what is complete.
const LEDGER: &str = r#"
self.addEventListener("install", (event) => event.waitUntil(new Promise((resolve, reject) => {
  const request = indexedDB.open("ledger", 1);
  request.onerror = () => reject(request.error);
  request.onupgradeneeded = () => {
    for (const name of ["debit", "credit"]) {
      request.result.createObjectStore(name).createIndex("by", "n");
    }
  };
  request.onsuccess = () => {
    const db = request.result;
    if (location.pathname === "/count.js") count(db).then(resolve);
    else write(db, 1);
  };
})));

function write(db, n) {
  const transaction = db.transaction(["debit", "credit"], "readwrite");
  // Large enough for a file of its own; each takes the place of one that goes.
  const blob = new Blob([new Uint8Array(100_000).fill(n)]);
  for (const name of ["debit", "credit"]) {
    transaction.objectStore(name).put({ n }, n);
    transaction.objectStore(name).put({ n, blob }, "latest");
  }
  transaction.oncomplete = () => {
    console.log(`complete ${n}`);
    write(db, n + 1);
  };
}

async function count(db) {
  const transaction = db.transaction(["debit", "credit"]);
  const counts = [];
  for (const name of ["debit", "credit"]) {
    const store = transaction.objectStore(name);
    for (const source of [store, store.index("by")]) {
      counts.push(await new Promise((resolve) => {
        source.count().onsuccess = ({ target }) => resolve(target.result);
      }));
    }
  }
  console.log(`counts ${counts.join()}`);
  for (const name of ["debit", "credit"]) {
    const { n, blob } = await new Promise((resolve) => {
      const get = db.transaction(name).objectStore(name).get("latest");
      get.onsuccess = () => resolve(get.result);
    });
    const bytes = new Uint8Array(await blob.arrayBuffer());
    const isWhole = bytes.length === 100_000 && bytes.every((byte) => byte === n % 256);
    console.log(`${name} has the blob of ${n}: ${isWhole}`);
  }
}
"#;

#[test]
fn a_transaction_that_was_complete_is_on_disk_and_one_cut_off_left_nothing() {
    let project = tempfile::tempdir().expect("a temporary folder");
    for name in ["sw.js", "count.js"] {
        write(project.path(), name, LEDGER);
    }
    let run_with_state = |script| ["run", script, "--state", "state", "--format", "json"];
    let mut first = start(project.path(), &run_with_state("sw.js"));
    first.wait_for_line("complete 25\"");
    first.kill();

    let second = run(project.path(), &run_with_state("count.js")).expect_code(0);
    let line = second.lines_with("counts ").pop().expect("it counts");
    let counts = line.split("counts ").nth(1).expect("numbers follow");
    let counts: Vec<usize> =
        counts.split(['"', ',']).map_while(|number| number.parse().ok()).collect();
    assert_eq!(counts.len(), 4, "{line}");
    assert!(counts.iter().all(|count| *count == counts[0] && *count >= 25), "{line}");
    // Each store has as many records as were written, and the blob of the last of them.
    for name in ["debit", "credit"] {
        let whole = format!("{name} has the blob of {}: true", counts[0] - 1);
        assert_eq!(second.lines_with(&whole).len(), 1, "{second:#?}");
    }
    assert_eq!(blob_files(&project.path().join("state/indexed_db")), 2, "none is left over");
}

/// How many files blobs have in the folder of databases.
fn blob_files(databases: &Path) -> usize {
    let entries = |folder: &Path| -> Vec<_> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    let files = entries(databases).into_iter().flat_map(|origin| entries(&origin));
    let folders = files.filter(|path| path.extension().is_some_and(|name| name == "blobs"));
    folders.map(|folder| entries(&folder).len()).sum()
}

const PERIODIC_PAGE: &str = r#"
navigator.serviceWorker.ready.then(({ periodicSync }) => periodicSync.register("news"));
"#;

#[test]
fn a_periodic_sync_that_was_killed_in_mid_event_fires_again_uncounted() {
    let project = project();
    let worker = WORKER.replace("\"sync\"", "\"periodicsync\"");
    write(project.path(), "sw.js", &worker);
    write(project.path(), "page.js", PERIODIC_PAGE);
    let simulated = |until| ["--state", "state", "--clock", "simulated", "--until", until];
    // Its event hangs, and the process goes on until it is killed.
    let register = [&["run", "sw.js", "--page", "page.js"], &simulated("12h 1m")[..]].concat();
    for options in [&register, &[&["run", "--root", "."], &simulated("13h")[..]].concat()] {
        let mut run = start(project.path(), options);
        run.wait_for_line("periodic   news  firing  attempt 1");
        run.kill();
    }
    write(project.path(), "open.txt", "");
    let last = [&["run", "--root", "."], &simulated("13h")[..]].concat();
    let last = run(project.path(), &last).expect_code(0);
    assert_eq!(last.lines_with("periodic   news  firing  attempt 1").len(), 1, "{last:#?}");
    assert_eq!(last.lines_with("periodic   news  done  12h").len(), 1, "{last:#?}");
}
