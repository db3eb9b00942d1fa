//! `--inspect` and `--inspect-brk`: debuggers at the workers and pages of a run.
//!
//! Invariant: nobody but this machine can connect unless the command line says so.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use kittiwake::{Inspector, InspectorStart};

use crate::Refusal;

/// Where debuggers look.
const PORT: u16 = 9229;

/// The options for debuggers.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Debugging")]
pub struct InspectOptions {
    /// Lets debuggers at workers and pages: chrome://inspect in Chromium, or an editor.
    /// `=PORT`, or `=ADDRESS:PORT`: whoever can connect runs code as your scripts
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "127.0.0.1:9229"
    )]
    inspect: Option<Address>,
    /// The same, and each worker and page waits for a debugger and pauses at its first statement
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "127.0.0.1:9229",
        conflicts_with = "inspect"
    )]
    inspect_brk: Option<Address>,
}

#[derive(Clone, Copy, Debug)]
struct Address(SocketAddr);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let own = IpAddr::from(Ipv4Addr::LOCALHOST);
        let local = text.replacen("localhost", "127.0.0.1", 1);
        let parsed = local
            .parse()
            .map(|port: u16| SocketAddr::new(own, port))
            .or_else(|_| local.parse::<IpAddr>().map(|address| SocketAddr::new(address, PORT)));
        let address = match parsed {
            Ok(address) => Ok(address),
            Err(_) => local.parse::<SocketAddr>(),
        };
        let wrong = "write a port, or an IP address and a port, as in `=127.0.0.1:9229`";
        address.map(Address).map_err(|_| wrong.to_owned())
    }
}

impl InspectOptions {
    /// Listens, if that is asked for, and says where.
    pub fn listen(&self) -> Result<Option<Inspector>, Refusal> {
        let (Address(address), start) = match (self.inspect, self.inspect_brk) {
            (Some(address), _) => (address, InspectorStart::Run),
            (None, Some(address)) => (address, InspectorStart::Break),
            (None, None) => return Ok(None),
        };
        let inspector = Inspector::listen(address, start).map_err(|error| {
            Refusal::Failure(format!("debuggers cannot connect at {address}: {error}"))
        })?;
        let address = inspector.address();
        note(&format!(
            "debuggers connect at {address}: chrome://inspect, or http://{address}/json/list"
        ));
        if !address.ip().is_loopback() {
            note("other machines may connect: whoever does runs code as your scripts");
        }
        inspector.on_wait(|target| note(&format!("waiting for a debugger: {}", target.title)));
        Ok(Some(inspector))
    }

    /// Whether a debugger is to be let in.
    pub fn is_on(&self) -> bool {
        self.inspect.is_some() || self.inspect_brk.is_some()
    }
}

fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}
