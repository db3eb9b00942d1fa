//! Window clients without a DOM: <https://html.spec.whatwg.org/#window>
//!
//! Invariant: a page's controller is the active worker of a registration of its own origin.

use std::cell::RefCell;
use std::rc::Rc;

use kittiwake_ops::{
    ClientState, HistoryHandling, MessagePortServices, RealmId, ServiceWorkerState,
};
use url::Url;

use crate::document::{PageScript, ScriptContent, ScriptKind, scripts_of};
use crate::drive::Command;
use crate::history::Target;
use crate::host::{RealmOwner, Shard};
use crate::lifecycle::{Registration, Worker, decode, is_javascript, plain_exception};
use crate::limits::{Limit, LimitOutcome};
use crate::message_ports::Posted;
use crate::page_modules::{PageModules, inline_key};
use crate::realm::{Call, ModuleKey, ModuleKind, RealmError, RealmKind, StartOptions};
use crate::runtime::Error;
use crate::trace::{LifecycleSubject, TraceKind};
use crate::windows::Window;

/// A page.
pub(crate) struct Page {
    pub(crate) id: String,
    pub(crate) window: Rc<Window>,
    /// Its creation URL.
    pub(crate) url: Url,
    /// What `location` says, which the page may change within its origin.
    pub(crate) document_url: RefCell<Url>,
    pub(crate) origin: String,
    pub(crate) controller: RefCell<Option<Rc<Worker>>>,
    pub(crate) modules: Rc<PageModules>,
    /// The client message queue while it is disabled: until the document is loaded, or the page
    /// wants them. <https://w3c.github.io/ServiceWorker/#dfn-client-message-queue>
    pub(crate) held_messages: RefCell<Option<Vec<HeldMessage>>>,
}

/// What a window shows before its first page.
const NO_REALM: RealmId = RealmId(0);

/// A message, and the worker that sent it.
pub(crate) type HeldMessage = (Posted, Option<ServiceWorkerState>);

/// What a page is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageSource {
    /// Whatever its URL answers: HTML, or a script.
    Url,
    /// This HTML: its scripts run in order; nothing is rendered.
    Html(String),
    /// This script alone, under this URL.
    Script(Url, String),
}

impl Page {
    pub(crate) fn is_controlled_by(&self, worker: &Worker) -> bool {
        self.controller.borrow().as_ref().is_some_and(|controller| controller.id == worker.id)
    }

    /// <https://w3c.github.io/ServiceWorker/#dfn-use>
    pub(crate) fn uses(&self, registration: &Rc<Registration>) -> bool {
        let controller = self.controller.borrow();
        controller.as_ref().is_some_and(|worker| Rc::ptr_eq(&worker.registration, registration))
    }

    pub(crate) fn describe(&self) -> ClientState {
        let in_front = self.window.is_in_front();
        ClientState {
            id: self.id.clone(),
            url: self.url.to_string(),
            visibility_state: if in_front { "visible" } else { "hidden" }.to_owned(),
            focused: in_front,
        }
    }
}

impl Shard {
    /// Opens a page in a window of its own, which comes to the front.
    pub(crate) async fn open_page(
        &self,
        url: Url,
        source: PageSource,
    ) -> Result<(Rc<Window>, Result<(), RealmError>), Error> {
        let limit = self.limits.count(Limit::Pages);
        if self.pages.borrow().len() >= limit {
            let origin = url.origin().ascii_serialization();
            self.strike_origin(&origin, Limit::Pages, LimitOutcome::Refused);
            return Err(Error::TooManyPages { limit });
        }
        let window = self.new_window();
        let target = Target::new(url, source, HistoryHandling::Push);
        let result = self.show_page(&window, target).await?;
        Ok((window, result))
    }

    /// Shows another page in a window. One that cannot be loaded leaves the window as it is.
    pub(crate) async fn navigate(&self, window: &Rc<Window>, target: Target) -> Result<(), Error> {
        // What its scripts throw is in the trace.
        self.show_page(window, target).await.map(drop)
    }

    /// Loads a page, runs its scripts in order, and dispatches `load`. A script that throws does
    /// not keep the later ones from running, as in a browser; the first error is the answer.
    async fn show_page(
        &self,
        window: &Rc<Window>,
        target: Target,
    ) -> Result<Result<(), RealmError>, Error> {
        let id = format!("client-{}", self.next_id());
        let (url, scripts) = self.load_page(target.url.clone(), target.source.clone(), &id).await?;
        if window.realm.get() != NO_REALM {
            self.leave(window.realm.get()).await;
        }
        let (realm, page) = self.put_page(window, target, id, url, PageModules::of_network());
        let result = self.run_page(realm, &page, scripts).await;
        self.client_messages_start(realm);
        self.call_realm(realm, Call::DispatchSimple { name: "load" });
        Ok(result)
    }

    /// Makes the realm of a page in a window of its own, which has run no script yet.
    pub(crate) fn start_page(
        &self,
        id: String,
        url: Url,
        modules: PageModules,
    ) -> (RealmId, Rc<Page>) {
        let target = Target::new(url.clone(), PageSource::Url, HistoryHandling::Push);
        self.put_page(&self.new_window(), target, id, url, modules)
    }

    /// Makes the realm of a page, in the place of the one that its window shows.
    fn put_page(
        &self,
        window: &Rc<Window>,
        target: Target,
        id: String,
        url: Url,
        modules: PageModules,
    ) -> (RealmId, Rc<Page>) {
        let controller = self.match_registration(url.as_str()).and_then(|found| found.active());
        let page = Rc::new(Page {
            id,
            window: window.clone(),
            origin: url.origin().ascii_serialization(),
            document_url: RefCell::new(url.clone()),
            url,
            controller: RefCell::new(controller),
            modules: Rc::new(modules),
            held_messages: RefCell::new(Some(Vec::new())),
        });
        let start = StartOptions {
            kind: RealmKind::Page,
            url: page.url.to_string(),
            origin: page.origin.clone(),
            host_clock: self.host_doors.clock,
            host_entropy: self.host_doors.entropy,
            user_agent: self.user_agent.clone(),
            module: false,
            registration: None,
            worker: None,
            timer_limit: self.timer_limit(),
            buffer_limit: self.limits.of(Limit::Buffers) as f64,
        };
        let realm = self.create_realm(RealmOwner::Page(page.clone()), start);
        self.pages.borrow_mut().insert(realm, page.clone());
        let left = window.realm.replace(realm);
        window.navigation_is_over();
        window.history.borrow_mut().navigated(target, page.url.clone(), realm);
        self.trace_page(&page, "opened");
        match left == NO_REALM {
            true => self.add_window(window),
            false => self.drop_page(left),
        }
        (realm, page)
    }

    async fn run_page(
        &self,
        realm: RealmId,
        page: &Page,
        scripts: Vec<PageScript>,
    ) -> Result<(), RealmError> {
        let mut result = Ok(());
        let (deferred, at_once): (Vec<_>, Vec<_>) =
            scripts.into_iter().partition(|script| script.deferred);
        for (place, script) in at_once.into_iter().chain(deferred).enumerate() {
            let evaluated = self.run_script(realm, page, script, place).await;
            if page.window.realm.get() != realm {
                break; // a script has moved the window
            }
            if let Err(RealmError::Exception(exception)) = &evaluated {
                self.trace_exception(exception.clone());
            }
            result = result.and(evaluated);
        }
        result
    }

    fn trace_page(&self, page: &Page, state: &'static str) {
        self.trace(TraceKind::Lifecycle {
            subject: LifecycleSubject::Page,
            url: page.url.to_string(),
            state,
            worker: None,
            scope: None,
        });
    }

    /// Answers the page's URL and its scripts. A page whose URL is a script's has the script's
    /// folder as its own URL, as a document next to it would.
    async fn load_page(
        &self,
        url: Url,
        source: PageSource,
        client: &str,
    ) -> Result<(Url, Vec<PageScript>), Error> {
        match source {
            PageSource::Html(html) => {
                let scripts = scripts_of(&url, &html);
                Ok((url, scripts))
            }
            PageSource::Script(script, source) => {
                Ok((url, vec![PageScript::alone(script, source)]))
            }
            PageSource::Url => {
                let loaded = self
                    .load_document(&url, client)
                    .await
                    .map_err(|reason| Error::PageLoad { url, reason })?;
                let (url, source) = (loaded.url.clone(), decode(&loaded.body));
                if !is_javascript(&loaded) {
                    let scripts = scripts_of(&url, &source);
                    return Ok((url, scripts));
                }
                let folder = url.join("./").unwrap_or_else(|_| url.clone());
                Ok((folder, vec![PageScript::alone(url, source)]))
            }
        }
    }

    /// Runs a script. The document goes on without one that cannot be loaded, as in a browser, and
    /// while a module awaits at its top level.
    async fn run_script(
        &self,
        realm: RealmId,
        page: &Page,
        script: PageScript,
        place: usize,
    ) -> Result<(), RealmError> {
        match (script.kind, script.content) {
            (ScriptKind::Classic, ScriptContent::Inline(url, source)) => {
                self.evaluate(realm, url.as_str(), source.into()).await
            }
            (ScriptKind::Classic, ScriptContent::External(url)) => {
                match self.load_script(page, &url).await {
                    Ok(loaded) => {
                        self.evaluate(realm, url.as_str(), decode(&loaded.body).into()).await
                    }
                    Err(reason) => {
                        self.trace_not_loaded(page, &url, &reason);
                        Ok(())
                    }
                }
            }
            (ScriptKind::Module, ScriptContent::Inline(url, source)) => {
                self.run_module_script(realm, page, inline_key(url, place), Some(source)).await
            }
            (ScriptKind::Module, ScriptContent::External(url)) => {
                let key = ModuleKey { url, kind: ModuleKind::JavaScript };
                self.run_module_script(realm, page, key, None).await
            }
            (ScriptKind::ImportMap, ScriptContent::Inline(_, text)) => {
                let added = page.modules.add_import_map(&text, &page.url);
                added.map_err(|message| RealmError::Exception(plain_exception(message)))
            }
            (ScriptKind::ImportMap, ScriptContent::External(url)) => {
                let reason = "an import map is written in its document";
                self.trace_not_loaded(page, &url, reason);
                Ok(())
            }
        }
    }

    fn trace_not_loaded(&self, page: &Page, url: &Url, reason: &str) {
        let page = &page.url;
        let message = format!("{url}, a script of {page}, was not loaded: {reason}");
        self.trace_exception(plain_exception(message));
    }

    /// Tells a page that it is left: <https://html.spec.whatwg.org/#unload-a-document>
    pub(crate) async fn leave(&self, realm: RealmId) {
        let call = Call::DispatchSimple { name: "pagehide" };
        let left = self.ask_realm(realm, |done| Command::Hear { call, done }).await;
        if let Err(RealmError::Exception(exception)) = left {
            self.trace_exception(exception);
        }
    }

    /// Ends a page that was left; a worker that waited for it may activate now.
    pub(crate) fn drop_page(&self, realm: RealmId) {
        self.drop_realm(realm);
    }

    pub(crate) fn page_by_client_id(&self, id: &str) -> Option<(RealmId, Rc<Page>)> {
        let pages = self.pages.borrow();
        let found = pages.iter().find(|(_, page)| page.id == id);
        found.map(|(realm, page)| (*realm, page.clone()))
    }
}
