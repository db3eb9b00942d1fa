//! `kittiwake run`: a worker with its pages, or a scenario folder.
//!
//! Invariant: options that do not fit together are refused before anything is started.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use kittiwake::{
    Builder, Error, Inspector, NetworkState, PageSource, Permission, PermissionState,
    PolicyOptions, Probe, Profile, RealNetwork, Runtime, Scenario, SyncPolicy, Timeline,
    UnsettledSync, parse_max_event, parse_profile,
};
use tokio::time::Instant;
use url::Url;

use crate::files::{LocalFiles, parse_origin, require_secure, url_of};
use crate::inspect::InspectOptions;
use crate::limits::LimitOptions;
use crate::output::{Format, Printer, left, report};
use crate::servers::ServerOptions;
use crate::trace_page::{Recorder, TracePage, TracedRun};
use crate::{EXAMPLES, Refusal, asked_to_stop, block_on, usage};

/// Plans and runs.
pub fn run(options: RunOptions) -> Result<ExitCode, Refusal> {
    let gave_up = Arc::new(AtomicUsize::new(0));
    let (recorder, page) = (Recorder::for_page(), options.trace_html.clone());
    let target = options.target.clone();
    let plan = Plan::from(options, gave_up.clone(), page.is_some().then_some(&recorder))?;
    let page = page.map(TracePage::create).transpose()?;
    let started = Instant::now();
    let ended = block_on(plan.run())?;
    let failed = gave_up.load(Ordering::Relaxed);
    if let Some(page) = page {
        let problems = problems(&ended, failed);
        let outcome = if problems.is_empty() { "passed" } else { "failed" };
        let elapsed = started.elapsed();
        let last = target.as_deref().and_then(|text| text.trim_end_matches('/').rsplit('/').next());
        let name = last.unwrap_or("pages alone").to_owned();
        let run = TracedRun::new(name, target, outcome, elapsed, problems, recorder.take());
        page.write("kittiwake run", &[run.without(recorder.left_out())])?;
    }
    Ok(report(&ended?, failed))
}

/// What keeps the exit code from being 0.
fn problems(ended: &Result<Vec<UnsettledSync>, Refusal>, gave_up: usize) -> Vec<String> {
    let mut problems: Vec<_> = match ended {
        Ok(unsettled) => unsettled.iter().map(left).collect(),
        Err(Refusal::Usage(text) | Refusal::Failure(text)) => vec![text.clone()],
    };
    match gave_up {
        0 => {}
        1 => problems.push("a sync was given up".to_owned()),
        count => problems.push(format!("{count} syncs were given up")),
    }
    problems
}

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
/// The options of `kittiwake run`.
pub struct RunOptions {
    /// A service worker script (a file; an https URL; http on this machine), or a scenario folder
    #[arg(value_name = "SCRIPT | SCENARIO-FOLDER")]
    pub target: Option<String>,
    /// What the script is: classic, or module, as in register(url, { type: "module" })
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value_t = WorkerType::Classic)]
    worker_type: WorkerType,
    /// Opens a page once the worker is activated: a script or HTML file, or a URL; repeatable
    #[arg(long, value_name = "FILE-OR-URL")]
    pub page: Vec<String>,
    /// The origin of local files [default: https://app.test]
    #[arg(long, value_name = "URL", value_parser = parse_origin)]
    pub origin: Option<Url>,
    /// Serves this folder at the origin [default: the script's folder]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Keeps registrations in this folder [default: in memory]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// online, offline, real, or a timeline like `offline,online@10s,offline@1m`, which starts when
    /// the script is activated; see --help for latency, loss and more [default: online]
    ///
    /// Each item of a timeline says all about the network from its time on. Conditions follow the
    /// state after a `+`, or stand alone, which means online:
    ///
    ///   latency=200ms      responses begin so much later
    ///   loss=10%           so many requests and responses never arrive
    ///   bandwidth=64kbit   per second, in each direction; also bit, mbit
    ///   portal             every answer is a redirect to a log-in page; also portal=URL
    ///   down=api.test      that host refuses connections; repeatable
    ///
    /// As in `online,latency=2s+loss=10%@30s,down=api.test@1m,online@2m`.
    #[arg(verbatim_doc_comment)]
    #[arg(long, value_name = "SIGNAL")]
    network: Option<Network>,
    /// What --network real asks, beyond a route, whether the network is there: an http or https
    /// URL, or none [default: the workers' own origins]
    #[arg(long, value_name = "URL | none")]
    probe: Option<Probe>,
    /// How long a change must hold before --network real tells it [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = parse_debounce)]
    debounce: Option<Duration>,
    /// Real time, or simulated: waits take no time, and only local files are served [default: real]
    #[arg(long, value_enum)]
    clock: Option<Clock>,
    /// Whose behaviour is followed where the two differ: chromium or spec [default: chromium]
    #[arg(long, value_name = "NAME", value_parser = parse_profile)]
    profile: Option<Profile>,
    /// How failed syncs are tried again; each part may be left out
    /// [default: attempts=3,initial=5m,factor=3]
    #[arg(long, value_name = "attempts=N,initial=TIME,factor=N")]
    retry: Option<PolicyOptions>,
    /// How long a sync event may take before it has failed [default: 3m]
    #[arg(long, value_name = "DURATION", value_parser = parse_max_event)]
    max_event: Option<Duration>,
    /// Ends when nothing is left to do, never, or after a duration like `10s`
    #[arg(long, value_name = "idle | forever | DURATION", default_value = "idle")]
    until: Until,
    /// Denies a permission: background-fetch, background-sync, notifications or
    /// periodic-background-sync; repeatable
    /// [default: all are granted]
    #[arg(long, value_name = "PERMISSION")]
    deny: Vec<Permission>,
    #[command(flatten)]
    servers: ServerOptions,
    #[command(flatten)]
    limits: LimitOptions,
    /// How the trace is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Writes a page that shows what happened over time, to be opened in a browser
    #[arg(long, value_name = "FILE")]
    trace_html: Option<PathBuf>,
    /// Seeds the random numbers of a simulated run
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    #[command(flatten)]
    inspect: InspectOptions,
}

impl RunOptions {
    fn policy(&self) -> SyncPolicy {
        let retry = self.retry.unwrap_or_default();
        let (profile, max_event) = (self.profile, self.max_event);
        PolicyOptions { profile, max_event, ..retry }.policy()
    }

    fn network(&self) -> Result<Network, Refusal> {
        match (&self.network, &self.probe, self.debounce) {
            (Some(Network::Real(usual)), probe, debounce) => Ok(Network::Real(RealNetwork {
                probe: probe.clone().unwrap_or_default(),
                debounce: debounce.unwrap_or(usual.debounce),
            })),
            (_, Some(_), _) => usage("--probe is for --network real"),
            (_, _, Some(_)) => usage("--debounce is for --network real"),
            (Some(scripted), ..) => Ok(scripted.clone()),
            (None, ..) => Ok(Network::default()),
        }
    }
}

/// What the network signal follows.
#[derive(Clone)]
pub enum Network {
    /// The machine's own links, routes and reachability.
    Real(RealNetwork),
    /// What somebody wrote.
    Scripted(Timeline),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Clock {
    Real,
    Simulated,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
/// What a script is.
pub enum WorkerType {
    /// A script.
    Classic,
    /// An ES module.
    Module,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Idle,
    Forever,
    After(Duration),
}

impl Default for Network {
    fn default() -> Self {
        Network::Scripted(Timeline::constant(NetworkState::Online))
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "real" => Ok(Network::Real(RealNetwork::default())),
            other => other.parse().map(Network::Scripted).map_err(|error| format!("{error}")),
        }
    }
}

fn parse_debounce(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(debounce) if debounce <= Duration::from_secs(3600) => Ok(debounce),
        Ok(_) => Err("write an hour or less".to_owned()),
        Err(error) => Err(format!("write it as in `500ms` or `2s` ({error})")),
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
    worker_type: WorkerType,
    pages: Vec<(Url, PageSource)>,
    network: Network,
    until: Until,
    inspector: Option<Inspector>,
}

impl Plan {
    /// Answers what is wrong with the options.
    fn from(
        options: RunOptions,
        gave_up: Arc<AtomicUsize>,
        recorder: Option<&Recorder>,
    ) -> Result<Self, Refusal> {
        let printer = Printer::new(options.format, gave_up);
        let builder = printer.install(Runtime::builder().spare_realm(false));
        let builder = match recorder.cloned() {
            None => builder,
            Some(recorder) => builder.on_trace(move |event| {
                printer.print(event);
                recorder.record(event);
            }),
        };
        let builder = match &options.state {
            Some(folder) => builder.state_folder(folder),
            None => builder,
        };
        let deny = |builder: Builder, permission: &Permission| {
            builder.permission(*permission, PermissionState::Denied)
        };
        let inspector = options.inspect.listen()?;
        let builder = builder.inspector(inspector.clone());
        let builder = options.servers.apply(options.deny.iter().fold(builder, deny));
        let builder = options.limits.apply(builder);
        if let Some(target) = options.target.as_deref().map(Path::new)
            && target.is_dir()
        {
            return Plan::from_scenario(target, &options, builder);
        }
        if options.target.is_none() && options.page.is_empty() && options.state.is_none() {
            return usage("give a script, a scenario folder, a --page or a --state folder");
        }
        WorkerPlan::from(options, builder, inspector).map(|plan| Plan::Worker(Box::new(plan)))
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
            ("--type", options.worker_type != WorkerType::Classic),
            ("--page", !options.page.is_empty()),
            ("--origin", options.origin.is_some()),
            ("--root", options.root.is_some()),
            ("--network", options.network.is_some()),
            ("--probe", options.probe.is_some()),
            ("--debounce", options.debounce.is_some()),
            ("--clock", options.clock.is_some()),
            ("--seed", options.seed.is_some()),
            ("--deny", !options.deny.is_empty()),
            ("--profile", options.profile.is_some()),
            ("--retry", options.retry.is_some()),
            ("--max-event", options.max_event.is_some()),
            ("--until", options.until != Until::Idle),
        ];
        if let Some((option, _)) = own.iter().find(|(_, given)| *given) {
            return usage(format!(
                "{option} is for scripts; a scenario has its own in scenario.toml"
            ));
        }
        let scenario = Scenario::load(folder).map_err(Refusal::failure)?;
        Ok(Plan::Scenario(Box::new((scenario, builder))))
    }

    async fn run(self) -> Result<Vec<UnsettledSync>, Refusal> {
        match self {
            Plan::Scenario(plan) => {
                let (scenario, builder) = *plan;
                scenario.run(builder).await.map_err(Refusal::failure)
            }
            Plan::Worker(plan) => plan.run().await.map_err(failure),
        }
    }
}

impl WorkerPlan {
    fn from(
        options: RunOptions,
        mut builder: Builder,
        inspector: Option<Inspector>,
    ) -> Result<Self, Refusal> {
        builder = builder.sync_policy(options.policy());
        let simulated = options.clock == Some(Clock::Simulated);
        let network = options.network()?;
        if simulated && matches!(network, Network::Real(_)) {
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
        let (worker_type, until) = (options.worker_type, options.until);
        Ok(WorkerPlan { builder, script, worker_type, pages, network, until, inspector })
    }

    async fn run(mut self) -> Result<Vec<UnsettledSync>, Error> {
        let runtime = std::mem::take(&mut self.builder).await_network_signal().start()?;
        let mut failure = None;
        let inspector = self.inspector.clone();
        tokio::select! {
            result = self.drive(&runtime) => failure = result.err(),
            () = asked_to_stop() => {}
        }
        // A runtime that is paused answers nothing.
        inspector.iter().for_each(Inspector::close);
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
                register(runtime, script, self.worker_type).await?;
                follow(runtime, self.network).await?;
            }
            script => {
                follow(runtime, self.network).await?;
                if let Some(script) = script {
                    register(runtime, script, self.worker_type).await?;
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

/// With the remedy for a module that was run as a classic script.
pub fn failure(error: Error) -> Refusal {
    let is_module = matches!(&error, Error::Registration { cause: Some(cause), .. }
        if cause.message.contains("outside a module")
            || cause.message.contains("Unexpected token 'export'"));
    let remedy = if is_module { "; if it is a module, add --type module" } else { "" };
    Refusal::failure(format!("{error}{remedy}"))
}

/// Registers a script as what it is.
pub async fn register(
    runtime: &Runtime,
    script: Url,
    worker_type: WorkerType,
) -> Result<(), Error> {
    let registered = match worker_type {
        WorkerType::Classic => runtime.register(script, None).await,
        WorkerType::Module => runtime.register_module(script, None).await,
    };
    registered.map(drop)
}

/// Makes the runtime follow the signal, from now on.
pub async fn follow(runtime: &Runtime, network: Network) -> Result<(), Error> {
    match network {
        Network::Real(network) => runtime.follow_real_network(network).await,
        Network::Scripted(timeline) => runtime.play_network(timeline).await,
    }
}
