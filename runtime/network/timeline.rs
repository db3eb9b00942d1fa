//! Scripted network signals.
//!
//! Invariant: a timeline that was read has a state at its start, later times in order, and no
//! change that changes nothing.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use serde::Deserialize;
use tokio::time::Instant;

use super::{Conditions, Network, NetworkError, NetworkSignal, NetworkState, Outlook};

/// A scripted signal: the network at the start, then each change with its time since the start.
///
/// ```
/// use kittiwake::Timeline;
///
/// "offline,online@10s,offline@1m".parse::<Timeline>()?;
/// "online,latency=2s+loss=10%@30s,online@1m".parse::<Timeline>()?;
/// # Ok::<(), kittiwake::TimelineError>(())
/// ```
///
/// Each item says all about the network from its time on, as a [`Network`] is written. The start is
/// the first poll of `next`, on tokio's clock.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Timeline {
    text: String,
    changes: Vec<Change>,
    /// How many of the changes `next` has answered.
    answered: usize,
    started: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    network: Network,
    after: Duration,
}

impl Timeline {
    /// A signal that never changes.
    pub fn constant(network: impl Into<Network>) -> Timeline {
        let network = network.into();
        let text = network.to_string();
        let change = Change { network, after: Duration::ZERO };
        Timeline { text, changes: vec![change], answered: 0, started: None }
    }
}

impl NetworkSignal for Timeline {
    fn next(&mut self) -> LocalBoxFuture<'_, Option<NetworkState>> {
        async {
            let started = *self.started.get_or_insert_with(Instant::now);
            let change = self.changes.get(self.answered)?;
            if !change.after.is_zero() {
                tokio::time::sleep_until(started + change.after).await;
            }
            self.answered += 1;
            Some(change.network.state)
        }
        .boxed_local()
    }

    fn conditions(&self) -> Conditions {
        let answered = self.answered.checked_sub(1).and_then(|last| self.changes.get(last));
        answered.map_or_else(Conditions::default, |change| change.network.conditions.clone())
    }

    fn outlook(&self) -> Outlook {
        if self.answered < self.changes.len() { Outlook::Scripted } else { Outlook::Fixed }
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Timeline {
    type Err = TimelineError;

    fn from_str(text: &str) -> Result<Timeline, TimelineError> {
        let mut changes: Vec<Change> = Vec::new();
        for item in text.split(',').map(str::trim) {
            let change = parse_item(item, changes.last()).map_err(|remedy| TimelineError {
                text: text.to_owned(),
                item: item.to_owned(),
                remedy,
            })?;
            changes.push(change);
        }
        Ok(Timeline { text: text.to_owned(), changes, answered: 0, started: None })
    }
}

impl TryFrom<String> for Timeline {
    type Error = TimelineError;

    fn try_from(text: String) -> Result<Timeline, TimelineError> {
        text.parse()
    }
}

/// Clocks count on for longer than that, and not for ever.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Reads one item; the error is the remedy.
fn parse_item(item: &str, previous: Option<&Change>) -> Result<Change, String> {
    let (network, time) = match item.rsplit_once('@') {
        Some((network, time)) => (network, Some(time)),
        None => (item, None),
    };
    let network: Network = network.parse().map_err(NetworkError::into_remedy)?;
    let after = match time {
        Some(time) => humantime::parse_duration(time)
            .map_err(|cause| format!("write the time as in `10s` or `1m 30s` ({cause})"))?,
        None if previous.is_none() => Duration::ZERO,
        None => return Err(format!("say when it happens, as in `{network}@10s`")),
    };
    if after > LONGEST {
        return Err("that is more than 100 years from the start: write an earlier time".to_owned());
    }
    match previous {
        None if after.is_zero() => {}
        None => {
            return Err(format!("the first item is the state at the start: write `{network}`"));
        }
        Some(previous) if after <= previous.after => {
            let last = humantime::format_duration(previous.after);
            return Err(format!("times count from the start: write one later than {last}"));
        }
        Some(previous) if network == previous.network => {
            return Err(format!("the network is {network} already: leave this item out"));
        }
        Some(_) => {}
    }
    Ok(Change { network, after })
}

/// A timeline that cannot be read, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("network timeline `{text}`, at `{item}`: {remedy}")]
pub struct TimelineError {
    text: String,
    item: String,
    remedy: String,
}

#[cfg(test)]
mod tests {
    use super::super::NetworkState::{Offline, Online};
    use super::*;

    fn remedy(text: &str) -> String {
        text.parse::<Timeline>().unwrap_err().to_string()
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeline_changes_at_its_times() {
        let mut timeline: Timeline = "offline, online@10s,offline@1m".parse().unwrap();
        let started = Instant::now();
        let mut seen = Vec::new();
        while let Some(state) = timeline.next().await {
            seen.push((started.elapsed().as_secs(), state, timeline.outlook()));
        }
        let (to_come, over) = (Outlook::Scripted, Outlook::Fixed);
        assert_eq!(seen, [(0, Offline, to_come), (10, Online, to_come), (60, Offline, over)],);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_wait_loses_no_change() {
        let mut timeline: Timeline = "offline,online@10s".parse().unwrap();
        assert_eq!(timeline.next().await, Some(Offline));
        let early = tokio::time::timeout(Duration::from_secs(4), timeline.next()).await;
        assert!(early.is_err());
        let waited = Instant::now();
        assert_eq!(timeline.next().await, Some(Online));
        assert_eq!(waited.elapsed(), Duration::from_secs(6));
    }

    #[tokio::test(start_paused = true)]
    async fn conditions_hold_from_their_item_to_the_next() {
        let mut timeline: Timeline = "online,latency=1s@10s,online@20s".parse().unwrap();
        let mut seen = Vec::new();
        while let Some(state) = timeline.next().await {
            seen.push(Network { state, conditions: timeline.conditions() }.to_string());
        }
        assert_eq!(seen, ["online", "online+latency=1s", "online"]);
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_the_text_is_it_is_a_timeline_that_ends_or_a_mistake() {
        const WORDS: [&str; 24] = [
            "online",
            "offline",
            "portal",
            "latency=1s",
            "loss=10%",
            "bandwidth=64kbit",
            "down=a.b",
            "@",
            "@10s",
            "@1m",
            "@99999999999y",
            "@-1s",
            ",",
            "+",
            "=",
            " ",
            "%",
            "0",
            "18446744073709551616",
            "portal=",
            "https://",
            "\u{0}",
            "é",
            "loss=",
        ];
        let mut random = fastrand::Rng::with_seed(6);
        let mut timelines = 0;
        for _ in 0..20_000 {
            let count = random.usize(1..7);
            let text: String = (0..count).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
            let Ok(mut timeline) = text.parse::<Timeline>() else { continue };
            timelines += 1;
            assert_eq!(timeline.to_string(), text);
            while timeline.next().await.is_some() {}
        }
        assert!(timelines > 100, "too few were timelines: {timelines}");
    }

    #[test]
    fn a_timeline_gives_its_text_back() {
        for text in
            ["online", "loss=1%,offline@1s", "offline@0s", "offline,online@1m 30s,offline@2m"]
        {
            assert_eq!(text.parse::<Timeline>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_timeline_says_where_and_what_to_write() {
        let wrong = [
            (
                "",
                "network timeline ``, at ``: write `online` or `offline`, or conditions as in \
                  `latency=200ms+loss=10%`",
            ),
            (
                "on",
                "network timeline `on`, at `on`: write `online` or `offline`, or conditions as \
                    in `latency=200ms+loss=10%`",
            ),
            (
                "online,latency=1s",
                "network timeline `online,latency=1s`, at `latency=1s`: say when it happens, as \
                 in `online+latency=1s@10s`",
            ),
            (
                "loss=5%,online+loss=5%@1s",
                "network timeline `loss=5%,online+loss=5%@1s`, at `online+loss=5%@1s`: the \
                 network is online+loss=5% already: leave this item out",
            ),
            (
                "online,offline",
                "network timeline `online,offline`, at `offline`: say when it happens, as in \
                 `offline@10s`",
            ),
            (
                "online@5s",
                "network timeline `online@5s`, at `online@5s`: the first item is the state at the \
                 start: write `online`",
            ),
            (
                "online,offline@9s,online@9s",
                "network timeline `online,offline@9s,online@9s`, at `online@9s`: times count from \
                 the start: write one later than 9s",
            ),
            (
                "online,online@9s",
                "network timeline `online,online@9s`, at `online@9s`: the network is online \
                 already: leave this item out",
            ),
        ];
        for (text, message) in wrong {
            assert_eq!(remedy(text), message);
        }
        assert!(remedy("online,offline@soon").contains("write the time as in `10s` or `1m 30s` ("));
    }

    #[test]
    fn a_scenario_file_holds_a_timeline_or_a_state() {
        #[derive(Deserialize)]
        struct Scenario {
            network: Timeline,
            now: NetworkState,
        }
        let scenario: Scenario =
            toml::from_str("network = 'offline,online@1s'\nnow = 'offline'").unwrap();
        assert_eq!(scenario.network.to_string(), "offline,online@1s");
        assert_eq!(scenario.now, Offline);
        let wrong = toml::from_str::<Scenario>("network = 'up'").err().unwrap().to_string();
        assert!(wrong.contains("network timeline `up`, at `up`"), "{wrong}");
    }
}
