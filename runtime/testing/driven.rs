//! A world for a test outside: one that runs in Node, say, and asks over a pipe.
//!
//! Invariant: requests are done one after the other, each until it has its answer or nothing more
//! happens unless time passes; so equal requests make equal traces, however quickly they come.

use std::collections::BTreeMap;
use std::rc::Rc;

use kittiwake_ops::{RealmId, ScriptException};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;

use super::conduct::{Order, go_on};
use super::given_up::GivenUp;
use super::{GRACE, TestFileError, TestPage, TestWorldOptions, Trace, UNPOISONED};
use crate::host::Shard;
use crate::quiet::quiet;
use crate::realm::Call;
use crate::runtime::{Error, Runtime};
use crate::simulation::ScriptedServers;
use crate::trace::{TraceEvent, TraceKind};

/// What a page of its own is asked for; the rest is the world's.
const PAGE_VERBS: [&str; 3] = ["page.evaluate", "page.messages", "page.url"];

/// Ticks of a millisecond that a request may take by itself: a page with an interval goes on.
const MAX_TICKS: usize = 1000;

/// What a test outside asks for.
#[derive(Clone, Debug)]
pub struct DriveRequest {
    /// The asker's own, to know the answer by.
    pub id: u64,
    /// A page that `host.openPage` opened; the world's own if there is none.
    pub page: Option<u32>,
    /// As in `network.offline`: a test inside says the same.
    pub verb: String,
    /// Of the verb.
    pub arguments: Vec<Value>,
}

/// What came of a request, maybe of an earlier one.
#[derive(Clone, Debug)]
pub struct DriveAnswer {
    /// The request's.
    pub id: u64,
    /// What came of it.
    pub outcome: DriveOutcome,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub enum DriveOutcome {
    /// It is done. Nothing, for `undefined`.
    Value(Option<Value>),
    /// It failed.
    Failed(DriveError),
    /// It waits until time passes; a later request will bring its answer.
    Waiting,
}

/// Why a request failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DriveError {
    /// What kind of failure it is.
    pub code: DriveErrorCode,
    /// What is wrong, for people.
    pub message: String,
    /// The name of what a script threw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it was thrown, as the engine writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
}

/// Kinds of failures, for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriveErrorCode {
    /// A line is no JSON, or no request.
    BadRequest,
    /// A line is longer than any request may be.
    TooLong,
    /// The asker speaks another version of the protocol.
    Protocol,
    /// There is no world yet.
    NotLaunched,
    /// There is one already.
    AlreadyLaunched,
    /// The world could not be made.
    Launch,
    /// Nobody knows the verb.
    UnknownVerb,
    /// The verb cannot do it.
    Failed,
    /// A script of the asker's threw.
    Script,
    /// It took too much real time.
    TimedOut,
    /// The page has gone.
    PageClosed,
}

/// What a page tells of a request.
#[derive(Debug, Deserialize)]
pub(super) struct Answered {
    request: u64,
    /// `null` is a value.
    #[serde(default, deserialize_with = "present")]
    value: Option<Value>,
    #[serde(default)]
    error: Option<DriveError>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A world whose test is outside. Its page is at the root of the origin.
pub struct DrivenWorld {
    runtime: Runtime,
    page: RealmId,
    trace: Trace,
    given_up: GivenUp,
    options: TestWorldOptions,
    /// Requests without an answer, and the pages that will answer them.
    waiting: BTreeMap<u64, RealmId>,
}

impl DrivenWorld {
    /// Makes a world and opens its page.
    ///
    /// # Errors
    ///
    /// [`TestFileError`]; the file is Kittiwake's own.
    pub async fn open(options: TestWorldOptions) -> Result<Self, TestFileError> {
        let (trace, servers) = (Trace::default(), ScriptedServers::default());
        let given_up = GivenUp::default();
        let runtime = options.builder(&trace, &servers, &given_up).start()?;
        let (seen, made) = (trace.clone(), options.clone());
        let opened = runtime.ask(|shard| async move {
            let page = TestPage::new(servers, seen, &made);
            let realm = shard.open_test_page(page, None);
            shard.load_drive(realm).await.map(|()| realm)
        });
        let page = opened.await??;
        Ok(DrivenWorld { runtime, page, trace, given_up, options, waiting: BTreeMap::new() })
    }

    /// Does what is asked for, and answers it; and whatever else has its answer now, before it.
    ///
    /// # Errors
    ///
    /// [`Error::Stuck`], [`Error::EngineFailed`], and [`Error::Stopped`] if the world has ended.
    pub async fn ask(&mut self, request: DriveRequest) -> Result<Vec<DriveAnswer>, Error> {
        let (id, own) = (request.id, self.page);
        let limit = self.options.limit;
        let waiting = std::mem::take(&mut self.waiting);
        let (answers, waiting) = self
            .given_up
            .cut_off_after(limit + GRACE, |cut_off| {
                self.runtime.ask(move |shard| async move {
                    let page = shard.test_page().expect("invariant: a driven world has its page");
                    let doing = Doing { shard, page, own };
                    doing.until(request, waiting, cut_off).await
                })
            })
            .await?;
        self.waiting = waiting;
        let is_own = |answer: &DriveAnswer| answer.id == id;
        if answers.iter().any(is_own) {
            return Ok(answers);
        }
        let message =
            format!("it did not end within {} (timeout)", humantime::format_duration(limit));
        let failed = DriveOutcome::Failed(DriveError::new(DriveErrorCode::TimedOut, message));
        Ok(answers.into_iter().chain([DriveAnswer { id, outcome: failed }]).collect())
    }

    /// Milliseconds since the epoch, by the world's clock.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] if the world has ended.
    pub async fn now_ms(&self) -> Result<f64, Error> {
        self.runtime.ask(|shard| async move { shard.clock.now_ms() }).await
    }

    /// All that has happened so far.
    pub fn events(&self) -> Vec<TraceEvent> {
        self.trace.lock().expect(UNPOISONED).clone()
    }

    /// Ends the world.
    ///
    /// # Errors
    ///
    /// [`Error::Stuck`], [`Error::EngineFailed`], and those of [`Runtime::shut_down`].
    pub async fn close(self) -> Result<(), Error> {
        self.given_up.close(self.runtime).await
    }
}

impl DriveError {
    /// Without what only a script's error has.
    pub fn new(code: DriveErrorCode, message: impl Into<String>) -> Self {
        DriveError { code, message: message.into(), name: None, stack: None }
    }
}

/// One request, on the host thread.
struct Doing {
    shard: Rc<Shard>,
    page: Rc<TestPage>,
    /// The world's own page.
    own: RealmId,
}

impl Doing {
    async fn until(
        self,
        request: DriveRequest,
        mut waiting: BTreeMap<u64, RealmId>,
        mut cut_off: oneshot::Receiver<()>,
    ) -> (Vec<DriveAnswer>, BTreeMap<u64, RealmId>) {
        let mut answers = Vec::new();
        tokio::select! {
            biased;
            _ = &mut cut_off => {
                // If the page answers after all, nobody waits for it any more.
                waiting.remove(&request.id);
            }
            () = self.go(request.clone(), &mut waiting, &mut answers) => {}
        }
        (answers, waiting)
    }

    async fn go(
        &self,
        request: DriveRequest,
        waiting: &mut BTreeMap<u64, RealmId>,
        answers: &mut Vec<DriveAnswer>,
    ) {
        let DriveRequest { id, page, verb, arguments } = request;
        let realm = match self.realm_of(page, &verb).await {
            Ok(realm) => realm,
            Err(error) => {
                return answers.push(DriveAnswer { id, outcome: DriveOutcome::Failed(error) });
            }
        };
        waiting.insert(id, realm);
        let order = Order::Do { request: id, verb, arguments };
        let text = serde_json::to_string(&order).expect("our own types serialise");
        self.shard.call_realm(realm, Call::TestMessage { id: 0, text });
        for _ in 0..MAX_TICKS {
            quiet().await;
            self.take_answers(waiting, answers);
            if !waiting.contains_key(&id) {
                return;
            }
            if go_on(&self.shard, &self.page, self.own).await.is_break() {
                break;
            }
        }
        answers.push(DriveAnswer { id, outcome: DriveOutcome::Waiting });
    }

    /// What pages have answered meanwhile, and what they never will.
    fn take_answers(&self, waiting: &mut BTreeMap<u64, RealmId>, answers: &mut Vec<DriveAnswer>) {
        for Answered { request: id, value, error } in self.page.answered.take() {
            if waiting.remove(&id).is_some() {
                let outcome = error.map_or(DriveOutcome::Value(value), DriveOutcome::Failed);
                answers.push(DriveAnswer { id, outcome });
            }
        }
        let has_gone = |_: &u64, realm: &mut RealmId| self.shard.realm_owner(*realm).is_none();
        for (id, _) in waiting.extract_if(.., has_gone) {
            let outcome = DriveOutcome::Failed(self.gone());
            answers.push(DriveAnswer { id, outcome });
        }
    }

    /// The realm of a page, with what hears a test outside.
    async fn realm_of(&self, page: Option<u32>, verb: &str) -> Result<RealmId, DriveError> {
        if page.is_some() && !PAGE_VERBS.contains(&verb) {
            let message = format!("{verb:?} is not for one page; leave out \"page\"");
            return Err(DriveError::new(DriveErrorCode::UnknownVerb, message));
        }
        let realm = match page {
            None => self.own,
            Some(id) => self.shard.window(id).ok_or_else(|| self.gone())?.realm.get(),
        };
        if self.shard.realm_owner(realm).is_none() {
            return Err(self.gone());
        }
        let is_new = realm != self.own && self.page.driven.borrow_mut().insert(realm);
        if is_new {
            self.shard.call_realm(realm, Call::LendTestDoor { wanted: None });
            let loaded = self.shard.load_drive(realm).await;
            loaded
                .map_err(|error| DriveError::new(DriveErrorCode::PageClosed, error.to_string()))?;
        }
        Ok(realm)
    }

    /// A page is closed, or ended for what its script did, which is the last error then.
    fn gone(&self) -> DriveError {
        let trace = self.page.trace.lock().expect(UNPOISONED);
        let message = match trace.iter().rev().find_map(error_of) {
            Some(error) => format!("the page has gone; the last error was: {error}"),
            None => "the page has gone: it was closed".to_owned(),
        };
        DriveError::new(DriveErrorCode::PageClosed, message)
    }
}

fn error_of(event: &TraceEvent) -> Option<&ScriptException> {
    match &event.kind {
        TraceKind::Error { exception } => Some(exception),
        _ => None,
    }
}
