//! A failure as a person reads it: what is wrong, how two values differ, and the line of the test.
//!
//! Invariant: paths are as the person would type them, and no line is of Kittiwake's own scripts.

use std::path::{Path, PathBuf};

use kittiwake::TestFailure;
use similar::{ChangeTag, TextDiff};
use url::Url;

use super::report::{BOLD, DIM, GREEN, RED};

/// Lines of a difference that stay around what changed.
const CONTEXT: usize = 3;

/// Lines of a test's source that are shown around the one that failed.
const AROUND: usize = 2;

const INDENT: &str = "      ";

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From the folder in which the command was started, if it is below that.
    pub path: PathBuf,
    /// 1-based.
    pub line: usize,
    /// 1-based.
    pub column: usize,
}

/// The whole of it, indented.
pub fn text(failure: &TestFailure) -> String {
    let mut text = String::new();
    for (number, line) in failure.message.lines().enumerate() {
        let style = if number == 0 { RED } else { anstyle::Style::new() };
        text.push_str(&format!("{INDENT}{style}{line}{style:#}\n"));
    }
    if let (Some(expected), Some(actual)) = (&failure.expected, &failure.actual) {
        text.push_str(&difference(expected, actual));
    }
    let places = places(failure);
    if let Some(place) = places.first() {
        text.push_str(&excerpt(place));
    }
    for place in &places {
        let Place { path, line, column } = place;
        text.push_str(&format!("{INDENT}{DIM}at {}:{line}:{column}{DIM:#}\n", path.display()));
    }
    text
}

/// The same without colours and indentation.
pub fn plain(failure: &TestFailure) -> String {
    let text = anstream::adapter::strip_str(&text(failure)).to_string();
    let lines = text.lines().map(|line| line.strip_prefix(INDENT).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// How two texts differ, by their lines.
fn difference(expected: &str, actual: &str) -> String {
    if expected == actual {
        return String::new();
    }
    let mut text = format!("{INDENT}{GREEN}- expected{GREEN:#}\n{INDENT}{RED}+ actual{RED:#}\n\n");
    let diff = TextDiff::from_lines(expected, actual);
    for (number, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if number > 0 {
            text.push_str(&format!("{INDENT}{DIM}...{DIM:#}\n"));
        }
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let (sign, style) = match change.tag() {
                ChangeTag::Delete => ('-', GREEN),
                ChangeTag::Insert => ('+', RED),
                ChangeTag::Equal => (' ', DIM),
            };
            let line = change.value().trim_end_matches('\n');
            text.push_str(&format!("{INDENT}{style}{sign} {line}{style:#}\n"));
        }
    }
    text.push('\n');
    text
}

/// The lines around a place, with a mark below it.
fn excerpt(place: &Place) -> String {
    let Ok(source) = std::fs::read_to_string(&place.path) else { return String::new() };
    let mut text = String::from("\n");
    let first = place.line.saturating_sub(AROUND + 1);
    for (number, line) in source.lines().enumerate().skip(first).take(2 * AROUND + 1) {
        let number = number + 1;
        let line: String = line.chars().take(120).collect();
        if number != place.line {
            text.push_str(&format!("{INDENT}{DIM}  {number:>4} | {line}{DIM:#}\n"));
            continue;
        }
        text.push_str(&format!("{INDENT}{RED}>{RED:#} {number:>4} | {BOLD}{line}{BOLD:#}\n"));
        let blank = " ".repeat(place.column.saturating_sub(1));
        text.push_str(&format!("{INDENT}       | {blank}{RED}^{RED:#}\n"));
    }
    text.push('\n');
    text
}

/// The places of a failure's stack, the innermost first, and none of Kittiwake's own.
pub fn places(failure: &TestFailure) -> Vec<Place> {
    let mut places: Vec<_> =
        failure.stack.iter().flat_map(|stack| stack.lines()).filter_map(place_in).collect();
    if places.is_empty() {
        places.extend(failure.message.lines().filter_map(place_in));
    }
    places.dedup();
    places
}

/// The place that a line of a stack names: `at name (file:///a/b.js:3:5)`.
fn place_in(line: &str) -> Option<Place> {
    let start = line.find("file://").or_else(|| line.find("https://"))?;
    let rest = &line[start..];
    let end = rest.find([')', ' ']).unwrap_or(rest.len());
    let (rest, column) = rest[..end].rsplit_once(':')?;
    let (url, line) = rest.rsplit_once(':')?;
    let (line, column) = (line.parse().ok()?, column.parse().ok()?);
    let path = match Url::parse(url).ok()? {
        url if url.scheme() == "file" => below_here(&url.to_file_path().ok()?),
        url => PathBuf::from(url.as_str()),
    };
    Some(Place { path, line, column })
}

/// As a person in this folder would name it.
fn below_here(path: &Path) -> PathBuf {
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).to_owned()
}
