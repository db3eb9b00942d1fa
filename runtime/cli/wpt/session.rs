//! One test in a runtime of its own.
//!
//! Invariant: nothing of a test is left when its session is over: its registration, its storage and
//! its realms end with its runtime.

use std::time::Duration;

use kittiwake::{ConsoleLevel, Cors, Runtime, TraceEvent, TraceKind};
use serde::Deserialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;
use url::Url;

use super::manifest::Test;
use super::outcome::{Outcome, Status, Subtest, SubtestStatus};
use super::site::{ORIGIN, Site};

/// What `reporter.js` writes before each message.
const MARK: &str = "kittiwake-wpt:";

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
    let watch = move |event: &TraceEvent| {
        if let TraceKind::Console { level: ConsoleLevel::Debug, text } = &event.kind
            && let Some(message) = text.trim_start().strip_prefix(MARK)
        {
            // After the deadline nobody listens.
            let _ = sender.send(message.to_owned());
        }
    };
    let builder =
        site.route(Runtime::builder()).cors(Cors::Enforce).turn_limit(limit).idle_limit(limit);
    let runtime = match builder.on_trace(watch).start() {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::of(Status::Error, error.to_string()),
    };
    let script = format!("{ORIGIN}{}", test.script);
    let script = Url::parse(&script).expect("the path of a file makes a URL");
    // As WPT's own page does: a scope without a client.
    let scope = script.join("does/not/exist").expect("an http URL has a folder");
    let mut progress = Progress::default();
    progress.follow(&runtime, (script, scope), messages, started + limit).await;
    let _ = tokio::time::timeout(SHUT_DOWN, runtime.shut_down()).await;
    progress.into_outcome(started.elapsed())
}

#[derive(Default)]
struct Progress {
    /// Started, and not ended yet.
    running: Vec<String>,
    subtests: Vec<Subtest>,
    end: Option<(Status, Option<String>)>,
}

impl Progress {
    /// Registers the worker and listens, until the harness is done or the deadline is there.
    async fn follow(
        &mut self,
        runtime: &Runtime,
        (script, scope): (Url, Url),
        mut messages: UnboundedReceiver<String>,
        deadline: Instant,
    ) {
        let registered = runtime.register(script, Some(scope));
        tokio::pin!(registered);
        let mut is_registering = true;
        while self.end.is_none() {
            tokio::select! {
                biased;
                message = messages.recv() => match message {
                    Some(message) => self.hear(&message),
                    None => self.fail("the runtime ended".to_owned()),
                },
                result = &mut registered, if is_registering => {
                    is_registering = false;
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
