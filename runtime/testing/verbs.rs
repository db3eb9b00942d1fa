//! What a test can have its world do, and ask of it. `js/test/world.js` has a method for each.
//!
//! Invariant: a question that cannot be understood is refused with what to write instead.

use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt;
use kittiwake_ops::{HistoryHandling, Permission, PermissionState};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::driven::Answered;
use super::page::Snapshot;
use super::{TestCase, TestFailure, TestPage, UNPOISONED};
use crate::dispatch::{EventOutcome, LastChance};
use crate::history::Target;
use crate::host::Shard;
use crate::lifecycle::Registration;
use crate::network::Timeline;
use crate::notifications::NotificationClick;
use crate::pages::PageSource;
use crate::quiet::quiet;
use crate::runtime::{Error, SIMULATION_LIMIT};
use crate::scheduler;
use crate::simulation::RecordedRequest;
use crate::trace::{LifecycleSubject, TraceKind};

/// What is answered at once.
#[derive(Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
enum Asked {
    Declared { tests: Vec<TestCase> },
    Ended { failures: Vec<TestFailure> },
    Answered(Answered),
    Network { text: String },
    Server { origin: Url, route: String, answers: Value },
    Permission { name: String, state: PermissionState },
    Deadline { time: String },
    WhyRedundant { script: String },
    Snapshot(Snapshot),
    Requests,
    Trace,
    Events,
    Worker,
    Notifications,
}

/// What a person does with a page.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum PageMove {
    /// Follows a link.
    Navigate(Url),
    Reload,
    Focus,
    Hide,
}

/// What enters other realms, or lets time pass.
#[derive(Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
enum Verb {
    /// The page wants to be told when the world is quiet.
    Settle,
    Advance {
        time: String,
    },
    Idle,
    Step {
        deadline: u64,
    },
    OpenPage {
        url: Url,
    },
    MovePage {
        id: u32,
        how: PageMove,
    },
    ClosePage {
        id: u32,
    },
    Kill {
        scope: Option<String>,
    },
    Restart,
    Sync {
        tag: String,
        last_chance: bool,
    },
    Push {
        data: Option<String>,
    },
    Click {
        tag: String,
        action: String,
        reply: Option<String>,
    },
    Dismiss {
        tag: String,
    },
}

type Answer = Result<Value, String>;

/// How an event ended, in a word.
fn told(outcome: Result<EventOutcome, Error>) -> Answer {
    let outcome = outcome.map_err(|error| error.to_string())?;
    Ok(json!(format!("{outcome:?}").split('(').next()))
}

impl Shard {
    /// Answers what needs no time, within the page's own turn.
    pub(super) fn answer_test_call(&self, page: &TestPage, question: &str) -> Answer {
        let asked = serde_json::from_str(question).map_err(|error| error.to_string())?;
        Ok(match asked {
            Asked::Declared { tests } => {
                page.declared.replace(Some(tests));
                Value::Null
            }
            Asked::Ended { failures } => {
                page.ended.replace(Some(failures));
                Value::Null
            }
            Asked::Answered(answered) => {
                page.answered.borrow_mut().push(answered);
                Value::Null
            }
            Asked::Network { text } => {
                let timeline: Timeline = text.parse().map_err(|error| format!("{error}"))?;
                let followed = self.follow_network(Box::new(timeline)).now_or_never();
                followed.expect("invariant: a timeline has a state at its start");
                Value::Null
            }
            Asked::Server { origin, route, answers } => {
                let scripted = page.servers.script(&origin, &route, answers);
                scripted.map_err(|error| error.to_string())?;
                Value::Null
            }
            Asked::Permission { name, state } => {
                let permission: Permission = name.parse()?;
                self.permissions.borrow_mut().set(permission, state);
                self.wake.wake(&self.activity);
                Value::Null
            }
            Asked::Deadline { time } => {
                json!((self.started.elapsed() + duration(&time)?).as_millis() as u64)
            }
            Asked::WhyRedundant { script } => json!(why_redundant(page, &script)),
            Asked::Snapshot(snapshot) => json!(page.compare(snapshot)),
            Asked::Requests => {
                page.servers.requests().iter().map(described).collect::<Vec<_>>().into()
            }
            Asked::Trace => {
                let trace = page.trace.lock().expect(UNPOISONED);
                trace.iter().map(ToString::to_string).collect::<Vec<_>>().into()
            }
            Asked::Events => json!(*page.events.borrow()),
            Asked::Worker => self.describe_worker(page),
            Asked::Notifications => json!(self.shown_titles()),
        })
    }

    /// Answers what takes time or enters realms. The world is quiet when it begins.
    pub(super) async fn answer_test(self: &Rc<Self>, page: &TestPage, question: &str) -> Answer {
        let verb = serde_json::from_str(question).map_err(|error| error.to_string())?;
        match verb {
            Verb::Settle => {}
            Verb::Advance { time } => tokio::time::sleep(duration(&time)?).await,
            Verb::Idle => {
                // A page with an interval never idles.
                let _ = tokio::time::timeout(SIMULATION_LIMIT, self.activity.idle()).await;
            }
            Verb::Step { deadline } => return Ok(self.step(deadline).await),
            Verb::OpenPage { url } => {
                let opened = self.open_page(url.clone(), PageSource::Url).await;
                let (window, result) = opened.map_err(|error| error.to_string())?;
                let failure = result.err().map(|error| error.to_string());
                return Ok(json!({ "id": window.id, "url": url, "error": failure }));
            }
            Verb::MovePage { id, how } => self.move_page(id, how).await?,
            Verb::ClosePage { id } => self.close_window(id).await,
            Verb::Kill { scope } => {
                let registration = self.registration_of_test(page, scope.as_deref())?;
                if let Some(worker) = registration.newest() {
                    self.stop_worker(&worker);
                }
            }
            Verb::Restart if page.worker.is_some() => {
                return Err("a crash would end the test too, which runs in a worker; a test in a \
                            page goes on"
                    .to_owned());
            }
            Verb::Restart => self.restart(page).await?,
            Verb::Sync { tag, last_chance } => {
                let chance = if last_chance { LastChance::Yes } else { LastChance::No };
                let registration = self.registration_of_test(page, None)?;
                let scope = Url::parse(&registration.scope).ok();
                return told(self.dispatch_sync(scope, tag, chance).await);
            }
            Verb::Push { data } => {
                let registration = self.registration_of_test(page, None)?;
                return told(self.dispatch_push(&registration, data.map(Into::into)).await);
            }
            Verb::Click { tag, action, reply } => {
                let click = NotificationClick { action, reply };
                return told(self.click_notification(self.shown(&tag)?, click).await);
            }
            Verb::Dismiss { tag } => {
                return told(self.dismiss_notification(self.shown(&tag)?).await);
            }
        }
        Ok(Value::Null)
    }

    async fn move_page(self: &Rc<Self>, id: u32, how: PageMove) -> Result<(), String> {
        let window = self.window(id).ok_or("the page is closed")?;
        let target = match how {
            PageMove::Navigate(url) => Target::new(url, PageSource::Url, HistoryHandling::Push),
            PageMove::Reload => window.history.borrow().reload(),
            PageMove::Focus => {
                self.bring_to_front(Some(window.id));
                return Ok(());
            }
            PageMove::Hide => {
                if window.is_in_front() {
                    self.bring_to_front(None);
                }
                return Ok(());
            }
        };
        // Another navigation took its place, or the page was closed.
        let ended = self.start_navigation(&window, target).await.unwrap_or(Err(Error::NoPage));
        ended.map_err(|error| error.to_string())
    }

    /// The newest notification with this tag.
    fn shown(&self, tag: &str) -> Result<u32, String> {
        let shown = self.notifications.borrow();
        let found = shown.iter().rfind(|each| each.entry.tag == tag);
        let tags: Vec<_> = shown.iter().map(|each| &each.entry.tag).collect();
        found.map(|found| found.id).ok_or_else(|| {
            format!("no notification with the tag {tag:?} is shown; shown are {tags:?}")
        })
    }

    /// Lets time pass until a realm takes a turn, and what comes of it has come.
    async fn step(&self, deadline_ms: u64) -> Value {
        let deadline = self.started + Duration::from_millis(deadline_ms);
        let turn = self.turns.taken.notified();
        tokio::select! {
            biased;
            () = turn => {
                quiet().await;
                json!("turn")
            }
            () = tokio::time::sleep_until(deadline) => json!("deadline"),
        }
    }

    /// What a crash of the process does to all but the test's own page.
    /// What was firing is in the store as such, and recovered as after any crash.
    async fn restart(self: &Rc<Self>, page: &TestPage) -> Result<(), String> {
        self.flush_commits();
        // What is not in this set is neither settled nor handed back.
        self.firing.take();
        let own = page.realm.get();
        let realms: Vec<_> = self.realms.borrow().keys().copied().collect();
        for realm in realms.into_iter().filter(|realm| Some(*realm) != own) {
            self.drop_realm(realm);
        }
        // Whoever still holds one ends first.
        let forgotten = self.forget_registrations();
        self.notifications.take();
        quiet().await;
        drop(forgotten);
        scheduler::recover(self).map_err(|error| error.to_string())?;
        self.activate_stored().map_err(|error| error.to_string())?;
        for page in self.pages.borrow().values() {
            let registration = self.match_registration(page.url.as_str());
            *page.controller.borrow_mut() = match page.controller.take() {
                Some(_) => registration.and_then(|found| found.active()),
                None => None,
            };
        }
        self.wake.wake(&self.activity);
        Ok(())
    }

    fn registration_of_test(
        &self,
        page: &TestPage,
        scope: Option<&str>,
    ) -> Result<Rc<Registration>, String> {
        let found = match scope {
            Some(scope) => self.registration(scope),
            None => self
                .match_registration(page.origin.as_str())
                .or_else(|| self.registrations_in_memory().into_iter().next()),
        };
        found.ok_or_else(|| "no service worker is registered; await worker.register()".to_owned())
    }

    fn describe_worker(&self, page: &TestPage) -> Value {
        let registration = self.registration_of_test(page, None).ok();
        let newest = registration.and_then(|found| Some((found.newest()?, found)));
        match newest {
            None => json!({ "state": "none", "running": false }),
            Some((worker, registration)) => json!({
                "state": worker.describe().state,
                "running": worker.realm.get().is_some(),
                "script": worker.script_url,
                "scope": registration.scope,
            }),
        }
    }
}

/// The last error before the worker was thrown away.
fn why_redundant(page: &TestPage, script: &str) -> String {
    let trace = page.trace.lock().expect(UNPOISONED);
    let ended = trace.iter().rposition(|event| {
        matches!(&event.kind, TraceKind::Lifecycle {
            subject: LifecycleSubject::Worker, url, state: "redundant", ..
        } if url == script)
    });
    let errors = trace.iter().enumerate().rev();
    let errors = errors.filter_map(|(place, event)| Some((place, event.kind.failure()?)));
    let nearest = errors.min_by_key(|(place, _)| place.abs_diff(ended.unwrap_or(0)));
    match nearest {
        Some((_, exception)) => format!("{script} was not installed: {exception}"),
        None => format!("{script} became redundant before it was activated"),
    }
}

fn described(request: &RecordedRequest) -> Value {
    let body = request.body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
    json!({
        "method": request.method,
        "url": request.url,
        "headers": request.headers,
        "body": body,
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    if let Some(milliseconds) = text.strip_suffix("ms").and_then(|text| text.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(milliseconds / 1e3).map_err(|error| error.to_string());
    }
    humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is no duration ({error}); write \"5m\" or \"250ms\""))
}
