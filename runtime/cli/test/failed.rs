//! Which tests failed last: `--only-failed` runs these. They are in `.kittiwake/failed-tests.json`
//! of the folder in which the command was started; a `.gitignore` there keeps it out of commits.
//!
//! Invariant: the list is that of the last run which ended; it is empty when all passed.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::report::{Outcome, Report, THE_FILE, name};

const FOLDER: &str = ".kittiwake";
const FILE: &str = "failed-tests.json";

/// Tests by their file and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names(BTreeSet<(PathBuf, String)>);

impl Names {
    /// Those of the last run; none if there was none.
    pub fn load() -> io::Result<Self> {
        match std::fs::read_to_string(Path::new(FOLDER).join(FILE)) {
            Ok(text) => serde_json::from_str(&text).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Names::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes them for the next run. Without any, nothing is written where nothing was.
    pub fn save(&self) -> io::Result<()> {
        let folder = Path::new(FOLDER);
        if self.0.is_empty() && !folder.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join(".gitignore"), "*\n")?;
        std::fs::write(folder.join(FILE), serde_json::to_string_pretty(self)?)
    }

    /// Takes in what a suite says of its tests; what it left out stays as it was.
    pub fn update(&mut self, report: &Report) {
        self.0.remove(&(report.suite.path().to_owned(), THE_FILE.to_owned()));
        for (case, ended) in &report.tests {
            let key = (report.suite.path().to_owned(), name(case));
            match ended.outcome {
                Outcome::Failed => drop(self.0.insert(key)),
                Outcome::LeftOut => {}
                _ => drop(self.0.remove(&key)),
            }
        }
    }

    /// Whether nothing failed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the test failed. A file that could not be evaluated failed with all its tests.
    pub fn contains(&self, file: &Path, name: &str) -> bool {
        let is_meant = |named: &str| named == name || named == THE_FILE;
        self.0.iter().any(|(failed, named)| failed == file && is_meant(named))
    }
}
