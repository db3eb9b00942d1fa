//! Many realms on one thread: workers and pages come and go in any order, and none hurts another.
//!
//! Invariant: whatever happens to one realm, the others of its runtime answer.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::executor::block_on;
use kittiwake::{Builder, Error, PageId, PageSource, Runtime, TraceKind};
use url::Url;

/// Echoes what it is told; removes itself when told so; or never returns.
const WORKER: &str = r#"
self.addEventListener("message", (event) => {
  if (event.data === "unregister") event.waitUntil(registration.unregister());
  else if (event.data === "hang") for (;;);
  else console.log(`${registration.scope} heard ${event.data}`);
});
"#;

/// What was printed, which errors came, and which limits struck.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no holder panics").clone()
    }

    fn listen(&self, builder: Builder) -> Builder {
        let lines = self.0.clone();
        builder.on_trace(move |event| match &event.kind {
            TraceKind::Console { text, .. } => lines.lock().expect("ok").push(text.clone()),
            TraceKind::Error { exception } => {
                lines.lock().expect("ok").push(format!("error: {exception}"));
            }
            TraceKind::Limit { limit, url, .. } => {
                lines.lock().expect("ok").push(format!("limit: {limit} {url}"));
            }
            _ => {}
        })
    }
}

/// A simulated runtime whose origins serve `files`.
fn start(files: &[(&str, &str)]) -> (Runtime, Heard, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("a file in a temporary folder");
    }
    let heard = Heard::default();
    let mut builder = heard.listen(Runtime::builder().simulated(0).turn_limit(TURN_LIMIT));
    for number in 0..ORIGINS {
        builder = builder.serve(origin(number), folder.path());
    }
    (builder.start().expect("it starts"), heard, folder)
}

/// Long for any turn here that ends, on a busy machine too; short for one that does not.
const TURN_LIMIT: Duration = Duration::from_secs(5);

/// How many origins are served. Realms of one origin hear of each other's workers, which is slow.
const ORIGINS: usize = 100;

fn origin(number: usize) -> Url {
    Url::parse(&format!("https://app{number}.test/")).expect("a URL")
}

/// A URL of the first origin.
fn url(path: &str) -> Url {
    origin(0).join(path).expect("a URL")
}

async fn open(runtime: &Runtime, number: usize) -> Result<PageId, Error> {
    let source = format!("console.log('page {number}'); setInterval(() => {{}}, 60_000);");
    let page = origin(number).join("page").expect("a URL");
    runtime.open_page(page.clone(), PageSource::Script(page, source)).await
}

/// Something that lives in a realm of its own.
enum Life {
    Page(PageId),
    Worker(Url),
}

#[test]
fn two_hundred_realms_come_and_go_in_random_order() {
    let (runtime, heard, _folder) = start(&[("sw.js", WORKER)]);
    let mut random = fastrand::Rng::with_seed(7);
    block_on(async {
        let mut lives = Vec::new();
        for number in 0..ORIGINS {
            lives.push(Life::Page(open(&runtime, number).await.expect("it opens")));
            let script = origin(number).join("sw.js").expect("a URL");
            let registered = runtime.register(script, None).await;
            lives.push(Life::Worker(registered.expect("it registers").scope));
            // Now and then somebody leaves before the others have come.
            if random.bool() {
                let leaving = lives.swap_remove(random.usize(..lives.len()));
                leave(&runtime, leaving).await;
            }
        }
        random.shuffle(&mut lives);
        while let Some(leaving) = lives.pop() {
            leave(&runtime, leaving).await;
            if let Some(Life::Worker(scope)) = lives.last() {
                let posted = runtime.post_message(Some(scope.clone()), "hello".into()).await;
                posted.expect("this worker is still there");
            }
        }
        assert_eq!(runtime.registrations().await.expect("it answers"), []);
        open(&runtime, ORIGINS).await.expect("the thread is as good as new");
        runtime.shut_down().await.expect("it ends");
    });
    let lines = heard.lines();
    assert_eq!(lines.iter().filter(|line| line.starts_with("page ")).count(), ORIGINS + 1);
    assert!(lines.iter().any(|line| line.ends_with("heard hello")));
    let errors: Vec<_> = lines.iter().filter(|line| line.starts_with("error")).collect();
    assert_eq!(errors, [""; 0]);
}

async fn leave(runtime: &Runtime, life: Life) {
    match life {
        Life::Page(page) => runtime.close_page(page).await.expect("it answers"),
        Life::Worker(scope) => {
            let posted = runtime.post_message(Some(scope), "unregister".into()).await;
            posted.expect("the worker is there");
            runtime.run_for(Duration::from_millis(1)).await.expect("it answers");
        }
    }
}

#[test]
fn a_script_that_never_returns_hurts_no_other_realm() {
    let (runtime, heard, _folder) = start(&[("sw.js", WORKER)]);
    let (bad, good) = (url("/bad/"), url("/good/"));
    block_on(async {
        for scope in [&bad, &good] {
            runtime.register(url("/sw.js"), Some(scope.clone())).await.expect("it registers");
        }
        open(&runtime, 1).await.expect("it opens");
        for (scope, message) in [(&bad, "hang"), (&good, "one"), (&bad, "two")] {
            let posted = runtime.post_message(Some(scope.clone()), message.into()).await;
            posted.expect("the worker is registered");
            runtime.run_for(Duration::from_secs(1)).await.expect("it answers");
        }
        open(&runtime, 2).await.expect("the thread goes on");
        runtime.shut_down().await.expect("it ends");
    });
    let lines = heard.lines();
    let terminated = "limit: turn https://app0.test/sw.js";
    // The worker that hung starts afresh for its next message.
    let expected = ["page 1", terminated, "https://app0.test/good/ heard one"];
    let rest = ["https://app0.test/bad/ heard two", "page 2"];
    assert_eq!(lines, [&expected[..], &rest[..]].concat());
}

#[test]
fn a_script_that_fills_its_heap_hurts_no_other_realm() {
    let greedy =
        "const all = []; onmessage = () => { for (;;) all.push(new Array(1e5).fill(1)); };";
    let (runtime, heard, _folder) = start(&[("sw.js", WORKER), ("greedy.js", greedy)]);
    let (bad, good) = (url("/bad/"), url("/good/"));
    block_on(async {
        runtime.register(url("/greedy.js"), Some(bad.clone())).await.expect("it registers");
        runtime.register(url("/sw.js"), Some(good.clone())).await.expect("it registers");
        for scope in [bad, good] {
            let posted = runtime.post_message(Some(scope), "hello".into()).await;
            posted.expect("the worker is registered");
            runtime.run_for(Duration::from_secs(1)).await.expect("it answers");
        }
        runtime.shut_down().await.expect("it ends");
    });
    let terminated = "limit: heap https://app0.test/greedy.js";
    assert_eq!(heard.lines(), [terminated, "https://app0.test/good/ heard hello"]);
}

#[test]
fn a_script_that_never_returns_while_it_is_loaded_is_not_registered() {
    let (runtime, heard, folder) = start(&[("sw.js", WORKER), ("endless.js", "for (;;);")]);
    assert!(Path::exists(folder.path()));
    block_on(async {
        let endless = runtime.register(url("/endless.js"), Some(url("/endless/"))).await;
        let error = endless.expect_err("it cannot be evaluated").to_string();
        assert!(error.contains("was terminated"), "{error}");
        assert_eq!(runtime.registrations().await.expect("it answers"), []);
        runtime.register(url("/sw.js"), None).await.expect("the thread goes on");
        runtime.post_message(None, "hello".into()).await.expect("it is registered");
        runtime.shut_down().await.expect("it ends");
    });
    let last = heard.lines().pop();
    assert_eq!(last.as_deref(), Some("https://app0.test/ heard hello"));
}

#[test]
fn a_page_that_never_returns_is_terminated() {
    let (runtime, _heard, _folder) = start(&[]);
    block_on(async {
        let page = url("/endless");
        let source = PageSource::Script(page.clone(), "for (;;);".to_owned());
        let error = runtime.open_page(page, source).await.expect_err("it never ends").to_string();
        assert!(error.contains("was terminated"), "{error}");
        open(&runtime, 1).await.expect("the thread goes on");
        runtime.shut_down().await.expect("it ends");
    });
}
