//! The reachability probe: a link is not the internet.
//!
//! Invariant: any HTTP response counts as reachable, whatever its status; nothing else does.

use std::cell::Cell;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, select_ok};
use url::Url;

use super::RealSignalError;
use crate::http::{Proxying, client_builder, is_loopback};

/// A probe without an answer for so long has failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many addresses one probe asks; the next probe asks the next ones.
const ADDRESSES_A_PROBE: usize = 4;

/// What is asked, by `HEAD`, whether the network is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Probe {
    /// The origins of the registered workers, except those that [`Builder::serve`] answers: one
    /// response of any is enough. While there are none, a route is.
    ///
    /// [`Builder::serve`]: crate::Builder::serve
    #[default]
    Origins,
    /// This `http` or `https` address.
    Url(Url),
    /// Nothing: a route is enough.
    Never,
}

impl FromStr for Probe {
    type Err = RealSignalError;

    /// An address, or `none`.
    fn from_str(text: &str) -> Result<Probe, RealSignalError> {
        match (text, Url::parse(text)) {
            ("none", _) => Ok(Probe::Never),
            (_, Ok(url)) => require_http(url).map(Probe::Url),
            (text, Err(_)) => Err(RealSignalError::ProbeUrl { url: text.to_owned() }),
        }
    }
}

pub(super) fn require_http(url: Url) -> Result<Url, RealSignalError> {
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(RealSignalError::ProbeUrl { url: url.into() }),
    }
}

/// The addresses to ask at this moment.
pub(super) type Addresses = Rc<dyn Fn() -> Vec<Url>>;

/// Asks once.
pub(super) type Ask = Box<dyn Fn() -> LocalBoxFuture<'static, Reach>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Reached,
    Missed,
}

/// Whether this machine itself is asked, for which no route is needed.
pub(super) fn asks_this_machine(addresses: &Addresses) -> bool {
    addresses().iter().any(is_loopback)
}

pub(super) fn ask_by_head(addresses: Addresses, user_agent: &str) -> Result<Ask, RealSignalError> {
    let client = |proxying| {
        client_builder(user_agent, proxying)
            .timeout(PROBE_TIMEOUT)
            // A pooled connection may have died with the old link; a probe asks the new one.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|cause| RealSignalError::ProbeClient { cause: cause.to_string() })
    };
    let (system, direct) = (client(Proxying::System)?, client(Proxying::Direct)?);
    let first = Cell::new(0);
    Ok(Box::new(move || {
        let addresses = addresses();
        if addresses.is_empty() {
            return std::future::ready(Reach::Reached).boxed_local();
        }
        let begin = first.get() % addresses.len();
        first.set(begin + ADDRESSES_A_PROBE);
        let from_there = addresses.iter().cycle().skip(begin);
        let requests = from_there.take(addresses.len().min(ADDRESSES_A_PROBE)).map(|url| {
            let client = match Proxying::of(url) {
                Proxying::System => &system,
                Proxying::Direct => &direct,
            };
            client.head(url.clone()).send().boxed_local()
        });
        let any = select_ok(requests);
        any.map(|found| if found.is_ok() { Reach::Reached } else { Reach::Missed }).boxed_local()
    }))
}
