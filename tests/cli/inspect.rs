//! `kittiwake run --inspect-brk`: a debugger at a worker in real time.

use serde_json::json;

use super::debugger::{Debugger, free_address};
use super::process::start;
use super::{PAGE, folder};

const WORKER: &str = "self.addEventListener('sync', (event) => {
  event.waitUntil(Promise.resolve(event.tag));
});
";

const SW: &str = "worker https://app.test/sw.js";

#[tokio::test(flavor = "current_thread")]
async fn a_run_waits_for_a_debugger_and_ends_well() {
    let folder = folder(&[("sw.js", WORKER), ("page.js", PAGE)]);
    let address = free_address();
    let option = format!("--inspect-brk={address}");
    let mut process = start(folder.path(), &["run", "sw.js", "--page", "page.js", &option]);
    process.wait_for_stderr(&format!("waiting for a debugger: {SW}"));
    let mut worker = Debugger::connect(address, SW).await;
    worker.break_at("https://app.test/sw.js", 2).await;
    assert_eq!(worker.start().await, ("https://app.test/sw.js".to_owned(), 1));
    worker.resume().await;
    process.wait_for_stderr("waiting for a debugger: page https://app.test/");
    let mut page = Debugger::connect(address, "page https://app.test/").await;
    page.start().await;
    page.resume().await;
    let paused = worker.event("Debugger.paused").await;
    assert_eq!(worker.place(&paused).1, 2);
    assert_eq!(worker.evaluate(&paused, "event.tag").await, json!("mail"));
    worker.resume().await;
    let finished = process.finish().expect_code(0);
    assert_eq!(finished.lines_with("done").len(), 1, "{finished:?}");
}

#[test]
fn a_run_that_waits_for_a_debugger_can_be_stopped() {
    let folder = folder(&[("sw.js", WORKER)]);
    let option = format!("--inspect-brk={}", free_address());
    let mut process = start(folder.path(), &["run", "sw.js", "--until", "forever", &option]);
    process.wait_for_stderr(&format!("waiting for a debugger: {SW}"));
    process.terminate();
    process.finish().expect_code(0);
}
