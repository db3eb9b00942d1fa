//! `kittiwake test`: tests in JavaScript, and scenario folders, each in a world of its own.
//!
//! Invariant: whatever one test does, the others run, and the exit code is 1 if one of them failed.

mod coverage;
mod discovery;
mod failed;
mod failure;
mod first_test;
mod last_words;
mod report;
mod run;
mod scenario;
mod snapshots;
mod source_maps;
mod watch;

use std::io::Write;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use kittiwake::Inspector;
use url::Url;

use crate::files::{default_origin, parse_origin};
use crate::inspect::InspectOptions;
use crate::output::fail;
use crate::trace_page::{TracePage, TracedRun};
use crate::{Refusal, asked_to_stop, block_on};
use coverage::{Counts, CoverageOptions};
use discovery::{Suite, discover};
use report::{Choice, Report, Reporters, Summary};
use run::{Listener, Onlookers, run_all};
use watch::{Asked, Watched, touches};

pub use first_test::{InitOptions, init};

/// The options of `kittiwake test`.
#[derive(Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct TestOptions {
    /// Test files (*.test.js and *.test.mjs in a page, *.worker.test.js in a worker's scope),
    /// scenario folders, or folders of them [default: .]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The folder that is served at the origin [default: the nearest one above the test file that
    /// has an index.html or a service worker, else the test file's own]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The origin of the app under test [default: https://app.test]
    #[arg(long, value_name = "URL", value_parser = parse_origin)]
    origin: Option<Url>,
    /// Runs only tests whose name has this in it
    #[arg(long, short = 't', value_name = "TEXT")]
    filter: Option<String>,
    /// Seeds the worlds' random numbers
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// Real time that a test may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_limit)]
    timeout: Duration,
    /// How many worlds run at once [default: one a processor]
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<NonZeroUsize>,
    /// Runs only the tests that failed last
    #[arg(long)]
    only_failed: bool,
    /// Runs again what a changed file touches, until somebody stops it
    #[arg(long)]
    watch: bool,
    /// Ends with the first failure
    #[arg(long)]
    bail: bool,
    /// Runs one part of so many: `1/4`. All machines of a CI run together run all files once
    #[arg(long, value_name = "PART/PARTS")]
    shard: Option<Part>,
    /// Runs each test so many times, each time with the next seed
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    repeat: NonZeroU64,
    /// Accepts what there is now as the snapshots, and as the traces of scenarios
    #[arg(long, short)]
    update: bool,
    /// Accepts no snapshot, not even a new one
    #[arg(long, conflicts_with = "update")]
    ci: bool,
    /// Who tells: pretty, dot, tap, junit, json or github; to a file with `=FILE`; repeatable
    /// [default: pretty]
    #[arg(long, value_name = "NAME[=FILE]")]
    reporter: Vec<Choice>,
    /// Writes a page that shows what happened in each test over time, to be opened in a browser
    #[arg(long, value_name = "FILE")]
    trace_html: Option<PathBuf>,
    #[command(flatten)]
    coverage: CoverageOptions,
    #[command(flatten)]
    inspect: InspectOptions,
}

/// A part of the files.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// 1-based.
    number: usize,
    of: usize,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(number, of)| {
            Some(Part { number: number.parse().ok()?, of: of.parse().ok()? })
        });
        let fits = |part: &Part| 1 <= part.number && part.number <= part.of;
        parsed.filter(fits).ok_or_else(|| "write it as in `1/4`".to_owned())
    }
}

const EXAMPLES: &str = "Examples:
  kittiwake test                                # every test below this folder
  kittiwake test tests/outbox.test.js           # one file
  kittiwake test --filter 'sends it again'      # by name
  kittiwake test --root public tests            # the app is in public/
  kittiwake test --watch                        # on every save
  kittiwake test --only-failed --bail           # until it is mended
  kittiwake test --shard 1/4 --ci --reporter github --reporter junit=report.xml
  kittiwake test --coverage --coverage-reporter text --coverage-reporter html
  kittiwake test --inspect-brk --filter 'sends it again'
  kittiwake test --repeat 100 --filter lossy    # with 100 seeds
  kittiwake test --trace-html trace.html        # look at what happened, in a browser

A test:
  import { test, expect } from \"kittiwake:test\";

  test(\"the outbox is sent when the network returns\", async ({ worker, network, server }) => {
    server.on(\"POST /outbox\", [503, 204]);
    const { sync } = await worker.register(\"/sw.js\");
    await network.offline();
    await sync.register(\"outbox\");
    await network.online();
    expect(server.requests).toHaveLength(1);
  });

One of what a worker is made of, in NAME.worker.test.js:
  import { test, expect } from \"kittiwake:test\";
  importScripts(\"/sw.js\");

  test(\"a letter has an address\", () => expect(addressOf(registration)).toBe(\"/outbox\"));";

fn parse_limit(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("no test is that quick; write it as in `10s`".to_owned()),
        Ok(limit) => Ok(limit),
        Err(error) => Err(format!("{error}; write it as in `10s`")),
    }
}

/// Nobody lives to see the end of it.
const ENDLESS: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Looks for tests, runs them, and tells what became of them.
pub fn run(mut options: TestOptions) -> Result<ExitCode, Refusal> {
    if options.inspect.is_on() {
        // Whoever looks at one thing takes their time.
        options.jobs = Some(NonZeroUsize::MIN);
        options.timeout = ENDLESS;
    }
    last_words::prepare(options.timeout);
    block_on(async {
        let suites = suites(&options)?;
        let inspector = options.inspect.listen()?;
        if options.watch {
            tokio::select! {
                ended = run_again_and_again(&options, suites, inspector.clone()) => return ended,
                () = asked_to_stop() => return Ok(ExitCode::SUCCESS),
            }
        }
        let is_part = options.shard.is_some();
        let (summary, covered) =
            run_once(&options, suites, inspector, &mut Asked::default()).await?;
        let good = summary.is_good() || is_part && summary.failed == 0;
        let good = good && covered == Covered::Enough;
        Ok(ExitCode::from(u8::from(!good)))
    })?
}

fn suites(options: &TestOptions) -> Result<Vec<Suite>, Refusal> {
    let mut suites = discover(&options.paths, options.root.as_deref())?;
    if let Some(Part { number, of }) = options.shard {
        let all = std::mem::take(&mut suites).into_iter().enumerate();
        suites.extend(all.filter(|(place, _)| place % of == number - 1).map(|(_, suite)| suite));
    }
    Ok(suites)
}

async fn run_again_and_again(
    options: &TestOptions,
    mut touched: Vec<Suite>,
    inspector: Option<Inspector>,
) -> Result<ExitCode, Refusal> {
    let mut asked = Asked::default();
    loop {
        let mut watched = Watched::new(&suites(options)?, &asked);
        run_once(options, touched, inspector.clone(), &mut asked).await?;
        watched.add(&asked);
        note("waiting for a change; Ctrl-C ends");
        touched = loop {
            let changed = watched.changed().await;
            // While somebody moves files about, there may be none.
            let Ok(suites) = suites(options) else { continue };
            let is_touched =
                |suite: &Suite| changed.iter().any(|file| touches(file, suite, &asked));
            let touched: Vec<_> = suites.into_iter().filter(is_touched).collect();
            if !touched.is_empty() {
                break touched;
            }
        };
    }
}

/// Whether as much of the app ran as has to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Covered {
    Enough,
    TooLittle,
}

async fn run_once(
    options: &TestOptions,
    suites: Vec<Suite>,
    inspector: Option<Inspector>,
    asked: &mut Asked,
) -> Result<(Summary, Covered), Refusal> {
    let unusable =
        |error| Refusal::Failure(format!("cannot keep which tests failed in .kittiwake: {error}"));
    let failed = failed::Names::load().map_err(unusable)?;
    let only = options.only_failed.then(|| failed.clone()).filter(|names| !names.is_empty());
    if options.only_failed && only.is_none() {
        note("no test failed last; all run");
    }
    let page = options.trace_html.clone().map(TracePage::create).transpose()?;
    let traced = page.is_some().then(Vec::new);
    let mut telling =
        Telling { reporters: Reporters::new(&options.reporter), failed, traced, asked };
    let counts = Counts::new(&options.coverage, suites.len());
    let onlookers = Onlookers { counts: counts.clone(), inspector };
    let summary = run_all(options, &suites, onlookers, only, &mut telling).await?;
    telling.reporters.finish(&summary).map_err(|(file, error)| {
        Refusal::Failure(format!("cannot write {}: {error}", file.display()))
    })?;
    telling.failed.save().map_err(unusable)?;
    if let (Some(page), Some(runs)) = (page, telling.traced) {
        page.write("kittiwake test", &runs)?;
    }
    let missed = coverage::report(&options.coverage, &options.origin(), &suites, &counts)?;
    for missed in &missed {
        fail(missed);
    }
    Ok((summary, if missed.is_empty() { Covered::Enough } else { Covered::TooLittle }))
}

/// The reporters, and the list of what failed.
struct Telling<'a> {
    reporters: Reporters,
    failed: failed::Names,
    /// For the page, if one is to be written.
    traced: Option<Vec<TracedRun>>,
    /// For whoever watches.
    asked: &'a mut Asked,
}

impl Listener for Telling<'_> {
    fn tell(&mut self, report: Report) {
        self.asked.note(&report);
        self.failed.update(&report);
        self.reporters.tell(&report);
        if let Some(traced) = &mut self.traced {
            traced.extend(report.traced());
        }
    }

    fn progress(&mut self, ended: usize, known: usize) {
        self.reporters.progress(ended, known);
    }
}

fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

impl TestOptions {
    fn origin(&self) -> Url {
        self.origin.clone().unwrap_or_else(default_origin)
    }

    fn jobs(&self) -> usize {
        let jobs = self.jobs.or_else(|| std::thread::available_parallelism().ok());
        jobs.map_or(1, NonZeroUsize::get)
    }
}
