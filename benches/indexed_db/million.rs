//! What the process holds while a cursor walks a million records.

use std::fs;

use kittiwake::{PageSource, Runtime, TraceKind};
use url::Url;

use crate::peers::Result;

const RECORDS: &str = "1000000";

/// In transactions of 10,000, so that what waits to be written stays small.
const PUT: &str = r#"
(async () => {
  const opening = indexedDB.open("million");
  opening.onupgradeneeded = () => opening.result.createObjectStore("records", { keyPath: "id" });
  await new Promise((resolve) => opening.onsuccess = resolve);
  const url = "https://app.test/outbox";
  for (let first = 0; first < 1_000_000; first += 10_000) {
    const transaction = opening.result.transaction("records", "readwrite");
    const store = transaction.objectStore("records");
    for (let id = first; id < first + 10_000; id++) store.put({ id, url, body: "x".repeat(100) });
    await new Promise((resolve) => transaction.oncomplete = resolve);
  }
})();
"#;

const WALK: &str = r#"
const opening = indexedDB.open("million");
opening.onsuccess = () => {
  const store = opening.result.transaction("records").objectStore("records");
  let seen = 0;
  store.openCursor().onsuccess = ({ target: { result: cursor } }) => {
    if (cursor === null) console.log(`${seen}`);
    else if (cursor.value.id === seen++) cursor.continue();
  };
};
"#;

/// Prints what a walk takes on top of what there was before.
#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
pub async fn run() -> Result<()> {
    let state = tempfile::tempdir()?;
    let (tell, told) = std::sync::mpsc::channel();
    let runtime = Runtime::builder().state_folder(state.path()).on_trace(move |event| {
        if let TraceKind::Console { text, .. } = &event.kind {
            // The bench may have given up.
            let _ = tell.send(text.clone());
        }
    });
    let runtime = runtime.start()?;
    let page: Url = "https://app.test/".parse()?;
    let open = async |text: &str| -> Result<()> {
        let source = PageSource::Script(page.join("script.js")?, text.to_owned());
        runtime.open_page(page.clone(), source).await?;
        Ok(runtime.idle().await?)
    };
    open(PUT).await?;
    let before = resident_bytes("VmRSS:")?;
    // The peak from now on: man 5 proc, `clear_refs`.
    fs::write("/proc/self/clear_refs", "5")?;
    open(WALK).await?;
    let extra = (resident_bytes("VmHWM:")? - before) / f64::from(1 << 20);
    runtime.shut_down().await?;
    match told.try_iter().last() {
        Some(seen) if seen == RECORDS => {
            let verdict = if extra <= 64.0 { "met" } else { "MISSED" };
            println!("\na cursor over {seen} records: {extra:.1} MiB more  at most 64: {verdict}");
            Ok(())
        }
        told => Err(format!("the walk ended with {told:?}").into()),
    }
}

fn resident_bytes(field: &str) -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
    let kibibytes: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kibibytes * 1024.0)
}
