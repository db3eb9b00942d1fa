//! `kittiwake test`: tests in JavaScript, and scenario folders, each in a world of its own.
//!
//! Invariant: whatever one test does, the others run, and the exit code is 1 if one of them failed.

mod discovery;
mod failure;
mod report;
mod run;
mod scenario;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use url::Url;

use crate::files::{default_origin, parse_origin};
use crate::{Refusal, block_on};
use discovery::discover;
use report::{Report, Reporter};
use run::run_all;

/// The options of `kittiwake test`.
#[derive(Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct TestOptions {
    /// Test files (*.test.js, *.test.mjs), scenario folders, or folders of them [default: .]
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
    /// Lists the tests and runs none
    #[arg(long)]
    list: bool,
}

const EXAMPLES: &str = "Examples:
  kittiwake test                                # every test below this folder
  kittiwake test tests/outbox.test.js           # one file
  kittiwake test --filter 'sends it again'      # by name
  kittiwake test --root public tests            # the app is in public/

A test:
  import { test, expect } from \"kittiwake:test\";

  test(\"the outbox is sent when the network returns\", async ({ worker, network, server }) => {
    server.on(\"POST /outbox\", [503, 204]);
    const { sync } = await worker.register(\"/sw.js\");
    await network.offline();
    await sync.register(\"outbox\");
    await network.online();
    expect(server.requests).toHaveLength(1);
  });";

fn parse_limit(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("no test is that quick; write it as in `10s`".to_owned()),
        Ok(limit) => Ok(limit),
        Err(error) => Err(format!("{error}; write it as in `10s`")),
    }
}

/// Looks for tests, runs them, and tells what became of them.
pub fn run(options: TestOptions) -> Result<ExitCode, Refusal> {
    let suites = discover(&options.paths, options.root.as_deref())?;
    let mut reporter = Reporter::new();
    let summary = block_on(run_all(&options, suites, &mut |report: Report| {
        reporter.tell(&report);
    }))??;
    reporter.finish(&summary);
    Ok(ExitCode::from(u8::from(!summary.is_good())))
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
