//! For people: each test a line, what failed with where and why.
//!
//! Invariant: colours are here always; they are taken away where no person would see them.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use kittiwake::ConsoleLevel;

use super::{Ended, Outcome, Report, Summary, name};
use crate::test::discovery::Suite;
use crate::test::failure;

pub const RED: Style = AnsiColor::Red.on_default();
pub const GREEN: Style = AnsiColor::Green.on_default();
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
pub const DIM: Style = Style::new().dimmed();
pub const BOLD: Style = Style::new().bold();

/// From then on a test's time is worth a line.
const SLOW: Duration = Duration::from_secs(1);

/// How much of a trace is shown.
const TRACE_LINES: usize = 8;

/// How many of the slowest are named.
const SLOWEST: usize = 3;

/// The usual reporter.
#[derive(Default)]
pub struct Pretty {
    failed: Vec<String>,
    /// What dots could not say.
    details: String,
}

impl Pretty {
    /// The suite's lines.
    pub fn tell(&mut self, report: &Report) -> String {
        let mut text = String::new();
        let path = report.suite.path().display();
        let served = match &report.suite {
            Suite::File { root, .. } => format!("  {DIM}(serves {}){DIM:#}", root.display()),
            Suite::Scenario(_) => String::new(),
        };
        text.push_str(&format!("{BOLD}{path}{BOLD:#}{served}\n"));
        for (case, ended) in &report.tests {
            let (style, mark) = match ended.outcome {
                Outcome::Passed => (GREEN, "✓"),
                Outcome::Failed => (RED, "✗"),
                Outcome::Skipped => (YELLOW, "- skipped:"),
                Outcome::Todo => (YELLOW, "- todo:"),
                Outcome::LeftOut => continue,
            };
            let name = name(case);
            let time = match ended.outcome {
                Outcome::Passed | Outcome::Failed => time_text(ended.elapsed),
                _ => String::new(),
            };
            text.push_str(&format!("  {style}{mark}{style:#} {name}{DIM}{time}{DIM:#}\n"));
            console(&mut text, ended);
            for exception in &ended.run.uncaught_elsewhere {
                text.push_str(&format!("      {YELLOW}nobody caught{YELLOW:#} {exception}\n"));
            }
            for failure in &ended.run.failures {
                text.push_str(&failure::text(failure));
            }
            if ended.outcome == Outcome::Failed {
                end_of_trace(&mut text, &ended.run.trace);
            }
            if ended.outcome == Outcome::Failed {
                self.failed.push(format!("{path} > {name}"));
            }
        }
        text
    }

    /// A letter for each test; what failed is told at the end.
    pub fn tell_dots(&mut self, report: &Report) -> String {
        let dots = super::machine::dots(report);
        let failed = report.tests.iter().any(|(_, ended)| ended.outcome == Outcome::Failed);
        if failed {
            let whole = self.tell(report);
            self.details.push_str(&whole);
        }
        dots
    }

    /// What failed, what was slow, and the sum.
    pub fn finish(&self, summary: &Summary) -> String {
        let mut text = String::new();
        if !self.details.is_empty() {
            text.push_str(&format!("\n{}", self.details));
        }
        if self.failed.len() > 1 {
            text.push_str(&format!("\n{RED}failed:{RED:#}\n"));
            for name in &self.failed {
                text.push_str(&format!("  {name}\n"));
            }
        }
        let mut slowest: Vec<_> = summary.times.iter().filter(|(_, time)| *time > SLOW).collect();
        slowest.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        if !slowest.is_empty() {
            text.push_str("\nslowest:\n");
        }
        for (name, time) in slowest.into_iter().take(SLOWEST) {
            text.push_str(&format!("  {DIM}{:>6}ms{DIM:#}  {name}\n", time.as_millis()));
        }
        text.push('\n');
        text.push_str(&sum(summary));
        text
    }
}

/// The last lines.
pub fn sum(summary: &Summary) -> String {
    let Summary { passed, failed, skipped, todo, left_out, .. } = summary;
    let mut parts = Vec::new();
    if *failed > 0 {
        parts.push(format!("{RED}{failed} failed{RED:#}"));
    }
    parts.push(format!("{GREEN}{passed} passed{GREEN:#}"));
    for (count, word) in [(skipped, "skipped"), (todo, "todo"), (left_out, "left out")] {
        if *count > 0 {
            parts.push(format!("{YELLOW}{count} {word}{YELLOW:#}"));
        }
    }
    let nothing = if passed + failed == 0 { "; no test ran" } else { "" };
    let written = match summary.snapshots_written {
        0 => String::new(),
        1 => "1 snapshot written; look at it before you commit it\n".to_owned(),
        count => format!("{count} snapshots written; look at them before you commit them\n"),
    };
    let time = time_text(summary.elapsed);
    format!("{written}{}{nothing}{DIM}{time}{DIM:#}\n", parts.join(", "))
}

/// What happened before it went wrong.
fn end_of_trace(text: &mut String, trace: &[String]) {
    if trace.is_empty() {
        return;
    }
    let left_out = trace.len().saturating_sub(TRACE_LINES);
    let more = if left_out > 0 { format!(" ({left_out} lines before)") } else { String::new() };
    text.push_str(&format!("      {DIM}the end of the trace{more}:\n"));
    for line in &trace[left_out..] {
        text.push_str(&format!("        {line}\n"));
    }
    text.push_str(&format!("{DIM:#}\n"));
}

fn console(text: &mut String, ended: &Ended) {
    for (level, line) in &ended.run.console {
        let style = match level {
            ConsoleLevel::Error => RED,
            ConsoleLevel::Warn => YELLOW,
            _ => DIM,
        };
        for line in line.lines() {
            text.push_str(&format!("      {style}| {line}{style:#}\n"));
        }
    }
}

fn time_text(time: Duration) -> String {
    format!("  {}ms", time.as_millis())
}
