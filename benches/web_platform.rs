//! What parts of the web platform cost beside peers: fetch, the Cache API.
//! What the numbers mean and how they are taken: benches/README.md.
//!
//! Invariant: peers and Kittiwake take turns in one run, so that a busy machine slows all alike;
//! a missed target is printed, and fails nothing.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time; no script sees it")]

mod peers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::routing::get;
use futures::stream;
use kittiwake::{PageSource, Runtime, TraceKind};
use peers::{Peers, ROOT, Result, kittiwake, last_json, median, run_page, version};
use serde_json::Value;
use url::Url;

/// Odd, so that the median is one of them.
const RUNS: usize = 5;
/// What goes through fetch and a cache.
const STREAMED_BYTES: usize = 1 << 30;
const CHUNK_BYTES: usize = 1 << 16;

fn main() {
    for bench in [measure_fetch, measure_caches, measure_streaming] {
        if let Err(error) = bench() {
            println!("not measured: {error}");
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn measure_fetch() -> Result<()> {
    let peers = Peers::find()?;
    println!("node       {}", version(Command::new(&peers.node)));
    let server = serve().await?;
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("fetch.js");
    let source = include_str!("web_platform/fetch.js");
    fs::write(&script, format!("const SERVER = {server:?};\n{source}"))?;
    let (mut own, mut deno, mut node) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        own.push(peers::run_page(&script, tempfile::tempdir()?.path())?);
        deno.push(last_json(peers.deno_run(&["--allow-net"], &script))?);
        node.push(last_json(peers.node_run(&script))?);
    }
    println!(
        "{:<36} {:>10} {:>10} {:>10} {:>9} {:>9}",
        "milliseconds", "kittiwake", "deno", "node", "to deno", "to node"
    );
    for (name, key) in [
        ("fetch of 1 KiB, one after the other", "small"),
        ("fetch of 1 KiB, 20 at once", "together"),
        ("fetch of 100 MiB", "large"),
    ] {
        let [own, deno, node] = [median(&own, key)?, median(&deno, key)?, median(&node, key)?];
        let (to_deno, to_node) = (deno / own, node / own);
        let verdict = if to_deno >= 0.8 && to_node >= 1.5 { "met" } else { "MISSED" };
        println!(
            "{name:<36} {own:>10.3} {deno:>10.3} {node:>10.3} {to_deno:>9.2} {to_node:>9.2}  \
             at least 0.8, 1.5: {verdict}"
        );
    }
    println!();
    Ok(())
}

fn measure_caches() -> Result<()> {
    let peers = Peers::find()?;
    println!("kittiwake  {}", version(Command::new(kittiwake())));
    println!("deno       {}\n", version(Command::new(&peers.deno)));
    let script = Path::new(ROOT).join("benches/web_platform/caches.js");
    let (mut own, mut deno) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let folder = tempfile::tempdir()?;
        own.push(run_page(&script, folder.path())?);
        let mut command = peers.deno_run(&["--location", "https://app.test/"], &script);
        command.env("DENO_DIR", folder.path().join("deno"));
        deno.push(last_json(command)?);
    }
    println!(
        "{:<36} {:>10} {:>10} {:>10}",
        "operations a second, 1 KiB", "kittiwake", "deno", "ratio"
    );
    for (name, key) in [
        ("cache.put, one after the other", "put"),
        ("cache.put, 200 at once", "putTogether"),
        ("cache.match, one after the other", "match"),
        ("cache.match, 200 at once", "matchTogether"),
    ] {
        let (own, deno) = (median(&own, key)?, median(&deno, key)?);
        let ratio = deno / own;
        let verdict = if ratio >= 2.0 { "met" } else { "MISSED" };
        let (own, deno) = (1e3 / own, 1e3 / deno);
        println!("{name:<36} {own:>10.0} {deno:>10.0} {ratio:>10.2}  at least 2: {verdict}");
    }
    Ok(())
}

/// Streams a large body through fetch into a cache and out of it, and tells what memory that took.
#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn measure_streaming() -> Result<()> {
    let server = serve().await?;
    let state = tempfile::tempdir()?;
    let (tell, told) = std::sync::mpsc::channel();
    let runtime = Runtime::builder().state_folder(state.path()).on_trace(move |event| {
        if let TraceKind::Console { text, .. } = &event.kind {
            // The bench may have given up.
            let _ = tell.send(text.clone());
        }
    });
    let runtime = runtime.start()?;
    let page: Url = server.parse()?;
    let script_url: Url = format!("{server}script.js").parse()?;
    // What the engine and its first realm take is not the stream's.
    let warm_up = PageSource::Script(script_url.clone(), "caches.open('bench')".to_owned());
    runtime.open_page(page.clone(), warm_up).await?;
    runtime.idle().await?;
    let before = resident_bytes("VmRSS:")?;
    // The peak from now on: man 5 proc, `clear_refs`.
    fs::write("/proc/self/clear_refs", "5")?;
    let script = format!(
        r#"
(async () => {{
  const cache = await caches.open("bench");
  const started = performance.now();
  await cache.put("/large", await fetch("{server}"));
  const put = performance.now() - started;
  const response = await cache.match("/large");
  let length = 0;
  for await (const chunk of response.body) length += chunk.length;
  const match = performance.now() - started - put;
  console.log(JSON.stringify({{ length, put, match }}));
}})();
"#
    );
    let started = Instant::now();
    runtime.open_page(page, PageSource::Script(script_url, script)).await?;
    runtime.idle().await?;
    let took = started.elapsed().as_secs_f64();
    let peak = resident_bytes("VmHWM:")?;
    runtime.shut_down().await?;
    let told: Value = serde_json::from_str(&told.try_iter().last().ok_or("the script failed")?)?;
    if told["length"] != STREAMED_BYTES {
        return Err(format!("the body came back as {told}").into());
    }
    let extra = (peak - before) / f64::from(1 << 20);
    let verdict = if extra <= 64.0 { "met" } else { "MISSED" };
    println!("\n1 GiB through fetch, cache.put and cache.match in {took:.1} s: {told}");
    println!("extra memory at its peak: {extra:.1} MiB  at most 64: {verdict}");
    Ok(())
}

/// A server on this machine that answers with 1 KiB, with 100 MiB, and else with the largest body.
async fn serve() -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let streamed = |bytes: usize| async move {
        let chunk = Bytes::from(vec![b'x'; CHUNK_BYTES]);
        let chunks = (0..bytes / CHUNK_BYTES).map(move |_| Ok(chunk.clone()));
        let chunks = stream::iter(chunks.collect::<Vec<std::io::Result<Bytes>>>());
        Body::from_stream(chunks)
    };
    let app = axum::Router::new()
        .route("/small", get(|| async { "x".repeat(1024) }))
        .route("/large", get(move || streamed(100 << 20)))
        .fallback(move || streamed(STREAMED_BYTES));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}

fn resident_bytes(field: &str) -> Result<f64> {
    let status = fs::read_to_string(PathBuf::from("/proc/self/status"))?;
    let line = status.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
    let kibibytes: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kibibytes * 1024.0)
}
