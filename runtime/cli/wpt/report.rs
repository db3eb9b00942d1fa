//! What a run came to: the table for people, and the report in wpt.fyi's format:
//! <https://github.com/web-platform-tests/wpt/blob/master/tools/wptrunner/wptrunner/formatters/wptreport.py>

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::manifest::Test;
use super::outcome::{Outcome, Status};

/// One test, what it came to, and what of that nobody expects.
pub struct Ran {
    /// The test.
    pub test: Test,
    /// What it came to.
    pub outcome: Outcome,
    /// Empty if all is as expected.
    pub differences: Vec<String>,
}

/// What one area came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Area {
    /// Its name.
    pub area: String,
    /// Tests that were run, variants counted.
    pub tests: usize,
    /// Tests that were not run.
    pub skipped: usize,
    /// Subtests in all.
    pub subtests: usize,
    /// Subtests that passed.
    pub passed: usize,
    /// Tests that did not end well as a whole.
    pub broken: usize,
    /// What nobody expects.
    pub unexpected: usize,
}

impl Area {
    fn count(&mut self, ran: &Ran) {
        if ran.outcome.status == Status::Skip {
            self.skipped += 1;
            return;
        }
        self.tests += 1;
        self.subtests += ran.outcome.subtests.len();
        self.passed += ran.outcome.passed();
        self.broken += usize::from(ran.outcome.status != Status::Ok);
        self.unexpected += ran.differences.len();
    }
}

/// Areas by name, and last the sum of all.
pub fn areas(ran: &[Ran]) -> Vec<Area> {
    let mut areas: BTreeMap<&str, Area> = BTreeMap::new();
    let mut all = Area { area: "all".to_owned(), ..Area::default() };
    for each in ran {
        let area = each.test.area();
        let named = || Area { area: area.to_owned(), ..Area::default() };
        areas.entry(area).or_insert_with(named).count(each);
        all.count(each);
    }
    areas.into_values().chain([all]).collect()
}

/// The areas as a table.
pub fn table(areas: &[Area]) -> String {
    let width = areas.iter().map(|area| area.area.len()).max().unwrap_or(0).max(4);
    let mut text = format!(
        "{:<width$}  {:>6}  {:>8}  {:>8}  {:>7}  {:>6}  {:>7}  {:>10}\n",
        "area", "tests", "subtests", "passed", "", "broken", "skipped", "unexpected"
    );
    for area in areas {
        #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
        let percent = match area.subtests {
            0 => "-".to_owned(),
            all => format!("{:.1} %", 100.0 * area.passed as f64 / all as f64),
        };
        let Area { area, tests, skipped, subtests, passed, broken, unexpected } = area;
        writeln!(
            text,
            "{area:<width$}  {tests:>6}  {subtests:>8}  {passed:>8}  {percent:>7}  {broken:>6}  \
             {skipped:>7}  {unexpected:>10}"
        )
        .expect("a string takes all");
    }
    text
}

/// The report in wpt.fyi's format.
pub fn wptreport(ran: &[Ran], started_ms: u64, ended_ms: u64) -> serde_json::Value {
    let results = ran.iter().map(|Ran { test, outcome, .. }| {
        serde_json::json!({
            "test": test.id,
            "status": outcome.status,
            "message": outcome.message,
            "subtests": outcome.subtests,
            "duration": outcome.duration_ms,
        })
    });
    serde_json::json!({
        "run_info": {
            "product": "kittiwake",
            "browser_version": env!("CARGO_PKG_VERSION"),
            "os": std::env::consts::OS,
            "processor": std::env::consts::ARCH,
            "debug": cfg!(debug_assertions),
            "headless": true,
        },
        "time_start": started_ms,
        "time_end": ended_ms,
        "results": results.collect::<Vec<_>>(),
    })
}
