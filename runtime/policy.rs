//! The rules of background sync as people write them: options of the command line and the `[sync]`
//! table of a `scenario.toml`.
//!
//! Invariant: what is accepted makes a policy that every part of the runtime can keep; what is not
//! names the key, the text and the remedy.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use kittiwake_store::{Profile, SyncPolicy};
use serde::Deserialize;

/// Some rules of background sync; those that are not set stay Chromium's.
///
/// On the command line, those of retries are one text of which any part may be left out:
///
/// ```
/// use kittiwake::PolicyOptions;
///
/// let options: PolicyOptions = "attempts=5,initial=30s,factor=2".parse()?;
/// let policy = options.policy();
/// assert_eq!((policy.max_attempts, policy.initial_retry_delay_ms), (5, 30_000));
/// # Ok::<(), kittiwake::PolicyError>(())
/// ```
///
/// In a `scenario.toml` all of them are a table:
///
/// ```toml
/// [sync]
/// profile = "spec"      # or "chromium"
/// attempts = 5
/// initial = "30s"
/// factor = 2
/// max-event = "3m"
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct PolicyOptions {
    /// Whose behaviour is followed where Chromium and the specification differ.
    pub profile: Option<Profile>,
    /// After how many failed attempts a sync is given up.
    pub attempts: Option<u32>,
    /// The wait after the first failed attempt.
    pub initial: Option<Duration>,
    /// By how much each wait is longer than the one before.
    pub factor: Option<u32>,
    /// How long a `sync` event may take.
    pub max_event: Option<Duration>,
}

impl PolicyOptions {
    /// The policy, with Chromium's rules where nothing is set.
    pub fn policy(&self) -> SyncPolicy {
        let chromium = SyncPolicy::default();
        SyncPolicy {
            profile: self.profile.unwrap_or(chromium.profile),
            max_attempts: self.attempts.unwrap_or(chromium.max_attempts),
            initial_retry_delay_ms: self.initial.map_or(chromium.initial_retry_delay_ms, whole_ms),
            retry_delay_factor: self.factor.unwrap_or(chromium.retry_delay_factor),
            max_event_duration_ms: self.max_event.map_or(chromium.max_event_duration_ms, whole_ms),
            ..chromium
        }
    }
}

/// A rule that cannot be read or kept, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` of background sync, at `{text}`: {remedy}")]
pub struct PolicyError {
    key: String,
    text: String,
    remedy: String,
}

/// Reads `attempts=5,initial=30s,factor=2`.
impl FromStr for PolicyOptions {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let mut options = PolicyOptions::default();
        for item in text.split(',').map(str::trim) {
            let (key, value) = item.split_once('=').unwrap_or((item, ""));
            let (key, value) = (key.trim(), value.trim());
            let twice = match key {
                "attempts" => options.attempts.replace(count(key, value)?).is_some(),
                "initial" => options.initial.replace(duration(key, value)?).is_some(),
                "factor" => options.factor.replace(count(key, value)?).is_some(),
                _ => {
                    let remedy = "write `attempts=5`, `initial=30s` or `factor=2`, with commas \
                                  between them";
                    return Err(wrong(key, item, remedy));
                }
            };
            if twice {
                return Err(wrong(key, item, "it is there twice: leave one out"));
            }
        }
        Ok(options)
    }
}

/// Reads `3m`, as the limit of a `sync` event.
pub fn parse_max_event(text: &str) -> Result<Duration, PolicyError> {
    duration("max-event", text)
}

/// Reads `chromium` or `spec`.
pub fn parse_profile(text: &str) -> Result<Profile, PolicyError> {
    match text {
        "chromium" => Ok(Profile::Chromium),
        "spec" => Ok(Profile::Spec),
        other => Err(wrong("profile", other, "write `chromium` or `spec`")),
    }
}

/// Refuses a policy, made by hand, that lets time run backwards.
pub(crate) fn require_forward_time(policy: &SyncPolicy) -> Result<(), PolicyError> {
    let times = [
        ("initial_retry_delay_ms", policy.initial_retry_delay_ms),
        ("max_event_duration_ms", policy.max_event_duration_ms),
    ];
    match times.into_iter().find(|(_, ms)| *ms < 0) {
        Some((key, ms)) => Err(wrong(key, &ms.to_string(), "give 0 or more")),
        None => Ok(()),
    }
}

/// The `[sync]` table before its values are judged.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    profile: Option<String>,
    attempts: Option<i64>,
    initial: Option<String>,
    factor: Option<i64>,
    max_event: Option<String>,
}

impl TryFrom<Written> for PolicyOptions {
    type Error = PolicyError;

    fn try_from(written: Written) -> Result<Self, PolicyError> {
        let Written { profile, attempts, initial, factor, max_event } = written;
        Ok(PolicyOptions {
            profile: profile.map(|text| parse_profile(&text)).transpose()?,
            attempts: attempts.map(|number| count("attempts", number)).transpose()?,
            initial: initial.map(|text| duration("initial", &text)).transpose()?,
            factor: factor.map(|number| count("factor", number)).transpose()?,
            max_event: max_event.map(|text| parse_max_event(&text)).transpose()?,
        })
    }
}

/// A number of times, which is 1 at least.
fn count(key: &str, text: impl Display) -> Result<u32, PolicyError> {
    let text = text.to_string();
    match text.parse() {
        Ok(0) | Err(_) => Err(wrong(key, &text, "write a whole number from 1 on, as in `3`")),
        Ok(number) => Ok(number),
    }
}

/// A time that passes, which is 1 ms at least.
fn duration(key: &str, text: &str) -> Result<Duration, PolicyError> {
    if text.trim_start().starts_with('-') {
        return Err(wrong(key, text, "time does not run backwards: write it as in `30s` or `5m`"));
    }
    let parsed = humantime::parse_duration(text).map_err(|cause| {
        wrong(key, text, &format!("write a time as in `30s` or `5m` ({cause})"))
    })?;
    match whole_ms(parsed) {
        0 => Err(wrong(key, text, "write `1ms` or more")),
        _ => Ok(parsed),
    }
}

fn wrong(key: &str, text: &str, remedy: &str) -> PolicyError {
    PolicyError { key: key.to_owned(), text: text.to_owned(), remedy: remedy.to_owned() }
}

/// Saturates: nobody waits for 290 million years.
fn whole_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_of_the_retry_rules_may_be_left_out() {
        let policy = |text: &str| text.parse::<PolicyOptions>().unwrap().policy();
        let chromium = SyncPolicy::default();
        assert_eq!(policy("factor=2"), SyncPolicy { retry_delay_factor: 2, ..chromium });
        let all = policy("initial=30s, attempts=5, factor=1");
        let waits = [1, 2, 3].map(|failed| all.retry_delay_ms(failed));
        assert_eq!((all.max_attempts, waits), (5, [30_000; 3]));
        assert_eq!(PolicyOptions::default().policy(), chromium);
    }

    #[test]
    fn a_scenario_has_the_same_keys() {
        let text = "profile = 'spec'\nattempts = 2\ninitial = '1s'\nfactor = 4\nmax-event = '9s'";
        let policy = toml::from_str::<PolicyOptions>(text).unwrap().policy();
        assert_eq!(policy.profile, Profile::Spec);
        assert_eq!((policy.max_attempts, policy.retry_delay_ms(2)), (2, 4_000));
        assert_eq!(policy.max_event_duration_ms, 9_000);
    }

    #[test]
    fn a_wrong_rule_says_which_and_what_to_write() {
        let whole = "write a whole number from 1 on, as in `3`";
        let cases = [
            ("attempts=0", "`attempts` of background sync, at `0`: ", whole),
            ("attempts=-1", "at `-1`: ", whole),
            ("factor=1.5", "`factor` of background sync, at `1.5`: ", whole),
            ("factor=0", "at `0`: ", whole),
            ("attempts=99999999999", "at `99999999999`: ", whole),
            ("initial=-30s", "`initial` of background sync, at `-30s`: ", "time does not run"),
            ("initial=0s", "at `0s`: ", "write `1ms` or more"),
            ("initial=30", "at `30`: ", "write a time as in `30s` or `5m` ("),
            ("tries=3", "`tries` of background sync, at `tries=3`: ", "write `attempts=5`"),
            ("", "at ``: ", "write `attempts=5`"),
            ("factor=2,factor=3", "at `factor=3`: ", "it is there twice"),
        ];
        for (text, place, remedy) in cases {
            let error = text.parse::<PolicyOptions>().unwrap_err().to_string();
            assert!(error.contains(place) && error.contains(remedy), "{error}");
        }
        for (text, message) in [
            ("attempts = -3", "at `-3`: write a whole number"),
            ("max-event = '-1s'", "`max-event` of background sync, at `-1s`: time does not run"),
            ("profile = 'firefox'", "write `chromium` or `spec`"),
            ("wait = '3s'", "unknown field `wait`, expected"),
        ] {
            let error = toml::from_str::<PolicyOptions>(text).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
