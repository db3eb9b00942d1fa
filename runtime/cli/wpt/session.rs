//! One test in a runtime of its own.
//!
//! Invariant: nothing of a test is left when its session is over: its registration, its storage and
//! its realms end with its runtime.

use std::time::Duration;

use kittiwake::{ConsoleLevel, Cors, Error, PageSource, Runtime, TraceEvent, TraceKind};
use serde::Deserialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;
use url::Url;

use super::manifest::{Scope, Test};
use super::outcome::{Outcome, Status, Subtest, SubtestStatus};
use super::site::{ORIGIN, Site};

/// What `reporter.js` writes before each message.
fn mark(scope: Scope) -> &'static str {
    match scope {
        Scope::ServiceWorker => "kittiwake-wpt-worker:",
        Scope::Page => "kittiwake-wpt-page:",
    }
}

/// How long a runtime may take to end before it is left behind.
const SHUT_DOWN: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Message {
    Started { name: String },
    Result { name: String, status: u8, message: Option<String> },
    Complete { status: u8, message: Option<String> },
}

/// Runs a test, for `limit` at most.
pub async fn run_test(test: &Test, site: &Site, limit: Duration) -> Outcome {
    let started = Instant::now();
    let (sender, messages) = unbounded_channel();
    let mark = mark(test.scope);
    let watch = move |event: &TraceEvent| {
        if let TraceKind::Console { level: ConsoleLevel::Debug, text } = &event.kind
            && let Some(message) = text.trim_start().strip_prefix(mark)
        {
            // After the deadline nobody listens.
            let _ = sender.send(message.to_owned());
        }
    };
    let builder = site
        .route(Runtime::builder().spare_realm(false))
        .cors(Cors::Enforce)
        .turn_limit(limit)
        .idle_limit(limit);
    let runtime = match builder.on_trace(watch).start() {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::of(Status::Error, error.to_string()),
    };
    let url = format!("{ORIGIN}{}", test.path);
    let url = Url::parse(&url).expect("the path of a file makes a URL");
    let mut progress = Progress::default();
    progress.follow(begin(&runtime, url, test.scope), messages, started + limit).await;
    let _ = tokio::time::timeout(SHUT_DOWN, runtime.shut_down()).await;
    progress.into_outcome(started.elapsed())
}

/// Registers the test as a worker, or opens it as a page.
async fn begin(runtime: &Runtime, url: Url, scope: Scope) -> Result<(), Error> {
    match scope {
        Scope::ServiceWorker => {
            // As WPT's own page does: a scope without a client.
            let scope = url.join("does/not/exist").expect("an http URL has a folder");
            runtime.register(url, Some(scope)).await.map(drop)
        }
        Scope::Page => match runtime.open_page(url, PageSource::Url).await {
            // The harness has heard of it.
            Ok(_) | Err(Error::Page { .. }) => Ok(()),
            Err(error) => Err(error),
        },
    }
}

#[derive(Default)]
struct Progress {
    /// Started, and not ended yet.
    running: Vec<String>,
    subtests: Vec<Subtest>,
    end: Option<(Status, Option<String>)>,
}

impl Progress {
    /// Begins and listens, until the harness is done or the deadline is there.
    async fn follow(
        &mut self,
        begun: impl Future<Output = Result<(), Error>>,
        mut messages: UnboundedReceiver<String>,
        deadline: Instant,
    ) {
        tokio::pin!(begun);
        let mut is_beginning = true;
        while self.end.is_none() {
            tokio::select! {
                biased;
                message = messages.recv() => match message {
                    Some(message) => self.hear(&message),
                    None => self.fail("the runtime ended".to_owned()),
                },
                result = &mut begun, if is_beginning => {
                    is_beginning = false;
                    if let Err(error) = result {
                        self.fail(error.to_string());
                    }
                }
                () = tokio::time::sleep_until(deadline) => {
                    self.end = Some((Status::Timeout, None));
                }
            }
        }
    }

    fn fail(&mut self, message: String) {
        self.end = Some((Status::Error, Some(message)));
    }

    fn hear(&mut self, message: &str) {
        match serde_json::from_str(message) {
            Ok(Message::Started { name }) => self.running.push(name),
            Ok(Message::Result { name, status, message }) => {
                if let Some(at) = self.running.iter().position(|running| *running == name) {
                    self.running.swap_remove(at);
                }
                let status = SubtestStatus::from_harness(status);
                self.subtests.push(Subtest { name, status, message });
            }
            Ok(Message::Complete { status, message }) => {
                self.end = Some((Status::from_harness(status), message));
            }
            Err(error) => self.fail(format!("the reporter wrote `{message}`: {error}")),
        }
    }

    fn into_outcome(mut self, duration: Duration) -> Outcome {
        let (status, message) = self.end.expect("somebody followed it to its end");
        let unfinished = |name| Subtest { name, status: SubtestStatus::Timeout, message: None };
        self.subtests.extend(self.running.into_iter().map(unfinished));
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Outcome { status, message, subtests: self.subtests, duration_ms }
    }
}
