//! For machines: TAP, JUnit's XML, JSON, and GitHub's annotations; and a dot for each test.
//!
//! Invariant: each writes what its format says and nothing beside it.

use std::fmt::Write;

use super::{Ended, Outcome, Report, Summary, name};
use crate::test::failure;

/// TAP 14: <https://testanything.org/tap-version-14-specification.html>. The plan comes last.
#[derive(Default)]
pub struct Tap(usize);

impl Tap {
    pub fn tell(&mut self, report: &Report) -> String {
        let mut text = if self.0 == 0 { "TAP version 14\n".to_owned() } else { String::new() };
        for (case, ended) in report.tests.iter().filter(|(_, ended)| ended.is_told()) {
            self.0 += 1;
            let (word, mark) = match ended.outcome {
                Outcome::Failed => ("not ok", ""),
                Outcome::Skipped => ("ok", " # SKIP"),
                // In two parts, or it would count as something left to do here.
                Outcome::Todo => ("ok", concat!(" # TO", "DO")),
                _ => ("ok", ""),
            };
            let path = report.suite.path().display();
            let name = name(case).replace('\\', "\\\\").replace('#', "\\#");
            line(&mut text, &format!("{word} {} - {path} > {name}{mark}", self.0));
            if ended.outcome == Outcome::Failed {
                line(&mut text, "  ---");
                let message = serde_json::Value::from(messages(ended));
                line(&mut text, &format!("  message: {message}"));
                if let Some(place) = first_place(ended) {
                    let failure::Place { path, line: number, .. } = place;
                    line(&mut text, &format!("  at: \"{}:{number}\"", path.display()));
                }
                line(&mut text, "  ...");
            }
        }
        text
    }

    pub fn finish(&self) -> String {
        let head = if self.0 == 0 { "TAP version 14\n" } else { "" };
        format!("{head}1..{}\n", self.0)
    }
}

/// What CI servers read.
#[derive(Default)]
pub struct Junit(String);

impl Junit {
    pub fn tell(&mut self, report: &Report) {
        let told: Vec<_> = report.tests.iter().filter(|(_, ended)| ended.is_told()).collect();
        let count = |outcomes: &[Outcome]| {
            told.iter().filter(|(_, ended)| outcomes.contains(&ended.outcome)).count()
        };
        let path = escaped(&report.suite.path().display().to_string());
        let text = &mut self.0;
        line(
            text,
            &format!(
                "  <testsuite name=\"{path}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">",
                told.len(),
                count(&[Outcome::Failed]),
                count(&[Outcome::Skipped, Outcome::Todo]),
            ),
        );
        for (case, ended) in &told {
            let time = ended.elapsed.as_secs_f64();
            let name = escaped(&name(case));
            let head =
                format!("    <testcase classname=\"{path}\" name=\"{name}\" time=\"{time}\"");
            match ended.outcome {
                Outcome::Failed => {
                    let messages = messages(ended);
                    let first = escaped(messages.lines().next().unwrap_or_default());
                    let details = escaped(&details(ended));
                    line(text, &format!("{head}>"));
                    line(text, &format!("      <failure message=\"{first}\">{details}</failure>"));
                    line(text, "    </testcase>");
                }
                Outcome::Skipped | Outcome::Todo => {
                    line(text, &format!("{head}><skipped/></testcase>"));
                }
                _ => line(text, &format!("{head}/>")),
            }
        }
        line(text, "  </testsuite>");
    }

    pub fn finish(&self, summary: &Summary) -> String {
        let Summary { passed, failed, skipped, todo, elapsed, .. } = summary;
        let all = passed + failed + skipped + todo;
        let time = elapsed.as_secs_f64();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"kittiwake test\" \
             tests=\"{all}\" failures=\"{failed}\" time=\"{time}\">\n{}</testsuites>\n",
            self.0
        )
    }
}

/// One object a line: a test each, then the sum.
pub fn json(report: &Report) -> String {
    let mut text = String::new();
    for (case, ended) in report.tests.iter().filter(|(_, ended)| ended.is_told()) {
        let failures: Vec<_> = ended
            .run
            .failures
            .iter()
            .map(|failure| {
                let place = failure::places(failure).into_iter().next();
                serde_json::json!({
                    "message": failure.message,
                    "expected": failure.expected,
                    "actual": failure.actual,
                    "file": place.as_ref().map(|place| place.path.display().to_string()),
                    "line": place.as_ref().map(|place| place.line),
                    "column": place.as_ref().map(|place| place.column),
                })
            })
            .collect();
        let console: Vec<_> = ended.run.console.iter().map(|(_, line)| line).collect();
        let object = serde_json::json!({
            "file": report.suite.path().display().to_string(),
            "name": name(case),
            "outcome": ended.outcome.word(),
            "elapsed_ms": ended.elapsed.as_secs_f64() * 1e3,
            "failures": failures,
            "console": console,
            "trace": if failures.is_empty() { None } else { Some(&ended.run.trace) },
        });
        line(&mut text, &object.to_string());
    }
    text
}

/// The last line of [`json`].
pub fn json_sum(summary: &Summary) -> String {
    let Summary { passed, failed, skipped, todo, left_out, elapsed, .. } = summary;
    let object = serde_json::json!({
        "passed": passed,
        "failed": failed,
        "skipped": skipped,
        "todo": todo,
        "left_out": left_out,
        "elapsed_ms": elapsed.as_secs_f64() * 1e3,
    });
    format!("{object}\n")
}

/// Annotations at the lines of a pull request:
/// <https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands>
pub fn github(report: &Report) -> String {
    let mut text = String::new();
    for (case, ended) in &report.tests {
        for failure in &ended.run.failures {
            let place = failure::places(failure).into_iter().next();
            let at = match place {
                Some(failure::Place { path, line, column }) => {
                    let path = property(&path.display().to_string());
                    format!("file={path},line={line},col={column}")
                }
                None => format!("file={}", property(&report.suite.path().display().to_string())),
            };
            let title = property(&name(case));
            let message = data(&failure::plain(failure));
            line(&mut text, &format!("::error {at},title={title}::{message}"));
        }
    }
    text
}

/// A letter for each test.
pub fn dots(report: &Report) -> String {
    let letter = |ended: &Ended| match ended.outcome {
        Outcome::Passed => Some('.'),
        Outcome::Failed => Some('F'),
        Outcome::Skipped | Outcome::Todo => Some('-'),
        Outcome::LeftOut => None,
    };
    report.tests.iter().filter_map(|(_, ended)| letter(ended)).collect()
}

fn messages(ended: &Ended) -> String {
    let messages = ended.run.failures.iter().map(|failure| failure.message.as_str());
    messages.collect::<Vec<_>>().join("\n")
}

fn details(ended: &Ended) -> String {
    ended.run.failures.iter().map(failure::plain).collect::<Vec<_>>().join("\n")
}

fn first_place(ended: &Ended) -> Option<failure::Place> {
    ended.run.failures.iter().find_map(|failure| failure::places(failure).into_iter().next())
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string takes all");
}

/// XML 1.0 has no place for most control characters, not even as references.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => escaped.push('\u{FFFD}'),
            c => escaped.push(c),
        }
    }
    escaped
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
