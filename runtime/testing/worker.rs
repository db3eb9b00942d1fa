//! A test file that runs in the scope of a service worker, which has no other script.
//!
//! Invariant: the test's is the first realm of that worker. If the worker starts again, it has a
//! script without a word.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use kittiwake_ops::RealmId;
use kittiwake_store::{ScriptResource, ScriptType, UpdateViaCache};
use url::Url;

use super::modules::{framework, script_error};
use super::{TestFileError, TestPage};
use crate::host::{RealmOwner, Shard};
use crate::lifecycle::{
    FetchListeners, RegisterError, RegisterRequest, Worker, decode, plain_exception,
};
use crate::page_modules::{GraphFailure, ModuleSource, PageModules};
use crate::realm::{Call, ModuleKey, ModuleKind, RealmError, Resolve, TopLevelAwait, UrlsAlone};

/// How the names of such files end.
const ENDINGS: [&str; 2] = [".worker.test.js", ".worker.test.mjs"];

/// The worker in which a test runs.
pub(super) struct TestWorker {
    /// The URL of its script, which has the name of the file.
    script: Url,
    file: ModuleKey,
    source: String,
    modules: Rc<PageModules>,
    /// The test that is to run, or none to list them.
    wanted: Option<usize>,
}

/// Whether a test file runs in a worker, by its name.
pub(super) fn runs_in_worker(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

impl TestWorker {
    fn new(page: &TestPage, file: &Path, wanted: Option<usize>) -> Result<Self, TestFileError> {
        let unreadable =
            |error| TestFileError::Read { path: file.to_owned(), cause: Arc::new(error) };
        let path = file.canonicalize().map_err(unreadable)?;
        let source = decode(&std::fs::read(&path).map_err(unreadable)?);
        let mut script = page.origin.clone();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        script.path_segments_mut().expect("an origin has paths").clear().push(&name);
        let url = Url::from_file_path(path).expect("a canonical path is absolute");
        let file = ModuleKey { url, kind: ModuleKind::JavaScript };
        let root = page.root.clone();
        let modules = Rc::new(PageModules::new(ModuleSource::TestFiles { root }));
        Ok(TestWorker { script, file, source, modules, wanted })
    }
}

impl Shard {
    /// Registers the test's worker, and answers its realm once the file has run there. The install
    /// event waits for the test.
    pub(super) async fn open_test_worker(
        &self,
        mut page: TestPage,
        file: &Path,
        wanted: Option<usize>,
    ) -> Result<RealmId, TestFileError> {
        let worker = TestWorker::new(&page, file, wanted)?;
        let request = RegisterRequest {
            script: worker.script.clone(),
            scope: None,
            script_type: ScriptType::Classic,
            update_via_cache: UpdateViaCache::default(),
            referrer: None,
        };
        self.served.iter().for_each(|(_, root)| root.note_asked());
        page.worker = Some(worker);
        let page = Rc::new(page);
        self.test.replace(Some(page.clone()));
        match self.register(request).await {
            Ok(_) => page.realm.get().ok_or_else(|| script_error(RealmError::Gone)),
            Err(RegisterError::Refused { cause: Some(cause), .. }) => {
                Err(TestFileError::Script(cause))
            }
            Err(error) => Err(TestFileError::Script(Box::new(plain_exception(error.to_string())))),
        }
    }

    /// Evaluates `kittiwake:test`, then the file, in the first realm of the test's worker. Any
    /// other worker has nothing but its script.
    pub(crate) async fn load_test_worker(
        &self,
        worker: &Worker,
        realm: RealmId,
    ) -> Result<(), RealmError> {
        let Some(page) = self.page_of_test_worker(worker) else { return Ok(()) };
        let Some(TestWorker { file, source, modules, wanted, .. }) = &page.worker else {
            return Ok(());
        };
        page.realm.set(Some(realm));
        self.call_realm(realm, Call::LendTestDoor { wanted: *wanted });
        for (root, source) in [(framework(), None), (file.clone(), Some(source.clone()))] {
            let loaded = self.load_graph(realm, modules, None, &root, source).await;
            loaded.map_err(GraphFailure::realm_error)?;
            self.evaluate_graph(realm, root, TopLevelAwait::Refused).await?;
        }
        // Its tests add listeners when they run.
        worker.fetch_listeners.set(FetchListeners::Some);
        Ok(())
    }

    /// Who says what the modules of a realm import.
    pub(crate) fn resolver_of(&self, owner: &RealmOwner) -> Rc<dyn Resolve> {
        match owner {
            RealmOwner::Page(page) => page.modules.clone(),
            RealmOwner::Worker(worker) => {
                let page = self.page_of_test_worker(worker);
                let own = page.and_then(|page| Some(page.worker.as_ref()?.modules.clone()));
                own.map_or(Rc::new(UrlsAlone), |modules| modules)
            }
        }
    }

    /// The script of the test's worker, which no server has.
    pub(crate) fn script_of_test_worker(&self, url: &Url) -> Option<ScriptResource> {
        let page = self.test_page()?;
        page.worker.as_ref().filter(|worker| worker.script == *url)?;
        let content_type = "text/javascript".to_owned();
        Some(ScriptResource { url: url.to_string(), content_type, body: Vec::new() })
    }

    /// Before its first realm has run the file.
    fn page_of_test_worker(&self, worker: &Worker) -> Option<Rc<TestPage>> {
        let page = self.test_page().filter(|page| page.realm.get().is_none())?;
        let is_own = page.worker.as_ref()?.script.as_str() == worker.script_url;
        is_own.then_some(page)
    }
}
