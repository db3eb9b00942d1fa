//! The modules of a test file: its own files from the disk, and `kittiwake:test`.
//!
//! Invariant: the network, which the test takes away, has no part in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kittiwake_ops::{MessagePortServices, RealmId, ScriptException};
use url::Url;

use super::TestFileError;
use crate::drive::Command;
use crate::host::Shard;
use crate::lifecycle::{decode, plain_exception};
use crate::realm::{ModuleImport, ModuleKey, ModuleKind, RealmError};

/// The module `kittiwake:test` and what it is made of.
const OWN: [(&str, &str); 11] = [
    ("kittiwake:test", include_str!("../../js/test/test.js")),
    ("kittiwake:test/door", include_str!("../../js/test/take_door.js")),
    ("kittiwake:test/drive", include_str!("../../js/test/drive.js")),
    ("kittiwake:test/equality", include_str!("../../js/test/equality.js")),
    ("kittiwake:test/expect", include_str!("../../js/test/expect.js")),
    ("kittiwake:test/failure", include_str!("../../js/test/failure.js")),
    ("kittiwake:test/host", include_str!("../../js/test/host.js")),
    ("kittiwake:test/matchers", include_str!("../../js/test/matchers.js")),
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
        root: &Path,
    ) -> Result<(), TestFileError> {
        let mut seen = BTreeSet::new();
        let framework = Url::parse("kittiwake:test/all").expect("a URL");
        self.run_graph(realm, framework, root, &mut seen).await?;
        let unreadable = |cause| TestFileError::Read { path: file.to_owned(), cause };
        let path = file.canonicalize().map_err(|error| unreadable(Arc::new(error)))?;
        let url = Url::from_file_path(path).expect("a canonical path is absolute");
        self.run_graph(realm, url, root, &mut seen).await?;
        // As a document's, once its scripts have run.
        self.client_messages_start(realm);
        Ok(())
    }

    /// Evaluates what hears a test outside, in a page.
    pub(super) async fn load_drive(&self, realm: RealmId) -> Result<(), TestFileError> {
        let drive = Url::parse("kittiwake:test/drive").expect("a URL");
        self.run_graph(realm, drive, Path::new("."), &mut BTreeSet::new()).await?;
        self.client_messages_start(realm);
        Ok(())
    }

    /// Compiles a graph but for what an earlier one has, and evaluates it.
    async fn run_graph(
        &self,
        realm: RealmId,
        url: Url,
        root: &Path,
        seen: &mut BTreeSet<ModuleKey>,
    ) -> Result<(), TestFileError> {
        let entry = ModuleKey { url, kind: ModuleKind::JavaScript };
        let source = source_of(&entry.url, root).map_err(|cause| TestFileError::Read {
            path: entry.url.to_file_path().unwrap_or_default(),
            cause: Arc::new(cause),
        })?;
        seen.insert(entry.clone());
        let mut left = vec![(entry.clone(), source)];
        while let Some((key, source)) = left.pop() {
            let referrer = key.url.clone();
            let compile = |done| Command::CompileModule { key, source: source.into(), done };
            for import in self.ask_realm(realm, compile).await.map_err(script_error)? {
                if seen.insert(import.key.clone()) {
                    let source = source_of(&import.key.url, root)
                        .map_err(|cause| not_imported(&referrer, &import, &cause))?;
                    left.push((import.key, source));
                }
            }
        }
        let evaluate = |done| Command::EvaluateModule { root: entry.clone(), done };
        self.ask_realm(realm, evaluate).await.map_err(script_error)
    }
}

/// A path from the root of the file system is one of the served folder, if it is there.
fn source_of(url: &Url, root: &Path) -> std::io::Result<String> {
    if let Some((_, source)) = OWN.iter().find(|(name, _)| *name == url.as_str()) {
        return Ok((*source).to_owned());
    }
    let path = url.to_file_path().map_err(|()| {
        std::io::Error::other("a test imports files, and `kittiwake:test`; nothing from a network")
    })?;
    let served: PathBuf = root.join(path.strip_prefix("/").unwrap_or(&path));
    match std::fs::read(&path) {
        Err(_) if served.is_file() => std::fs::read(served),
        read => read,
    }
    .map(|bytes| decode(&bytes))
}

fn not_imported(referrer: &Url, import: &ModuleImport, cause: &std::io::Error) -> TestFileError {
    TestFileError::Script(Box::new(ScriptException {
        message: format!("{} was not imported: {cause}", import.key.url),
        file: Some(referrer.to_string()),
        line: Some(import.line),
        column: Some(import.column),
        stack: None,
    }))
}

fn script_error(error: RealmError) -> TestFileError {
    TestFileError::Script(Box::new(match error {
        RealmError::CannotStart(exception) if exception.message.contains("Top-level await") => {
            let message = "a test file cannot await at its top level; await in beforeEach or in \
                           the test"
                .to_owned();
            ScriptException { message, ..exception }
        }
        RealmError::Exception(exception) | RealmError::CannotStart(exception) => exception,
        other => plain_exception(other.to_string()),
    }))
}
