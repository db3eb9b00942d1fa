//! `--watch`: runs the tests again that a changed file touches.
//!
//! Invariant: a change that comes while tests run is seen after them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::discovery::{Suite, is_foreign};
use super::report::Report;

/// How often somebody looks.
const INTERVAL: Duration = Duration::from_millis(150);

/// When each file was written last, and its length.
type Stamps = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// The files that the worlds of each test file have asked for, when it ran last: what it imports,
/// and workers, pages and whatever else was served. A file that could not be evaluated has none.
#[derive(Default)]
pub struct Asked(BTreeMap<PathBuf, BTreeSet<PathBuf>>);

impl Asked {
    /// Keeps in mind what the tests of a suite have asked for.
    pub fn note(&mut self, report: &Report) {
        let Suite::File { path, .. } = &report.suite else { return };
        let files = report.tests.iter().flat_map(|(_, ended)| &ended.run.files);
        let files: BTreeSet<_> = files.map(|file| canonical(file)).collect();
        match files.is_empty() {
            true => self.0.remove(&canonical(path)),
            false => self.0.insert(canonical(path), files),
        };
    }
}

/// The files that tests may be about.
pub struct Watched {
    folders: BTreeSet<PathBuf>,
    /// Those that are elsewhere.
    files: BTreeSet<PathBuf>,
    stamps: Stamps,
}

impl Watched {
    /// What the suites serve, what lies beside them, and what they have asked for, as it is now.
    pub fn new(suites: &[Suite], asked: &Asked) -> Self {
        let folders: BTreeSet<PathBuf> = suites.iter().flat_map(folders_of).collect();
        let stamps = stamps(&folders);
        let mut watched = Watched { folders, files: BTreeSet::new(), stamps };
        watched.add(asked);
        watched
    }

    /// Watches what has been asked for meanwhile, from now on.
    pub fn add(&mut self, asked: &Asked) {
        for file in asked.0.values().flatten() {
            let is_within = self.stamps.contains_key(file);
            if !is_within && self.files.insert(file.clone()) {
                self.stamps.extend(stamp(file).map(|stamp| (file.clone(), stamp)));
            }
        }
    }

    /// Resolves with the files that were written, made or removed since the last time.
    pub async fn changed(&mut self) -> BTreeSet<PathBuf> {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let mut now = stamps(&self.folders);
            let elsewhere = self.files.iter().filter_map(|file| Some((file.clone(), stamp(file)?)));
            now.extend(elsewhere);
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

/// Whether the change of a file may change what a suite does: it is the test file, or its worlds
/// have asked for it. As long as nobody knows that, it is any file of the app that is no test.
pub fn touches(file: &Path, suite: &Suite, asked: &Asked) -> bool {
    match suite {
        Suite::File { path, .. } if canonical(path) == file => true,
        Suite::File { path, .. } => match asked.0.get(&canonical(path)) {
            Some(files) => files.contains(file),
            None => !is_test_file(file) && is_within(file, suite),
        },
        Suite::Scenario(_) => is_within(file, suite),
    }
}

fn is_within(file: &Path, suite: &Suite) -> bool {
    folders_of(suite).iter().any(|folder| file.starts_with(folder))
}

fn stamp(file: &Path) -> Option<(Option<SystemTime>, u64)> {
    let data = fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
    Some((data.modified().ok(), data.len()))
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
