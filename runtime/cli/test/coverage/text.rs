//! The table for people.
//!
//! Invariant: colours are here always; they are taken away where no person would see them.

use anstyle::Style;

use super::files::{Files, Share, Shares};
use crate::test::report::{BOLD, DIM, GREEN, RED, YELLOW};

/// So many stretches of lines are named.
const STRETCHES: usize = 8;

/// From these percentages on it is good, or not bad.
const GOOD: f64 = 80.0;
const NOT_BAD: f64 = 50.0;

/// A line for each file, and one for all.
pub fn table(files: &Files) -> String {
    if files.is_empty() {
        return "\ncoverage: no script of the app was loaded\n".to_owned();
    }
    let all = "all files";
    let width = files.keys().map(|name| name.chars().count()).chain([all.len()]).max();
    let width = width.unwrap_or_default();
    let mut text = format!(
        "\n{BOLD}{:<width$}     lines  branches  functions  uncovered lines{BOLD:#}\n",
        "coverage"
    );
    for (name, file) in files {
        let uncovered = stretches(&file.uncovered_lines());
        text.push_str(&line(name, width, file.shares(), &uncovered));
    }
    text.push_str(&line(all, width, Shares::of_all(files), ""));
    text
}

fn line(name: &str, width: usize, shares: Shares, uncovered: &str) -> String {
    let Shares { lines, branches, functions } = shares;
    let [lines, branches, functions] =
        [(lines, 8), (branches, 8), (functions, 9)].map(|(share, width)| cell(share, width));
    let line = format!("{name:<width$}  {lines}  {branches}  {functions}");
    match uncovered {
        "" => format!("{line}\n"),
        uncovered => format!("{line}  {RED}{uncovered}{RED:#}\n"),
    }
}

fn cell(share: Share, width: usize) -> String {
    if share.all == 0 {
        return format!("{DIM}{:>width$}{DIM:#}", "-");
    }
    let style = style(share);
    format!("{style}{:>width$}{style:#}", format!("{:.2} %", share.percent()))
}

fn style(share: Share) -> Style {
    match share.percent() {
        percent if percent >= GOOD => GREEN,
        percent if percent >= NOT_BAD => YELLOW,
        _ => RED,
    }
}

/// `3, 7-9`.
fn stretches(lines: &[(u32, u32)]) -> String {
    let told = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let mut text = lines.iter().take(STRETCHES).map(told).collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = lines.len().checked_sub(STRETCHES) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
