//! What each test is expected to come to: `fixtures/wpt/<area>.toml`.
//!
//! Invariant: an expected failure has a reason. One that was written by `--update-expectations` and
//! has none yet is named `unexplained`, which the project's own tests refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::manifest::{Also, Test, area_of, file_of};
use super::outcome::{Outcome, Status, SubtestStatus};
use crate::Refusal;

/// The reason that new failures get.
const UNEXPLAINED: &str = "unexplained";

/// The file with what concerns all areas.
const INDEX: &str = "expectations.toml";

/// Every area's expectations.
#[derive(Debug, Default)]
pub struct Expectations {
    folder: PathBuf,
    /// Which tests run though they name no service worker.
    pub also: Also,
    areas: BTreeMap<String, Area>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Area {
    /// What failures are due to, by the words that stand for it below.
    #[serde(default)]
    reasons: BTreeMap<String, String>,
    /// Tests that pass whole, and how many subtests they have.
    #[serde(default)]
    pass: BTreeMap<String, usize>,
    /// Tests that do not.
    #[serde(default)]
    file: BTreeMap<String, Expected>,
}

/// What a test that does not pass whole is expected to come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// How many subtests pass.
    #[serde(default)]
    pass: usize,
    /// How the whole ends, and why, if not well.
    status: Option<Status>,
    because: Option<String>,
    /// Whether the whole may end well all the same.
    #[serde(default)]
    flaky_status: bool,
    /// Why it is not run at all.
    skip: Option<String>,
    /// Subtests that fail, by the reason.
    #[serde(default)]
    fail: BTreeMap<String, BTreeSet<String>>,
    /// Subtests that may pass or not, by the reason.
    #[serde(default)]
    flaky: BTreeMap<String, BTreeSet<String>>,
}

impl Expected {
    /// That so many subtests pass and none fails.
    pub fn all_of(pass: usize) -> Expected {
        Expected { pass, ..Expected::default() }
    }

    fn reason_of(&self, name: &str) -> Option<&str> {
        let found = self.fail.iter().find(|(_, names)| names.contains(name));
        found.map(|(reason, _)| reason.as_str())
    }

    fn is_flaky(&self, name: &str) -> bool {
        self.flaky.values().any(|names| names.contains(name))
    }

    fn reasons(&self) -> impl Iterator<Item = &String> {
        let lists = self.fail.keys().chain(self.flaky.keys());
        lists.chain(self.because.iter()).chain(self.skip.iter())
    }

    /// What differs from the expectation; nothing if all is as it says.
    pub fn differences(&self, outcome: &Outcome) -> Vec<String> {
        let mut differences = Vec::new();
        let status = self.status.unwrap_or(Status::Ok);
        if outcome.status != status && !(self.flaky_status && outcome.status == Status::Ok) {
            let message = outcome.message.as_deref().unwrap_or("no message");
            let ended = word(outcome.status);
            differences.push(format!("{ended} instead of {}: {message}", word(status)));
        }
        let failed = failures(outcome);
        let names: BTreeSet<&str> = outcome.subtests.iter().map(|each| &*each.name).collect();
        for (name, message) in &failed {
            if self.reason_of(name).is_none() && !self.is_flaky(name) {
                differences.push(format!("unexpected failure: {name}: {message}"));
            }
        }
        for name in self.fail.values().flatten() {
            if !names.contains(name.as_str()) {
                differences.push(format!("expected failure that was not run: {name}"));
            } else if !failed.contains_key(name.as_str()) {
                differences.push(format!("unexpected pass: {name}"));
            }
        }
        let flaky = self.flaky.values().map(BTreeSet::len).sum::<usize>();
        let passed = outcome.passed();
        if differences.is_empty() && !(self.pass..=self.pass + flaky).contains(&passed) {
            differences.push(format!("{passed} subtests passed instead of {}", self.pass));
        }
        differences
    }
}

/// The names that failed, each with its first message.
fn failures(outcome: &Outcome) -> BTreeMap<&str, &str> {
    let mut failures = BTreeMap::new();
    for subtest in &outcome.subtests {
        if subtest.status != SubtestStatus::Pass {
            let message = subtest.message.as_deref().unwrap_or("no message");
            failures.entry(subtest.name.as_str()).or_insert(message);
        }
    }
    failures
}

fn word(status: Status) -> String {
    match serde_json::to_value(status) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("a status serialises as a word, not {other:?}"),
    }
}

impl Expectations {
    /// Reads every file of the folder. One that is not there has no expectations.
    pub fn load(folder: &Path) -> Result<Expectations, Refusal> {
        let mut loaded = Expectations { folder: folder.to_owned(), ..Expectations::default() };
        if !folder.is_dir() {
            return Ok(loaded);
        }
        let failed = |path: &Path, error: String| {
            Refusal::Failure(format!("cannot read the expectations {}: {error}", path.display()))
        };
        let entries = fs::read_dir(folder).map_err(|error| failed(folder, error.to_string()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(area) = name.strip_suffix(".toml") else { continue };
            let text = fs::read_to_string(&path).map_err(|e| failed(&path, e.to_string()))?;
            if name == INDEX {
                loaded.also =
                    toml::from_str(&text).map_err(|error| failed(&path, error.to_string()))?;
            } else {
                let parsed: Area =
                    toml::from_str(&text).map_err(|error| failed(&path, error.to_string()))?;
                parsed.check().map_err(|error| failed(&path, error))?;
                loaded.areas.insert(area.to_owned(), parsed);
            }
        }
        Ok(loaded)
    }

    /// Whether there is anything to compare with.
    pub fn is_empty(&self) -> bool {
        self.areas.is_empty()
    }

    /// The files that are named, each once.
    pub fn files(&self) -> BTreeSet<String> {
        let keys = self.areas.values().flat_map(|area| area.pass.keys().chain(area.file.keys()));
        keys.map(|key| file_of(key)).collect()
    }

    /// What is expected of a test.
    pub fn of(&self, test: &Test) -> Option<Expected> {
        let area = self.areas.get(&area_name(&test.file))?;
        let key = test.key();
        let whole = area.pass.get(&key).map(|pass| Expected::all_of(*pass));
        area.file.get(&key).cloned().or(whole)
    }

    /// Why a test is not to be run.
    pub fn skipped(&self, test: &Test) -> Option<String> {
        let area = self.areas.get(&area_name(&test.file))?;
        let reason = area.file.get(&test.key())?.skip.as_ref()?;
        area.reasons.get(reason).cloned()
    }

    /// Makes the outcome the expectation. Reasons that hold still are kept.
    pub fn update(&mut self, test: &Test, outcome: &Outcome) {
        if outcome.status == Status::Skip {
            return;
        }
        let area = self.areas.entry(area_name(&test.file)).or_default();
        let key = test.key();
        area.pass.remove(&key);
        let old = area.file.remove(&key).unwrap_or_default();
        let mut new = Expected::all_of(outcome.passed());
        if old.flaky_status && outcome.status == Status::Ok {
            (new.status, new.because) = (old.status, old.because.clone());
        } else if outcome.status != Status::Ok {
            new.status = Some(outcome.status);
            let because = old.because.clone().filter(|_| old.status == new.status);
            new.because = Some(because.unwrap_or_else(|| UNEXPLAINED.to_owned()));
        }
        for name in failures(outcome).into_keys().filter(|name| !old.is_flaky(name)) {
            let reason = old.reason_of(name).unwrap_or(UNEXPLAINED).to_owned();
            new.fail.entry(reason).or_default().insert(name.to_owned());
        }
        new.flaky_status = old.flaky_status && new.status == old.status;
        new.flaky = old.flaky;
        let flaky: BTreeSet<&String> = new.flaky.values().flatten().collect();
        let passing = outcome.subtests.iter().filter(|each| each.status == SubtestStatus::Pass);
        new.pass = passing.filter(|each| !flaky.contains(&each.name)).count();
        if new == Expected::all_of(new.pass) {
            area.pass.insert(key, new.pass);
        } else {
            area.file.insert(key, new);
        }
    }

    /// Writes every area's file. Answers how many failures have no reason yet.
    pub fn save(&self) -> Result<usize, Refusal> {
        let failed = |path: &Path, error: std::io::Error| {
            Refusal::Failure(format!("cannot write {}: {error}", path.display()))
        };
        fs::create_dir_all(&self.folder).map_err(|error| failed(&self.folder, error))?;
        let mut unexplained = 0;
        for (name, area) in &self.areas {
            let path = self.folder.join(format!("{name}.toml"));
            fs::write(&path, area.to_string()).map_err(|error| failed(&path, error))?;
            unexplained += area.unexplained();
        }
        Ok(unexplained)
    }
}

/// The file's name for an area, which has no slash.
fn area_name(file: &str) -> String {
    area_of(file).replace('/', "-")
}

impl Area {
    fn used(&self) -> BTreeSet<&String> {
        self.file.values().flat_map(Expected::reasons).collect()
    }

    fn check(&self) -> Result<(), String> {
        let used = self.used();
        if let Some(unknown) =
            used.iter().find(|name| **name != UNEXPLAINED && !self.reasons.contains_key(**name))
        {
            return Err(format!("`{unknown}` is not among [reasons]; say there what it means"));
        }
        match self.file.iter().find(|(_, each)| each.status.is_some() != each.because.is_some()) {
            Some((key, _)) => Err(format!("{key}: `status` and `because` go together")),
            None => Ok(()),
        }
    }

    fn unexplained(&self) -> usize {
        let lists = self.file.values().map(|each| {
            let status = usize::from(each.because.as_deref() == Some(UNEXPLAINED));
            status + each.fail.get(UNEXPLAINED).map_or(0, BTreeSet::len)
        });
        lists.sum()
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sections = Vec::new();
        let used = self.used();
        let reasons = self.reasons.iter().filter(|(name, _)| used.contains(name));
        let reasons = reasons.map(|(name, why)| format!("{} = {}\n", key_text(name), quoted(why)));
        sections.push(("[reasons]".to_owned(), reasons.collect::<String>()));
        let pass = self.pass.iter().map(|(key, pass)| format!("{} = {pass}\n", quoted(key)));
        sections.push(("[pass]".to_owned(), pass.collect()));
        for (key, expected) in &self.file {
            sections.push((format!("[file.{}]", quoted(key)), expected.to_string()));
        }
        let texts = sections.into_iter().filter(|(_, entries)| !entries.is_empty());
        let texts: Vec<_> = texts.map(|(head, entries)| format!("{head}\n{entries}")).collect();
        f.write_str(&texts.join("\n"))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(skip) = &self.skip {
            return writeln!(f, "skip = {}", quoted(skip));
        }
        writeln!(f, "pass = {}", self.pass)?;
        if let (Some(status), Some(because)) = (self.status, &self.because) {
            writeln!(f, "status = {:?}\nbecause = {}", word(status), quoted(because))?;
        }
        if self.flaky_status {
            writeln!(f, "flaky_status = true")?;
        }
        for (kind, lists) in [("fail", &self.fail), ("flaky", &self.flaky)] {
            for (reason, names) in lists {
                writeln!(f, "{kind}.{} = [", key_text(reason))?;
                for name in names {
                    writeln!(f, "  {},", quoted(name))?;
                }
                writeln!(f, "]")?;
            }
        }
        Ok(())
    }
}

/// A key, bare where TOML allows it.
fn key_text(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match !key.is_empty() && key.chars().all(bare) {
        true => key.to_owned(),
        false => quoted(key),
    }
}

/// A text as a basic string of TOML, on one line. JSON's escapes are TOML's, but for one character.
fn quoted(text: &str) -> String {
    let json = serde_json::to_string(text).expect("a string serialises");
    json.replace('\u{7f}', "\\u007F")
}
