//! `--inspect` and `--inspect-brk`: a debugger at the workers and pages of a test.

use std::sync::mpsc::channel;
use std::time::Duration;

use kittiwake::{Inspector, InspectorStart, Limit, PageSource, Runtime, TraceEvent, TraceKind};
use serde_json::json;
use url::Url;

use super::debugger::{Debugger, free_address, get, request, targets};
use super::process::{Process, run, start};
use super::{app, test_file, text};

const WORKER: &str = "let heard = 0;
self.addEventListener('sync', (event) => {
  const letters = ['Ada', 'Grace'];
  heard += letters.length;
  console.warn('heard', heard);
  event.waitUntil(fetch('/outbox', { method: 'POST', body: letters.join() }));
});
";

const TEST: &str = "
test('letters are sent', async ({ clock, server, worker }) => {
  server.on('POST /outbox', 204);
  const { sync } = await worker.register();
  await sync.register('outbox');
  await clock.runUntilIdle();
  expect(server.lastRequest.body).toBe('Ada,Grace');
}, 50);";

const PAGE: &str = "page https://app.test/";
const SW: &str = "worker https://app.test/sw.js";

/// Starts a test that waits for debuggers.
fn waiting(folder: &std::path::Path) -> (Process, std::net::SocketAddr) {
    let address = free_address();
    let mut process = start(folder, &["test", &format!("--inspect-brk={address}")]);
    process.wait_for_stderr(&format!("debuggers connect at {address}: chrome://inspect"));
    process.wait_for_stderr(&format!("waiting for a debugger: {PAGE}"));
    (process, address)
}

#[tokio::test(flavor = "current_thread")]
async fn a_debugger_pauses_in_a_sync_event_and_looks_around() {
    let app = app(&[("sw.js", WORKER), ("app.test.js", &test_file(TEST))]);
    let (mut process, address) = waiting(app.path());
    let (_, version) = get(address, "localhost", "/json/version");
    assert!(version.contains("\"Browser\": \"Kittiwake/"), "{version}");
    let listed = targets(address);
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["title"], &listed[0]["url"]),
        (&json!(PAGE), &json!("https://app.test/"))
    );

    let mut page = Debugger::connect(address, PAGE).await;
    let (url, line) = page.start().await;
    assert!(url.ends_with("/app.test.js"), "{url}");
    assert_eq!(line, 1);
    page.resume().await;

    process.wait_for_stderr(&format!("waiting for a debugger: {SW}"));
    let mut worker = Debugger::connect(address, SW).await;
    worker.break_at("https://app.test/sw.js", 4).await;
    worker.ask("Runtime.enable", json!({})).await;
    assert_eq!(worker.start().await, ("https://app.test/sw.js".to_owned(), 1));
    worker.resume().await;
    let paused = worker.event("Debugger.paused").await;
    assert_eq!(worker.place(&paused), ("https://app.test/sw.js".to_owned(), 4));
    assert_eq!(paused["hitBreakpoints"].as_array().unwrap().len(), 1);
    assert_eq!(worker.evaluate(&paused, "letters").await, json!(["Ada", "Grace"]));
    assert_eq!(worker.evaluate(&paused, "event.tag + heard").await, json!("outbox0"));
    worker.break_at("https://app.test/sw.js", 6).await;
    worker.resume().await;
    worker.event("Debugger.paused").await;
    let console = worker.event("Runtime.consoleAPICalled").await;
    assert_eq!(
        (&console["type"], &console["args"][0]["value"]),
        (&json!("warning"), &json!("heard 2"))
    );
    worker.resume().await;
    let finished = process.finish().expect_code(0);
    assert!(text(&finished).contains("1 passed"), "{finished:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_debugger_that_leaves_lets_go() {
    let app = app(&[("sw.js", WORKER), ("app.test.js", &test_file(TEST))]);
    let (mut process, address) = waiting(app.path());
    let mut page = Debugger::connect(address, PAGE).await;
    page.start().await;
    drop(page);
    process.wait_for_stderr(&format!("waiting for a debugger: {SW}"));
    // One that leaves before it said anything has the next one awaited.
    drop(Debugger::connect(address, SW).await);
    let mut worker = Debugger::connect(address, SW).await;
    worker.start().await;
    drop(worker);
    process.finish().expect_code(0);
}

#[tokio::test(flavor = "current_thread")]
async fn nobody_gets_in_who_was_not_told_the_way() {
    let inspector = Inspector::listen("127.0.0.1:0".parse().unwrap(), InspectorStart::Run).unwrap();
    let address = inspector.address();
    let runtime = Runtime::builder().inspector(inspector.clone()).start().unwrap();
    let url = Url::parse("https://app.test/").unwrap();
    runtime.open_page(url, PageSource::Html("<p>".into())).await.unwrap();
    let listed = targets(address);
    assert_eq!(listed[0]["id"].as_str().unwrap().len(), 32);
    assert_eq!(listed[0]["webSocketDebuggerUrl"], inspector.targets()[0].web_socket_url);
    for host in ["localhost:9229", "127.0.0.1", "[::1]:9229"] {
        assert_eq!(get(address, host, "/json").0, 200, "{host}");
    }
    for host in ["evil.example", "evil.example:9229", "localhost.evil.example", ""] {
        let (status, body) = get(address, host, "/json/list");
        assert_eq!(status, 403, "{host}");
        assert!(!body.contains("ws://"), "{body}");
    }
    assert_eq!(get(address, "localhost", "/0123").0, 404);
    let post = "POST /json/list HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(request(address, post).0, 405);
    runtime.shut_down().await.unwrap();
    assert_eq!(targets(address), [] as [serde_json::Value; 0]);
    inspector.close();
    assert!(std::net::TcpStream::connect(address).is_err());
}

/// The limit has passed when a neighbour without a debugger has met it.
async fn wait_for_limit(limit: Duration) {
    let (send, ended) = channel();
    let runtime = Runtime::builder()
        .turn_limit(limit)
        .on_trace(move |event: &TraceEvent| {
            if let TraceKind::Limit { limit, .. } = &event.kind {
                let _ = send.send(*limit);
            }
        })
        .start()
        .unwrap();
    let endless = PageSource::Html("<script>for (;;);</script>".into());
    let url = Url::parse("https://app.test/").unwrap();
    runtime.open_page(url, endless).await.unwrap_err();
    assert_eq!(ended.recv().unwrap(), Limit::Turn);
    runtime.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_do_not_strike_whom_a_debugger_has_paused() {
    let limit = Duration::from_millis(300);
    let inspector =
        Inspector::listen("127.0.0.1:0".parse().unwrap(), InspectorStart::Break).unwrap();
    let (send, waits) = channel();
    inspector.on_wait(move |target| send.send(target.title.clone()).unwrap());
    let runtime =
        Runtime::builder().turn_limit(limit).inspector(inspector.clone()).start().unwrap();
    let url = Url::parse("https://app.test/").unwrap();
    let html = PageSource::Html("<script>globalThis.ran = 1;</script>".into());
    let opened = tokio::spawn({
        let runtime = runtime.clone();
        async move { runtime.open_page(url, html).await }
    });
    assert_eq!(waits.recv().unwrap(), PAGE);
    wait_for_limit(limit).await;
    let mut page = Debugger::connect(inspector.address(), PAGE).await;
    page.start().await;
    wait_for_limit(limit).await;
    page.resume().await;
    opened.await.unwrap().unwrap();
    // Whoever closes it lets everybody go.
    let other = tokio::spawn({
        let runtime = runtime.clone();
        let url = Url::parse("https://app.test/other").unwrap();
        async move { runtime.open_page(url, PageSource::Html("<script>1</script>".into())).await }
    });
    assert_eq!(waits.recv().unwrap(), "page https://app.test/other");
    inspector.close();
    other.await.unwrap().unwrap();
    runtime.shut_down().await.unwrap();
}

#[test]
fn an_address_that_is_none_or_taken_is_refused() {
    let app = app(&[("app.test.js", &test_file("test('a', () => {});"))]);
    let test = |option: &str| run(app.path(), &["test", option]);
    test("--inspect=example.com:1").expect_code(2).expect_stderr("write a port");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    test(&format!("--inspect={port}"))
        .expect_code(1)
        .expect_stderr(&format!("debuggers cannot connect at 127.0.0.1:{port}"));
    test("--inspect=localhost:0").expect_code(0).expect_stderr("debuggers connect at 127.0.0.1:");
    let everywhere = test("--inspect=0.0.0.0:0").expect_code(0);
    everywhere.expect_stderr("whoever does runs code as your scripts");
}
