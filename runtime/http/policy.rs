//! Which hosts may be asked, and how much and how long they may answer.
//!
//! Names are checked before a request leaves, addresses after the name server has answered, both
//! for each exchange, so that no redirect and no name leads around them.
//!
//! Invariant: a host that is denied sees nothing of a request; what is not limited is allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::unfold;
use futures::{FutureExt, StreamExt};
use tokio::time::timeout;
use url::{Host, Url};

use super::{
    Http, HttpError, HttpRequest, HttpResponse, Loaded, UpgradedConnection, WebSocketRequest,
    authority,
};

/// Which servers scripts may reach, and what these may cost. The default allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// If there are any, no other host is asked.
    pub allow: Vec<HostRule>,
    /// Hosts that are not asked, also if they are allowed.
    pub deny: Vec<HostRule>,
    /// Asks no address of this machine, of a private or link-local network, or of any other range
    /// that is not of the public internet, whatever its name. Then no proxy is asked either: it
    /// would look up names by itself.
    pub deny_private: bool,
    /// Bytes that the body of one response may have, decoded. A longer one breaks there.
    pub response_bytes: Option<u64>,
    /// How long a server may be silent before its headers, and before each part of the body.
    pub silence: Option<Duration>,
}

/// A host: `api.test`, `*.api.test` for every name below it, or an address; with `:port`, of that
/// port alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    host: String,
    below: bool,
    port: Option<u16>,
}

impl FromStr for HostRule {
    type Err = String;

    fn from_str(text: &str) -> Result<HostRule, String> {
        let wrong = || format!("`{text}` is no host; write `api.test`, `*.api.test` or `[::1]:80`");
        let (below, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        // As a URL, so that it is written in the same way as the URL of a request.
        let url = Url::parse(&format!("http://{rest}/")).map_err(|_| wrong())?;
        let port = match rest.rsplit_once(':') {
            Some((_, port)) if !rest.ends_with(']') => Some(port.parse().map_err(|_| wrong())?),
            _ => None,
        };
        let host = url.host_str().filter(|_| url.path() == "/" && url.username().is_empty());
        let host = host.ok_or_else(wrong)?.to_owned();
        if below && !matches!(url.host(), Some(Host::Domain(_))) {
            return Err(wrong());
        }
        Ok(HostRule { host, below, port })
    }
}

impl HostRule {
    fn covers(&self, url: &Url) -> bool {
        let Some(host) = url.host_str().map(|host| host.trim_end_matches('.')) else {
            return false;
        };
        let is_host = match self.below {
            false => host == self.host,
            true => host.strip_suffix(&self.host).is_some_and(|below| below.ends_with('.')),
        };
        is_host && self.port.is_none_or(|port| url.port_or_known_default() == Some(port))
    }
}

impl NetworkPolicy {
    fn check(&self, url: &Url) -> Result<(), HttpError> {
        let host = || authority(url);
        if self.deny.iter().any(|rule| rule.covers(url)) {
            return Err(HttpError::Denied {
                host: host(),
                why: "it is on the list of denied hosts",
            });
        }
        if !self.allow.is_empty() && !self.allow.iter().any(|rule| rule.covers(url)) {
            let why = "it is not on the list of allowed hosts";
            return Err(HttpError::Denied { host: host(), why });
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        match address {
            Some(address) if !self.allows_address(address) => {
                Err(HttpError::Denied { host: host(), why: PRIVATE })
            }
            _ => Ok(()),
        }
    }

    /// Whether a name may have led to this address.
    pub(super) fn allows_address(&self, address: IpAddr) -> bool {
        !self.deny_private || is_public(address)
    }
}

pub(super) const PRIVATE: &str = "its address is not of the public internet";

/// Whether an address is reachable from everywhere:
/// <https://www.iana.org/assignments/iana-ipv4-special-registry/> and its sister for IPv6.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (a, b) {
        // Addresses that carry one of IPv4: mapped, translated (64:ff9b::/96), 6to4.
        (0, 0) if [c, d, e] == [0; 3] && matches!(f, 0 | 0xffff) => is_public_v4(v4(g, h)),
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => is_public_v4(v4(g, h)),
        (0x2002, high) => is_public_v4(v4(high, c)),
        // Protocol assignments with Teredo, documentation.
        (0x2001, 0..=0x1ff | 0xdb8) | (0x3fff, 0..=0xfff) => false,
        // Global unicast is 2000::/3; local, link-local and multicast addresses are outside it.
        _ => a & 0xe000 == 0x2000,
    }
}

/// Keeps a policy between whoever asks and `inner`.
pub struct Policed {
    policy: Arc<NetworkPolicy>,
    inner: Rc<dyn Http>,
}

impl Policed {
    /// A door to what `policy` allows of `inner`.
    pub fn new(policy: Arc<NetworkPolicy>, inner: Rc<dyn Http>) -> Policed {
        Policed { policy, inner }
    }
}

impl Http for Policed {
    fn send(
        &self,
        request: HttpRequest,
    ) -> LocalBoxFuture<'static, Result<HttpResponse, HttpError>> {
        if let Err(denied) = self.policy.check(&request.url) {
            return std::future::ready(Err(denied)).boxed_local();
        }
        if self.policy.response_bytes.is_none() && self.policy.silence.is_none() {
            return self.inner.send(request);
        }
        let (policy, host) = (self.policy.clone(), authority(&request.url));
        let response = self.inner.send(request);
        async move {
            let response = in_time(&policy, &host, response).await??;
            Ok(limited(policy, host, response))
        }
        .boxed_local()
    }

    fn load(&self, url: &Url) -> Result<Loaded, HttpError> {
        self.policy.check(url)?;
        let loaded = self.inner.load(url)?;
        let most = self.policy.response_bytes.unwrap_or(u64::MAX);
        match loaded.body.len() as u64 > most {
            true => Err(HttpError::TooLong { host: authority(url), most }),
            false => Ok(loaded),
        }
    }

    fn connect(
        &self,
        request: WebSocketRequest,
    ) -> LocalBoxFuture<'static, Result<UpgradedConnection, HttpError>> {
        if let Err(denied) = self.policy.check(&request.url) {
            return std::future::ready(Err(denied)).boxed_local();
        }
        self.inner.connect(request)
    }
}

async fn in_time<T>(
    policy: &NetworkPolicy,
    host: &str,
    answer: impl Future<Output = T>,
) -> Result<T, HttpError> {
    let Some(silence) = policy.silence else { return Ok(answer.await) };
    let silent = |_| HttpError::Timeout { host: host.to_owned() };
    timeout(silence, answer).await.map_err(silent)
}

/// The response, whose body breaks where it passes a limit.
fn limited(policy: Arc<NetworkPolicy>, host: String, response: HttpResponse) -> HttpResponse {
    let most = policy.response_bytes.unwrap_or(u64::MAX);
    let next = move |(mut body, bytes): (super::Body, u64)| {
        let (policy, host) = (policy.clone(), host.clone());
        async move {
            let chunk = match in_time(&policy, &host, body.next()).await {
                Ok(chunk) => chunk?,
                Err(silent) => Err(silent),
            };
            let bytes = bytes + chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            if bytes > most {
                return Some((Err(HttpError::TooLong { host, most }), (ended(), 0)));
            }
            let body = if chunk.is_err() { ended() } else { body };
            Some((chunk, (body, bytes)))
        }
    };
    HttpResponse { body: unfold((response.body, 0), next).boxed_local(), ..response }
}

/// Nothing more: what was there is dropped, and its connection with it.
fn ended() -> super::Body {
    futures::stream::empty().boxed_local()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::ScriptedServers;

    fn rules(text: &str) -> Vec<HostRule> {
        text.split_whitespace().map(|rule| rule.parse().unwrap()).collect()
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_rule_covers_a_host_its_subdomains_or_a_port() {
        for (rule, covered, not_covered) in [
            ("api.test", "https://API.test./x", "https://www.api.test/"),
            ("*.api.test", "http://a.b.api.test/", "http://api.test/"),
            ("*.api.test", "http://www.api.test/", "http://evilapi.test/"),
            ("api.test:8080", "http://api.test:8080/", "http://api.test/"),
            ("api.test:443", "https://api.test/", "http://api.test/"),
            ("[::1]", "http://[::1]:80/", "http://[::2]/"),
            ("127.0.0.1", "http://127.1/", "http://127.0.0.2/"),
        ] {
            let rule: HostRule = rule.parse().unwrap();
            assert!(rule.covers(&url(covered)), "{rule:?} {covered}");
            assert!(!rule.covers(&url(not_covered)), "{rule:?} {not_covered}");
        }
        for wrong in ["", "a b", "api.test/path", "*.127.0.0.1", "api.test:x", "u@api.test"] {
            assert!(wrong.parse::<HostRule>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn denied_hosts_win_over_allowed_ones() {
        let policy = NetworkPolicy {
            allow: rules("*.test"),
            deny: rules("bad.test"),
            ..NetworkPolicy::default()
        };
        assert_eq!(policy.check(&url("http://good.test/")), Ok(()));
        let why = |at| policy.check(&url(at)).unwrap_err().to_string();
        assert!(why("http://bad.test/").ends_with("it is on the list of denied hosts"));
        assert!(why("http://a.org/").ends_with("it is not on the list of allowed hosts"));
    }

    #[test]
    fn private_addresses_are_told_in_every_notation() {
        let policy = NetworkPolicy { deny_private: true, ..NetworkPolicy::default() };
        for private in [
            "127.0.0.1",
            "0x7f000001",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[fd00::1]",
            "[ff02::1]",
            "[::ffff:10.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:a00:1::]",
            "[2001:db8::1]",
        ] {
            assert!(policy.check(&url(&format!("http://{private}/"))).is_err(), "{private}");
        }
        for public in ["1.1.1.1", "172.32.0.1", "[2606:4700::1111]", "[::ffff:1.1.1.1]"] {
            assert!(policy.check(&url(&format!("http://{public}/"))).is_ok(), "{public}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_or_silent_answer_breaks() {
        let servers: ScriptedServers = toml::from_str(
            "['http://a.test']\n'GET /long' = { body = 'abcdef' }\n'GET /slow' = { delay = '9s' }",
        )
        .unwrap();
        let policy = NetworkPolicy {
            response_bytes: Some(5),
            silence: Some(Duration::from_secs(5)),
            ..NetworkPolicy::default()
        };
        let door = Policed::new(Arc::new(policy), Rc::new(servers));
        let long = door.send(HttpRequest::get(url("http://a.test/long"))).await.unwrap();
        let too_long = HttpError::TooLong { host: "a.test:80".to_owned(), most: 5 };
        assert_eq!(long.into_loaded().await, Err(too_long.clone()));
        assert_eq!(door.load(&url("http://a.test/long")), Err(too_long));
        let silent = door.send(HttpRequest::get(url("http://a.test/slow"))).await.err();
        assert_eq!(silent, Some(HttpError::Timeout { host: "a.test:80".to_owned() }));
    }
}
