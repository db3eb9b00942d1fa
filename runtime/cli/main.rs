//! The command `kittiwake`. It uses the library's public API only.
//!
//! Invariant: the exit code is 0 if what was asked for was done, every sync included, 1 if
//! something failed, 2 for wrong usage.

mod daemon;
mod drive;
mod event;
mod files;
mod inspect;
mod limits;
mod output;
mod push;
mod run;
mod serve;
mod servers;
mod storage;
mod sync;
mod syncs;
mod test;
mod trace_page;
mod wpt;

use std::fmt::Display;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    let name = command.name();
    if command.starts_runtimes() {
        kittiwake::prepare_engine();
    }
    let done = match command {
        Command::Run(options) => run::run(*options),
        Command::Push(options) => push::dispatch(*options),
        Command::Serve(options) => serve::serve(*options),
        Command::Storage(options) => storage::list(&options),
        Command::Syncs(options) => syncs::list(&options),
        Command::Sync(options) => sync::dispatch(*options),
        Command::Init(options) => test::init(&options),
        Command::Test(options) => test::run(*options),
        Command::Drive(options) => drive::drive(options),
        Command::Wpt(options) => wpt::run(&options),
        Command::WptProcess { setup } => wpt::serve_jobs(&setup),
    };
    match done {
        Ok(code) => code,
        Err(Refusal::Usage(text)) => refuse_usage(name, text),
        Err(Refusal::Failure(text)) => output::fail(&text),
    }
}

/// Runs unmodified service worker scripts outside a browser, with Background Sync.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Registers a service worker, opens pages, and prints what happens
    Run(Box<run::RunOptions>),
    /// Dispatches one push event now, at the worker of a state folder
    Push(Box<push::PushOptions>),
    /// Puts a service worker behind an HTTP server; or, without one, hosts many for long
    Serve(Box<serve::ServeOptions>),
    /// Lists what scripts have stored in a state folder: the databases of IndexedDB
    Storage(storage::StorageOptions),
    /// Lists the background syncs of a state folder, and fires none
    Syncs(syncs::SyncsOptions),
    /// Dispatches one sync event now, at the worker of a state folder; leaves registrations alone
    Sync(Box<sync::SyncOptions>),
    /// Writes a first test for a service worker that is there
    Init(test::InitOptions),
    /// Runs tests in JavaScript, each in a world whose network, clock and servers it moves
    Test(Box<test::TestOptions>),
    /// Answers a test in another program, by lines of JSON; the npm package starts it
    Drive(drive::DriveOptions),
    /// Runs web-platform-tests for service workers, and compares with what is expected
    Wpt(wpt::WptOptions),
    /// What `wpt` starts for itself
    #[command(hide = true)]
    WptProcess { setup: String },
}

const EXAMPLES: &str = "Examples:
  kittiwake run fixtures/scenarios/an_outbox_is_sent_when_the_network_returns
  kittiwake run sw.js --page page.js --network offline,online@2s
  kittiwake run https://app.example/sw.js --state ./state --network real --until forever
  kittiwake run sw.js --page page.js --format json | jq 'select(.kind == \"sync\")'
  kittiwake serve sw.js --listen 127.0.0.1:8080 --upstream http://localhost:3000
  kittiwake serve --state ./state --listen 127.0.0.1:8080
  kittiwake storage --state ./state
  kittiwake syncs --state ./state
  kittiwake sync --state ./state outbox --last-chance
  kittiwake push --state ./state --data hello
  kittiwake init sw.js
  kittiwake test tests/
  kittiwake wpt --root ../wpt url encoding";

impl Command {
    fn starts_runtimes(&self) -> bool {
        use Command::{Drive, Push, Run, Serve, Sync, Test};
        matches!(self, Run(_) | Push(_) | Serve(_) | Sync(_) | Test(_) | Drive(_))
    }

    /// As it is written on the command line.
    fn name(&self) -> &'static str {
        match self {
            Command::Run(_) => "run",
            Command::Push(_) => "push",
            Command::Serve(_) => "serve",
            Command::Storage(_) => "storage",
            Command::Syncs(_) => "syncs",
            Command::Sync(_) => "sync",
            Command::Init(_) => "init",
            Command::Test(_) => "test",
            Command::Drive(_) => "drive",
            Command::Wpt(_) => "wpt",
            Command::WptProcess { .. } => "wpt-process",
        }
    }
}

/// What keeps a command from being done.
enum Refusal {
    /// Options that are wrong, or do not fit together: exit code 2.
    Usage(String),
    /// What the options name is not there, or not what it should be: exit code 1.
    Failure(String),
}

impl Refusal {
    fn failure(error: impl Display) -> Self {
        Refusal::Failure(error.to_string())
    }
}

impl From<String> for Refusal {
    fn from(usage: String) -> Self {
        Refusal::Usage(usage)
    }
}

fn usage<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Usage(text.into()))
}

fn refuse_usage(name: &str, text: String) -> ! {
    let mut command = Cli::command();
    command.build();
    let command = command.find_subcommand_mut(name).expect("its name is one of the command's");
    command.error(ErrorKind::ValueValidation, text).exit()
}

/// Waits for what a library's future answers.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Refusal> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let tokio = tokio.map_err(|error| format!("cannot listen for signals: {error}"));
    Ok(tokio.map_err(Refusal::Failure)?.block_on(future))
}

/// Resolves when the system or a person asks the process to stop.
async fn asked_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            },
            // Without a handler the signal ends the process, and the next start recovers.
            Err(_) => std::future::pending().await,
        }
    }
    #[cfg(not(unix))]
    let _ = tokio::signal::ctrl_c().await;
}
