//! `kittiwake serve`: a worker behind an HTTP server, to be looked at with curl or a browser.
//!
//! Invariant: nothing is answered before the worker is activated; and the runtime is shut down in
//! order after the last answer.

mod exchange;
mod push;
mod server;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use kittiwake::{Builder, Permission, PermissionState, Runtime};
use tokio::net::TcpListener;
use url::{Host, Url};

use crate::files::{LocalFiles, parse_origin, require_secure, url_of};
use crate::limits::LimitOptions;
use crate::output::{Format, printer};
use crate::run::{Network, WorkerType, failure, follow, register};
use crate::servers::ServerOptions;
use crate::{Refusal, asked_to_stop, block_on, usage};

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
/// The options of `kittiwake serve`.
pub struct ServeOptions {
    /// A service worker script: a file; an https URL; http on this machine
    #[arg(value_name = "SCRIPT")]
    script: String,
    /// Where to listen: an IP address with a port, `localhost:PORT`, or PORT on this machine alone;
    /// port 0 picks one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: Listen,
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
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value_t = WorkerType::Classic)]
    worker_type: WorkerType,
    /// Keeps registrations, caches and databases in this folder [default: in memory]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// online, offline, real, or a timeline like `online,offline@10s` that starts when the worker
    /// is activated, as in `kittiwake run` [default: online]
    #[arg(long, value_name = "SIGNAL")]
    network: Option<Network>,
    /// Denies a permission: background-sync, notifications or periodic-background-sync; repeatable
    #[arg(long, value_name = "PERMISSION")]
    deny: Vec<Permission>,
    #[command(flatten)]
    servers: ServerOptions,
    #[command(flatten)]
    limits: LimitOptions,
    /// How the trace is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const EXAMPLES: &str = "Examples:
  kittiwake serve sw.js
  kittiwake serve sw.js --listen 127.0.0.1:8080 --upstream http://localhost:3000
  kittiwake serve dist/sw.js --root dist --state ./state --network online,offline@30s
  kittiwake serve https://app.example/sw.js --listen 8080
  curl -i http://127.0.0.1:8080/ -H 'Accept: text/html'

A request with `Sec-Fetch-Mode: navigate` is a navigation, and so is a GET that accepts text/html
before anything else; every other request is a page's. Cookies stay in Kittiwake, which is the
browser here: whoever connects shares its cookies and its HTTP cache. Ctrl-C or SIGTERM finishes
what is under way, for 10 s at most.";

/// What `--listen` says.
#[derive(Clone, Copy)]
struct Listen(SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = text.strip_prefix("localhost:").unwrap_or(text);
        match port.parse::<u16>() {
            Ok(port) => Ok(Listen((Ipv4Addr::LOCALHOST, port).into())),
            Err(_) => text
                .parse()
                .map(Listen)
                .map_err(|error| format!("{error}; write 127.0.0.1:8080, [::1]:8080 or 8080")),
        }
    }
}

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
    block_on(served(options))??;
    Ok(ExitCode::SUCCESS)
}

async fn served(options: ServeOptions) -> Result<(), Refusal> {
    let Listen(address) = options.listen;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Refusal::Failure(format!(
            "cannot listen at {address}: {error}; give another --listen, or port 0 for a free one"
        ))
    })?;
    let address = listener.local_addr().map_err(Refusal::failure)?;
    let site = Site::from(&options, address)?;
    let runtime = site.builder.start().map_err(Refusal::failure)?;
    let (script, network) = (site.script, options.network.unwrap_or_default());
    let activated = async {
        // A state folder may bring syncs, which wait for the signal; the worker is to be had first.
        register(&runtime, script, options.worker_type).await?;
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
    fn from(options: &ServeOptions, address: SocketAddr) -> Result<Site, Refusal> {
        let mut builder = Runtime::builder()
            .await_network_signal()
            .push_service(own_origin(address).join(push::PATH).expect("a path"))
            .on_trace(printer(options.format, Default::default()));
        if let Some(state) = &options.state {
            builder = builder.state_folder(state);
        }
        for permission in &options.deny {
            builder = builder.permission(*permission, PermissionState::Denied);
        }
        builder = options.limits.apply(options.servers.apply(builder));
        let (origin, script) = match url_of(&options.script) {
            Some(_) if options.root.is_some() || options.origin.is_some() => {
                let url = &options.script;
                return usage(format!(
                    "{url} is served by its own server; leave out --root, --origin"
                ));
            }
            Some(url) => (url.join("/").unwrap_or(url.clone()), require_secure(url)?),
            None => {
                let origin = options.origin.clone().unwrap_or_else(|| own_origin(address));
                let script = Path::new(&options.script);
                let folder = script.parent().filter(|parent| !parent.as_os_str().is_empty());
                let root = options.root.as_deref().or(folder).unwrap_or(Path::new("."));
                let files = LocalFiles { origin, root: Some(root.to_owned()) };
                let script = files.url_of(script)?;
                builder = builder.serve(files.origin.clone(), root);
                (files.origin, script)
            }
        };
        if let Some(upstream) = &options.upstream {
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
