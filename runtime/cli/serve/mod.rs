//! `kittiwake serve`: a worker behind an HTTP server, to be looked at with curl or a browser; or,
//! without a script, the daemon (`cli/daemon/`). Their options, and which belong to which.
//!
//! Invariant: nothing is answered before the worker is activated; and the runtime is shut down in
//! order after the last answer.

mod exchange;
mod push;
mod server;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kittiwake::{Builder, Permission, PermissionState, Runtime};
use tokio::net::TcpListener;
use url::{Host, Url};

use crate::daemon::{self, DaemonOptions, Listen, Setup};
use crate::files::{LocalFiles, parse_origin, require_secure, url_of};
use crate::limits::LimitOptions;
use crate::output::{Format, Printer};
use crate::run::{Network, WorkerType, failure, follow, register};
use crate::servers::ServerOptions;
use crate::{Refusal, asked_to_stop, block_on, usage};

#[derive(clap::Args)]
#[command(override_usage = USAGE, after_help = EXAMPLES)]
/// The options of `kittiwake serve`.
pub struct ServeOptions {
    /// A service worker script: a file; an https URL; http on this machine. Without it, a daemon
    /// hosts the workers of --state, which are registered over its control API
    #[arg(value_name = "SCRIPT")]
    script: Option<String>,
    /// Where to listen: an IP address with a port, `localhost:PORT`, or PORT on this machine alone;
    /// port 0 picks one. A daemon also listens at `unix:PATH`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: Listen,
    /// Keeps registrations, caches and databases in this folder [default: in memory]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// online, offline, real, or a timeline like `online,offline@10s` that starts when the worker
    /// is activated, as in `kittiwake run` [default: online; of a daemon: real]
    #[arg(long, value_name = "SIGNAL")]
    network: Option<Network>,
    /// Denies a permission: background-fetch, background-sync, notifications or
    /// periodic-background-sync; repeatable
    #[arg(long, value_name = "PERMISSION")]
    deny: Vec<Permission>,
    #[command(flatten)]
    site: SiteOptions,
    #[command(flatten)]
    daemon: DaemonOptions,
    #[command(flatten)]
    servers: ServerOptions,
    #[command(flatten)]
    limits: LimitOptions,
}

#[derive(clap::Args)]
#[command(next_help_heading = "With SCRIPT: one worker behind HTTP")]
/// The options that only a worker behind HTTP has.
struct SiteOptions {
    /// The server behind the worker: what the worker leaves to the network or fetches of its own
    /// origin goes there, unless the folder has a file for it [default: the folder alone]
    #[arg(long, value_name = "URL", value_parser = parse_upstream)]
    upstream: Option<Url>,
    /// The origin that the worker believes in, whatever the request's host is
    /// [default: http://ADDR, or http://localhost:PORT if ADDR is not of this machine alone]
    #[arg(long, value_name = "URL", value_parser = parse_origin)]
    origin: Option<Url>,
    /// Serves this folder at the origin [default: the script's folder]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// What the script is: classic, or module, as in register(url, { type: "module" })
    /// [default: classic]
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    worker_type: Option<WorkerType>,
    /// How the trace is written [default: text]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

const USAGE: &str = "kittiwake serve SCRIPT [--listen ADDR] [--upstream URL] [OPTIONS]
       kittiwake serve --state DIR [--listen ADDR] [OPTIONS]";

const EXAMPLES: &str = "Examples, one worker:
  kittiwake serve sw.js
  kittiwake serve sw.js --listen 127.0.0.1:8080 --upstream http://localhost:3000
  kittiwake serve dist/sw.js --root dist --state ./state --network online,offline@30s
  kittiwake serve https://app.example/sw.js --listen 8080
  curl -i http://127.0.0.1:8080/ -H 'Accept: text/html'

A request with `Sec-Fetch-Mode: navigate` is a navigation, and so is a GET that accepts text/html
before anything else; every other request is a page's. Cookies stay in Kittiwake, which is the
browser here: whoever connects shares its cookies and its HTTP cache. Ctrl-C or SIGTERM finishes
what is under way, for 10 s at most.

Examples, a daemon:
  kittiwake serve --state /var/lib/kittiwake
  kittiwake serve --state ./state --listen unix:./kittiwake.sock --log-format json
  curl http://127.0.0.1:8080/v1/registrations -H \"Authorization: Bearer $(cat ./state/token)\" \\
    --json '{\"script\": \"https://app.example/sw.js\"}'
  curl --unix-socket ./kittiwake.sock http://localhost/v1/syncs

http://127.0.0.1:8080/ is a page for people, /openapi.json describes the API, /metrics is for
Prometheus. SIGTERM or Ctrl-C lets what is under way end, for --drain; a second one does not.";

fn parse_upstream(text: &str) -> Result<Url, String> {
    let remedy = "write http://127.0.0.1:3000 or https://app.example";
    let url = Url::parse(text).map_err(|error| format!("{error}; {remedy}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{}` is neither http nor https; {remedy}", url.scheme()));
    }
    match (url.path(), url.query(), url.username()) {
        ("/", None, "") => Ok(url),
        _ => Err(format!("an upstream has a host and a port only; {remedy}")),
    }
}

/// Serves until somebody asks it to stop.
pub fn serve(options: ServeOptions) -> Result<ExitCode, Refusal> {
    let Some(script) = options.script.clone() else { return host(options) };
    if let Some(option) = options.daemon.given() {
        return usage(format!("{option} is for a daemon, which has no SCRIPT; leave one out"));
    }
    let Listen::Tcp(address) = options.listen else {
        return usage(format!("a worker is served over TCP, not at {}", options.listen));
    };
    block_on(served(&options, &script, address))??;
    Ok(ExitCode::SUCCESS)
}

/// Without a script.
fn host(options: ServeOptions) -> Result<ExitCode, Refusal> {
    let own = [
        ("--upstream", options.site.upstream.is_some()),
        ("--origin", options.site.origin.is_some()),
        ("--root", options.site.root.is_some()),
        ("--type", options.site.worker_type.is_some()),
        ("--format", options.site.format.is_some()),
    ];
    if let Some((option, _)) = own.iter().find(|(_, given)| *given) {
        return usage(format!("{option} is about one worker: give its SCRIPT"));
    }
    let Some(state) = options.state else {
        return usage("give a SCRIPT to put behind HTTP, or --state DIR for a daemon");
    };
    let deny = |builder: Builder, permission: &Permission| {
        builder.permission(*permission, PermissionState::Denied)
    };
    let builder = options.deny.iter().fold(Runtime::builder(), deny);
    daemon::run(Setup {
        builder: options.limits.apply(options.servers.apply(builder)),
        state,
        listen: options.listen,
        network: options.network,
        options: options.daemon,
    })
}

async fn served(options: &ServeOptions, script: &str, address: SocketAddr) -> Result<(), Refusal> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Refusal::Failure(format!(
            "cannot listen at {address}: {error}; give another --listen, or port 0 for a free one"
        ))
    })?;
    let address = listener.local_addr().map_err(Refusal::failure)?;
    let site = Site::from(options, script, address)?;
    let runtime = site.builder.start().map_err(Refusal::failure)?;
    let (script, network) = (site.script, options.network.clone().unwrap_or_default());
    let activated = async {
        // A state folder may bring syncs, which wait for the signal; the worker is to be had first.
        let worker_type = options.site.worker_type.unwrap_or(WorkerType::Classic);
        register(&runtime, script, worker_type).await?;
        follow(&runtime, network).await
    };
    let result = tokio::select! {
        result = activated => result.map(|()| true).map_err(failure),
        () = asked_to_stop() => Ok(false),
    };
    if let Ok(true) = result {
        eprintln!("listening on http://{address}/");
        server::run(listener, &runtime, site.origin, asked_to_stop).await;
    }
    runtime.shut_down().await.map_err(Refusal::failure)?;
    result.map(drop)
}

/// What is served, once the options are known to fit together.
struct Site {
    builder: Builder,
    origin: Url,
    script: Url,
}

impl Site {
    fn from(options: &ServeOptions, script: &str, address: SocketAddr) -> Result<Site, Refusal> {
        let SiteOptions { upstream, origin, root, format, .. } = &options.site;
        let mut builder = Runtime::builder()
            .await_network_signal()
            // There is one origin.
            .request_concurrency(1024, 1024)
            .push_service(own_origin(address).join(push::PATH).expect("a path"));
        let printer = Printer::new(format.unwrap_or(Format::Text), Default::default());
        builder = printer.install(builder);
        if let Some(state) = &options.state {
            builder = builder.state_folder(state);
        }
        for permission in &options.deny {
            builder = builder.permission(*permission, PermissionState::Denied);
        }
        builder = options.limits.apply(options.servers.apply(builder));
        let (origin, script) = match url_of(script) {
            Some(_) if root.is_some() || origin.is_some() => {
                return usage(format!(
                    "{script} is served by its own server; leave out --root, --origin"
                ));
            }
            Some(url) => (url.join("/").unwrap_or(url.clone()), require_secure(url)?),
            None => {
                let origin = origin.clone().unwrap_or_else(|| own_origin(address));
                let script = Path::new(script);
                let folder = script.parent().filter(|parent| !parent.as_os_str().is_empty());
                let root = root.as_deref().or(folder).unwrap_or(Path::new("."));
                let files = LocalFiles { origin, root: Some(root.to_owned()) };
                let script = files.url_of(script)?;
                builder = builder.serve(files.origin.clone(), root);
                (files.origin, script)
            }
        };
        if let Some(upstream) = upstream {
            if is_here(upstream, address) {
                return usage(format!("{upstream} is where this command listens itself"));
            }
            builder = builder.upstream(origin.clone(), upstream.clone());
        }
        Ok(Site { builder, origin, script })
    }
}

/// Whether the server would ask itself.
fn is_here(upstream: &Url, address: SocketAddr) -> bool {
    let is_here = match upstream.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback() || address.ip() == ip,
        Some(Host::Ipv6(ip)) => ip.is_loopback() || address.ip() == ip,
        None => false,
    };
    is_here && upstream.port_or_known_default() == Some(address.port())
}

/// What a browser shows for the address, if that is a secure context.
fn own_origin(address: SocketAddr) -> Url {
    let host = match address.ip().is_loopback() {
        true => address.to_string(),
        false => format!("localhost:{}", address.port()),
    };
    Url::parse(&format!("http://{host}")).expect("a host with a port is a URL")
}
