//! Checkouts of web-platform-tests, laid over one another.
//!
//! Invariant: a file is the first root's that has it, and the tests of an area (a top-level folder)
//! are those of the first root that has the area.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Refusal;

/// One or more roots, the first of which wins.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// Never empty.
    roots: Vec<PathBuf>,
}

impl Checkout {
    /// Fails if a root is not there, or if none has `resources/testharness.js`.
    pub fn open(roots: &[PathBuf]) -> Result<Checkout, Refusal> {
        if let Some(missing) = roots.iter().find(|root| !root.is_dir()) {
            let missing = missing.display();
            return Err(Refusal::Failure(format!(
                "there is no folder {missing}; give --root a checkout of web-platform-tests"
            )));
        }
        let checkout = Checkout { roots: roots.to_vec() };
        match checkout.find("resources/testharness.js") {
            Some(_) => Ok(checkout),
            None => Err(Refusal::Failure(format!(
                "{} is no checkout of web-platform-tests: it has no resources/testharness.js",
                checkout.shown()
            ))),
        }
    }

    /// The roots, the first of which wins.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// The roots as a person reads them.
    pub fn shown(&self) -> String {
        let roots: Vec<_> = self.roots.iter().map(|root| root.display().to_string()).collect();
        roots.join(", ")
    }

    /// The file with this path, which has slashes and no `..`.
    pub fn find(&self, path: &str) -> Option<PathBuf> {
        self.place(path).filter(|found| found.is_file())
    }

    fn place(&self, path: &str) -> Option<PathBuf> {
        let outside =
            path.split('/').any(|part| matches!(part, "" | "." | "..") && !path.is_empty());
        if outside {
            return None;
        }
        self.roots.iter().map(|root| root.join(path)).find(|place| place.exists())
    }

    /// The same, but with the root first that the tests of this file's area are from. Interface
    /// definitions are read so: those of another year refer to what a test does not load.
    pub fn as_seen_from(&self, file: &str) -> Checkout {
        let area = file.split('/').next().unwrap_or_default();
        let own = self.areas().remove(area);
        let mut roots = self.roots.clone();
        roots.sort_by_key(|root| own.as_ref() != Some(root));
        Checkout { roots }
    }

    /// The first root with wptserve, which newer excerpts of the tree leave out.
    pub fn tools(&self) -> Option<PathBuf> {
        let tools = self.roots.iter().map(|root| root.join("tools"));
        tools.into_iter().find(|tools| tools.join("wptserve/wptserve/server.py").is_file())
    }

    /// Every file below `path`, or the file `path` itself, in order; without `path` every file.
    pub fn files(&self, path: &str) -> Result<Vec<String>, Refusal> {
        let path = path.trim_start_matches("./").trim_end_matches('/');
        let mut files = Vec::new();
        if path.is_empty() {
            for (area, root) in self.areas() {
                collect(&root, &area, &mut files);
            }
        } else {
            let area = path.split('/').next().unwrap_or_default();
            let root = self.areas().remove(area).filter(|root| root.join(path).exists());
            let root = root.ok_or_else(|| {
                let text = format!("there is no {path} in {}", self.shown());
                Refusal::Failure(text)
            })?;
            collect(&root, path, &mut files);
        }
        files.sort();
        Ok(files)
    }

    /// The areas and their roots.
    fn areas(&self) -> BTreeMap<String, PathBuf> {
        let mut areas = BTreeMap::new();
        for root in &self.roots {
            for name in names(root) {
                areas.entry(name).or_insert_with(|| root.clone());
            }
        }
        areas
    }
}

/// Files and folders that no test is in.
const WITHOUT_TESTS: [&str; 4] = ["tools", "resources", "common", "interfaces"];

fn collect(root: &Path, path: &str, files: &mut Vec<String>) {
    let place = root.join(path);
    if place.is_file() {
        files.push(path.to_owned());
    } else if !WITHOUT_TESTS.contains(&path) {
        for name in names(&place) {
            collect(root, &format!("{path}/{name}"), files);
        }
    }
}

/// What is in a folder, but for what is hidden and what is not UTF-8, which no test is.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).collect()
}
