//! What a cursor leaves in memory on its way over more records than memory is to hold. A binary of
//! its own: no other test's memory is measured.
//!
//! Invariant: it asks the system for the peak of the process's resident memory.

use std::fs;
use std::sync::mpsc::channel;

use kittiwake::{PageSource, Runtime, TraceKind};
use url::Url;

/// Far less than the records, which have 8 KiB each.
const ALLOWED_BYTES: usize = 64 << 20;
const RECORDS: usize = 20_000;

const PUT: &str = r#"
(async () => {
  const opening = indexedDB.open("large");
  opening.onupgradeneeded = () => opening.result.createObjectStore("records");
  await new Promise((resolve) => opening.onsuccess = resolve);
  const database = opening.result;
  for (let first = 0; first < 20_000; first += 500) {
    const transaction = database.transaction("records", "readwrite", { durability: "relaxed" });
    const store = transaction.objectStore("records");
    for (let key = first; key < first + 500; key++) store.put("x".repeat(8192), key);
    await new Promise((resolve) => transaction.oncomplete = resolve);
  }
})();
"#;

const WALK: &str = r#"
const opening = indexedDB.open("large");
opening.onsuccess = () => {
  const store = opening.result.transaction("records").objectStore("records");
  let seen = 0;
  store.openCursor().onsuccess = ({ target: { result: cursor } }) => {
    if (cursor === null) console.log(`${seen}`);
    else if (cursor.key === seen++ && cursor.value.length === 8192) cursor.continue();
  };
};
"#;

/// A field of `/proc/self/status` that counts memory.
fn resident_bytes(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field is there");
    let kibibytes: usize =
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kibibytes << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn memory_is_flat_while_a_cursor_walks() {
    let state = tempfile::tempdir().expect("a temporary folder");
    let (tell, told) = channel();
    let watch = move |event: &kittiwake::TraceEvent| {
        if let TraceKind::Console { text, .. } = &event.kind {
            tell.send(text.clone()).expect("the test listens");
        }
    };
    let runtime = Runtime::builder().state_folder(state.path()).on_trace(watch).start();
    let runtime = runtime.expect("it starts");
    let page = Url::parse("https://app.test/").expect("a URL");
    let script = page.join("script.js").expect("a URL");
    let open = async |text: &str| {
        let source = PageSource::Script(script.clone(), text.to_owned());
        runtime.open_page(page.clone(), source).await.expect("the page opens");
        runtime.idle().await.expect("it becomes idle");
    };
    open(PUT).await;

    let before = resident_bytes("VmRSS:");
    // From now on the peak is measured anew: man 5 proc_pid_clear_refs.
    fs::write("/proc/self/clear_refs", "5").expect("Linux has it");
    open(WALK).await;
    let extra = resident_bytes("VmHWM:").saturating_sub(before);
    runtime.shut_down().await.expect("it ends");
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [RECORDS.to_string()]);
    assert!(extra <= ALLOWED_BYTES, "{extra} bytes on top, more than {ALLOWED_BYTES}");
}
