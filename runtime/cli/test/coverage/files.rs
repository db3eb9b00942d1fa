//! What was counted, by the files that people wrote.
//!
//! Invariant: a file is told of once, whatever scripts it is part of; what ran in any of them ran.

use std::collections::{BTreeMap, BTreeSet};

use kittiwake::{CountedRange, FunctionCoverage, ScriptCoverage};

use super::scripts::{Place, Script, Stretch};
use crate::test::source_maps::Sources;

/// Names that the engine gives to what nobody wrote as a function.
const NOT_FUNCTIONS: [&str; 2] = ["<instance_members_initializer>", "<static_initializer>"];

/// One file of the app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileCoverage {
    /// Its text, if it is to be had.
    pub text: Option<String>,
    /// Where statements begin.
    pub statements: BTreeMap<Place, u64>,
    /// Where functions are.
    pub functions: BTreeMap<Place, Function>,
    /// The ways through functions that have several.
    pub branches: BTreeMap<Branch, u64>,
}

/// A function of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub end: Place,
    /// How often it was called.
    pub count: u64,
}

/// A part of a function that ran another number of times than what is around it, or the function
/// itself if it has such parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Branch {
    pub start: Place,
    pub end: Place,
}

/// How much of something ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub covered: usize,
    pub all: usize,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    pub lines: Share,
    pub branches: Share,
    pub functions: Share,
}

/// By name.
pub type Files = BTreeMap<String, FileCoverage>;

/// Adds what was counted of a script to the files that it was made from.
pub fn add(files: &mut Files, script: &ScriptCoverage, sources: &Sources<'_>) {
    let map = Script::new(script, sources);
    let mut parts: Vec<_> =
        map.files().iter().map(|file| FileCoverage::of(file.text.clone())).collect();
    for (offset, count) in &script.statements {
        if let Some((file, place)) = map.statement_at(*offset) {
            let had = parts[file].statements.entry(place).or_default();
            *had = (*had).max(*count);
        }
    }
    let units: Vec<u16> = script.source.encode_utf16().collect();
    for function in &script.functions {
        let is_whole = function.range.start == 0 && function.range.end as usize >= units.len();
        add_function(&mut parts, &map, function, is_whole);
        add_branches(&mut parts, &map, function, &units);
    }
    for (file, part) in map.files().iter().zip(parts) {
        // A file of which a bundle took nothing that runs has nothing to be covered.
        if !part.statements.is_empty() || !part.functions.is_empty() {
            files.entry(file.name.clone()).or_default().merge(part);
        }
    }
}

fn add_function(
    parts: &mut [FileCoverage],
    map: &Script,
    function: &FunctionCoverage,
    is_whole: bool,
) {
    if is_whole || NOT_FUNCTIONS.contains(&function.name.as_str()) {
        return;
    }
    let CountedRange { start, end, count } = function.range;
    let found = map.function_at(start, end, &function.name);
    let Some(Stretch { file, start, end, name }) = found else { return };
    let name = name.unwrap_or_else(|| function.name.clone());
    let called = Function { name, end, count };
    let had = parts[file].functions.entry(start).or_insert(called);
    had.count = had.count.max(count);
}

fn add_branches(
    parts: &mut [FileCoverage],
    map: &Script,
    function: &FunctionCoverage,
    units: &[u16],
) {
    let mut blocks = function.blocks.iter().filter_map(|block| code_of(block, units)).peekable();
    let itself = blocks.peek().map(|_| function.range);
    let itself = itself.filter(|CountedRange { start, end, .. }| {
        *start == 0 || map.function_at(*start, *end, &function.name).is_some()
    });
    for CountedRange { start, end, count } in itself.into_iter().chain(blocks) {
        if let Some(Stretch { file, start, end, .. }) = map.stretch_of(start, end) {
            let had = parts[file].branches.entry(Branch { start, end }).or_default();
            *had = (*had).max(count);
        }
    }
}

/// The block without the blanks around it. What lies behind a `return` may be nothing but the end
/// of its function, and is none then.
fn code_of(block: &CountedRange, units: &[u16]) -> Option<CountedRange> {
    let is = |unit: u16, others: &str| {
        let character = char::from_u32(u32::from(unit));
        character.is_some_and(|c| c.is_whitespace() || others.contains(c))
    };
    let end = (block.end as usize).min(units.len());
    let inside = units.get(block.start as usize..end)?;
    if inside.iter().all(|unit| is(*unit, "{}();,")) {
        return None;
    }
    let before = inside.iter().take_while(|unit| is(**unit, "?:")).count() as u32;
    let behind = inside.iter().rev().take_while(|unit| is(**unit, "")).count();
    Some(CountedRange { start: block.start + before, end: (end - behind) as u32, ..*block })
}

impl FileCoverage {
    fn of(text: Option<String>) -> Self {
        FileCoverage { text, ..FileCoverage::default() }
    }

    /// Adds what was counted of the same file elsewhere.
    fn merge(&mut self, other: FileCoverage) {
        let branches: BTreeSet<_> =
            self.branches.keys().chain(other.branches.keys()).copied().collect();
        let told: Vec<_> = branches
            .into_iter()
            .map(|branch| (branch, self.count_of(branch) + other.count_of(branch)))
            .collect();
        self.branches.extend(told);
        for (place, count) in other.statements {
            *self.statements.entry(place).or_default() += count;
        }
        for (place, function) in other.functions {
            let count = function.count;
            match self.functions.get_mut(&place) {
                Some(had) => had.count += count,
                None => drop(self.functions.insert(place, function)),
            }
        }
        self.text = self.text.take().or(other.text);
    }

    /// How often a branch ran; one that is not told of ran as what is in it.
    fn count_of(&self, branch: Branch) -> u64 {
        let inside = || {
            let mut inside = self.statements.range(branch.start..branch.end);
            inside.next().map(|(_, count)| *count)
        };
        self.branches.get(&branch).copied().or_else(inside).unwrap_or(0)
    }

    /// Lines that have statements, and how often each ran: as the statement that ran most.
    pub fn lines(&self) -> BTreeMap<u32, u64> {
        let mut lines = BTreeMap::new();
        for (place, count) in &self.statements {
            let had: &mut u64 = lines.entry(place.line).or_default();
            *had = (*had).max(*count);
        }
        lines
    }

    /// First and last line of what did not run; lines without statements do not part it.
    pub fn uncovered_lines(&self) -> Vec<(u32, u32)> {
        let mut uncovered: Vec<(u32, u32)> = Vec::new();
        let mut goes_on = false;
        for (line, count) in self.lines() {
            match uncovered.last_mut() {
                _ if count > 0 => {}
                Some(last) if goes_on => last.1 = line,
                _ => uncovered.push((line, line)),
            }
            goes_on = count == 0;
        }
        uncovered
    }

    pub fn shares(&self) -> Shares {
        Shares {
            lines: Share::of(self.lines().values()),
            branches: Share::of(self.branches.values()),
            functions: Share::of(self.functions.values().map(|function| &function.count)),
        }
    }
}

impl Share {
    fn of<'a>(counts: impl Iterator<Item = &'a u64>) -> Self {
        counts.fold(Share::default(), |Share { covered, all }, count| Share {
            covered: covered + usize::from(*count > 0),
            all: all + 1,
        })
    }

    fn plus(self, other: Share) -> Share {
        Share { covered: self.covered + other.covered, all: self.all + other.all }
    }

    /// In percent; of nothing, all.
    pub fn percent(self) -> f64 {
        match self.all {
            0 => 100.0,
            all => self.covered as f64 * 100.0 / all as f64,
        }
    }
}

impl Shares {
    /// All files together.
    pub fn of_all(files: &Files) -> Self {
        files.values().map(FileCoverage::shares).fold(Shares::default(), |sum, each| Shares {
            lines: sum.lines.plus(each.lines),
            branches: sum.branches.plus(each.branches),
            functions: sum.functions.plus(each.functions),
        })
    }
}
