//! Windows: each shows one page after the other, and one of them is in front, as of the tabs of a
//! browser. <https://html.spec.whatwg.org/#navigables>
//!
//! Invariant: a window that is open has exactly one page. The page in front is visible and has the
//! focus; no other page has either.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use deno_core::futures::FutureExt;
use deno_core::futures::future::LocalBoxFuture;
use kittiwake_ops::{
    ClientState, HistoryEntry, HistoryHandling, HistoryUpdate, OpError, RealmId, WindowServices,
};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::Instant;
use url::Url;

use crate::history::{History, Target};
use crate::host::{RealmOwner, Shard};
use crate::lifecycle::{Worker, plain_exception};
use crate::pages::{Page, PageSource};
use crate::realm::Call;
use crate::runtime::Error;

/// How long a worker may move windows after a person clicked at its notification, as in Chromium.
const INTERACTION: Duration = Duration::from_secs(10);

/// A page's scripts may navigate their window so often in [`NAVIGATIONS_WITHIN`], as in Chromium.
const NAVIGATIONS_AT_MOST: u32 = 200;
const NAVIGATIONS_WITHIN: Duration = Duration::from_secs(10);

/// All windows.
#[derive(Default)]
pub(crate) struct Windows {
    open: RefCell<BTreeMap<u32, Rc<Window>>>,
    front: Cell<Option<u32>>,
    times_shown: Cell<u64>,
    last: Cell<u32>,
    /// Until when a worker's realm may move a window: one for each click.
    interactions: RefCell<BTreeMap<RealmId, Vec<Instant>>>,
}

/// A window.
pub(crate) struct Window {
    pub(crate) id: u32,
    pub(crate) realm: Cell<RealmId>,
    pub(crate) history: RefCell<History>,
    in_front: Cell<bool>,
    /// Orders windows by when they were last in front.
    shown_at: Cell<u64>,
    navigation: RefCell<Option<AbortHandle>>,
    /// How often its scripts have navigated since then.
    navigations: Cell<(Instant, u32)>,
}

impl Window {
    fn new(id: u32) -> Rc<Self> {
        Rc::new(Window {
            id,
            realm: Cell::new(RealmId(0)),
            history: RefCell::default(),
            in_front: Cell::new(false),
            shown_at: Cell::new(0),
            navigation: RefCell::default(),
            navigations: Cell::new((Instant::now(), 0)),
        })
    }

    pub(crate) fn is_in_front(&self) -> bool {
        self.in_front.get()
    }

    /// Larger for one that was in front later.
    pub(crate) fn shown_at(&self) -> u64 {
        self.shown_at.get()
    }

    /// It shows its page: what the page's scripts do then is no part of the navigation.
    pub(crate) fn navigation_is_over(&self) {
        self.navigation.take();
    }

    fn may_navigate(&self) -> bool {
        let (since, count) = self.navigations.get();
        let (since, count) = match since.elapsed() > NAVIGATIONS_WITHIN {
            true => (Instant::now(), 0),
            false => (since, count),
        };
        self.navigations.set((since, count + 1));
        count < NAVIGATIONS_AT_MOST
    }
}

impl WindowServices for Shard {
    fn location_navigate(&self, realm: RealmId, url: &str, handling: HistoryHandling) {
        let url = Url::parse(url).expect("invariant: our own script has parsed it");
        self.navigate_own_window(realm, Target::new(url, PageSource::Url, handling));
    }

    fn location_reload(&self, realm: RealmId) {
        if let Some(window) = self.window_of(realm) {
            let target = window.history.borrow().reload();
            self.navigate_own_window(realm, target);
        }
    }

    fn history_entry(&self, realm: RealmId) -> HistoryEntry {
        let window = self.window_of(realm);
        window.map_or(HistoryEntry { length: 0, state: None }, |window| {
            window.history.borrow().describe()
        })
    }

    fn history_update(&self, realm: RealmId, update: HistoryUpdate) -> Result<(), OpError> {
        let (Some(window), Some(page)) = (self.window_of(realm), self.page_of(realm)) else {
            return Ok(());
        };
        let url = Url::parse(&update.url).expect("invariant: our own script has parsed it");
        window.history.borrow_mut().update(url.clone(), update.state, update.handling)?;
        *page.document_url.borrow_mut() = url;
        Ok(())
    }

    fn history_go(&self, realm: RealmId, delta: i32) {
        if delta == 0 {
            return self.location_reload(realm);
        }
        if let Some(window) = self.window_of(realm) {
            self.traverse(&window, delta);
        }
    }

    fn client_focus(&self, realm: RealmId, client: &str) -> Result<ClientState, OpError> {
        self.consume_interaction(realm, "focus")?;
        let (_, page) = self.own_client(realm, client).ok_or(OpError::ClientNotFound)?;
        self.bring_to_front(Some(page.window.id));
        Ok(page.describe())
    }

    fn client_navigate(
        &self,
        realm: RealmId,
        client: String,
        url: String,
    ) -> LocalBoxFuture<'static, Result<Option<ClientState>, OpError>> {
        let failed = OpError::NavigationFailed { url: url.clone() };
        let Some((worker, page)) = self.own_client(realm, &client) else {
            return async { Err(failed) }.boxed_local();
        };
        if !page.is_controlled_by(&worker) {
            return async { Err(OpError::NotItsWorker) }.boxed_local();
        }
        let url = Url::parse(&url).expect("invariant: our own script has parsed it");
        let target = Target::new(url, PageSource::Url, HistoryHandling::Push);
        let navigated = self.start_navigation(&page.window, target);
        let (shard, window) = (self.me(), page.window.clone());
        async move {
            match navigated.await {
                Ok(Ok(())) => Ok(shard.describe_for(&worker, &window)),
                Ok(Err(_)) | Err(_) => Err(failed),
            }
        }
        .boxed_local()
    }

    fn window_open(
        &self,
        realm: RealmId,
        url: String,
    ) -> LocalBoxFuture<'static, Result<Option<ClientState>, OpError>> {
        if let Err(error) = self.consume_interaction(realm, "open") {
            return async { Err(error) }.boxed_local();
        }
        let url = Url::parse(&url).expect("invariant: our own script has parsed it");
        if url.scheme() == "about" {
            return async { Err(OpError::WindowNotOpened) }.boxed_local();
        }
        let (shard, owner) = (self.me(), self.realm_owner(realm));
        // In a task of its own: another isolate will be entered.
        let opened = spawn_local(async move {
            let (window, _) = shard.open_page(url, PageSource::Url).await.ok()?;
            let Some(RealmOwner::Worker(worker)) = owner else { return None };
            Some(shard.describe_for(&worker, &window))
        });
        async move {
            let opened = opened.await.expect("invariant: opening does not panic");
            opened.ok_or(OpError::WindowNotOpened)
        }
        .boxed_local()
    }
}

impl Shard {
    pub(crate) fn window(&self, id: u32) -> Option<Rc<Window>> {
        self.windows.open.borrow().get(&id).cloned()
    }

    pub(crate) fn page_of(&self, realm: RealmId) -> Option<Rc<Page>> {
        self.pages.borrow().get(&realm).cloned()
    }

    /// The window whose page the realm is; None for one that has been left.
    fn window_of(&self, realm: RealmId) -> Option<Rc<Window>> {
        self.page_of(realm).map(|page| page.window.clone())
    }

    /// A window that is not open yet.
    pub(crate) fn new_window(&self) -> Rc<Window> {
        self.windows.last.set(self.windows.last.get() + 1);
        Window::new(self.windows.last.get())
    }

    pub(crate) fn add_window(&self, window: &Rc<Window>) {
        self.windows.open.borrow_mut().insert(window.id, window.clone());
        self.bring_to_front(Some(window.id));
    }

    /// Closes a window with its page. The one that was in front before comes to the front.
    pub(crate) async fn close_window(&self, id: u32) {
        let Some(window) = self.window(id) else { return };
        if let Some(navigation) = window.navigation.take() {
            navigation.abort();
        }
        self.leave(window.realm.get()).await;
        self.windows.open.borrow_mut().remove(&id);
        if self.windows.front.get() == Some(id) {
            self.windows.front.set(None);
            let open = self.windows.open.borrow();
            let last = open.values().max_by_key(|window| window.shown_at()).map(|last| last.id);
            drop(open);
            self.bring_to_front(last);
        }
        self.drop_page(window.realm.get());
    }

    /// Has this window in front, or none.
    pub(crate) fn bring_to_front(&self, id: Option<u32>) {
        let before = self.windows.front.replace(id);
        if before == id {
            return;
        }
        if let Some(window) = before.and_then(|before| self.window(before)) {
            window.in_front.set(false);
            self.call_realm(window.realm.get(), Call::DispatchSimple { name: "blur" });
            self.call_realm(window.realm.get(), Call::DispatchSimple { name: "visibilitychange" });
        }
        if let Some(window) = id.and_then(|id| self.window(id)) {
            window.in_front.set(true);
            self.windows.times_shown.set(self.windows.times_shown.get() + 1);
            window.shown_at.set(self.windows.times_shown.get());
            self.call_realm(window.realm.get(), Call::DispatchSimple { name: "visibilitychange" });
            self.call_realm(window.realm.get(), Call::DispatchSimple { name: "focus" });
        }
    }

    fn navigate_own_window(&self, realm: RealmId, target: Target) {
        let Some(window) = self.window_of(realm) else { return };
        if !window.may_navigate() {
            return self.trace_exception(plain_exception(format!(
                "{} was not opened: the page navigates too often",
                target.url
            )));
        }
        drop(self.start_navigation(&window, target));
    }

    /// Goes through the session history: within the document, or to another one.
    pub(crate) fn traverse(&self, window: &Rc<Window>, delta: i32) {
        let realm = window.realm.get();
        let Some(target) = window.history.borrow().at(delta) else { return };
        let is_same_document = target.document == Some(realm);
        if !is_same_document {
            drop(self.start_navigation(window, target));
            return;
        }
        let Some(page) = self.page_of(realm) else { return };
        let state = window.history.borrow_mut().traverse(target.index);
        *page.document_url.borrow_mut() = target.url.clone();
        self.call_realm(realm, Call::Traverse { url: target.url.to_string(), state });
    }

    /// Navigates a window in a task of its own, in the place of a navigation that is under way.
    pub(crate) fn start_navigation(
        &self,
        window: &Rc<Window>,
        target: Target,
    ) -> oneshot::Receiver<Result<(), Error>> {
        let (done, result) = oneshot::channel();
        let (shard, navigated, busy) = (self.me(), window.clone(), self.activity.begin());
        let task = spawn_local(async move {
            let result = shard.navigate(&navigated, target).await;
            if let Err(error) = &result {
                shard.trace_exception(plain_exception(error.to_string()));
            }
            let _ = done.send(result);
            drop(busy);
        });
        if let Some(earlier) = window.navigation.replace(Some(task.abort_handle())) {
            earlier.abort();
        }
        result
    }

    /// A person has clicked at the worker's notification.
    pub(crate) fn allow_interaction(&self, realm: RealmId) {
        let until = Instant::now() + INTERACTION;
        self.windows.interactions.borrow_mut().entry(realm).or_default().push(until);
    }

    pub(crate) fn drop_interactions(&self, realm: RealmId) {
        self.windows.interactions.borrow_mut().remove(&realm);
    }

    fn consume_interaction(&self, realm: RealmId, verb: &'static str) -> Result<(), OpError> {
        let mut interactions = self.windows.interactions.borrow_mut();
        let own = interactions.entry(realm).or_default();
        own.retain(|until| *until > Instant::now());
        match own.is_empty() {
            true => Err(OpError::NoInteraction { verb }),
            false => {
                own.remove(0);
                Ok(())
            }
        }
    }

    fn own_client(&self, realm: RealmId, client: &str) -> Option<(Rc<Worker>, Rc<Page>)> {
        let Some(RealmOwner::Worker(worker)) = self.realm_owner(realm) else { return None };
        let (_, page) = self.page_by_client_id(client)?;
        (page.origin == worker.origin).then_some((worker, page))
    }

    /// What a worker may know of a window's page.
    fn describe_for(&self, worker: &Worker, window: &Window) -> Option<ClientState> {
        let page = self.page_of(window.realm.get())?;
        (page.origin == worker.origin).then(|| page.describe())
    }
}
