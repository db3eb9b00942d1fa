//! Requests that embedders make through a worker, in a simulation.
//!
//! Invariant: no socket and no real time, so each answer is the same in every run.

use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt};
use kittiwake::{
    ClientBody, ClientRequest, ClientRequestKind, ClientResponse, ResponseSource, Runtime,
};
use url::Url;

const WORKER: &str = r#"
self.addEventListener("fetch", (event) => {
  const { pathname } = new URL(event.request.url);
  if (pathname === "/late") {
    event.respondWith(new Response(new ReadableStream({
      async pull(controller) {
        await new Promise((resolve) => setTimeout(resolve, 60_000));
        controller.enqueue(new TextEncoder().encode("a minute later"));
        controller.close();
      },
    })));
  }
  if (pathname === "/echo") event.respondWith(new Response(event.request.body));
  if (pathname === "/endless") {
    event.respondWith(new Response(new ReadableStream({
      pull: (controller) => controller.enqueue(new Uint8Array(1000)),
    })));
  }
});
"#;

const SERVERS: &str = "
['https://app.test']
'GET /sw.js' = { headers = { content-type = 'text/javascript' }, body = 'WORKER' }
'GET /old' = { status = 302, headers = { location = '/new' } }
'GET /new' = { body = 'new' }
";

fn runtime() -> Runtime {
    let mut servers: toml::Value = toml::from_str(SERVERS).expect("TOML");
    servers["https://app.test"]["GET /sw.js"]["body"] = WORKER.into();
    let servers = servers.try_into().expect("servers");
    let runtime = Runtime::builder().simulated(1).servers(servers).start().expect("it starts");
    block_on(runtime.register(url("/sw.js"), None)).expect("it installs");
    runtime
}

fn url(path: &str) -> Url {
    Url::parse("https://app.test").and_then(|origin| origin.join(path)).expect("a URL")
}

fn request(path: &str, kind: ClientRequestKind) -> ClientRequest {
    let (method, headers) = ("GET".to_owned(), Vec::new());
    ClientRequest { method, url: url(path), headers, body: ClientBody::Empty, kind }
}

fn subresource() -> ClientRequestKind {
    ClientRequestKind::Subresource { destination: String::new(), no_cors: false }
}

fn text(response: ClientResponse) -> String {
    let body = response.body.expect("a body");
    let chunks: Vec<_> = block_on(body.try_collect()).expect("whole");
    String::from_utf8(chunks.concat()).expect("UTF-8")
}

#[test]
fn a_worker_answers_at_its_own_pace() {
    let runtime = runtime();
    let response = block_on(runtime.fetch(request("/late", subresource()))).expect("an answer");
    assert_eq!((response.status, response.source), (200, ResponseSource::ServiceWorker));
    assert_eq!(text(response), "a minute later");
}

#[test]
fn a_stream_goes_through_the_worker_and_back() {
    let runtime = runtime();
    let parts = futures::stream::iter(["one ", "two"]).map(|part| Ok(part.into()));
    let request = ClientRequest {
        method: "POST".to_owned(),
        body: ClientBody::Stream(parts.boxed()),
        ..request("/echo", subresource())
    };
    assert_eq!(text(block_on(runtime.fetch(request)).expect("an answer")), "one two");
}

#[test]
fn a_navigation_is_told_of_a_redirect_and_a_page_follows_it() {
    let runtime = runtime();
    let navigation = request("/old", ClientRequestKind::Navigation);
    let told = block_on(runtime.fetch(navigation)).expect("an answer");
    assert_eq!((told.status, told.source), (302, ResponseSource::Network));
    let followed = block_on(runtime.fetch(request("/old", subresource()))).expect("an answer");
    assert_eq!((followed.status, text(followed).as_str()), (200, "new"));
}

#[test]
fn a_network_error_says_why() {
    let runtime = runtime();
    let mut request = request("/", subresource());
    request.url = Url::parse("https://nobody.test/").expect("a URL");
    let error = block_on(runtime.fetch(request)).expect_err("nobody answers");
    assert_eq!(
        error.to_string(),
        "https://nobody.test/: no server is scripted for https://nobody.test/"
    );
}

#[test]
fn a_body_that_nobody_reads_keeps_nobody_waiting() {
    let runtime = runtime();
    let endless = block_on(runtime.fetch(request("/endless", subresource()))).expect("an answer");
    let mut body = endless.body.expect("a body");
    assert!(matches!(block_on(body.next()), Some(Ok(chunk)) if chunk.len() == 1000));
    drop(body);
    assert_eq!(text(block_on(runtime.fetch(request("/new", subresource()))).expect("one")), "new");
}
