//! Options about how much scripts may have, shared by the commands that run one.
//!
//! Invariant: what is not set stays the library's default.

use std::time::Duration;

use kittiwake::{Builder, LimitSetting};

/// How long a turn may take to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
#[command(next_help_heading = "Limits")]
/// How much scripts may have.
pub struct LimitOptions {
    /// Bounds what scripts may have: `heap=64MiB`, `turn=2s`, `fetches=100`; `none` for no limit;
    /// repeatable. See --help for all of them
    ///
    /// Of one page or worker:
    ///   heap=256MiB        its JavaScript heap; it is terminated
    ///   buffers=512MiB     its array buffers and WebAssembly memories
    ///   turn=10s           one turn of JavaScript; it is terminated
    ///   timers=100000      timers that wait
    ///   console=16MiB      what it writes to its console in a second; the rest is dropped
    ///
    /// Of one event of a worker:
    ///   event=5m           its time; `sync` events have --max-event
    ///   event-cpu=1m       processor time that the worker uses meanwhile; it is terminated
    ///
    /// Of one origin:
    ///   fetches=500        requests under way
    ///   uploads=256MiB     their bodies
    ///   response=none      one response; also --max-response
    ///   sockets=256        WebSockets
    ///   storage=10GiB      caches and databases
    ///   blobs=256MiB       Blobs and Files in memory
    ///   connections=1000   open connections to databases
    ///   registrations=1000 registered workers
    ///   syncs=100000       background syncs that are not settled
    ///   locks=10000        locks held or waited for
    ///   ports=16384        open message ports
    ///   messages=256MiB    messages that nobody has received
    ///
    /// Of everything: pages=1000
    ///
    /// A limit that strikes is a line of the trace: `limit  fetches 500  page  URL  refused`.
    #[arg(verbatim_doc_comment)]
    #[arg(long = "limit", value_name = "NAME=AMOUNT")]
    limits: Vec<LimitSetting>,
}

impl LimitOptions {
    /// The builder with these options.
    pub fn apply(&self, builder: Builder) -> Builder {
        let set = |builder: Builder, each: &LimitSetting| builder.limit(each.limit, each.amount);
        self.limits.iter().fold(builder, set).on_stuck_turn(PATIENCE, || {
            eprintln!(
                "error: a script holds the process in a function of V8's that cannot be \
                 interrupted; the process ends. Start it again: what is on disk is whole"
            );
            std::process::abort();
        })
    }
}
