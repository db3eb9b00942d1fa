//! Caches on a real disk: processes that are killed while they write, a disk without room, a quota.
//!
//! Invariant: what a promise told is there, whole; of the rest nothing is, not even a file.

mod process;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use kittiwake::{PageSource, Runtime, TraceEvent, TraceKind};
use process::{Process, kittiwake, run, start};
use url::Url;

const WORKER: &str = "self.addEventListener('install', () => {});";

/// Puts bodies of 3 MiB, a quarter of a megabyte at a time, and small ones beside them.
const WRITES: &str = r#"
const piece = new Uint8Array(1 << 18).fill(7);

function body() {
  let pieces = 12;
  const pull = (controller) => pieces-- > 0 ? controller.enqueue(piece) : controller.close();
  return new ReadableStream({ pull });
}

(async () => {
  const cache = await caches.open("bodies");
  for (let number = 0; ; number++) {
    const name = `/${number % 4}`;
    await Promise.all([
      cache.put(name, new Response(body())),
      cache.put(`${name}/small`, new Response(`small ${number}`)),
    ]);
    console.log(`put ${number};`);
  }
})();
"#;

/// Tells what is there, and whether it is whole.
const READS: &str = r#"
(async () => {
  const cache = await caches.open("bodies");
  for (const request of await cache.keys()) {
    const bytes = await (await cache.match(request)).bytes();
    const isWhole = request.url.endsWith("/small")
      ? new TextDecoder().decode(bytes).startsWith("small")
      : bytes.length === 3 << 20 && bytes.every((byte) => byte === 7);
    console.log(`${request.url} is ${isWhole ? "whole" : "damaged"};`);
  }
})();
"#;

fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in [("sw.js", WORKER), ("writes.js", WRITES), ("reads.js", READS)] {
        fs::write(folder.path().join(name), text).expect("a file in a temporary folder");
    }
    folder
}

/// Arguments that open a page. In JSON, what its script prints is on standard output.
fn page(script: &str) -> [&str; 8] {
    ["run", "sw.js", "--page", script, "--state", "state", "--format", "json"]
}

fn body_files(project: &Path) -> usize {
    let folder = project.join("state/caches");
    folder.read_dir().map_or(0, |entries| entries.count())
}

#[test]
fn a_process_that_is_killed_leaves_whole_entries_and_no_other_file() {
    let project = project();
    for lines in 1..=6 {
        let mut writes = start(project.path(), &page("writes.js"));
        // The next bodies are on their way when this line comes.
        writes.wait_for_line(&format!("put {lines};"));
        writes.kill();

        let reads = run(project.path(), &page("reads.js")).expect_code(0);
        let large = (lines + 1).min(4);
        assert_eq!(reads.lines_with("damaged").len(), 0, "{reads:#?}");
        let whole = reads.lines_with("is whole").len();
        assert!(whole >= 2 * large, "{whole} of {large}: {reads:#?}");
        let large = whole - reads.lines_with("/small is whole").len();
        assert_eq!(body_files(project.path()), large, "{reads:#?}");
    }
}

/// No file may have more than 2 MiB, which is what a disk without room looks like to a large body.
#[test]
fn a_body_without_room_on_the_disk_is_refused_and_the_rest_is_kept() {
    let project = project();
    let script = r#"
(async () => {
  const cache = await caches.open("bodies");
  await cache.put("/small", new Response("small"));
  const failure = await cache.put("/large", new Response(new Uint8Array(3 << 20))).catch((e) => e);
  console.log(`${failure.name}, ${failure instanceof QuotaExceededError};`);
  await cache.put("/later/small", new Response("small"));
  console.log((await cache.keys()).length + " entries;");
})();
"#;
    fs::write(project.path().join("page.js"), script).expect("a file in a temporary folder");
    let command = kittiwake();
    let program = command.get_program().to_str().expect("the path is UTF-8");
    let limited =
        format!("trap '' XFSZ; ulimit -f 4096; exec '{program}' {}", page("page.js").join(" "));
    let mut shell = Command::new("sh");
    let refused = Process::start(shell.args(["-c", &limited]).current_dir(project.path())).finish();
    assert_eq!(refused.lines_with("QuotaExceededError, true;").len(), 1, "{refused:#?}");
    assert_eq!(refused.lines_with("2 entries;").len(), 1, "{refused:#?}");
    assert_eq!(refused.lines_with("no space left for").len(), 1, "{refused:#?}");
    assert_eq!(body_files(project.path()), 0);
}

#[tokio::test]
async fn what_exceeds_the_quota_is_refused_before_it_is_written() {
    let state = tempfile::tempdir().expect("a temporary folder");
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = lines.clone();
    let watch = move |event: &TraceEvent| {
        if let TraceKind::Console { text, .. } = &event.kind {
            seen.lock().unwrap().push(text.clone());
        }
    };
    let runtime = Runtime::builder()
        .state_folder(state.path())
        .storage_quota(1 << 20)
        .on_trace(watch)
        .start()
        .expect("a runtime");
    let script = r#"
(async () => {
  const cache = await caches.open("a");
  const endless = new ReadableStream({
    pull: (controller) => controller.enqueue(new Uint8Array(1 << 16)),
  });
  const told = (error) => `${error.constructor.name}: ${error.message}`;
  console.log(await cache.put("/endless", new Response(endless)).catch(told));
  console.log(await cache.put("/large", new Response("x".repeat(2 << 20))).catch(told));
  await cache.put("/fits", new Response("x".repeat(900_000)));
  console.log(await cache.put("/more", new Response("x".repeat(20_000 * 10))).catch(told));
  await cache.delete("/fits");
  await cache.put("/fits", new Response("x".repeat(900_000)));
  const { quota, usage } = await navigator.storage.estimate();
  console.log(`${quota}, ${usage > 900_000 && usage < quota}, ${(await cache.keys()).length}`);
  console.log(`persistent: ${await navigator.storage.persist()}`);
})();
"#;
    let url = Url::parse("https://app.test/").expect("a URL");
    let page = PageSource::Script(url.clone(), script.to_owned());
    runtime.open_page(url, page).await.expect("a page");
    runtime.idle().await.expect("it becomes idle");
    runtime.shut_down().await.expect("it ends");
    let refused = "QuotaExceededError: Quota exceeded.";
    let expected = [refused, refused, refused, "1048576, true, 1", "persistent: true"];
    assert_eq!(*lines.lock().unwrap(), expected);
    let files = state.path().join("caches").read_dir().expect("a folder").count();
    assert_eq!(files, 1);
}
