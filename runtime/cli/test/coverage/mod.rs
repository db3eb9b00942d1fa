//! `--coverage`: which code of the app the tests run.
//!
//! Invariant: what is told is about the files that people wrote, and counts every world of the run.

mod files;
mod html;
mod machine;
mod scripts;
mod text;
mod threshold;

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use kittiwake::{Coverage, Scenario};
use url::Url;

use super::discovery::Suite;
use super::source_maps::Sources;
use crate::Refusal;
use files::{Files, add};
use threshold::Thresholds;

/// Files that are no part of an app.
const NO_APP: [&str; 2] = ["**/*.test.*", "**/node_modules"];

/// The options of `kittiwake test --coverage`.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Coverage")]
pub struct CoverageOptions {
    /// Tells which code of the app the tests ran, through source maps
    #[arg(long)]
    pub coverage: bool,
    /// text (to standard output), lcov, html or json (to the folder); repeatable [default: text]
    #[arg(long = "coverage-reporter", value_name = "NAME", value_enum, requires = "coverage")]
    reporters: Vec<Reporter>,
    /// Where lcov.info, index.html and coverage-final.json are written
    #[arg(
        long = "coverage-dir",
        value_name = "DIR",
        default_value = "coverage",
        requires = "coverage"
    )]
    folder: PathBuf,
    /// Tells of these files only: `src/**/*.js`, `sw.js`, a folder; repeatable
    #[arg(long = "coverage-include", value_name = "GLOB", requires = "coverage")]
    include: Vec<Pattern>,
    /// Tells of none of these files, nor of test files and node_modules; repeatable
    #[arg(long = "coverage-exclude", value_name = "GLOB", requires = "coverage")]
    exclude: Vec<Pattern>,
    /// Fails if less of all files together ran, in percent; each part may be left out
    #[arg(
        long = "coverage-threshold",
        value_name = "lines=N,branches=N,functions=N",
        requires = "coverage"
    )]
    threshold: Option<Thresholds>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reporter {
    Text,
    Lcov,
    Html,
    Json,
}

/// Names files. Without a slash it is a name in any folder; a folder stands for what is in it.
#[derive(Clone, Debug)]
struct Pattern(String);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.strip_prefix("./").unwrap_or(text).trim_end_matches('/');
        let anywhere = if plain.contains('/') { "" } else { "**/" };
        let pattern = Pattern(format!("{anywhere}{plain}"));
        globs(std::slice::from_ref(&pattern)).map_err(|error| error.to_string())?;
        Ok(pattern)
    }
}

fn globs(patterns: &[Pattern]) -> Result<GlobSet, globset::Error> {
    let mut globs = GlobSetBuilder::new();
    for Pattern(pattern) in patterns {
        for glob in [pattern, &format!("{pattern}/**")] {
            globs.add(GlobBuilder::new(glob).literal_separator(true).build()?);
        }
    }
    globs.build()
}

/// What counts during a run: each suite has its own, because each may have its own folder.
#[derive(Clone)]
pub struct Counts(Vec<Coverage>);

impl Counts {
    /// Counts, if that is asked for.
    pub fn new(options: &CoverageOptions, suites: usize) -> Self {
        let suites = if options.coverage { suites } else { 0 };
        Counts((0..suites).map(|_| Coverage::new()).collect())
    }

    /// What is to count in the worlds of a suite.
    pub fn of(&self, suite: usize) -> Option<Coverage> {
        self.0.get(suite).cloned()
    }
}

/// Tells what ran. Answers what is less than it has to be, in the words of a person.
pub fn report(
    options: &CoverageOptions,
    origin: &Url,
    suites: &[Suite],
    counts: &Counts,
) -> Result<Vec<String>, Refusal> {
    if !options.coverage {
        return Ok(Vec::new());
    }
    let files = options.only_asked_for(files(origin, suites, counts));
    let usual = [Reporter::Text];
    let reporters =
        if options.reporters.is_empty() { usual.as_slice() } else { &options.reporters };
    for reporter in reporters {
        let write = |name: &str, text: String| write(&options.folder.join(name), &text);
        match reporter {
            Reporter::Text => super::report::print(&text::table(&files)),
            Reporter::Lcov => write("lcov.info", machine::lcov(&files))?,
            Reporter::Json => write("coverage-final.json", machine::json(&files))?,
            Reporter::Html => {
                for (name, page) in html::pages(&files) {
                    write(&name, page)?;
                }
            }
        }
    }
    let thresholds = options.threshold.as_ref();
    Ok(thresholds.map(|thresholds| thresholds.missed(&files)).unwrap_or_default())
}

fn files(origin: &Url, suites: &[Suite], counts: &Counts) -> Files {
    let mut files = Files::new();
    for (suite, counted) in suites.iter().zip(&counts.0) {
        let sources = match suite {
            Suite::File { root, .. } => Sources { origin: origin.clone(), root },
            Suite::Scenario(folder) => {
                let own = Scenario::load(folder).map(|scenario| scenario.origin().clone());
                Sources { origin: own.unwrap_or_else(|_| origin.clone()), root: folder }
            }
        };
        for script in counted.scripts() {
            add(&mut files, &script, &sources);
        }
    }
    files
}

fn write(path: &Path, text: &str) -> Result<(), Refusal> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| Refusal::Failure(format!("cannot write {}: {error}", path.display())))
}

impl CoverageOptions {
    fn only_asked_for(&self, mut files: Files) -> Files {
        let no_app = NO_APP.map(|glob| Pattern(glob.to_owned()));
        let [include, exclude, no_app] = [&self.include, &self.exclude, no_app.as_slice()]
            .map(|patterns| globs(patterns).expect("invariant: looked at when they were parsed"));
        files.retain(|name, _| {
            let asked = self.include.is_empty() || include.is_match(name);
            asked && !exclude.is_match(name) && !no_app.is_match(name)
        });
        files
    }
}
