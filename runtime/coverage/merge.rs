//! Adds up what the engine counted of one script in several realms.
//!
//! The engine leaves out a block that ran as often as what is around it, and a function inside one
//! that never ran. So what one realm tells of, another may not: what is missing there has the count
//! of the innermost range around it.
//!
//! Invariant: adding is commutative; ranges of one source are nested in each other, never across.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::{CountedRange, FunctionCoverage, ScriptCoverage};

/// A script as `Profiler.takePreciseCoverage` tells it.
/// <https://chromedevtools.github.io/devtools-protocol/v8/Profiler/#type-ScriptCoverage>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawScript {
    pub(crate) script_id: String,
    pub(crate) url: String,
    pub(crate) functions: Vec<RawFunction>,
}

/// The first range is the function; the others are blocks of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawFunction {
    pub(crate) function_name: String,
    pub(crate) ranges: Vec<RawRange>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawRange {
    pub(crate) start_offset: u32,
    pub(crate) end_offset: u32,
    pub(crate) count: u64,
}

/// Orders ranges by their start, the outer before the inner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    start: u32,
    end_down: std::cmp::Reverse<u32>,
}

/// All realms together.
pub(super) struct Merged {
    functions: BTreeMap<Span, Function>,
    /// Statements and their counts.
    statements: Vec<(u32, u64)>,
}

#[derive(Default)]
struct Function {
    name: String,
    count: u64,
    blocks: BTreeMap<Span, u64>,
}

impl Span {
    fn new(range: &RawRange) -> Self {
        Span { start: range.start_offset, end_down: std::cmp::Reverse(range.end_offset) }
    }

    fn end(self) -> u32 {
        self.end_down.0
    }

    fn has(self, other: Span) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }

    fn counted(self, count: u64) -> CountedRange {
        CountedRange { start: self.start, end: self.end(), count }
    }
}

impl Merged {
    pub(super) fn new(statements: Vec<u32>) -> Self {
        let statements = statements.into_iter().map(|offset| (offset, 0)).collect();
        Merged { functions: BTreeMap::new(), statements }
    }

    pub(super) fn add(&mut self, raw: &RawScript) {
        for function in &raw.functions {
            let Some((own, blocks)) = function.ranges.split_first() else { continue };
            let merged = self.functions.entry(Span::new(own)).or_default();
            merged.name.clone_from(&function.function_name);
            let blocks = blocks.iter().map(|each| (Span::new(each), each.count)).collect();
            merged.add(own.count, blocks);
        }
        self.count_statements(raw);
    }

    /// A statement ran as often as the innermost range that has it.
    fn count_statements(&mut self, raw: &RawScript) {
        let ranges = raw.functions.iter().flat_map(|function| &function.ranges);
        let mut ranges: Vec<_> = ranges.map(|each| (Span::new(each), each.count)).collect();
        ranges.sort_unstable();
        let mut ranges = ranges.into_iter().peekable();
        let mut around: Vec<(Span, u64)> = Vec::new();
        for (offset, count) in &mut self.statements {
            while let Some(range) = ranges.next_if(|(span, _)| span.start <= *offset) {
                around.retain(|(outer, _)| outer.end() > range.0.start);
                around.push(range);
            }
            around.retain(|(span, _)| span.end() > *offset);
            *count += around.last().map_or(0, |(_, count)| *count);
        }
    }

    pub(super) fn told(&self, url: &str, source: &Arc<str>) -> ScriptCoverage {
        let told = |(span, function): (&Span, &Function)| FunctionCoverage {
            name: function.name.clone(),
            range: span.counted(function.count),
            blocks: function.blocks.iter().map(|(block, count)| block.counted(*count)).collect(),
        };
        ScriptCoverage {
            url: url.to_owned(),
            source: source.clone(),
            statements: self.statements.clone(),
            functions: self.functions.iter().map(told).collect(),
        }
    }
}

impl Function {
    fn add(&mut self, count: u64, blocks: BTreeMap<Span, u64>) {
        let before = innermost_of(self.count, &self.blocks, blocks.keys());
        let now = innermost_of(count, &blocks, self.blocks.keys());
        self.count += count;
        for (block, count) in now {
            *self.blocks.get_mut(&block).expect("one of its own") += count;
        }
        for (block, count) in before {
            let also = blocks[&block];
            // One that both know has been added to just now.
            self.blocks.entry(block).or_insert(count + also);
        }
    }
}

/// How often each of these ran, as far as the others tell: as the innermost one that has it.
fn innermost_of<'a>(
    all: u64,
    known: &BTreeMap<Span, u64>,
    asked: impl Iterator<Item = &'a Span>,
) -> Vec<(Span, u64)> {
    let mut known = known.iter().peekable();
    let mut around: Vec<(Span, u64)> = Vec::new();
    let mut told = Vec::new();
    for block in asked {
        while let Some((span, count)) = known.next_if(|(span, _)| *span <= block) {
            around.retain(|(outer, _)| outer.end() > span.start);
            around.push((*span, *count));
        }
        let has_it = around.iter().rev().find(|(span, _)| span.has(*block));
        told.push((*block, has_it.map_or(all, |(_, count)| *count)));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `start..end` and counts; the first one is the function.
    fn script(ranges: &[(u32, u32, u64)]) -> RawScript {
        let range = |&(start_offset, end_offset, count): &(u32, u32, u64)| RawRange {
            start_offset,
            end_offset,
            count,
        };
        let ranges = ranges.iter().map(range).collect();
        let functions = vec![RawFunction { function_name: String::new(), ranges }];
        RawScript { script_id: "1".to_owned(), url: "https://app.test/sw.js".to_owned(), functions }
    }

    fn merged(scripts: &[&RawScript], statements: &[u32]) -> ScriptCoverage {
        let mut merged = Merged::new(statements.to_vec());
        for script in scripts {
            merged.add(script);
        }
        merged.told("https://app.test/sw.js", &"".into())
    }

    #[test]
    fn a_block_that_one_realm_does_not_tell_of_ran_as_what_is_around_it() {
        let taken = script(&[(0, 100, 2), (20, 40, 0)]);
        let other = script(&[(0, 100, 3)]);
        let expected = vec![CountedRange { start: 20, end: 40, count: 3 }];
        for order in [[&taken, &other], [&other, &taken]] {
            let merged = merged(&order, &[]);
            assert_eq!(merged.functions[0].range.count, 5);
            assert_eq!(merged.functions[0].blocks, expected);
        }
    }

    #[test]
    fn blocks_in_blocks_add_up_in_any_order() {
        let one = script(&[(0, 100, 1), (10, 90, 4), (20, 30, 0)]);
        let two = script(&[(0, 100, 1), (20, 30, 5), (22, 25, 2)]);
        let three = script(&[(0, 100, 0)]);
        let expected = [(10, 90, 4 + 1), (20, 30, 5), (22, 25, 2)]
            .map(|(start, end, count)| CountedRange { start, end, count });
        for order in [[&one, &two, &three], [&three, &two, &one], [&two, &three, &one]] {
            assert_eq!(merged(&order, &[]).functions[0].blocks, expected);
        }
    }

    #[test]
    fn a_statement_ran_as_often_as_the_innermost_range_around_it() {
        let one = script(&[(0, 100, 1), (10, 90, 4), (20, 30, 0), (40, 50, 7)]);
        let two = script(&[(0, 100, 1)]);
        let merged = merged(&[&one, &two], &[0, 10, 25, 30, 45, 60, 95]);
        let counts: Vec<_> = merged.statements.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 5, 1, 5, 8, 5, 2]);
    }
}
