//! What requests meet on a simulated network, and how people write it.
//!
//! Invariant: conditions are those of a network that is there; offline has none.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::NetworkState;
use crate::trace::duration_text;

/// Where a captive portal is, unless its condition says otherwise.
const PORTAL: &str = "https://portal.test/";

/// A network: whether it is there, and what requests meet on it. Written as the state, then each
/// condition after a `+`; conditions alone mean `online`:
///
/// | Condition             | What it does                                                         |
/// | --------------------- | -------------------------------------------------------------------- |
/// | `latency=200ms`       | A response begins so much later                                      |
/// | `loss=10%`            | So many requests, and so many responses, never arrive; the script    |
/// |                       | learns it after 30 s                                                 |
/// | `bandwidth=64kbit`    | All bodies together pass at this rate per second, in each direction; |
/// |                       | also `bit` and `mbit`                                                |
/// | `portal`              | A captive portal answers each request with a redirect to its log-in  |
/// |                       | page at `https://portal.test/`, or elsewhere: `portal=http://a.test/` |
/// | `down=api.test`       | That host (or `host:port`) refuses connections; repeatable           |
///
/// ```
/// use kittiwake::Network;
///
/// let network: Network = "latency=200ms+loss=10%".parse()?;
/// assert_eq!(network.to_string(), "online+latency=200ms+loss=10%");
/// # Ok::<(), kittiwake::NetworkError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    /// Whether it is there.
    pub state: NetworkState,
    /// What requests meet on it.
    pub conditions: Conditions,
}

/// What requests meet on a network that is there. By default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The time from a request to its response.
    pub latency: Duration,
    /// How many of a million requests, and of a million responses, never arrive.
    pub loss_per_million: u32,
    /// How many bits of bodies pass in a second, in each direction.
    pub bits_per_second: Option<u64>,
    /// The log-in page to which a captive portal redirects.
    pub portal: Option<Url>,
    /// Hosts, perhaps with a port, that refuse connections.
    pub down: Vec<String>,
}

impl Conditions {
    /// Whether requests meet nothing.
    pub fn is_clear(&self) -> bool {
        *self == Conditions::default()
    }
}

impl From<NetworkState> for Network {
    fn from(state: NetworkState) -> Network {
        Network { state, conditions: Conditions::default() }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.conditions.is_clear() {
            true => write!(f, "{}", self.state),
            false => write!(f, "{}+{}", self.state, self.conditions),
        }
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.latency.is_zero() {
            parts.push(format!("latency={}", duration_text(self.latency.as_millis() as u64)));
        }
        if self.loss_per_million > 0 {
            parts.push(format!("loss={}%", f64::from(self.loss_per_million) / 10_000.0));
        }
        parts.extend(self.bits_per_second.map(|bits| format!("bandwidth={}", rate_text(bits))));
        parts.extend(self.portal.as_ref().map(|url| format!("portal={url}")));
        parts.extend(self.down.iter().map(|host| format!("down={host}")));
        f.write_str(&parts.join("+"))
    }
}

/// A network that cannot be read, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("network `{text}`: {remedy}")]
pub struct NetworkError {
    text: String,
    remedy: String,
}

impl NetworkError {
    /// What to write instead.
    pub(super) fn into_remedy(self) -> String {
        self.remedy
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        parse(text).map_err(|remedy| NetworkError { text: text.to_owned(), remedy })
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Network, NetworkError> {
        text.parse()
    }
}

/// Reads a network; the error is the remedy.
fn parse(text: &str) -> Result<Network, String> {
    let mut parts = text.split('+').map(str::trim).peekable();
    let first = parts.peek().copied().unwrap_or_default();
    let state = match first.parse::<NetworkState>() {
        Ok(state) => {
            parts.next();
            state
        }
        Err(_) if first.contains('=') || first == "portal" => NetworkState::Online,
        Err(_) => {
            return Err(
                "write `online` or `offline`, or conditions as in `latency=200ms+loss=10%`"
                    .to_owned(),
            );
        }
    };
    let mut conditions = Conditions::default();
    for part in parts {
        if state == NetworkState::Offline {
            return Err(format!("nothing passes while offline: leave `{part}` out"));
        }
        add(&mut conditions, part)?;
    }
    Ok(Network { state, conditions })
}

/// Adds one condition; the error is the remedy.
fn add(conditions: &mut Conditions, part: &str) -> Result<(), String> {
    let (key, value) = part.split_once('=').unwrap_or((part, ""));
    let before = conditions.clone();
    match key {
        "latency" => conditions.latency = parse_latency(value)?,
        "loss" => conditions.loss_per_million = parse_loss(value)?,
        "bandwidth" => conditions.bits_per_second = Some(parse_rate(value)?),
        "portal" => conditions.portal = Some(parse_portal(value)?),
        "down" => match Url::parse(&format!("http://{value}/")) {
            Ok(url) if url.path() == "/" && url.host_str().is_some() && !value.contains('/') => {
                conditions.down.push(value.to_ascii_lowercase());
                return Ok(());
            }
            _ => return Err(format!("`{value}` is no host: write it as in `down=api.test`")),
        },
        _ => {
            return Err(format!(
                "`{part}` is no condition: write `latency=200ms`, `loss=10%`, `bandwidth=64kbit`, \
                 `portal` or `down=api.test`"
            ));
        }
    }
    let twice = match key {
        "latency" => !before.latency.is_zero(),
        "loss" => before.loss_per_million > 0,
        "bandwidth" => before.bits_per_second.is_some(),
        _ => before.portal.is_some(),
    };
    if twice { Err(format!("`{key}` is there twice: leave one out")) } else { Ok(()) }
}

fn parse_latency(text: &str) -> Result<Duration, String> {
    let wrong = |cause: &str| format!("write the latency as in `latency=200ms` ({cause})");
    match humantime::parse_duration(text) {
        Ok(latency) if latency.as_millis() == 0 => Err(wrong("it is less than 1ms")),
        Ok(latency) => Ok(latency),
        Err(cause) => Err(wrong(&cause.to_string())),
    }
}

fn parse_loss(text: &str) -> Result<u32, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match percent.map(|percent| percent * 10_000.0) {
        Some(per_million) if (1.0..=1_000_000.0).contains(&per_million) => {
            Ok(per_million.round() as u32)
        }
        _ => Err("write the loss from 0.0001% to 100%, as in `loss=10%`".to_owned()),
    }
}

fn parse_rate(text: &str) -> Result<u64, String> {
    let wrong =
        || "write the bandwidth per second, as in `bandwidth=64kbit` or `1.5mbit`".to_owned();
    let number = text.strip_suffix("bit").ok_or_else(wrong)?;
    let (number, unit) = match (number.strip_suffix('k'), number.strip_suffix('m')) {
        (Some(number), _) => (number, 1e3),
        (_, Some(number)) => (number, 1e6),
        _ => (number, 1.0),
    };
    let bits = number.trim().parse::<f64>().map_err(|_| wrong())? * unit;
    if (1.0..1e15).contains(&bits) { Ok(bits.round() as u64) } else { Err(wrong()) }
}

fn parse_portal(text: &str) -> Result<Url, String> {
    let text = if text.is_empty() { PORTAL } else { text };
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| format!("`{text}` is no address: write `portal` or `portal={PORTAL}`"))
}

fn rate_text(bits: u64) -> String {
    match bits {
        bits if bits % 1_000_000 == 0 => format!("{}mbit", bits / 1_000_000),
        bits if bits % 1_000 == 0 => format!("{}kbit", bits / 1_000),
        bits => format!("{bits}bit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_written_as_it_is_read() {
        for (text, canonical) in [
            ("online", "online"),
            ("offline", "offline"),
            ("latency=1500ms", "online+latency=1s500ms"),
            ("online + loss=0.5%", "online+loss=0.5%"),
            ("bandwidth=1.5mbit", "online+bandwidth=1500kbit"),
            ("bandwidth=2mbit+latency=3s", "online+latency=3s+bandwidth=2mbit"),
            ("portal", "online+portal=https://portal.test/"),
            ("portal=http://a.test/in", "online+portal=http://a.test/in"),
            ("down=a.test+down=B.test:81", "online+down=a.test+down=b.test:81"),
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(network));
        }
    }

    #[test]
    fn a_wrong_network_says_what_to_write() {
        for (text, message) in [
            ("up", "network `up`: write `online` or `offline`, or conditions as in"),
            ("offline+loss=1%", "network `offline+loss=1%`: nothing passes while offline"),
            ("online+fast", "`fast` is no condition: write `latency=200ms`"),
            ("latency=", "write the latency as in `latency=200ms` ("),
            ("latency=0s", "write the latency as in `latency=200ms` (it is less than 1ms)"),
            ("latency=1s+latency=2s", "`latency` is there twice"),
            ("loss=10", "write the loss from 0.0001% to 100%, as in `loss=10%`"),
            ("loss=-1%", "write the loss from"),
            ("loss=101%", "write the loss from"),
            ("loss=NaN%", "write the loss from"),
            ("bandwidth=64", "write the bandwidth per second, as in `bandwidth=64kbit`"),
            ("bandwidth=0kbit", "write the bandwidth per second"),
            ("portal=login", "`login` is no address: write `portal` or `portal=https://"),
            ("down=", "`` is no host: write it as in `down=api.test`"),
            ("down=https://a.test", "`https://a.test` is no host"),
        ] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(message), "{error}\nshould say: {message}");
        }
    }
}
