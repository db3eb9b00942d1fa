//! What a body that streams through fetch, a cache and a reader leaves in memory on its way. A
//! binary of its own: no other test's memory is measured.
//!
//! Invariant: it asks the system for the peak of the process's resident memory.

use std::fs;
use std::sync::mpsc::channel;

use axum::body::{Body, Bytes};
use futures::stream;
use kittiwake::{PageSource, Runtime, TraceKind};
use url::Url;

const BODY_BYTES: usize = 256 << 20;
const CHUNK_BYTES: usize = 1 << 16;
/// What may come on top: far less than the body.
const ALLOWED_BYTES: usize = 64 << 20;

/// A field of `/proc/self/status` that counts memory.
fn resident_bytes(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field is there");
    let kibibytes: usize =
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kibibytes << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_large_body_streams_through_fetch_and_a_cache() {
    let server = serve().await;
    let state = tempfile::tempdir().expect("a temporary folder");
    let (tell, told) = channel();
    let watch = move |event: &kittiwake::TraceEvent| {
        if let TraceKind::Console { text, .. } = &event.kind {
            tell.send(text.clone()).expect("the test listens");
        }
    };
    let runtime = Runtime::builder().state_folder(state.path()).on_trace(watch).start();
    let runtime = runtime.expect("it starts");
    let script = r#"
(async () => {
  const cache = await caches.open("large");
  await cache.put("/body", await fetch("/body"));
  let length = 0;
  for await (const chunk of (await cache.match("/body")).body) length += chunk.length;
  console.log(`${length}`);
})();
"#;
    let script_url = server.join("script.js").expect("a URL");
    // The engine and the allocators have their pools by then.
    let warm_up = PageSource::Script(script_url.clone(), "caches.open('a')".to_owned());
    runtime.open_page(server.clone(), warm_up).await.expect("the page opens");
    runtime.idle().await.expect("it becomes idle");

    let before = resident_bytes("VmRSS:");
    // From now on the peak is measured anew: man 5 proc_pid_clear_refs.
    fs::write("/proc/self/clear_refs", "5").expect("Linux has it");
    let page = PageSource::Script(script_url, script.to_owned());
    runtime.open_page(server, page).await.expect("the page opens");
    runtime.idle().await.expect("it becomes idle");
    let extra = resident_bytes("VmHWM:").saturating_sub(before);
    runtime.shut_down().await.expect("it ends");
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [BODY_BYTES.to_string()]);
    assert!(extra <= ALLOWED_BYTES, "{extra} bytes on top, more than {ALLOWED_BYTES}");
}

/// A server that answers every request with the body.
async fn serve() -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let answer = || async {
        let chunk = Bytes::from(vec![b'x'; CHUNK_BYTES]);
        let chunks = (0..BODY_BYTES / CHUNK_BYTES).map(move |_| Ok(chunk.clone()));
        Body::from_stream(stream::iter(chunks.collect::<Vec<std::io::Result<Bytes>>>()))
    };
    let app = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Url::parse(&format!("http://{address}/")).expect("a URL")
}
