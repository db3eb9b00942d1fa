//! Servers that lie, stall and break, on real sockets: the script gets a TypeError, the trace the
//! cause, and no socket is left open.
//!
//! Invariant: no sleeps; each wait is for an event, and a limit makes a test that hangs fail.

mod server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kittiwake::{Builder, NetworkPolicy, PageSource, Runtime, TraceEvent, TraceKind};
use url::Url;

use crate::server::{HostileServer, serve_tls};

const PATIENCE: Duration = Duration::from_secs(60);

/// Fetches and reads; says what came, or which error.
const READ: &str = r#"
async function read(url, init) {
  let response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
  try {
    return `${response.status} ${await response.text()}`;
  } catch (error) {
    return `${response.status}, then ${error.name}: ${error.message}`;
  }
}
"#;

/// What a page's script says, and what the trace says of its requests.
struct Told {
    script: Vec<String>,
    causes: Vec<String>,
}

/// Runs a script in a page until nothing is left to do.
async fn run(builder: Builder, script: &str) -> Told {
    let events: Arc<Mutex<Vec<TraceEvent>>> = Arc::default();
    let sink = events.clone();
    let watch =
        move |event: &TraceEvent| sink.lock().expect("no holder panics").push(event.clone());
    let runtime = builder.on_trace(watch).start().expect("it starts");
    let url = Url::parse("https://app.test/").expect("a URL");
    let source = PageSource::Script(url.clone(), format!("{READ}{script}"));
    let done = async {
        runtime.open_page(url, source).await.expect("the page opens");
        runtime.idle().await.expect("it runs");
        runtime.shut_down().await.expect("it stops");
    };
    tokio::time::timeout(PATIENCE, done).await.expect("nothing hangs");
    let (mut script, mut causes) = (Vec::new(), Vec::new());
    for event in events.lock().expect("no holder panics").iter() {
        match &event.kind {
            TraceKind::Console { text, .. } => script.push(text.clone()),
            TraceKind::Fetch { error: Some(error), .. } => causes.push(error.clone()),
            TraceKind::Error { exception } => panic!("{exception}"),
            _ => {}
        }
    }
    Told { script, causes }
}

/// Reads one path of a hostile server; answers what the script says and the cause in the trace.
async fn read(path: &str, policy: NetworkPolicy) -> (String, String) {
    let mut server = HostileServer::start().await;
    let script = format!("read('{}').then(console.log)", server.url(path));
    let told = run(Runtime::builder().network_policy(policy), &script).await;
    server.is_left_alone().await;
    let host = server.address.to_string();
    (told.script.join("|"), told.causes.join("|").replace(&host, "HOST"))
}

const REFUSED: &str = "TypeError: Failed to fetch";
const BROKEN: &str = "200, then TypeError: Failed to fetch";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_http_is_a_type_error() {
    for (path, said, cause) in [
        ("/short", BROKEN, "connection to HOST broke: "),
        ("/bad-chunk", BROKEN, "connection to HOST broke: "),
        ("/cut-chunks", BROKEN, "connection to HOST broke: "),
        ("/bad-gzip", BROKEN, "connection to HOST broke: what it sent is not gzip: "),
        ("/cut-gzip", BROKEN, "connection to HOST broke: what it sent is not gzip: "),
        ("/not-http", REFUSED, "connection to HOST broke: "),
        ("/closed", REFUSED, "connection to HOST broke: "),
        ("/endless-headers", REFUSED, "connection to HOST broke: "),
        ("/loop", REFUSED, "more than 20 redirects, the last one by http://HOST/loop"),
    ] {
        let (script, trace) = read(path, NetworkPolicy::default()).await;
        assert_eq!(script, said, "{path}");
        assert!(trace.starts_with(cause), "{path}: {trace}");
    }
    // What is more than was announced is nobody's.
    let long = read("/long", NetworkPolicy::default()).await;
    assert_eq!(long, ("200 half".to_owned(), String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_and_length_have_limits() {
    let silence = Some(Duration::from_secs(2));
    for (path, said) in [("/silent", REFUSED), ("/silent-body", BROKEN)] {
        let policy = NetworkPolicy { silence, ..NetworkPolicy::default() };
        let told = read(path, policy).await;
        assert_eq!(told, (said.to_owned(), "HOST did not answer in time".to_owned()), "{path}");
    }
    let policy = NetworkPolicy { response_bytes: Some(100_000), ..NetworkPolicy::default() };
    let told = read("/endless-body", policy).await;
    assert_eq!(told, (BROKEN.to_owned(), "HOST sends more than 100000 bytes".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_closes_the_connection() {
    let mut server = HostileServer::start().await;
    let script = format!(
        "(async () => {{
          for (const path of ['/silent', '/silent-body']) {{
            const controller = new AbortController();
            const text = fetch('{}' + path, {{ signal: controller.signal }}).then((r) => r.text());
            setTimeout(() => controller.abort('enough'), 50);
            console.log(await text.catch((reason) => reason));
          }}
        }})()",
        server.url("")
    );
    let told = run(Runtime::builder(), &script).await;
    assert_eq!(told.script, ["enough", "enough"]);
    assert_eq!(told.causes, Vec::<String>::new());
    server.is_left_alone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_nobody_reads_is_no_leak() {
    let mut server = HostileServer::start().await;
    let script = format!(
        "fetch('{}').then((response) => response.body.cancel()).then(() => console.log('left'))",
        server.url("/endless-body")
    );
    assert_eq!(run(Runtime::builder(), &script).await.script, ["left"]);
    server.is_left_alone().await;
    let script =
        format!("fetch('{}').then(() => console.log('ended'))", server.url("/silent-body"));
    assert_eq!(run(Runtime::builder(), &script).await.script, ["ended"]);
    server.is_left_alone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_another_name_is_refused() {
    let address = serve_tls().await;
    let script = format!("read('https://{address}/').then(console.log)");
    let told = run(Runtime::builder(), &script).await;
    assert_eq!(told.script, [REFUSED]);
    let cause = format!("no secure connection to {address}: invalid peer certificate");
    assert!(told.causes[0].starts_with(&cause), "{:?}", told.causes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_lead_nowhere_or_to_this_machine_are_refused() {
    let script = "read('http://no-such-name.invalid/').then(console.log)";
    let told = run(Runtime::builder(), script).await;
    assert_eq!(told.script, [REFUSED]);
    assert_eq!(told.causes, ["no address found for no-such-name.invalid"]);

    let server = HostileServer::start().await;
    let port = server.address.port();
    let deny_private = NetworkPolicy { deny_private: true, ..NetworkPolicy::default() };
    for host in ["127.0.0.1", "localhost", "0x7f.1"] {
        let script = format!("read('http://{host}:{port}/short').then(console.log)");
        let builder = Runtime::builder().network_policy(deny_private.clone());
        let told = run(builder, &script).await;
        assert_eq!(told.script, [REFUSED], "{host}");
        let cause = "is not asked: its address is not of the public internet";
        assert!(told.causes[0].ends_with(cause), "{host}: {:?}", told.causes);
    }
}
