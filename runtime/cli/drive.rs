//! `kittiwake drive`: a world for a test outside, which asks by lines of JSON on standard input.
//! The npm package `npm/` is the other side.
//!
//! Invariant: each line is answered by a line, whatever it says, and the session goes on; it ends
//! when standard input does.

use std::io::{BufRead, Read, Write};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use kittiwake::{
    DriveAnswer, DriveError, DriveErrorCode as Code, DriveOutcome, DriveRequest, DrivenWorld,
    Snapshots, TestWorldOptions,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;
use url::Url;

use crate::files::{default_origin, parse_origin};
use crate::trace_page::{TracePage, TracedRun};
use crate::{Refusal, block_on};

/// Whoever asks in another version is told so.
const PROTOCOL: u64 = 1;

/// Bytes of a line.
const MAX_LINE: u64 = 32 * 1024 * 1024;

/// Lines that wait; the pipe holds back the rest.
const MAX_LINES: usize = 64;

/// The options of `kittiwake drive`: none, so that a version of it can be asked for anything.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DriveOptions {}

const EXAMPLES: &str = "Examples:
  echo '{\"id\":1,\"verb\":\"launch\",\"protocol\":1,\"root\":\"public\"}' | kittiwake drive

Each line is a request, each answer a line with the same id:
  {\"id\":2,\"verb\":\"worker.register\",\"arguments\":[\"/sw.js\"]}
  {\"id\":2,\"now\":1735689600000,\"value\":{\"scope\":\"https://app.test/\",...}}
  {\"id\":3,\"verb\":\"network.of\"}
  {\"id\":3,\"error\":{\"code\":\"unknown-verb\",\"message\":...}}

The package `kittiwake` for Node, in npm/, speaks this for you.";

/// A line of standard input.
enum Line {
    Text(Vec<u8>),
    TooLong,
}

/// A request as it is written.
#[derive(Deserialize)]
struct Request {
    id: u64,
    verb: String,
    #[serde(default)]
    page: Option<u32>,
    #[serde(default)]
    arguments: Vec<Value>,
}

/// The request that makes the world.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Launch {
    #[serde(rename = "id")]
    _id: u64,
    #[serde(rename = "verb")]
    _verb: String,
    #[serde(rename = "protocol")]
    _protocol: u64,
    root: Option<PathBuf>,
    origin: Option<String>,
    seed: Option<u64>,
    timeout_ms: Option<NonZeroU64>,
    trace_html: Option<PathBuf>,
}

/// A world and what is written of it in the end.
struct Session {
    world: DrivenWorld,
    page: Option<TracePage>,
    root: PathBuf,
    started: Instant,
}

/// Answers lines until there are no more.
pub fn drive(_: DriveOptions) -> Result<ExitCode, Refusal> {
    let (send, lines) = channel(MAX_LINES);
    std::thread::spawn(move || read_lines(&send));
    block_on(answer_all(lines))?
}

async fn answer_all(mut lines: Receiver<Line>) -> Result<ExitCode, Refusal> {
    let mut session = None;
    while let Some(line) = lines.recv().await {
        let answers = answer(&mut session, line).await;
        let mut out = std::io::stdout().lock();
        let written = answers.iter().try_for_each(|answer| writeln!(out, "{answer}"));
        if written.and_then(|()| out.flush()).is_err() {
            // Whoever asked has gone.
            break;
        }
    }
    match session {
        Some(session) => session.end().await.map(|()| ExitCode::SUCCESS),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Runs on a thread of its own: standard input has no other way to be waited for.
fn read_lines(send: &Sender<Line>) {
    let mut stdin = std::io::stdin().lock();
    loop {
        let mut text = Vec::new();
        let line = match (&mut stdin).take(MAX_LINE).read_until(b'\n', &mut text) {
            Ok(0) | Err(_) => return,
            Ok(_) if text.len() as u64 == MAX_LINE && !text.ends_with(b"\n") => {
                if stdin.skip_until(b'\n').is_err() {
                    return;
                }
                Line::TooLong
            }
            Ok(_) => Line::Text(text),
        };
        if send.blocking_send(line).is_err() {
            return;
        }
    }
}

async fn answer(session: &mut Option<Session>, line: Line) -> Vec<Value> {
    let text = match line {
        Line::Text(text) if text.trim_ascii().is_empty() => return Vec::new(),
        Line::Text(text) => text,
        Line::TooLong => {
            let message = format!("a line has up to {MAX_LINE} bytes");
            return vec![refused(Value::Null, Code::TooLong, message)];
        }
    };
    let value = match serde_json::from_slice::<Value>(&text) {
        Ok(value) => value,
        Err(error) => {
            let message = format!("the line is no JSON: {error}");
            return vec![refused(Value::Null, Code::BadRequest, message)];
        }
    };
    let id = value.get("id").cloned().unwrap_or_default();
    let parsed = match value.is_object() {
        true => serde_json::from_value::<Request>(value.clone()).map_err(|error| error.to_string()),
        false => Err("a request is an object".to_owned()),
    };
    let request = match parsed {
        Ok(request) => request,
        Err(error) => {
            let message = format!("{error}; write {{\"id\": 1, \"verb\": \"network.offline\"}}");
            return vec![refused(id, Code::BadRequest, message)];
        }
    };
    match (request.verb.as_str(), &mut *session) {
        ("launch", Some(_)) => {
            let message = "a process has one world; start another one";
            vec![refused(id, Code::AlreadyLaunched, message)]
        }
        ("launch", None) => match Session::launch(value).await {
            Ok((launched, answer)) => {
                *session = Some(launched);
                vec![answer]
            }
            Err(error) => vec![json!({ "id": id, "error": error })],
        },
        (_, None) => {
            let message = "there is no world yet; the verb `launch` makes it";
            vec![refused(id, Code::NotLaunched, message)]
        }
        (_, Some(session)) => session.ask(request).await,
    }
}

fn refused(id: Value, code: Code, message: impl Into<String>) -> Value {
    json!({ "id": id, "error": DriveError::new(code, message) })
}

impl Session {
    async fn launch(request: Value) -> Result<(Self, Value), DriveError> {
        let id = request["id"].clone();
        if request["protocol"] != PROTOCOL {
            let (own, asked) = (env!("CARGO_PKG_VERSION"), &request["protocol"]);
            let message = format!(
                "kittiwake {own} speaks protocol {PROTOCOL}, not {asked}; let both sides be of \
                 one version"
            );
            return Err(DriveError::new(Code::Protocol, message));
        }
        let bad = |error: String| DriveError::new(Code::BadRequest, error);
        let launch: Launch =
            serde_json::from_value(request).map_err(|error| bad(error.to_string()))?;
        let root = launch.root.unwrap_or_else(|| PathBuf::from("."));
        if !root.is_dir() {
            return Err(bad(format!("root: {} is no folder", root.display())));
        }
        let origin = launch.origin.as_deref().map(parse_origin).transpose();
        let origin: Url = origin.map_err(bad)?.unwrap_or_else(default_origin);
        let page = launch.trace_html.map(TracePage::create).transpose();
        let page = page.map_err(|refusal| match refusal {
            Refusal::Usage(text) | Refusal::Failure(text) => bad(text),
        })?;
        let options = TestWorldOptions {
            origin: origin.clone(),
            root: root.clone(),
            seed: launch.seed.unwrap_or(0),
            limit: Duration::from_millis(launch.timeout_ms.map_or(10_000, NonZeroU64::get)),
            snapshots: Arc::new(Snapshots::default()),
            coverage: None,
            inspector: None,
        };
        let failed =
            |error: &dyn std::fmt::Display| DriveError::new(Code::Launch, error.to_string());
        let world = DrivenWorld::open(options).await.map_err(|error| failed(&error))?;
        let now = world.now_ms().await.map_err(|error| failed(&error))?;
        let value = json!({
            "kittiwake": env!("CARGO_PKG_VERSION"),
            "protocol": PROTOCOL,
            "origin": origin.origin().ascii_serialization(),
        });
        let answer = json!({ "id": id, "now": now, "value": value });
        Ok((Session { world, page, root, started: Instant::now() }, answer))
    }

    async fn ask(&mut self, request: Request) -> Vec<Value> {
        let Request { id, verb, page, arguments } = request;
        let request = DriveRequest { id, page, verb, arguments };
        let answered = match self.world.ask(request).await {
            Ok(answers) => self.world.now_ms().await.map(|now| (answers, now)),
            Err(error) => Err(error),
        };
        match answered {
            Ok((answers, now)) => answers.iter().map(|answer| written(answer, now)).collect(),
            Err(error) => vec![refused(id.into(), Code::Failed, error.to_string())],
        }
    }

    async fn end(self) -> Result<(), Refusal> {
        if let Some(page) = self.page {
            let name = self.root.display().to_string();
            let (elapsed, events) = (self.started.elapsed(), self.world.events());
            let run = TracedRun::new(name, None, "ended", elapsed, Vec::new(), events);
            page.write("kittiwake drive", &[run])?;
        }
        self.world.close().await.map_err(Refusal::failure)
    }
}

fn written(answer: &DriveAnswer, now: f64) -> Value {
    let id = answer.id;
    match &answer.outcome {
        DriveOutcome::Value(Some(value)) => json!({ "id": id, "now": now, "value": value }),
        DriveOutcome::Value(None) => json!({ "id": id, "now": now }),
        DriveOutcome::Failed(error) => json!({ "id": id, "now": now, "error": error }),
        DriveOutcome::Waiting => json!({ "id": id, "now": now, "waiting": true }),
    }
}
