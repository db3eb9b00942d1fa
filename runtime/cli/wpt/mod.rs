//! `kittiwake wpt`: the web-platform-tests that are for service workers, and for their pages.
//!
//! Invariant: whatever differs from the expectations fails the run, an unexpected pass too.

mod checkout;
mod expectations;
mod manifest;
mod outcome;
mod processes;
mod report;
mod session;
mod site;
mod wptserve;

use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Refusal;
use crate::output::Format;
use checkout::Checkout;
use expectations::{Expectations, Expected};
use manifest::{Test, tests};
use outcome::{Outcome, Status, SubtestStatus};
use processes::{Job, Setup, run_all};
use report::{Ran, areas, table, wptreport};
use wptserve::Wptserve;

pub use processes::serve_jobs;

/// How much more time a long test gets.
const LONG: u32 = 6;

/// The options of `kittiwake wpt`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct WptOptions {
    /// A checkout of web-platform-tests; given again, the first one that has a file wins
    #[arg(long, value_name = "DIR", required = true)]
    root: Vec<PathBuf>,
    /// Files and folders below the root [default: every file that the expectations name]
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// Compares with the expectations in this folder
    #[arg(long, value_name = "DIR", default_value = "fixtures/wpt")]
    expectations: PathBuf,
    /// Makes what happened the expectation; failures that are new then need a reason
    #[arg(long)]
    update_expectations: bool,
    /// Writes a report in wpt.fyi's format
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Lists the tests and runs none
    #[arg(long)]
    list: bool,
    /// Runs only tests whose name has this in it
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// How many tests run at once [default: one a processor]
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<NonZeroUsize>,
    /// How long a test may take; one that says `timeout=long` gets six times as much
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_limit)]
    timeout: Duration,
    /// The Python that runs the checkout's wptserve; `none` leaves out what needs it
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: String,
    /// Shows every test with what failed in it and why
    #[arg(long, short)]
    verbose: bool,
    /// How the outcomes are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const EXAMPLES: &str = "Examples:
  kittiwake wpt --root ../wpt                          # all that the expectations name
  kittiwake wpt --root ../wpt url encoding/api-basics.any.js --verbose
  kittiwake wpt --root ../wpt fetch --report wptreport.json
  kittiwake wpt --root ../wpt fetch --update-expectations
  kittiwake wpt --root ../newer-excerpt --root ../older-checkout service-workers/cache-storage";

fn parse_limit(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("no test is that quick; write it as in `10s`".to_owned()),
        Ok(limit) => Ok(limit),
        Err(error) => Err(format!("{error}; write it as in `10s`")),
    }
}

/// Plans, runs, compares and tells.
pub fn run(options: &WptOptions) -> Result<ExitCode, Refusal> {
    let checkout = Checkout::open(&options.root)?;
    let mut expectations = Expectations::load(&options.expectations)?;
    let selected = select(options, &checkout, &expectations)?;
    if options.list {
        for test in &selected {
            line(&test.id);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let python = match options.python.as_str() {
        "none" => None,
        python => match Wptserve::start(&checkout, python) {
            Ok(running) => Some(running),
            Err(cause) => {
                note(&format!("tests that need Python are left out: {cause}"));
                None
            }
        },
    };
    let setup = Setup {
        roots: checkout.roots().to_vec(),
        python: python.as_ref().map(|running| running.ports),
    };
    let started = now_ms();
    let ran = run_selected(options, selected, &setup, &expectations)?;
    let ended = now_ms();
    drop(python);
    if let Some(file) = &options.report {
        let report = wptreport(&ran, started, ended).to_string();
        std::fs::write(file, report).map_err(|error| {
            Refusal::Failure(format!("cannot write the report {}: {error}", file.display()))
        })?;
    }
    tell_summary(options, &ran);
    if options.update_expectations {
        for each in &ran {
            expectations.update(&each.test, &each.outcome);
        }
        let unexplained = expectations.save()?;
        let folder = options.expectations.display();
        match unexplained {
            0 => note(&format!("the expectations in {folder} say what happened")),
            count => {
                note(&format!("{count} failures in {folder} are `unexplained`; give each a reason"))
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let unexpected = ran.iter().any(|each| !each.differences.is_empty());
    Ok(ExitCode::from(u8::from(unexpected)))
}

/// The tests that the options ask for, in order.
fn select(
    options: &WptOptions,
    checkout: &Checkout,
    expectations: &Expectations,
) -> Result<Vec<Test>, Refusal> {
    let mut selected = Vec::new();
    if options.paths.is_empty() && !expectations.is_empty() {
        let mut missing = 0;
        let is_named = |test: &Test| expectations.of(test).is_some();
        for file in expectations.files() {
            match tests(checkout, &file, &expectations.also) {
                Ok(found) => selected.extend(found.into_iter().filter(is_named)),
                Err(_) => missing += 1,
            }
        }
        if missing > 0 {
            note(&format!("{missing} files that the expectations name are not in the checkout"));
        }
    }
    let everything = [String::new()];
    let paths = match (options.paths.as_slice(), expectations.is_empty()) {
        ([], true) => everything.as_slice(),
        (paths, _) => paths,
    };
    for path in paths {
        selected.extend(tests(checkout, path, &expectations.also)?);
    }
    if let Some(text) = &options.filter {
        selected.retain(|test| test.id.contains(text.as_str()));
    }
    selected.sort_by(|a, b| a.id.cmp(&b.id));
    selected.dedup();
    match selected.is_empty() {
        true => Err(Refusal::Failure("no test for a service worker is there".to_owned())),
        false => Ok(selected),
    }
}

fn run_selected(
    options: &WptOptions,
    selected: Vec<Test>,
    setup: &Setup,
    expectations: &Expectations,
) -> Result<Vec<Ran>, Refusal> {
    let mut ran = Vec::new();
    let mut jobs = Vec::new();
    for test in selected {
        match expectations.skipped(&test).or_else(|| out_of_scope(&test, expectations)) {
            Some(reason) => {
                let outcome = Outcome::of(Status::Skip, reason);
                let each = Ran { test, outcome, differences: Vec::new() };
                tell(options, &each);
                ran.push(each);
            }
            None => {
                let limit = if test.long { LONG * options.timeout } else { options.timeout };
                jobs.push(Job { test, limit });
            }
        }
    }
    let count = options.jobs.or_else(|| std::thread::available_parallelism().ok());
    let count = count.map_or(1, NonZeroUsize::get);
    let mut ended = 0;
    run_all(&jobs, count, setup, |number, outcome| {
        ended += 1;
        let test = jobs[number].test.clone();
        let differences = differences(expectations, &test, &outcome);
        let each = Ran { test, outcome, differences };
        clear_progress();
        tell(options, &each);
        tell_progress(ended, jobs.len());
        ran.push(each);
    })?;
    clear_progress();
    ran.sort_by(|a, b| a.test.id.cmp(&b.test.id));
    Ok(ran)
}

/// A test that lacks something is not run, unless the expectations name it.
fn out_of_scope(test: &Test, expectations: &Expectations) -> Option<String> {
    test.lacks.clone().filter(|_| expectations.of(test).is_none())
}

/// Without an expectation, every failure is unexpected.
fn differences(expectations: &Expectations, test: &Test, outcome: &Outcome) -> Vec<String> {
    if outcome.status == Status::Skip {
        return Vec::new();
    }
    let expected = expectations.of(test);
    expected.unwrap_or_else(|| Expected::all_of(outcome.passed())).differences(outcome)
}

fn tell(options: &WptOptions, ran: &Ran) {
    let Ran { test, outcome, differences } = ran;
    if options.format == Format::Json {
        line(
            &serde_json::json!({
                "test": test.id,
                "status": outcome.status,
                "message": outcome.message,
                "subtests": outcome.subtests,
                "unexpected": differences,
            })
            .to_string(),
        );
        return;
    }
    if options.verbose {
        let (passed, all) = (outcome.passed(), outcome.subtests.len());
        line(&format!("{}  {:?}  {passed} of {all}", test.id, outcome.status));
        outcome.message.iter().for_each(|message| line(&format!("    {message}")));
        let failed = outcome.subtests.iter().filter(|each| each.status != SubtestStatus::Pass);
        for subtest in failed {
            let message = subtest.message.as_deref().unwrap_or("no message");
            let text = format!("{:?}  {}: {message}", subtest.status, subtest.name);
            line(&format!("    {}", one_line(&text)));
        }
    } else if !differences.is_empty() && !options.update_expectations {
        line(&test.id);
        differences.iter().for_each(|difference| line(&format!("    {}", one_line(difference))));
    }
}

fn tell_summary(options: &WptOptions, ran: &[Ran]) {
    let areas = areas(ran);
    match options.format {
        Format::Text => line(table(&areas).trim_end()),
        Format::Json => line(&serde_json::json!({ "areas": areas }).to_string()),
    }
}

fn tell_progress(ended: usize, all: usize) {
    if io::stderr().is_terminal() {
        // Only for somebody who watches.
        let _ = write!(io::stderr(), "{ended} of {all} tests");
    }
}

fn clear_progress() {
    if io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', "\\n")
}

fn line(text: &str) {
    // Whoever reads may have had enough.
    let _ = writeln!(anstream::stdout(), "{text}");
}

fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

#[expect(clippy::disallowed_methods, reason = "a report says when it was made; no script sees it")]
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
