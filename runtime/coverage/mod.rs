//! Which code of scripts has run, and how often, over all realms that are counted.
//!
//! Invariant: what realms counted is added up; it does not depend on the order in which they end.

mod merge;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use merge::Merged;
pub(crate) use merge::RawScript;

/// Counts what scripts run, for [`Builder::coverage`](crate::Builder::coverage).
///
/// Clones count together: give the same one to many runtimes, one after the other or at once.
#[derive(Clone, Default)]
pub struct Coverage {
    scripts: Arc<Mutex<BTreeMap<Key, Merged>>>,
}

/// The same URL may have another source in another realm.
type Key = (String, Arc<str>);

/// What was counted of one script.
///
/// Offsets are in UTF-16 code units from the start of its source, as the engine counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptCoverage {
    /// The script's URL. Inline scripts of a document have the document's.
    pub url: String,
    /// The text that was compiled, of an inline script its own.
    pub source: Arc<str>,
    /// Where statements begin, and how often each has run; in the order of the source. What the
    /// engine itself adds, as the return at the end of a function, is not among them.
    pub statements: Vec<(u32, u64)>,
    /// Its functions in the order of the source; the first one is the script as a whole. The engine
    /// does not tell of functions inside a function that never ran.
    pub functions: Vec<FunctionCoverage>,
}

/// What was counted of one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionCoverage {
    /// Empty if it has none.
    pub name: String,
    /// Where it is, and how often it was called.
    pub range: CountedRange,
    /// The parts of it that ran another number of times than what is around them, in the order of
    /// the source, the outer before the inner.
    pub blocks: Vec<CountedRange>,
}

/// A part of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedRange {
    /// Of its first character.
    pub start: u32,
    /// Behind its last character.
    pub end: u32,
    /// How often it ran.
    pub count: u64,
}

impl Coverage {
    /// Counts nothing yet.
    pub fn new() -> Self {
        Coverage::default()
    }

    /// What has been counted in realms that have ended, in order of URLs. A realm ends with its
    /// page or with its worker's being stopped, and at the latest with its runtime.
    pub fn scripts(&self) -> Vec<ScriptCoverage> {
        let scripts = self.lock();
        scripts.iter().map(|((url, source), merged)| merged.told(url, source)).collect()
    }

    /// Adds what a realm counted. `find_statements` is asked once for each script.
    pub(crate) fn add(
        &self,
        raw: &RawScript,
        source: &str,
        find_statements: impl FnOnce() -> Vec<u32>,
    ) {
        let source: Arc<str> = source.into();
        let mut scripts = self.lock();
        let merged = scripts.entry((raw.url.clone(), source));
        merged.or_insert_with(|| Merged::new(find_statements())).add(raw);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Merged>> {
        self.scripts.lock().expect("invariant: nothing panics while it holds the counts")
    }
}

impl fmt::Debug for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coverage").finish_non_exhaustive()
    }
}
