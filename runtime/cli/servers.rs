//! Options about the servers that a worker may ask, shared by the commands that run one.
//!
//! Invariant: without any of them everything is allowed.

use std::time::Duration;

use clap::ValueEnum;
use kittiwake::{Builder, Cors, HostRule, NetworkPolicy};

#[derive(clap::Args)]
#[command(next_help_heading = "Servers")]
/// Which servers may be reached, and what these may cost.
pub struct ServerOptions {
    /// Asks this host and no other: `api.test`, `*.api.test`, `[::1]`, each also with `:port`;
    /// repeatable
    #[arg(long, value_name = "HOST")]
    allow_net: Vec<HostRule>,
    /// Never asks this host; repeatable
    #[arg(long, value_name = "HOST")]
    deny_net: Vec<HostRule>,
    /// Asks no address of this machine or of a private network, whatever its name
    #[arg(long)]
    deny_private: bool,
    /// Breaks a response off after so many bytes
    #[arg(long, value_name = "BYTES")]
    max_response: Option<u64>,
    /// Gives up on a server that is silent for so long
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    max_silence: Option<Duration>,
    /// Whether servers decide what other origins read of them: `enforce` as in a browser, or
    /// `relax` [default: relax]
    #[arg(long, value_enum)]
    cors: Option<CorsChoice>,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "lower")]
enum CorsChoice {
    Enforce,
    Relax,
}

impl ServerOptions {
    /// The builder with these options.
    pub fn apply(&self, builder: Builder) -> Builder {
        let builder = builder.network_policy(NetworkPolicy {
            allow: self.allow_net.clone(),
            deny: self.deny_net.clone(),
            deny_private: self.deny_private,
            response_bytes: self.max_response,
            silence: self.max_silence,
        });
        match self.cors {
            Some(CorsChoice::Enforce) => builder.cors(Cors::Enforce),
            Some(CorsChoice::Relax) => builder.cors(Cors::Relax),
            None => builder,
        }
    }
}
