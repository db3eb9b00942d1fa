//! Window clients without a DOM: <https://html.spec.whatwg.org/#window>
//!
//! Invariant: a page's controller is the active worker of a registration of its own origin.

use std::cell::RefCell;
use std::rc::Rc;

use html5gum::{DefaultEmitter, Token, Tokenizer};
use kittiwake_ops::{
    ClientState, HistoryHandling, MessagePortServices, RealmId, ServiceWorkerState,
};
use url::Url;

use crate::drive::Command;
use crate::history::Target;
use crate::host::{RealmOwner, Shard};
use crate::lifecycle::{Registration, Worker, decode, is_javascript, plain_exception};
use crate::message_ports::Posted;
use crate::realm::{Call, RealmError, RealmKind, StartOptions};
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
    /// This HTML: its classic scripts run in order; nothing is rendered.
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
        let limit = self.limits.pages;
        if self.pages.borrow().len() >= limit {
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
        let (realm, page) = self.put_page(window, target, id, url);
        let result = self.run_page(realm, &page, scripts).await;
        self.client_messages_start(realm);
        self.call_realm(realm, Call::DispatchSimple { name: "load" });
        Ok(result)
    }

    /// Makes the realm of a page in a window of its own, which has run no script yet.
    pub(crate) fn start_page(&self, id: String, url: Url) -> (RealmId, Rc<Page>) {
        let target = Target::new(url.clone(), PageSource::Url, HistoryHandling::Push);
        self.put_page(&self.new_window(), target, id, url)
    }

    /// Makes the realm of a page, in the place of the one that its window shows.
    fn put_page(
        &self,
        window: &Rc<Window>,
        target: Target,
        id: String,
        url: Url,
    ) -> (RealmId, Rc<Page>) {
        let controller = self.match_registration(url.as_str()).and_then(|found| found.active());
        let page = Rc::new(Page {
            id,
            window: window.clone(),
            origin: url.origin().ascii_serialization(),
            document_url: RefCell::new(url.clone()),
            url,
            controller: RefCell::new(controller),
            held_messages: RefCell::new(Some(Vec::new())),
        });
        let start = StartOptions {
            kind: RealmKind::Page,
            url: page.url.to_string(),
            origin: page.origin.clone(),
            simulated: self.seed.is_some(),
            user_agent: self.user_agent.clone(),
            module: false,
            registration: None,
            worker: None,
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
        for script in scripts {
            let Some((url, source)) = self.source_of(page, script).await else { continue };
            let evaluated = self.evaluate(realm, &url, source.into()).await;
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
                Ok((url, vec![PageScript::Inline { url: script, source }]))
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
                Ok((folder, vec![PageScript::Inline { url, source }]))
            }
        }
    }

    /// The script's URL and text. The document goes on without one that cannot be loaded, as in a
    /// browser.
    async fn source_of(&self, page: &Page, script: PageScript) -> Option<(String, String)> {
        let url = match script {
            PageScript::Inline { url, source } => return Some((url.to_string(), source)),
            PageScript::External(url) => url,
        };
        match self.load_script(page, &url).await {
            Ok(loaded) => Some((url.to_string(), decode(&loaded.body))),
            Err(reason) => {
                self.trace_exception(plain_exception(format!(
                    "{url}, a script of {}, was not loaded: {reason}",
                    page.url
                )));
                None
            }
        }
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

/// A script of a page, in the order of the document.
enum PageScript {
    Inline { url: Url, source: String },
    External(Url),
}

/// The classic scripts of a document, in order: <https://html.spec.whatwg.org/#prepare-the-script-element>
fn scripts_of(base: &Url, html: &str) -> Vec<PageScript> {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    let (mut scripts, mut inline) = (Vec::new(), None);
    for Ok(token) in Tokenizer::new_with_emitter(html, emitter) {
        match token {
            Token::StartTag(tag) if tag.name.as_slice() == b"script" => {
                let attribute = |name: &[u8]| {
                    tag.attributes.get(name).map(|value| decode(value)).unwrap_or_default()
                };
                let classic = matches!(
                    attribute(b"type").to_ascii_lowercase().as_str(),
                    "" | "text/javascript" | "application/javascript"
                );
                let source = attribute(b"src");
                match (classic, base.join(&source)) {
                    (true, Ok(url)) if !source.is_empty() => {
                        scripts.push(PageScript::External(url));
                    }
                    (true, _) => inline = Some(String::new()),
                    (false, _) => {}
                }
            }
            Token::String(text) => {
                if let Some(inline) = &mut inline {
                    inline.push_str(&decode(&text));
                }
            }
            Token::EndTag(tag) if tag.name.as_slice() == b"script" => {
                let inline = inline.take();
                scripts
                    .extend(inline.map(|source| PageScript::Inline { url: base.clone(), source }));
            }
            _ => {}
        }
    }
    scripts
}
