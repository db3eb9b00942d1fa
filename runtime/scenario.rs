//! Scenarios: a folder with a worker, perhaps a page, and a `scenario.toml` that says what a world
//! does to them. One scenario, one trace.
//!
//! Invariant: a scenario touches no socket and no real clock, so each run has the same trace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::NotificationClick;
use crate::network::{Network, NetworkState, Timeline};
use crate::pages::PageSource;
use crate::permissions::PermissionPolicy;
use crate::policy::PolicyOptions;
use crate::runtime::{Builder, Error, NotificationId, PageId, Runtime, UnsettledSync};
use crate::simulation::ScriptedServers;

/// A scenario, read from its folder.
#[derive(Clone, Debug)]
pub struct Scenario {
    folder: PathBuf,
    script: Script,
}

/// `scenario.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    /// What it shows, in a sentence.
    about: String,
    #[serde(default = "default_origin")]
    origin: Url,
    /// Who registers `sw.js`.
    #[serde(default)]
    register: Register,
    /// What `sw.js` is when the host registers it.
    #[serde(default, rename = "type")]
    script_type: WorkerType,
    /// Starts when the worker is activated.
    network: Option<Timeline>,
    #[serde(default)]
    servers: ScriptedServers,
    /// What origins may do; what is not named is granted.
    #[serde(default)]
    permissions: PermissionPolicy,
    /// What happens, in order. Without steps, `page.js` is opened if it is there.
    steps: Option<Vec<Step>>,
    /// The rules of background sync.
    #[serde(default)]
    sync: PolicyOptions,
    #[serde(default)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Register {
    #[default]
    Host,
    Page,
}

/// <https://html.spec.whatwg.org/#workertype>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WorkerType {
    #[default]
    Classic,
    Module,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Step {
    /// Opens a page: a script or an HTML file of the folder.
    Open(String),
    /// Opens a page by its URL, as somebody who follows a link; a worker may answer.
    Navigate(String),
    /// Goes to another URL in a page that is open, as somebody who follows its link.
    Follow { page: String, link: String },
    /// Loads an open page again.
    Reload(String),
    /// Brings an open page to the front.
    Focus(String),
    /// Hides the page if it is in front.
    Hide(String),
    /// Closes an open page.
    Close(String),
    /// Serves another folder of the scenario at its origin from now on: a new version of the site.
    Deploy(String),
    /// Posts a message to the worker.
    Message(serde_json::Value),
    /// A push message with this text, or this as JSON.
    Push(serde_json::Value),
    /// The push service ends the subscription.
    ExpirePush(IdleMarker),
    /// Clicks at the notification with this tag, or at the newest.
    Click(Click),
    /// Takes the notification with this tag away.
    Dismiss(String),
    /// Clicks at the background fetch with this id.
    ClickBackgroundFetch(String),
    /// Deletes the entry of the content index with this id.
    DeleteContent(String),
    /// Sets the network signal, and what requests meet.
    Network(Network),
    /// Lets time pass.
    Wait(#[serde(deserialize_with = "duration")] Duration),
    /// Lets time pass until nothing is left to do.
    Idle(IdleMarker),
}

/// What is clicked at.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Click {
    tag: String,
    #[serde(default)]
    action: String,
    reply: Option<String>,
}

/// `idle = true`.
#[derive(Clone, Copy, Debug, Deserialize)]
struct IdleMarker(#[serde(deserialize_with = "only_true")] ());

/// Why a scenario could not run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// A file of the folder cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// `scenario.toml` is not what it should be.
    #[error("{path} is not a scenario: {cause}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        cause: Box<toml::de::Error>,
    },
    /// A step's URL is none.
    #[error("`{link}` is no URL; write a path, such as `/index.html`")]
    Link {
        /// What stands there.
        link: String,
    },
    /// A step names a page that no step before it opened.
    #[error("no page `{page}` is open; name it as the step that opened it does")]
    Page {
        /// What stands there.
        page: String,
    },
    /// A step names a notification that is not shown.
    #[error("no notification with the tag `{tag}` is shown")]
    Notification {
        /// What stands there.
        tag: String,
    },
    /// A step went wrong.
    #[error("{0}")]
    Run(#[from] Error),
}

impl Scenario {
    /// Whether the folder is a scenario's.
    pub fn is_scenario(folder: &Path) -> bool {
        folder.join("scenario.toml").is_file()
    }

    /// Where its folder is served.
    pub fn origin(&self) -> &Url {
        &self.script.origin
    }

    /// Reads `scenario.toml` of a folder.
    ///
    /// # Errors
    ///
    /// [`ScenarioError::Read`], [`ScenarioError::Parse`].
    pub fn load(folder: &Path) -> Result<Self, ScenarioError> {
        let path = folder.join("scenario.toml");
        let text = read(&path)?;
        let script = toml::from_str(&text)
            .map_err(|cause| ScenarioError::Parse { path, cause: Box::new(cause) })?;
        Ok(Scenario { folder: folder.to_owned(), script })
    }

    /// What the scenario shows.
    pub fn about(&self) -> &str {
        &self.script.about
    }

    /// Runs the scenario on a runtime that `builder` starts, which may have a trace and a state
    /// folder; clock, servers, files and rules are the scenario's own. Answers the syncs that are
    /// left.
    ///
    /// # Errors
    ///
    /// [`ScenarioError::Run`] with the first step that went wrong.
    pub async fn run(self, builder: Builder) -> Result<Vec<UnsettledSync>, ScenarioError> {
        let Scenario { folder, script } = self;
        let set = |builder: Builder, (permission, state)| builder.permission(permission, state);
        let runtime = script
            .permissions
            .iter()
            .fold(builder, set)
            .simulated(script.seed)
            .sync_policy(script.sync.policy())
            .await_network_signal()
            .servers(script.servers)
            .serve(script.origin.clone(), &folder)
            .start()?;
        let page_is_there = folder.join("page.js").is_file();
        let default_steps = || {
            let page = page_is_there.then(|| Step::Open("page.js".to_owned()));
            page.into_iter().collect()
        };
        let steps = script.steps.unwrap_or_else(default_steps);
        let origin = script.origin;
        if script.register == Register::Host {
            let url = at(&origin, "sw.js");
            match script.script_type {
                WorkerType::Classic => runtime.register(url, None).await?,
                WorkerType::Module => runtime.register_module(url, None).await?,
            };
        }
        let always_online = || Timeline::constant(NetworkState::Online);
        runtime.play_network(script.network.unwrap_or_else(always_online)).await?;
        let mut stage = Stage { runtime: &runtime, folder, origin, pages: BTreeMap::new() };
        for step in steps {
            stage.take(step).await?;
        }
        runtime.idle().await?;
        let unsettled = runtime.unsettled_syncs().await?;
        runtime.shut_down().await?;
        Ok(unsettled)
    }
}

/// What steps act on.
struct Stage<'a> {
    runtime: &'a Runtime,
    folder: PathBuf,
    origin: Url,
    /// Pages by what the step that opened them named.
    pages: BTreeMap<String, PageId>,
}

impl Stage<'_> {
    async fn take(&mut self, step: Step) -> Result<(), ScenarioError> {
        let runtime = self.runtime;
        match step {
            Step::Open(name) => {
                let text = read(&self.folder.join(&name))?;
                let (url, source) = page_from_file(at(&self.origin, &name), text);
                let page = runtime.open_page(url, source).await?;
                self.pages.insert(name, page);
            }
            Step::Navigate(path) => {
                let url = self.link(&path)?;
                if let Some(page) = shown(runtime.open_page(url, PageSource::Url).await)? {
                    self.pages.insert(path, page);
                }
            }
            Step::Follow { page, link } => {
                let url = self.link(&link)?;
                shown(runtime.navigate_page(self.page(&page)?, url).await)?;
            }
            Step::Reload(page) => drop(shown(runtime.reload_page(self.page(&page)?).await)?),
            Step::Focus(page) => runtime.focus_page(self.page(&page)?).await?,
            Step::Hide(page) => runtime.hide_page(self.page(&page)?).await?,
            Step::Close(page) => runtime.close_page(self.page(&page)?).await?,
            Step::Deploy(name) => {
                runtime.deploy(self.origin.clone(), self.folder.join(name)).await?;
            }
            Step::Message(message) => runtime.post_message(None, message).await?,
            Step::Push(data) => {
                let data = match data {
                    serde_json::Value::String(text) => text,
                    other => other.to_string(),
                };
                // What became of it is the script's business; the trace has it.
                runtime.dispatch_push(None, Some(data.into_bytes())).await?;
            }
            Step::ExpirePush(_) => drop(runtime.expire_push_subscription(None).await?),
            Step::Click(Click { tag, action, reply }) => {
                let notification = self.notification(&tag).await?;
                let click = NotificationClick { action, reply };
                runtime.click_notification(notification, click).await?;
            }
            Step::Dismiss(tag) => {
                let notification = self.notification(&tag).await?;
                runtime.dismiss_notification(notification).await?;
            }
            Step::ClickBackgroundFetch(id) => {
                runtime.click_background_fetch(None, id).await?;
            }
            Step::DeleteContent(id) => drop(runtime.delete_content(None, id).await?),
            Step::Network(network) => runtime.set_network(network).await?,
            Step::Wait(duration) => runtime.run_for(duration).await?,
            Step::Idle(_) => runtime.idle().await?,
        }
        Ok(())
    }

    fn link(&self, path: &str) -> Result<Url, ScenarioError> {
        let url = self.origin.join(path);
        url.map_err(|_| ScenarioError::Link { link: path.to_owned() })
    }

    fn page(&self, name: &str) -> Result<PageId, ScenarioError> {
        let page = self.pages.get(name).copied();
        page.ok_or_else(|| ScenarioError::Page { page: name.to_owned() })
    }

    async fn notification(&self, tag: &str) -> Result<NotificationId, ScenarioError> {
        let shown = self.runtime.notifications().await?;
        let found = shown.into_iter().rfind(|each| each.tag == tag);
        let found = found.ok_or_else(|| ScenarioError::Notification { tag: tag.to_owned() })?;
        Ok(found.notification)
    }
}

/// A page that cannot be loaded is no failure: a browser would show an error page; the trace says
/// why.
fn shown<T>(result: Result<T, Error>) -> Result<Option<T>, ScenarioError> {
    match result {
        Ok(page) => Ok(Some(page)),
        Err(Error::PageLoad { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A page from a local file: HTML at its own URL, or a script in a document beside it.
pub fn page_from_file(url: Url, text: String) -> (Url, PageSource) {
    let path = url.path().to_ascii_lowercase();
    if path.ends_with(".html") || path.ends_with(".htm") {
        return (url, PageSource::Html(text));
    }
    let folder = url.join("./").unwrap_or_else(|_| url.clone());
    (folder, PageSource::Script(url, text))
}

fn at(origin: &Url, name: &str) -> Url {
    let mut url = origin.clone();
    url.set_path(name);
    url
}

fn read(path: &Path) -> Result<String, ScenarioError> {
    std::fs::read_to_string(path)
        .map_err(|cause| ScenarioError::Read { path: path.to_owned(), cause })
}

fn default_origin() -> Url {
    Url::parse("https://app.test").expect("a URL")
}

fn duration<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(value)?;
    humantime::parse_duration(&text).map_err(|error| {
        serde::de::Error::custom(format!("`{text}` is no duration ({error}); write `10s` or `5m`"))
    })
}

fn only_true<'de, D: serde::Deserializer<'de>>(value: D) -> Result<(), D::Error> {
    match bool::deserialize(value)? {
        true => Ok(()),
        false => Err(serde::de::Error::custom("write `idle = true`, or leave the step out")),
    }
}
