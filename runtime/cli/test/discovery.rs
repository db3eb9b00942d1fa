//! Where the tests are, and which folder is the app of each.
//!
//! Invariant: what is found is in order of its path, once, whatever the order of the options.

use std::path::{Path, PathBuf};
use std::{fs, io};

use kittiwake::Scenario;

use crate::{Refusal, usage};

/// What makes a folder the root of an app.
pub const ROOT_FILES: [&str; 7] = [
    "index.html",
    "sw.js",
    "service-worker.js",
    "service_worker.js",
    "serviceworker.js",
    "serviceWorker.js",
    "sw.mjs",
];

/// Folders that hold what others wrote, or what was built.
const FOREIGN: [&str; 3] = ["node_modules", "target", "bower_components"];

/// Something that has tests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suite {
    /// A test file, and what is served to it.
    File { path: PathBuf, root: PathBuf },
    /// A scenario's folder.
    Scenario(PathBuf),
}

impl Suite {
    /// The file or folder.
    pub fn path(&self) -> &Path {
        match self {
            Suite::File { path, .. } | Suite::Scenario(path) => path,
        }
    }
}

/// What the paths name, or the tests below this folder.
pub fn discover(paths: &[PathBuf], root: Option<&Path>) -> Result<Vec<Suite>, Refusal> {
    if let Some(root) = root.filter(|root| !root.is_dir()) {
        return usage(format!("--root {}: there is no such folder", root.display()));
    }
    let here = [PathBuf::from(".")];
    let mut suites = Vec::new();
    for path in if paths.is_empty() { here.as_slice() } else { paths } {
        let failed = |error: io::Error| {
            Refusal::Failure(format!("cannot look for tests in {}: {error}", path.display()))
        };
        if fs::metadata(path).map_err(failed)?.is_dir() {
            walk(path, root, &mut suites).map_err(failed)?;
        } else {
            suites.push(file_suite(path, root));
        }
    }
    suites.sort();
    suites.dedup();
    if suites.is_empty() {
        let looked = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        let looked = if looked.is_empty() { ".".to_owned() } else { looked.join(", ") };
        return Err(Refusal::Failure(format!(
            "no test is in {looked}: a test file is called NAME.test.js or NAME.test.mjs; \
             `kittiwake init` writes a first one"
        )));
    }
    Ok(suites)
}

fn walk(folder: &Path, root: Option<&Path>, suites: &mut Vec<Suite>) -> io::Result<()> {
    if Scenario::is_scenario(folder) {
        suites.push(Suite::Scenario(folder.to_owned()));
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let kind = entry.file_type()?;
        if kind.is_dir() && !is_foreign(&name) {
            walk(&path, root, suites)?;
        } else if kind.is_file() && (name.ends_with(".test.js") || name.ends_with(".test.mjs")) {
            suites.push(file_suite(&path, root));
        }
    }
    Ok(())
}

/// Whether a folder of this name is nobody's own work.
pub fn is_foreign(name: &str) -> bool {
    name.starts_with('.') || FOREIGN.contains(&name)
}

fn file_suite(path: &Path, root: Option<&Path>) -> Suite {
    let path = path.strip_prefix("./").unwrap_or(path).to_owned();
    let root = root.map_or_else(|| root_of(&path), Path::to_owned);
    Suite::File { path, root }
}

/// The nearest folder from the file's own upward that looks like an app's, as far as the folder in
/// which the command was started; else the file's own.
fn root_of(file: &Path) -> PathBuf {
    let own = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let looks_like_one = |folder: &&Path| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        ROOT_FILES.iter().any(|name| folder.join(name).is_file())
    };
    let here = Path::new("");
    let above = own.ancestors().chain(own.is_relative().then_some(here));
    match above.into_iter().find(looks_like_one) {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) => folder.to_owned(),
        None => own.to_owned(),
    }
}
