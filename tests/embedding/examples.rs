//! The examples, run: what they show holds.

#![allow(dead_code, reason = "each example has a main function of its own")]

use std::sync::{Arc, Mutex};

use axum::routing::post;
use futures::executor::block_on;
use kittiwake::{NetworkState, Runtime};

#[path = "../../examples/axum_service.rs"]
mod axum_service;
#[path = "../../examples/store_and_forward.rs"]
mod store_and_forward;
#[path = "../../examples/test_harness.rs"]
mod test_harness;
#[path = "../../examples/thousands_of_tenants.rs"]
mod thousands_of_tenants;

#[tokio::test]
async fn an_axum_service_lets_workers_answer_its_requests() {
    let scripts = tempfile::tempdir().expect("a temporary folder");
    let runtime = axum_service::start(scripts.path()).await.expect("it starts");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("its address");
    let service = axum_service::service(runtime.clone());
    tokio::spawn(async move { axum::serve(listener, service).await });
    let client = reqwest::Client::new();
    let ask = |method, host: &str, path: &str| {
        let request = client.request(method, format!("http://{address}{path}"));
        request.header("host", host).send()
    };
    let anna = ask(reqwest::Method::GET, "anna.example", "/hello?x=1").await.expect("an answer");
    assert_eq!(anna.status(), 200);
    assert_eq!(anna.text().await.expect("text"), "anna says https://anna.example/hello?x=1");
    let ben = client.post(format!("http://{address}/")).header("host", "ben.example");
    let ben = ben.body("quietly").send().await.expect("an answer");
    assert_eq!(ben.status(), 201);
    assert_eq!(ben.headers()["content-type"], "application/json");
    assert_eq!(ben.text().await.expect("text"), r#"{"ben":"QUIETLY"}"#);
    runtime.shut_down().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_and_forward_agent_loses_nothing_between_its_runs() {
    let got = Arc::new(Mutex::new(Vec::new()));
    let sink = got.clone();
    let server = axum::Router::new().route(
        "/readings",
        post(async move |body: String| sink.lock().expect("no holder panics").push(body)),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move { axum::serve(listener, server).await });
    let state = tempfile::tempdir().expect("a temporary folder");
    let upstream = format!("http://{address}/readings").parse().expect("a URL");
    let run = move || {
        let agent = || store_and_forward::Agent::start(state.path(), &upstream).expect("it starts");
        let first = agent();
        first.set(NetworkState::Offline).expect("it runs");
        for reading in ["one", "two"] {
            first.keep(reading).expect("it is kept");
        }
        assert_eq!(first.stop_when_sent().expect("it ends"), 1);
        let second = agent();
        second.keep("three").expect("it is kept");
        second.set(NetworkState::Online).expect("it runs");
        assert_eq!(second.stop_when_sent().expect("it ends"), 0);
    };
    tokio::task::spawn_blocking(run).await.expect("it does not panic");
    let got = got.lock().expect("no holder panics").join("\n");
    let order: Vec<_> = ["one", "two", "three"].iter().map(|each| got.find(each)).collect();
    assert!(order.is_sorted() && order[0].is_some(), "{got}");
}

#[test]
fn a_harness_tests_a_worker_in_simulated_time() {
    let run = || block_on(test_harness::a_message_waits_for_the_network_and_is_retried());
    let lines = run().expect("the worker keeps what the test asks");
    assert!(lines.iter().any(|line| line.starts_with("1h5m  sync")), "{lines:#?}");
    assert_eq!(run().expect("the same again"), lines);
}

#[tokio::test]
async fn many_tenants_have_a_worker_each_and_few_are_in_memory() {
    const TENANTS: usize = 60;
    let builder = Runtime::builder().shards(2).http(thousands_of_tenants::Scripts);
    let runtime = builder.resident_limit(10, 1 << 30).start().expect("it starts");
    thousands_of_tenants::register(&runtime, TENANTS).await.expect("all are registered");
    let usage = thousands_of_tenants::wake(&runtime, TENANTS).await.expect("each had its event");
    assert!(usage.workers < TENANTS, "{usage:?}");
    assert_eq!(runtime.registrations().await.expect("it runs").len(), TENANTS);
    runtime.shut_down().await.expect("it ends");
}
