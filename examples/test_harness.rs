//! A test of a service worker in Rust: network, servers and clock are the test's, and an hour takes
//! no time.
//!
//! ```sh
//! cargo run --example test_harness
//! ```

use std::time::Duration;

use futures::StreamExt;
use kittiwake::{NetworkState, Runtime, ScriptedServers, SyncState, TraceItem};
use serde_json::json;
use url::Url;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The worker under test, unmodified.
const WORKER: &str = r#"
self.addEventListener("message", (event) =>
  event.waitUntil(self.registration.sync.register("outbox")));
self.addEventListener("sync", (event) => event.waitUntil(send()));

async function send() {
  const response = await fetch("https://api.test/outbox", { method: "POST", body: "hello" });
  if (!response.ok) throw new Error(`outbox said ${response.status}`);
}
"#;

fn main() -> Result<()> {
    for line in futures::executor::block_on(a_message_waits_for_the_network_and_is_retried())? {
        println!("{line}");
    }
    Ok(())
}

/// Answers the trace, so that it can be compared with a file that was read and found right.
pub async fn a_message_waits_for_the_network_and_is_retried() -> Result<Vec<String>> {
    let servers: ScriptedServers = serde_json::from_value(json!({
        "https://app.test": { "GET /sw.js": {
            "status": 200, "headers": { "content-type": "text/javascript" }, "body": WORKER,
        } },
        // It fails once.
        "https://api.test": { "POST /outbox": [503, 204] },
    }))?;
    let runtime = Runtime::builder().simulated(1).servers(servers.clone()).start()?;
    let mut trace = runtime.trace_events(1000);
    runtime.register(Url::parse("https://app.test/sw.js")?, None).await?;

    runtime.set_network(NetworkState::Offline).await?;
    runtime.post_message(None, json!("send")).await?;
    runtime.run_for(Duration::from_secs(3600)).await?;
    assert_eq!(runtime.unsettled_syncs().await?[0].state, SyncState::Pending);

    runtime.set_network(NetworkState::Online).await?;
    runtime.run_for(Duration::from_secs(60)).await?;
    assert_eq!(runtime.unsettled_syncs().await?[0].state, SyncState::Waiting);

    // The second attempt comes five minutes after the first, and nobody waits for it.
    runtime.idle().await?;
    assert!(runtime.unsettled_syncs().await?.is_empty());
    let sent = servers.requests().iter().filter(|each| each.method == "POST").count();
    assert_eq!(sent, 2);

    runtime.shut_down().await?;
    let mut lines = Vec::new();
    while let Some(item) = trace.next().await {
        match item {
            TraceItem::Event(event) => lines.push(event.to_string()),
            TraceItem::Gap { missed } => return Err(format!("{missed} events are missing").into()),
        }
    }
    Ok(lines)
}
