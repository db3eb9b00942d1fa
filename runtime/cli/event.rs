//! One event for the worker of a state folder: what `kittiwake sync` and `kittiwake push` share.
//!
//! Invariant: no sync fires.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use kittiwake::{Error, EventOutcome, PolicyOptions, Runtime, parse_max_event};
use url::Url;

use crate::files::{default_origin, parse_origin};
use crate::output::{Format, Printer};
use crate::run::{Network, follow};
use crate::{Refusal, asked_to_stop, block_on, usage};

/// The options that every event has.
#[derive(clap::Args)]
pub struct EventOptions {
    /// The folder of an earlier `kittiwake run --state`; no process may be using it
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The scope of the worker [default: the only one]
    #[arg(long, value_name = "URL")]
    scope: Option<Url>,
    /// Serves this folder at the origin, for the worker's requests; its scripts are in the state
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The origin of the folder [default: the scope's, or https://app.test]
    #[arg(long, value_name = "URL", value_parser = parse_origin)]
    origin: Option<Url>,
    /// What the worker's requests meet: online, offline, real, or a timeline that starts with the
    /// event, as in `kittiwake run`. Registered syncs fire in none [default: online]
    #[arg(long, value_name = "SIGNAL")]
    network: Option<Network>,
    /// How long a sync event may take before it has failed [default: 3m]
    #[arg(long, value_name = "DURATION", value_parser = parse_max_event)]
    max_event: Option<Duration>,
    /// How the trace is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Has `dispatch` dispatch an event, and answers how it ended.
pub fn dispatch(
    options: EventOptions,
    dispatch: impl AsyncFnOnce(&Runtime, Option<Url>) -> Result<EventOutcome, Error>,
) -> Result<ExitCode, Refusal> {
    if options.origin.is_some() && options.root.is_none() {
        return usage("--origin says where --root is served: give both");
    }
    if !options.state.is_dir() {
        let folder = options.state.display();
        return Err(Refusal::Failure(format!(
            "there is no state folder {folder}: give the folder that `--state` named in an \
             earlier run"
        )));
    }
    match block_on(dispatched(options, dispatch))?? {
        Some(EventOutcome::Fulfilled) => Ok(ExitCode::SUCCESS),
        Some(_) | None => Ok(ExitCode::from(1)),
    }
}

/// `None` if somebody stopped the process first.
async fn dispatched(
    options: EventOptions,
    dispatch: impl AsyncFnOnce(&Runtime, Option<Url>) -> Result<EventOutcome, Error>,
) -> Result<Option<EventOutcome>, Refusal> {
    let max_event = options.max_event;
    let policy = PolicyOptions { max_event, ..PolicyOptions::default() }.policy();
    let mut builder = Runtime::builder()
        .spare_realm(false)
        .state_folder(options.state)
        .sync_policy(policy)
        .hold_syncs()
        .await_network_signal();
    builder = Printer::new(options.format, Default::default()).install(builder);
    if let Some(root) = options.root {
        let of_scope = options.scope.as_ref().and_then(|scope| scope.join("/").ok());
        builder = builder.serve(options.origin.or(of_scope).unwrap_or_else(default_origin), root);
    }
    let runtime = builder.start().map_err(Refusal::failure)?;
    let network = options.network.unwrap_or_default();
    let dispatched = async {
        follow(&runtime, network).await?;
        dispatch(&runtime, options.scope).await
    };
    let outcome = tokio::select! {
        outcome = dispatched => outcome.map(Some),
        () = asked_to_stop() => Ok(None),
    };
    runtime.shut_down().await.map_err(Refusal::failure)?;
    outcome.map_err(Refusal::failure)
}
