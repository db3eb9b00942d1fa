//! `kittiwake sync`: one sync event, now, as the developer tools of a browser dispatch it.
//!
//! Invariant: no registration is needed, made, changed or removed, and no other sync fires.

use std::process::ExitCode;

use kittiwake::LastChance;

use crate::Refusal;
use crate::event::{self, EventOptions};

/// The options of `kittiwake sync`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SyncOptions {
    /// The event's tag; it need not be registered
    tag: String,
    /// Tells the worker that no attempt follows
    #[arg(long)]
    last_chance: bool,
    #[command(flatten)]
    event: EventOptions,
}

const EXAMPLES: &str = "Examples:
  kittiwake sync --state ./state outbox --last-chance
  kittiwake sync --state ./state outbox --network offline
  kittiwake sync --state ./state outbox --network online+loss=50%,offline@10s";

/// Dispatches the event and answers how it ended.
pub fn dispatch(options: SyncOptions) -> Result<ExitCode, Refusal> {
    let SyncOptions { tag, last_chance, event } = options;
    let chance = if last_chance { LastChance::Yes } else { LastChance::No };
    event::dispatch(event, async |runtime, scope| runtime.dispatch_sync(scope, &tag, chance).await)
}
