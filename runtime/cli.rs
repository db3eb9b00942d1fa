//! The command `kittiwake`. It uses the library's public API only.
//!
//! Invariant: the trace goes to standard output, what people should read besides it to standard
//! error; the exit code is 0 if every sync was done, 1 if something failed, 2 for wrong usage.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use kittiwake::{
    Builder, ConsoleLevel, Error, NetworkState, PageSource, Permission, PermissionState, Runtime,
    Scenario, ScenarioError, SyncState, SyncTraceState, Timeline, TraceEvent, TraceKind,
    UnsettledSync, page_from_file,
};
use url::Url;

fn main() -> ExitCode {
    let Cli { command: Command::Run(options) } = Cli::parse();
    let gave_up = Arc::new(AtomicUsize::new(0));
    let plan = match Plan::from(options, gave_up.clone()) {
        Ok(plan) => plan,
        Err(Refusal::Usage(text)) => refuse_usage(text),
        Err(Refusal::Input(text)) => return fail(&text),
    };
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match tokio {
        Ok(tokio) => tokio.block_on(plan.run()),
        Err(error) => Err(format!("cannot listen for signals: {error}")),
    };
    match result {
        Ok(unsettled) => report(&unsettled, gave_up.load(Ordering::Relaxed)),
        Err(error) => fail(&error),
    }
}

/// What keeps a run from starting.
enum Refusal {
    /// Options that are wrong, or do not fit together: exit code 2.
    Usage(String),
    /// A file that cannot be read, or is not what it should be: exit code 1.
    Input(String),
}

impl From<String> for Refusal {
    fn from(usage: String) -> Self {
        Refusal::Usage(usage)
    }
}

fn usage<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Usage(text.into()))
}

fn refuse_usage(text: String) -> ! {
    let mut command = Cli::command();
    command.build();
    let run = command.find_subcommand_mut("run").expect("the command has `run`");
    run.error(ErrorKind::ValueValidation, text).exit()
}

fn fail(error: &str) -> ExitCode {
    let _ = writeln!(anstream::stderr(), "{RED}error:{RED:#} {error}");
    ExitCode::from(1)
}

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const DIM: Style = Style::new().dimmed();

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
    Run(RunOptions),
}

const EXAMPLES: &str = "Examples:
  kittiwake run fixtures/scenarios/an_outbox_is_sent_when_the_network_returns
  kittiwake run sw.js --page page.js --network offline,online@2s
  kittiwake run https://app.example/sw.js --state ./state --network real --until forever
  kittiwake run sw.js --page page.js --format json | jq 'select(.kind == \"sync\")'";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
struct RunOptions {
    /// A service worker script (a file; an https URL; http on this machine), or a scenario folder
    #[arg(value_name = "SCRIPT | SCENARIO-FOLDER")]
    target: Option<String>,
    /// Opens a page once the worker is activated: a script or HTML file, or a URL; repeatable
    #[arg(long, value_name = "FILE-OR-URL")]
    page: Vec<String>,
    /// The origin of local files [default: https://app.test]
    #[arg(long, value_name = "URL", value_parser = parse_origin)]
    origin: Option<Url>,
    /// Serves this folder at the origin [default: the script's folder]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Keeps registrations in this folder [default: in memory]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// online, offline, real, or a timeline like `offline,online@10s,offline@1m`, which starts when
    /// the script is activated [default: online]
    #[arg(long, value_name = "SIGNAL")]
    network: Option<Network>,
    /// Real time, or simulated: waits take no time, and only local files are served [default: real]
    #[arg(long, value_enum)]
    clock: Option<Clock>,
    /// Ends when nothing is left to do, never, or after a duration like `10s`
    #[arg(long, value_name = "idle | forever | DURATION", default_value = "idle")]
    until: Until,
    /// Denies a permission, background-sync or periodic-background-sync; repeatable [default: both
    /// are granted]
    #[arg(long, value_name = "PERMISSION")]
    deny: Vec<Permission>,
    /// How the trace is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Seeds the random numbers of a simulated run
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

#[derive(Clone)]
enum Network {
    Real,
    Scripted(Timeline),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Clock {
    Real,
    Simulated,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Idle,
    Forever,
    After(Duration),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "real" => Ok(Network::Real),
            other => other.parse().map(Network::Scripted).map_err(|error| format!("{error}")),
        }
    }
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "idle" => Ok(Until::Idle),
            "forever" => Ok(Until::Forever),
            other => humantime::parse_duration(other).map(Until::After).map_err(|error| {
                format!("`{other}` is no duration ({error}); write `idle`, `forever` or `10s`")
            }),
        }
    }
}

/// What to do, once the options are known to fit together.
enum Plan {
    Scenario(Box<(Scenario, Builder)>),
    Worker(Box<WorkerPlan>),
}

struct WorkerPlan {
    builder: Builder,
    script: Option<Url>,
    pages: Vec<(Url, PageSource)>,
    network: Network,
    /// What the real network signal asks: the script's own server.
    probe: Option<Url>,
    until: Until,
}

impl Plan {
    /// Answers what is wrong with the options.
    fn from(options: RunOptions, gave_up: Arc<AtomicUsize>) -> Result<Self, Refusal> {
        let builder = Runtime::builder().on_trace(printer(options.format, gave_up));
        let builder = match &options.state {
            Some(folder) => builder.state_folder(folder),
            None => builder,
        };
        let deny = |builder: Builder, permission: &Permission| {
            builder.permission(*permission, PermissionState::Denied)
        };
        let builder = options.deny.iter().fold(builder, deny);
        if let Some(target) = options.target.as_deref().map(Path::new)
            && target.is_dir()
        {
            return Plan::from_scenario(target, &options, builder);
        }
        if options.target.is_none() && options.page.is_empty() && options.state.is_none() {
            return usage("give a script, a scenario folder, a --page or a --state folder");
        }
        WorkerPlan::from(options, builder).map(|plan| Plan::Worker(Box::new(plan)))
    }

    fn from_scenario(
        folder: &Path,
        options: &RunOptions,
        builder: Builder,
    ) -> Result<Self, Refusal> {
        if !Scenario::is_scenario(folder) {
            let folder = folder.display();
            return usage(format!(
                "{folder} has no scenario.toml; give a script or a scenario folder"
            ));
        }
        let own = [
            ("--page", !options.page.is_empty()),
            ("--origin", options.origin.is_some()),
            ("--root", options.root.is_some()),
            ("--network", options.network.is_some()),
            ("--clock", options.clock.is_some()),
            ("--seed", options.seed.is_some()),
            ("--deny", !options.deny.is_empty()),
            ("--until", options.until != Until::Idle),
        ];
        if let Some((option, _)) = own.iter().find(|(_, given)| *given) {
            return usage(format!(
                "{option} is for scripts; a scenario has its own in scenario.toml"
            ));
        }
        let scenario = Scenario::load(folder).map_err(|e| Refusal::Input(e.to_string()))?;
        Ok(Plan::Scenario(Box::new((scenario, builder))))
    }

    async fn run(self) -> Result<Vec<UnsettledSync>, String> {
        match self {
            Plan::Scenario(plan) => {
                let (scenario, builder) = *plan;
                scenario.run(builder).await.map_err(|error: ScenarioError| error.to_string())
            }
            Plan::Worker(plan) => plan.run().await.map_err(|error| error.to_string()),
        }
    }
}

impl WorkerPlan {
    fn from(options: RunOptions, mut builder: Builder) -> Result<Self, Refusal> {
        let simulated = options.clock == Some(Clock::Simulated);
        let network = options.network.clone();
        let network =
            network.unwrap_or(Network::Scripted(Timeline::constant(NetworkState::Online)));
        if simulated && matches!(network, Network::Real) {
            return usage("--network real needs the real clock");
        }
        if simulated && options.until == Until::Forever {
            return usage("a simulation has no end of its own; give --until idle or a time");
        }
        if simulated {
            builder = builder.simulated(options.seed.unwrap_or(0));
        } else if options.seed.is_some() {
            return usage("--seed is for --clock simulated");
        }
        let remote = options.target.as_deref().and_then(url_of);
        let files = LocalFiles::from(&options, remote.as_ref())?;
        let probe = remote.clone();
        let script = match (&options.target, remote) {
            (_, Some(url)) if simulated => {
                return usage(format!("{url} is on the network, which --clock simulated has not"));
            }
            (_, Some(url)) => Some(require_secure(url)?),
            (Some(file), None) => Some(files.url_of(Path::new(file))?),
            (None, None) => None,
        };
        let pages = options.page.iter().map(|page| match url_of(page) {
            Some(url) => Ok((require_secure(url)?, PageSource::Url)),
            None => files.page(Path::new(page)),
        });
        let pages = pages.collect::<Result<Vec<_>, Refusal>>()?;
        if let Some(root) = files.root {
            builder = builder.serve(files.origin, root);
        }
        Ok(WorkerPlan { builder, script, pages, network, probe, until: options.until })
    }

    async fn run(mut self) -> Result<Vec<UnsettledSync>, Error> {
        let runtime = std::mem::take(&mut self.builder).await_network_signal().start()?;
        let mut failure = None;
        tokio::select! {
            result = self.drive(&runtime) => failure = result.err(),
            () = asked_to_stop() => {}
        }
        let unsettled = runtime.unsettled_syncs().await?;
        runtime.shut_down().await?;
        failure.map_or(Ok(unsettled), Err)
    }

    async fn drive(self, runtime: &Runtime) -> Result<(), Error> {
        let active = runtime.registrations().await?;
        let is_active = |url: &Url| active.iter().any(|each| each.script == *url);
        // The signal starts when the script is activated: at once, if an earlier run left it so.
        match self.script {
            Some(script) if !is_active(&script) => {
                runtime.register(script, None).await?;
                follow(runtime, self.network, self.probe).await?;
            }
            script => {
                follow(runtime, self.network, self.probe).await?;
                if let Some(script) = script {
                    runtime.register(script, None).await?;
                }
            }
        }
        let mut failure = None;
        for (url, source) in self.pages {
            // A page that throws is still open, and the next one may work.
            if let Err(error) = runtime.open_page(url, source).await {
                failure.get_or_insert(error);
            }
        }
        match self.until {
            Until::Idle => runtime.idle().await?,
            Until::After(duration) => runtime.run_for(duration).await?,
            Until::Forever => std::future::pending().await,
        }
        failure.map_or(Ok(()), Err)
    }
}

async fn follow(runtime: &Runtime, network: Network, probe: Option<Url>) -> Result<(), Error> {
    match network {
        Network::Real => runtime.follow_real_network(probe).await,
        Network::Scripted(timeline) => runtime.play_network(timeline).await,
    }
}

/// The folder that is served at an origin, and the URLs of its files.
struct LocalFiles {
    origin: Url,
    root: Option<PathBuf>,
}

impl LocalFiles {
    fn from(options: &RunOptions, remote: Option<&Url>) -> Result<Self, Refusal> {
        if let Some(url) = remote {
            if options.root.is_some() || options.origin.is_some() {
                return usage(format!(
                    "{url} is served by its own server; leave out --root, --origin"
                ));
            }
            return Ok(LocalFiles { origin: url.join("/").unwrap_or(url.clone()), root: None });
        }
        let origin = options.origin.clone().unwrap_or_else(default_origin);
        let first = options.target.as_ref().or(options.page.iter().find(|p| url_of(p).is_none()));
        let folder = first.map(|file| match Path::new(file).parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        });
        Ok(LocalFiles { origin, root: options.root.clone().or(folder) })
    }

    /// The URL under which the file is served.
    fn url_of(&self, file: &Path) -> Result<Url, Refusal> {
        let shown = file.display();
        let path = file.canonicalize();
        let path = path.map_err(|error| Refusal::Input(format!("cannot read {shown}: {error}")))?;
        let root = self.root.as_deref().unwrap_or(Path::new("."));
        let canonical = root.canonicalize().map_err(|error| {
            Refusal::Input(format!("cannot read the folder {}: {error}", root.display()))
        })?;
        let relative = path.strip_prefix(&canonical).map_err(|_| {
            format!("{shown} is not under the served folder {}; give --root", root.display())
        })?;
        let mut url = self.origin.clone();
        let segments = relative.iter().map(|segment| segment.to_string_lossy());
        url.path_segments_mut().expect("an http URL has segments").clear().extend(segments);
        Ok(url)
    }

    /// A page from a file. One outside the served folder counts as lying in it.
    fn page(&self, file: &Path) -> Result<(Url, PageSource), Refusal> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Refusal::Input(format!("cannot read {}: {error}", file.display())))?;
        let url = self.url_of(file).or_else(|_| {
            let mut url = self.origin.clone();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            url.path_segments_mut().expect("an http URL has segments").clear().push(&name);
            Ok::<_, Refusal>(url)
        })?;
        Ok(page_from_file(url, text))
    }
}

fn default_origin() -> Url {
    Url::parse("https://app.test").expect("a URL")
}

/// A text that is a URL and not a file's name.
fn url_of(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

/// <https://w3c.github.io/webappsec-secure-contexts/#is-origin-trustworthy>
fn require_secure(url: Url) -> Result<Url, String> {
    let local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if local => Ok(url),
        _ => Err(format!(
            "{url} is no secure context; service workers need https, or http on this \
                          machine"
        )),
    }
}

fn parse_origin(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; write https://app.test"))?;
    let url = require_secure(url)?;
    match url.path() {
        "/" if url.query().is_none() => Ok(url),
        path => Err(format!("an origin has no path; leave out `{path}`")),
    }
}

/// Prints each event as it happens, and counts the syncs that were given up.
fn printer(format: Format, gave_up: Arc<AtomicUsize>) -> impl FnMut(&TraceEvent) + Send + 'static {
    move |event| {
        if matches!(event.kind, TraceKind::Sync { state: SyncTraceState::GaveUp, .. }) {
            gave_up.fetch_add(1, Ordering::Relaxed);
        }
        if let TraceKind::Console { level, text } = &event.kind {
            let style = match level {
                ConsoleLevel::Error => RED,
                ConsoleLevel::Warn => YELLOW,
                _ => DIM,
            };
            let name = format!("{level:?}").to_lowercase();
            let _ = writeln!(anstream::stderr(), "{style}{name}:{style:#} {text}");
        }
        let line = match format {
            Format::Json => serde_json::to_string(event).expect("a trace event serialises"),
            Format::Text if matches!(event.kind, TraceKind::Console { .. }) => return,
            Format::Text => event.to_string(),
        };
        let style = match &event.kind {
            TraceKind::Error { .. } | TraceKind::Sync { state: SyncTraceState::GaveUp, .. } => RED,
            TraceKind::Sync { state: SyncTraceState::Waiting, .. } => YELLOW,
            _ => Style::new(),
        };
        // Whoever read the trace may have had enough; the run goes on for its state's sake.
        let mut stdout = anstream::stdout().lock();
        let _ =
            writeln!(stdout, "{style}{line}{style:#}").and_then(|()| io::Write::flush(&mut stdout));
    }
}

/// Says what is left, and answers the exit code.
fn report(unsettled: &[UnsettledSync], gave_up: usize) -> ExitCode {
    for sync in unsettled {
        let state = match sync.state {
            SyncState::Waiting => "waits for its next attempt",
            _ => "waits for the network",
        };
        let UnsettledSync { tag, scope, .. } = sync;
        let _ = writeln!(anstream::stderr(), "{YELLOW}left:{YELLOW:#} {tag:?} of {scope} {state}");
    }
    ExitCode::from(u8::from(!unsettled.is_empty() || gave_up > 0))
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
