//! `kittiwake push`: one push event, now, as the developer tools of a browser dispatch it.
//!
//! Invariant: no subscription is needed, made, changed or removed.

use std::process::ExitCode;

use crate::Refusal;
use crate::event::{self, EventOptions};

/// The options of `kittiwake push`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct PushOptions {
    /// The message's text; without it the event has no data
    #[arg(long, value_name = "TEXT")]
    data: Option<String>,
    #[command(flatten)]
    event: EventOptions,
}

const EXAMPLES: &str = "Examples:
  kittiwake push --state ./state
  kittiwake push --state ./state --data '{\"title\": \"News\"}'";

/// Dispatches the event and answers how it ended.
pub fn dispatch(options: PushOptions) -> Result<ExitCode, Refusal> {
    let PushOptions { data, event } = options;
    let data = data.map(String::into_bytes);
    event::dispatch(event, async |runtime, scope| runtime.dispatch_push(scope, data).await)
}
