//! `kittiwake serve --state DIR` without a script: many workers for long, behind a control API.
//!
//! Invariant: it is never open by default: who asks shows a token, or reaches a socket that is its
//! owner's alone. The runtime is shut down in order, whatever ends the daemon but a third signal.

mod api;
mod guard;
mod listen;
mod log;
mod metrics;
mod page;
mod problem;
mod server;
mod service_manager;
mod signals;
mod timeline;
mod token;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kittiwake::{Builder, RealNetwork, Runtime};
use tokio::sync::{Semaphore, oneshot, watch};
use tracing_appender::non_blocking::ErrorCounter;

use self::guard::Access;
use self::listen::Socket;
use self::log::{Log, LogFormat, LogLevel};
use self::metrics::Metrics;
use self::server::Server;
use self::signals::StopSignals;
use self::timeline::Timeline;
use self::token::Token;
use crate::run::{Network, follow};
use crate::{Refusal, block_on, usage};

pub use self::listen::Listen;

/// Streams of the trace at once.
const STREAMS: usize = 64;

/// How long the end of the runtime may take: a turn of JavaScript may take ten seconds.
const END_LIMIT: Duration = Duration::from_secs(15);

/// The same once somebody has asked twice.
const HASTY_END_LIMIT: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
#[command(next_help_heading = "Without SCRIPT: a daemon")]
/// The options that only a daemon has.
pub struct DaemonOptions {
    /// The token that clients show is in this file, which others cannot read [default: DIR/token,
    /// which is made; a Unix socket needs none]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Lets --listen name an address that other machines reach; put TLS in front of it
    #[arg(long)]
    allow_remote: bool,
    /// Another name of this daemon in URLs, beside its IP addresses and localhost; repeatable
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// Divides origins over so many threads, for as many cores; a state folder keeps its number
    /// [default: the folder's, or 1]
    #[arg(long, value_name = "NUMBER")]
    shards: Option<usize>,
    /// How many workers and pages stay in memory; the others start again for their next event
    /// [default: 256]
    #[arg(long, value_name = "NUMBER")]
    resident: Option<usize>,
    /// How many MiB these may have together [default: 2048]
    #[arg(long, value_name = "MIB")]
    resident_memory: Option<usize>,
    /// Keeps no blank realm for the worker that is needed next
    #[arg(long)]
    no_spare_realm: bool,
    /// How long what is under way may go on after SIGTERM [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    drain: Option<Duration>,
    /// How the log on standard error is written [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// How much is in the log [default: info]
    #[arg(long, value_enum, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
}

impl DaemonOptions {
    /// The first option that was given, for whoever has no use for any.
    pub fn given(&self) -> Option<&'static str> {
        let given = [
            ("--token-file", self.token_file.is_some()),
            ("--allow-remote", self.allow_remote),
            ("--allow-host", !self.allow_host.is_empty()),
            ("--shards", self.shards.is_some()),
            ("--resident", self.resident.is_some()),
            ("--resident-memory", self.resident_memory.is_some()),
            ("--no-spare-realm", self.no_spare_realm),
            ("--drain", self.drain.is_some()),
            ("--log-format", self.log_format.is_some()),
            ("--log-level", self.log_level.is_some()),
        ];
        given.into_iter().find_map(|(name, is_given)| is_given.then_some(name))
    }

    /// The builder with what these say of shards and memory.
    fn apply(&self, builder: Builder) -> Builder {
        let memory = self.resident_memory.unwrap_or(2048).saturating_mul(1 << 20);
        let builder = builder
            .resident_limit(self.resident.unwrap_or(256), memory)
            .spare_realm(!self.no_spare_realm);
        match self.shards {
            Some(shards) => builder.shards(shards),
            None => builder,
        }
    }
}

/// What a daemon is started with.
pub struct Setup {
    /// What the runtime is made of, but for the state folder and whoever watches.
    pub builder: Builder,
    /// The state folder.
    pub state: PathBuf,
    /// Where to listen.
    pub listen: Listen,
    /// What the network signal follows.
    pub network: Option<Network>,
    /// The rest.
    pub options: DaemonOptions,
}

/// What requests are answered from.
pub struct Daemon {
    runtime: Runtime,
    access: Access,
    timeline: Arc<Timeline>,
    metrics: Arc<Metrics>,
    /// Whether the network is the machine's, and not set by hand.
    follows_machine: bool,
    /// Places for streams of the trace.
    streams: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
    log_drops: ErrorCounter,
    started_ms: u64,
}

/// Hosts workers until somebody asks it to stop.
pub fn run(setup: Setup) -> Result<ExitCode, Refusal> {
    if let Listen::Tcp(address) = &setup.listen
        && !is_local(address)
        && !setup.options.allow_remote
    {
        return usage(format!(
            "other machines reach {address}: give --allow-remote if they may, and put TLS in \
             front of it; or listen at 127.0.0.1 or unix:/PATH"
        ));
    }
    block_on(hosted(setup))??;
    Ok(ExitCode::SUCCESS)
}

fn is_local(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

async fn hosted(setup: Setup) -> Result<(), Refusal> {
    let Setup { builder, state, listen, network, options } = setup;
    let mut signals = StopSignals::listen()?;
    // Both can be refused, and neither has changed anything then.
    let socket = Socket::bind(&listen).await?;
    let started_ms = now_ms();
    let timeline = Timeline::new(started_ms);
    let metrics = Arc::new(Metrics::new(Duration::from_millis(started_ms)));
    let runtime = watched(options.apply(builder), &timeline, &metrics)
        .state_folder(&state)
        .await_network_signal()
        .start()
        .map_err(Refusal::failure)?;
    let access = access(&options, &listen, &state, started_ms)?;
    let format = options.log_format.unwrap_or(LogFormat::Text);
    let log = Log::start(format, options.log_level.unwrap_or(LogLevel::Info));
    let (end_log, log_ends) = oneshot::channel();
    let follow_log = tokio::spawn(log::follow_trace(timeline.clone(), log_ends));
    let network = network.unwrap_or(Network::Real(RealNetwork::default()));
    let follows_machine = matches!(network, Network::Real(_));
    follow(&runtime, network).await.map_err(Refusal::failure)?;

    let (stop, stopping) = watch::channel(false);
    let daemon = Daemon {
        runtime: runtime.clone(),
        access,
        timeline,
        metrics,
        follows_machine,
        streams: Arc::new(Semaphore::new(STREAMS)),
        stopping,
        log_drops: log.dropped(),
        started_ms,
    };
    let address = socket.address(&listen).to_string();
    let router = api::router(Arc::new(daemon));
    let token = match (&options.token_file, &listen) {
        (None, Listen::Unix(_)) => None,
        (given, _) => Some(given.clone().unwrap_or_else(|| token::file_of(&state))),
    };
    let token = token.map(|file| file.display().to_string());
    tracing::info!(%address, state = %state.display(), token, "listening on {address}");
    service_manager::tell_ready(&address);
    let server = tokio::select! {
        server = Server::run(socket, router, signals.next()) => server,
        never = service_manager::show_life(&runtime) => match never {},
    };
    let drain = options.drain.unwrap_or(Duration::from_secs(30));
    stop.send_replace(true);
    let result = stopped(server, runtime, drain, &mut signals).await;
    drop(end_log);
    follow_log.await.map_err(Refusal::failure)?;
    tracing::info!(all_ended = result?, "stopped");
    Ok(())
}

/// Who hears of what happens.
fn watched(builder: Builder, timeline: &Arc<Timeline>, metrics: &Arc<Metrics>) -> Builder {
    let (kept, counted, measured) = (timeline.clone(), metrics.clone(), metrics.clone());
    builder
        .on_trace(move |event| {
            counted.count(event);
            kept.push(event);
        })
        .on_measurement(move |measurement| measured.measure(measurement))
}

/// Once the state folder is this process's own: its token must not be another's.
fn access(
    options: &DaemonOptions,
    listen: &Listen,
    state: &Path,
    started_ms: u64,
) -> Result<Access, Refusal> {
    let is_tcp = matches!(listen, Listen::Tcp(_));
    let token = match &options.token_file {
        Some(file) => Some(Token::read(file)?),
        None if is_tcp => Some(Token::of_state(state)?),
        None => None,
    };
    Ok(Access {
        token,
        is_tcp,
        hosts: options.allow_host.clone(),
        numbers: AtomicU64::new(1),
        epoch: format!("{started_ms:x}"),
    })
}

/// Finishes what is under way, gives back what is not finished, and ends; answers whether nothing
/// was given back.
async fn stopped(
    server: Server,
    runtime: Runtime,
    drain: Duration,
    signals: &mut StopSignals,
) -> Result<bool, Refusal> {
    tracing::info!(connections = server.open(), "stopping; what is under way may end");
    service_manager::tell_stopping(drain);
    let mut limit = END_LIMIT;
    let ended = tokio::select! {
        (events, ()) = async { tokio::join!(runtime.drain(), server.stop()) } => events.is_ok(),
        () = tokio::time::sleep(drain) => {
            tracing::warn!("broke off what took longer than {}", humantime::format_duration(drain));
            false
        }
        () = signals.next() => {
            tracing::warn!("asked to stop again; broke off what was under way");
            limit = HASTY_END_LIMIT;
            false
        }
    };
    let end = tokio::select! {
        end = tokio::time::timeout(limit, runtime.shut_down()) => end,
        () = signals.next() => {
            let reason = "ended at once; the next start treats events as cut off by a crash";
            return Err(Refusal::Failure(reason.to_owned()));
        }
    };
    match end {
        Ok(result) => result.map_err(Refusal::failure)?,
        Err(_) => {
            return Err(Refusal::Failure(
                "a script did not let go of the host thread; the next start treats its events as \
                 cut off by a crash"
                    .to_owned(),
            ));
        }
    }
    Ok(ended)
}

#[expect(
    clippy::disallowed_methods,
    reason = "names this process and its events; no script sees it"
)]
fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
