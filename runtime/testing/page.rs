//! The page of a test: what it has asked, declared and found.
//!
//! Invariant: a shard has one test page at most, and no other realm is answered as one.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;

use kittiwake_ops::{RealmId, ScriptException, TestServices};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use url::Url;

use super::conduct::Order;
use super::driven::Answered;
use super::worker::TestWorker;
use super::{SnapshotMode, Snapshots, TestCase, TestFailure, TestWorldOptions, Trace};
use crate::host::{EventEnd, RealmOwner, Shard};
use crate::page_modules::{ModuleSource, PageModules};
use crate::realm::{Call, ExtendableInit};
use crate::simulation::ScriptedServers;

/// What a shard knows of its test.
pub(crate) struct TestPage {
    pub(super) realm: Cell<Option<RealmId>>,
    pub(super) origin: Url,
    /// Where the app is.
    pub(super) root: PathBuf,
    /// Where the test runs, if not in a page.
    pub(super) worker: Option<TestWorker>,
    imported: RefCell<BTreeSet<PathBuf>>,
    pub(super) servers: ScriptedServers,
    pub(super) trace: Trace,
    /// What the page has asked and not been answered, in order.
    pub(super) asks: RefCell<VecDeque<(u32, String)>>,
    pub(super) declared: RefCell<Option<Vec<TestCase>>>,
    pub(super) ended: RefCell<Option<Vec<TestFailure>>>,
    /// What a test outside is to be told.
    pub(super) answered: RefCell<Vec<Answered>>,
    /// The other pages that hear a test outside.
    pub(super) driven: RefCell<BTreeSet<RealmId>>,
    /// What the page's scripts threw and nobody caught.
    uncaught: RefCell<Vec<ScriptException>>,
    pub(super) events: RefCell<Vec<WorkerEvent>>,
    stored: std::sync::Arc<Snapshots>,
    seen: RefCell<Vec<(String, String)>>,
    test_name: RefCell<String>,
}

/// An extendable event that a worker got.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WorkerEvent {
    #[serde(rename = "type")]
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_chance: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Absent while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Tells of each turn that a realm of the shard takes.
#[derive(Default)]
pub(crate) struct Turns {
    pub(crate) count: Cell<u64>,
    pub(super) taken: Notify,
}

impl Turns {
    pub(crate) fn note(&self) {
        self.count.set(self.count.get() + 1);
        self.taken.notify_waiters();
    }
}

/// Names an event whose end is still to be told.
pub(crate) struct NotedEvent(usize);

#[derive(Deserialize)]
pub(super) struct Snapshot {
    hint: String,
    text: String,
}

#[derive(Serialize)]
pub(super) struct Compared {
    pass: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'static str>,
}

impl TestPage {
    pub(crate) fn new(servers: ScriptedServers, trace: Trace, options: &TestWorldOptions) -> Self {
        TestPage {
            realm: Cell::default(),
            origin: options.origin.clone(),
            root: options.root.clone(),
            worker: None,
            imported: RefCell::default(),
            servers,
            trace,
            asks: RefCell::default(),
            declared: RefCell::default(),
            ended: RefCell::default(),
            answered: RefCell::default(),
            driven: RefCell::default(),
            uncaught: RefCell::default(),
            events: RefCell::default(),
            stored: options.snapshots.clone(),
            seen: RefCell::default(),
            test_name: RefCell::default(),
        }
    }

    pub(super) fn begin(&self, order: &Order) {
        if let Order::Run { name, .. } = order {
            *self.test_name.borrow_mut() = name.clone();
        }
    }

    /// What nobody caught, and the snapshots that were seen.
    pub(super) fn take_findings(&self) -> (Vec<ScriptException>, Vec<(String, String)>) {
        (self.uncaught.take(), self.seen.take())
    }

    /// Keeps in mind that the test imports a file, there or not.
    pub(crate) fn note_imported(&self, url: &Url) {
        let Ok(path) = url.to_file_path() else { return };
        // A path from the root of the app, perhaps.
        self.imported
            .borrow_mut()
            .extend([self.root.join(path.strip_prefix("/").unwrap_or(&path)), path]);
    }

    /// Compares with what an earlier run wrote.
    pub(super) fn compare(&self, Snapshot { hint, text }: Snapshot) -> Compared {
        let mut seen = self.seen.borrow_mut();
        let hint = if hint.is_empty() { hint } else { format!(" > {hint}") };
        let name = format!("{}{hint}", *self.test_name.borrow());
        let is_same = |other: &str| {
            let number = other.strip_prefix(&name).and_then(|rest| rest.strip_prefix(' '));
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        };
        let count = seen.iter().filter(|(other, _)| is_same(other)).count() + 1;
        let name = format!("{name} {count}");
        let expected = self.stored.texts.get(&name).cloned();
        seen.push((name, text.clone()));
        match (expected, self.stored.mode) {
            (_, SnapshotMode::AcceptAll) | (None, SnapshotMode::AcceptNew) => {
                Compared { pass: true, expected: None, problem: None }
            }
            (None, SnapshotMode::AcceptNone) => {
                let problem = Some("no snapshot was written yet, and --ci accepts none");
                Compared { pass: false, expected: None, problem }
            }
            (Some(expected), _) => {
                Compared { pass: expected == text, expected: Some(expected), problem: None }
            }
        }
    }
}

impl TestServices for Shard {
    fn test_ask(&self, realm: RealmId, id: u32, question: String) {
        if let Some(page) = self.test_page_of(realm) {
            page.asks.borrow_mut().push_back((id, question));
        }
    }

    fn test_call(&self, realm: RealmId, question: &str) -> String {
        let answered = match self.page_with_door(realm) {
            Some(page) => self.answer_test_call(&page, question),
            None => Err("only a test page may ask".to_owned()),
        };
        match answered {
            Ok(value) => serde_json::json!({ "value": value }),
            Err(error) => serde_json::json!({ "error": error }),
        }
        .to_string()
    }
}

impl Shard {
    pub(crate) fn test_page(&self) -> Option<Rc<TestPage>> {
        self.test.borrow().clone()
    }

    fn test_page_of(&self, realm: RealmId) -> Option<Rc<TestPage>> {
        self.test_page().filter(|page| page.realm.get() == Some(realm))
    }

    /// Those that have the door.
    fn page_with_door(&self, realm: RealmId) -> Option<Rc<TestPage>> {
        let page = self.test_page()?;
        let has_door = page.realm.get() == Some(realm) || page.driven.borrow().contains(&realm);
        has_door.then_some(page)
    }

    /// Opens the test's page at the root of its origin, without a document of its own.
    /// Of the tests that its file declares, it keeps the wanted one, or all to list them.
    pub(super) fn open_test_page(&self, page: TestPage, wanted: Option<usize>) -> RealmId {
        let url = page.origin.join("/").unwrap_or_else(|_| page.origin.clone());
        let id = format!("client-{}", self.next_id());
        self.served.iter().for_each(|(_, root)| root.note_asked());
        let modules = PageModules::new(ModuleSource::TestFiles { root: page.root.clone() });
        let (realm, _) = self.start_page(id, url, modules);
        page.realm.set(Some(realm));
        self.test.replace(Some(Rc::new(page)));
        self.call_realm(realm, Call::LendTestDoor { wanted });
        realm
    }

    /// The files that the world has asked for: what the test imports, and what the app serves.
    pub(super) fn files_of_test(&self) -> BTreeSet<PathBuf> {
        let page = self.test_page();
        let imported = page.map(|page| page.imported.take()).unwrap_or_default();
        let served = self.served.iter().flat_map(|(_, root)| root.asked());
        imported.into_iter().chain(served).collect()
    }

    /// An exception of the test's own page fails the test.
    pub(crate) fn note_uncaught(&self, realm: RealmId, exception: &ScriptException) {
        if let Some(page) = self.test_page_of(realm) {
            page.uncaught.borrow_mut().push(exception.clone());
        }
    }

    /// Keeps in mind that a worker gets an event.
    pub(crate) fn note_event(&self, realm: RealmId, init: &ExtendableInit) -> Option<NotedEvent> {
        let page = self.test_page()?;
        if !matches!(self.realm_owner(realm), Some(RealmOwner::Worker(_))) {
            return None;
        }
        let (tag, last_chance) = match init {
            ExtendableInit::Sync { tag, last_chance } => (Some(tag.clone()), Some(*last_chance)),
            ExtendableInit::PeriodicSync { tag } => (Some(tag.clone()), None),
            _ => (None, None),
        };
        let url = match init {
            ExtendableInit::Fetch(init) => Some(init.url().to_owned()),
            _ => None,
        };
        let mut events = page.events.borrow_mut();
        let name = init.name();
        events.push(WorkerEvent { name, tag, last_chance, url, outcome: None, reason: None });
        Some(NotedEvent(events.len() - 1))
    }

    pub(crate) fn note_end(&self, noted: Option<NotedEvent>, end: &EventEnd) {
        let (Some(NotedEvent(place)), Some(page)) = (noted, self.test_page()) else { return };
        let event = &mut page.events.borrow_mut()[place];
        event.outcome = Some(match end {
            EventEnd::Fulfilled => "fulfilled",
            EventEnd::Rejected(_) => "rejected",
            EventEnd::TimedOut => "timed-out",
            EventEnd::Terminated => "terminated",
        });
        if let EventEnd::Rejected(rejection) = end {
            event.reason = Some(rejection.message.clone());
        }
    }
}
