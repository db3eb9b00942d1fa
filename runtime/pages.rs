//! Window clients without a DOM: <https://html.spec.whatwg.org/#window>
//!
//! Invariant: a page's controller is the active worker of a registration of its own origin.

use std::cell::RefCell;
use std::rc::Rc;

use html5gum::{DefaultEmitter, Token, Tokenizer};
use kittiwake_ops::{ClientState, RealmId};
use url::Url;

use crate::host::{RealmOwner, Shard};
use crate::http::{Loaded, follow};
use crate::lifecycle::{Worker, decode, is_javascript, plain_exception};
use crate::realm::{Call, RealmError, RealmKind, StartOptions};
use crate::runtime::Error;
use crate::trace::{LifecycleSubject, TraceKind};

/// A page.
pub(crate) struct Page {
    pub(crate) id: String,
    pub(crate) url: Url,
    pub(crate) origin: String,
    pub(crate) controller: RefCell<Option<Rc<Worker>>>,
}

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

/// A script of a page, in the order of the document.
pub(crate) struct PageScript {
    pub(crate) url: String,
    pub(crate) source: String,
}

impl Page {
    pub(crate) fn is_controlled_by(&self, worker: &Worker) -> bool {
        self.controller.borrow().as_ref().is_some_and(|controller| controller.id == worker.id)
    }

    pub(crate) fn describe(&self) -> ClientState {
        ClientState {
            id: self.id.clone(),
            url: self.url.to_string(),
            visibility_state: "visible".to_owned(),
            focused: true,
        }
    }
}

impl Shard {
    /// Answers the page's URL and its scripts. A page whose URL is a script's has the script's
    /// folder as its own URL, as a document next to it would.
    pub(crate) async fn load_page(
        &self,
        url: Url,
        source: PageSource,
    ) -> Result<(Url, Vec<PageScript>), Error> {
        let html = match source {
            PageSource::Html(html) => html,
            PageSource::Script(script, source) => {
                return Ok((url, vec![PageScript { url: script.to_string(), source }]));
            }
            PageSource::Url => {
                let loaded = self
                    .load_text(&url)
                    .await
                    .map_err(|reason| Error::PageLoad { url: url.clone(), reason })?;
                if is_javascript(&loaded) {
                    let script = PageScript { url: url.to_string(), source: decode(&loaded.body) };
                    return Ok((url.join("./").unwrap_or(url), vec![script]));
                }
                decode(&loaded.body)
            }
        };
        let mut scripts = Vec::new();
        for script in scripts_of(&url, &html) {
            match script {
                HtmlScript::Inline(source) => {
                    scripts.push(PageScript { url: url.to_string(), source });
                }
                HtmlScript::External(script) => match self.load_text(&script).await {
                    Ok(loaded) => {
                        let source = decode(&loaded.body);
                        scripts.push(PageScript { url: script.to_string(), source });
                    }
                    // The document goes on without it, as in a browser.
                    Err(reason) => self.trace_exception(plain_exception(format!(
                        "{script}, a script of {url}, was not loaded: {reason}"
                    ))),
                },
            }
        }
        Ok((url, scripts))
    }

    async fn load_text(&self, url: &Url) -> Result<Loaded, String> {
        let sent = follow(&*self.http, url.clone()).await;
        let response = sent.map_err(|error| error.to_string())?;
        let loaded = response.into_loaded().await.map_err(|error| error.to_string())?;
        match loaded.status {
            200..=299 => Ok(loaded),
            status => Err(format!("the server answered {status}")),
        }
    }

    /// Opens a page, runs its scripts in order, and dispatches `load`. A script that throws does
    /// not keep the later ones from running, as in a browser; the first error is the answer.
    pub(crate) async fn open_page(
        &self,
        url: Url,
        scripts: Vec<PageScript>,
    ) -> (RealmId, Result<(), RealmError>) {
        let controller = self.match_registration(url.as_str()).and_then(|found| found.active());
        let page = Rc::new(Page {
            id: format!("client-{}", self.next_id()),
            origin: url.origin().ascii_serialization(),
            url,
            controller: RefCell::new(controller),
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
        self.trace(TraceKind::Lifecycle {
            subject: LifecycleSubject::Page,
            url: page.url.to_string(),
            state: "opened",
        });
        let mut result = Ok(());
        for script in scripts {
            let evaluated = self.evaluate(realm, &script.url, script.source).await;
            if let Err(RealmError::Exception(exception)) = &evaluated {
                self.trace_exception(exception.clone());
            }
            result = result.and(evaluated);
        }
        self.call_realm(realm, Call::DispatchSimple { name: "load" });
        (realm, result)
    }

    /// Closes a page; a worker that waited for it may activate now.
    pub(crate) fn close_page(&self, realm: RealmId) {
        self.drop_realm(realm);
        let registrations: Vec<_> = self.registrations.borrow().values().cloned().collect();
        for registration in registrations {
            self.try_activate(&registration);
        }
    }

    pub(crate) fn page_by_client_id(&self, id: &str) -> Option<(RealmId, Rc<Page>)> {
        let pages = self.pages.borrow();
        let found = pages.iter().find(|(_, page)| page.id == id);
        found.map(|(realm, page)| (*realm, page.clone()))
    }
}

enum HtmlScript {
    Inline(String),
    External(Url),
}

/// The classic scripts of a document, in order: <https://html.spec.whatwg.org/#prepare-the-script-element>
fn scripts_of(base: &Url, html: &str) -> Vec<HtmlScript> {
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
                        scripts.push(HtmlScript::External(url));
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
                scripts.extend(inline.take().map(HtmlScript::Inline));
            }
            _ => {}
        }
    }
    scripts
}
