//! The modules of a page: those of its document's module scripts, and of `import()`.
//! <https://html.spec.whatwg.org/#fetch-a-module-script-tree>
//!
//! Invariant: a page fetches and compiles a module once, however many import it; a module that was
//! not loaded stays so.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

use futures::future::join_all;
use kittiwake_ops::{RealmId, ScriptException};
use tokio::sync::OnceCell;
use tokio::task::spawn_local;
use url::Url;

use crate::drive::Command;
use crate::host::{RealmOwner, Shard};
use crate::http::Loaded;
use crate::import_map::ImportMap;
use crate::lifecycle::{check_type, data_module, decode};
use crate::pages::Page;
use crate::realm::{
    DynamicImport, ModuleImport, ModuleKey, ModuleKind, RealmError, Resolve, TopLevelAwait,
};
use crate::testing::modules as test_modules;

/// The modules of one page.
pub(crate) struct PageModules {
    source: ModuleSource,
    /// Whether `kittiwake:test` is among them: while what hears a test outside is loaded.
    pub(crate) has_own: Cell<bool>,
    known: RefCell<BTreeMap<ModuleKey, Rc<OnceCell<Known>>>>,
}

/// Where a page has its modules from.
pub(crate) enum ModuleSource {
    /// The network, by way of the page's controller, with what its import maps say.
    Network(RefCell<ImportMap>),
    /// The disk: the page is a test's, and the app is served from `root`.
    TestFiles { root: PathBuf },
}

/// What a module imports, or why there is none.
type Known = Result<Rc<[ModuleImport]>, ModuleFailure>;

/// Why a module cannot be run.
#[derive(Clone, Debug)]
pub(crate) enum ModuleFailure {
    NotLoaded(String),
    /// It is no module, or the realm has ended.
    Realm(RealmError),
}

/// Why a graph cannot be run.
pub(crate) struct GraphFailure {
    pub(crate) url: Url,
    /// Who imports it, unless it is the root.
    place: Option<(Url, ModuleImport)>,
    pub(crate) failure: ModuleFailure,
}

impl PageModules {
    pub(crate) fn new(source: ModuleSource) -> Self {
        PageModules { source, has_own: Cell::new(false), known: RefCell::default() }
    }

    pub(crate) fn of_network() -> Self {
        Self::new(ModuleSource::Network(RefCell::default()))
    }

    /// Adds an import map. A test's page has none.
    pub(crate) fn add_import_map(&self, text: &str, base: &Url) -> Result<(), String> {
        match &self.source {
            ModuleSource::Network(map) => map.borrow_mut().add(text, base),
            ModuleSource::TestFiles { .. } => Ok(()),
        }
    }
}

impl Resolve for PageModules {
    fn resolve(&self, specifier: &str, base: &Url) -> Result<Url, String> {
        match &self.source {
            ModuleSource::Network(map) => map.borrow().resolve(specifier, base),
            ModuleSource::TestFiles { .. } => test_modules::resolve(specifier, base),
        }
    }
}

impl Shard {
    /// Runs a module script of a document, which goes on without one that cannot be loaded, and
    /// while it awaits at its top level: <https://html.spec.whatwg.org/#run-a-module-script>
    pub(crate) async fn run_module_script(
        &self,
        realm: RealmId,
        page: &Page,
        root: ModuleKey,
        source: Option<String>,
    ) -> Result<(), RealmError> {
        let loaded = self.load_graph(realm, &page.modules, Some(page), &root, source).await;
        match loaded {
            Ok(()) => self.evaluate_graph(realm, root, TopLevelAwait::LeftAlone).await,
            Err(failure) if matches!(failure.failure, ModuleFailure::NotLoaded(_)) => {
                self.trace_exception(failure.exception(None));
                Ok(())
            }
            Err(failure) => Err(failure.realm_error()),
        }
    }

    /// Runs a graph that is loaded.
    pub(crate) async fn evaluate_graph(
        &self,
        realm: RealmId,
        root: ModuleKey,
        top_level_await: TopLevelAwait,
    ) -> Result<(), RealmError> {
        let evaluate = |done| Command::EvaluateModule { root, top_level_await, done };
        self.ask_realm(realm, evaluate).await
    }

    /// Fetches and compiles a graph, level by level. Whoever has the root's source brings it. What
    /// comes from the network comes by way of the page.
    pub(crate) async fn load_graph(
        &self,
        realm: RealmId,
        modules: &PageModules,
        page: Option<&Page>,
        root: &ModuleKey,
        source: Option<String>,
    ) -> Result<(), GraphFailure> {
        let mut seen = BTreeSet::from([root.clone()]);
        let imports = self.module(realm, modules, page, root, source).await;
        let failed = |failure| GraphFailure { url: root.url.clone(), place: None, failure };
        let mut level = vec![(root.url.clone(), imports.map_err(failed)?)];
        while !level.is_empty() {
            let mut wanted = Vec::new();
            for (referrer, imports) in level {
                for import in imports.iter().filter(|import| seen.insert(import.key.clone())) {
                    wanted.push((referrer.clone(), import.clone()));
                }
            }
            let load = |import: &ModuleImport| {
                let key = import.key.clone();
                async move { self.module(realm, modules, page, &key, None).await }
            };
            let loading = wanted.iter().map(|(_, import)| load(import));
            let loaded = join_all(loading).await;
            level = Vec::new();
            for ((referrer, import), loaded) in wanted.into_iter().zip(loaded) {
                let url = import.key.url.clone();
                match loaded {
                    Ok(imports) => level.push((url, imports)),
                    Err(failure) => {
                        return Err(GraphFailure { url, place: Some((referrer, import)), failure });
                    }
                }
            }
        }
        Ok(())
    }

    async fn module(
        &self,
        realm: RealmId,
        modules: &PageModules,
        page: Option<&Page>,
        key: &ModuleKey,
        source: Option<String>,
    ) -> Known {
        let known = modules.known.borrow_mut().entry(key.clone()).or_default().clone();
        let compiled = known.get_or_init(async || {
            let (url, source) = match source {
                Some(source) => (key.url.clone(), source),
                None => {
                    let source = self.page_module_source(modules, page, key).await;
                    source.map_err(ModuleFailure::NotLoaded)?
                }
            };
            let (key, source) = (key.clone(), source.into());
            let compile = |done| Command::CompileModule { key, url, source, done };
            let imports = self.ask_realm(realm, compile).await;
            imports.map(Rc::from).map_err(ModuleFailure::Realm)
        });
        compiled.await.clone()
    }

    /// The text of a module, and its own URL.
    async fn page_module_source(
        &self,
        modules: &PageModules,
        page: Option<&Page>,
        key: &ModuleKey,
    ) -> Result<(Url, String), String> {
        if let ModuleSource::TestFiles { root } = &modules.source {
            if let Some(test) = self.test_page() {
                test.note_imported(&key.url);
            }
            let source = test_modules::source_of(&key.url, root);
            return source.map(|source| (key.url.clone(), source));
        }
        let (url, body) = match (key.url.scheme(), page) {
            ("kittiwake", _) if modules.has_own.get() => {
                (key.url.clone(), test_modules::own_source(&key.url)?.into_bytes())
            }
            ("data", _) => (key.url.clone(), data_module(&key.url, key.kind)?),
            ("http" | "https", Some(page)) => {
                let loaded = self.load_module_script(page, &key.url).await?;
                let Loaded { url, body, .. } = check_type(loaded, key.kind)?;
                (url, body)
            }
            (scheme, _) => return Err(format!("the scheme `{scheme}` has no modules")),
        };
        Ok((url, decode(&body)))
    }

    /// Does what an `import()` asks for.
    pub(crate) fn import_dynamically(&self, realm: RealmId, import: DynamicImport) {
        let Some(RealmOwner::Page(page)) = self.realm_owner(realm) else { return };
        let (shard, busy) = (self.me(), self.activity.begin());
        spawn_local(async move {
            let DynamicImport { id, key, referrer } = import;
            let loaded = shard.load_graph(realm, &page.modules, Some(&page), &key, None).await;
            let loaded = match loaded {
                Ok(()) => Ok(key),
                Err(failure) => Err(shard.tell_of_import(&page, &key.url, &referrer, failure)),
            };
            shard.command_realm(realm, Command::SettleImport { id, loaded });
            drop(busy);
        });
    }

    /// What the script learns; the operator learns the cause.
    fn tell_of_import(
        &self,
        page: &Page,
        root: &Url,
        referrer: &Url,
        failure: GraphFailure,
    ) -> String {
        let is_test = matches!(page.modules.source, ModuleSource::TestFiles { .. });
        let is_loading = matches!(failure.failure, ModuleFailure::NotLoaded(_));
        let exception = failure.exception(Some(referrer));
        if is_test || !is_loading {
            return exception.message;
        }
        self.trace_exception(exception);
        format!("TypeError: Failed to fetch dynamically imported module: {root}")
    }
}

impl GraphFailure {
    /// With the place of the `import`; one of `import()` is anywhere in `referrer`.
    pub(crate) fn exception(self, referrer: Option<&Url>) -> ScriptException {
        let why = match self.failure {
            ModuleFailure::Realm(RealmError::Exception(exception)) => return exception,
            ModuleFailure::Realm(error) => error.to_string(),
            ModuleFailure::NotLoaded(why) => why,
        };
        let message = format!("{} was not imported: {why}", self.url);
        let (file, line, column) = match self.place {
            Some((file, import)) => (Some(file), Some(import.line), Some(import.column)),
            None => (referrer.cloned(), None, None),
        };
        ScriptException { message, file: file.map(String::from), line, column, stack: None }
    }

    /// For whoever runs scripts; an ended realm stays one.
    pub(crate) fn realm_error(self) -> RealmError {
        match self.failure {
            ModuleFailure::Realm(error @ (RealmError::Terminated(_) | RealmError::Gone)) => error,
            _ => RealmError::Exception(self.exception(None)),
        }
    }
}

/// Names an inline module script.
pub(crate) fn inline_key(url: Url, place: usize) -> ModuleKey {
    let place = u32::try_from(place).expect("a document is shorter than that");
    ModuleKey { url, kind: ModuleKind::Inline(place) }
}
