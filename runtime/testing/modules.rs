//! The modules of a test file: its own files and packages from the disk, and `kittiwake:test`.
//!
//! Invariant: the network, which the test takes away, has no part in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kittiwake_ops::{MessagePortServices, RealmId, ScriptException};
use url::Url;

use super::{TestFileError, node_modules};
use crate::host::{RealmOwner, Shard};
use crate::lifecycle::{decode, plain_exception};
use crate::page_modules::GraphFailure;
use crate::pages::Page;
use crate::quiet::quiet;
use crate::realm::{ModuleKey, ModuleKind, RealmError, TopLevelAwait, resolve_url};

/// The module `kittiwake:test` and what it is made of.
const OWN: [(&str, &str); 12] = [
    ("kittiwake:test", include_str!("../../js/test/test.js")),
    ("kittiwake:test/door", include_str!("../../js/test/take_door.js")),
    ("kittiwake:test/drive", include_str!("../../js/test/drive.js")),
    ("kittiwake:test/equality", include_str!("../../js/test/equality.js")),
    ("kittiwake:test/expect", include_str!("../../js/test/expect.js")),
    ("kittiwake:test/failure", include_str!("../../js/test/failure.js")),
    ("kittiwake:test/host", include_str!("../../js/test/host.js")),
    ("kittiwake:test/matchers", include_str!("../../js/test/matchers.js")),
    ("kittiwake:test/scope", include_str!("../../js/test/scope.js")),
    ("kittiwake:test/spies", include_str!("../../js/test/spies.js")),
    ("kittiwake:test/world", include_str!("../../js/test/world.js")),
    // Evaluated first, so that no other module sees the door.
    ("kittiwake:test/all", "import \"kittiwake:test\";"),
];

impl Shard {
    /// Evaluates `kittiwake:test`, then the file, in the test's page.
    pub(super) async fn load_test_file(
        &self,
        realm: RealmId,
        file: &Path,
    ) -> Result<(), TestFileError> {
        let Some(RealmOwner::Page(page)) = self.realm_owner(realm) else {
            return Err(script_error(RealmError::Gone));
        };
        self.run_graph(realm, &page, framework(), None).await?;
        let unreadable =
            |error| TestFileError::Read { path: file.to_owned(), cause: Arc::new(error) };
        let path = file.canonicalize().map_err(unreadable)?;
        let source = std::fs::read(&path).map_err(unreadable)?;
        let url = Url::from_file_path(path).expect("a canonical path is absolute");
        let root = ModuleKey { url, kind: ModuleKind::JavaScript };
        self.run_graph(realm, &page, root, Some(decode(&source))).await?;
        // As a document's, once its scripts have run.
        self.client_messages_start(realm);
        Ok(())
    }

    /// Evaluates what hears a test outside, in a page.
    pub(super) async fn load_drive(&self, realm: RealmId) -> Result<(), TestFileError> {
        let Some(RealmOwner::Page(page)) = self.realm_owner(realm) else {
            return Err(script_error(RealmError::Gone));
        };
        let drive = own_module("kittiwake:test/drive");
        page.modules.has_own.set(true);
        let run = self.run_graph(realm, &page, drive, None).await;
        page.modules.has_own.set(false);
        run?;
        self.client_messages_start(realm);
        Ok(())
    }

    async fn run_graph(
        &self,
        realm: RealmId,
        page: &Page,
        root: ModuleKey,
        source: Option<String>,
    ) -> Result<(), TestFileError> {
        let loaded = self.load_graph(realm, &page.modules, Some(page), &root, source).await;
        loaded.map_err(GraphFailure::realm_error).map_err(script_error)?;
        let url = root.url.clone();
        tokio::select! {
            biased;
            evaluated = self.evaluate_graph(realm, root, TopLevelAwait::Awaited) => {
                evaluated.map_err(script_error)
            }
            // Time passes for what it awaits.
            () = self.all_is_over() => Err(TestFileError::Script(Box::new(ScriptException {
                message: "the file awaits at its top level what never comes".to_owned(),
                file: Some(url.to_string()),
                line: None,
                column: None,
                stack: None,
            }))),
        }
    }

    async fn all_is_over(&self) {
        self.activity.idle().await;
        quiet().await;
    }
}

/// What is evaluated before a test file.
pub(super) fn framework() -> ModuleKey {
    own_module("kittiwake:test/all")
}

fn own_module(name: &str) -> ModuleKey {
    ModuleKey { url: Url::parse(name).expect("a URL"), kind: ModuleKind::JavaScript }
}

/// The module that a specifier names in a test or in what it imports.
pub(crate) fn resolve(specifier: &str, base: &Url) -> Result<Url, String> {
    match resolve_url(specifier, base) {
        Some(url) if url.scheme() == "node" => {
            Err(format!("{url} is not there: a test runs in a page, which has what browsers have"))
        }
        Some(url) => Ok(url),
        None => node_modules::resolve(specifier, base),
    }
}

/// The text of a module. A path from the root of the file system is one of the served folder, if
/// it is there.
pub(crate) fn source_of(url: &Url, root: &Path) -> Result<String, String> {
    if url.scheme() == "kittiwake" {
        return own_source(url);
    }
    let path = url.to_file_path().map_err(|()| {
        "a test imports files, packages and `kittiwake:test`; nothing from a network".to_owned()
    })?;
    let served: PathBuf = root.join(path.strip_prefix("/").unwrap_or(&path));
    let read = match std::fs::read(&path) {
        Err(_) if served.is_file() => std::fs::read(served),
        read => read,
    };
    let source = read.map(|bytes| decode(&bytes)).map_err(|error| match ending_of(&path) {
        Some(ending) => format!("{error}; there is {ending}, which is its whole name"),
        None => error.to_string(),
    })?;
    node_modules::refuse_common_js(&path, &source)?;
    Ok(source)
}

/// The text of a module of our own.
pub(crate) fn own_source(url: &Url) -> Result<String, String> {
    let found = OWN.iter().find(|(name, _)| *name == url.as_str());
    let source = found.map(|(_, source)| (*source).to_owned());
    source.ok_or_else(|| "there is `kittiwake:test` alone".to_owned())
}

/// What a bundler would have found.
fn ending_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let beside = [".js", ".mjs"].map(|ending| format!("{name}{ending}"));
    let within = ["index.js", "index.mjs"].map(|index| format!("{name}/{index}"));
    let mut candidates = beside.into_iter().chain(within);
    candidates.find(|candidate| path.with_file_name(candidate).is_file())
}

pub(super) fn script_error(error: RealmError) -> TestFileError {
    TestFileError::Script(Box::new(match error {
        RealmError::Exception(exception) | RealmError::CannotStart(exception) => exception,
        other => plain_exception(other.to_string()),
    }))
}
