//! `--watch`: runs the tests again that a changed file touches.
//!
//! Invariant: a change that comes while tests run is seen after them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::discovery::{Suite, is_foreign};

/// How often somebody looks.
const INTERVAL: Duration = Duration::from_millis(150);

/// When each file was written last, and its length.
type Stamps = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// The files that tests may be about.
pub struct Watched {
    folders: BTreeSet<PathBuf>,
    stamps: Stamps,
}

impl Watched {
    /// What the suites serve, and what lies beside them, as it is now.
    pub fn new(suites: &[Suite]) -> Self {
        let folders: BTreeSet<PathBuf> = suites.iter().flat_map(folders_of).collect();
        let stamps = stamps(&folders);
        Watched { folders, stamps }
    }

    /// Resolves with the files that were written, made or removed since the last time.
    pub async fn changed(&mut self) -> BTreeSet<PathBuf> {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = stamps(&self.folders);
            let changed: BTreeSet<_> = now
                .iter()
                .filter(|(file, stamp)| self.stamps.get(*file) != Some(stamp))
                .map(|(file, _)| file.clone())
                .chain(self.stamps.keys().filter(|file| !now.contains_key(*file)).cloned())
                .collect();
            self.stamps = now;
            if !changed.is_empty() {
                return changed;
            }
        }
    }
}

/// Whether the change of a file may change what a suite does. Another test file's does not.
pub fn touches(file: &Path, suite: &Suite) -> bool {
    let is_test = is_test_file(file);
    match suite {
        Suite::File { path, .. } if is_test => canonical(path) == file,
        _ => folders_of(suite).iter().any(|folder| file.starts_with(folder)),
    }
}

fn is_test_file(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".test.js") || name.ends_with(".test.mjs")
}

fn folders_of(suite: &Suite) -> Vec<PathBuf> {
    match suite {
        Suite::File { path, root } => {
            vec![canonical(root), canonical(path.parent().unwrap_or(Path::new("")))]
        }
        Suite::Scenario(folder) => vec![canonical(folder)],
    }
}

fn canonical(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn stamps(folders: &BTreeSet<PathBuf>) -> Stamps {
    let mut stamps = Stamps::new();
    let mut left: Vec<PathBuf> = folders.iter().cloned().collect();
    let mut seen = BTreeSet::new();
    while let Some(folder) = left.pop() {
        if !seen.insert(folder.clone()) {
            continue;
        }
        // A folder that has just gone has no files: that is a change like any other.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(data) = entry.metadata() else { continue };
            let name = entry.file_name();
            if data.is_dir() && !is_foreign(&name.to_string_lossy()) && name != "__snapshots__" {
                left.push(entry.path());
            } else if data.is_file() {
                stamps.insert(entry.path(), (data.modified().ok(), data.len()));
            }
        }
    }
    stamps
}
