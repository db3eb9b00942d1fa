//! The text form of the trace: one event, one line.
//!
//! Invariant: a name stands in the text as it stands in JSON; no text of a script breaks a line.

use std::fmt;
use std::time::Duration;

use kittiwake_store::SyncType;
use serde::Serialize;

use super::{BackgroundFetchTraceState, DispatchTraceState, SyncTraceState, TraceEvent, TraceKind};

impl fmt::Display for TraceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = duration_text(self.at_ms);
        match &self.kind {
            TraceKind::Lifecycle { subject, url, state, .. } => {
                write!(f, "{at}  lifecycle  {}  {url}  {state}", word(subject))
            }
            TraceKind::Sync {
                sync_type,
                tag,
                state,
                attempt,
                last_chance,
                delay_ms,
                reason,
                ..
            } => {
                let kind = match sync_type {
                    SyncType::OneShot => "sync",
                    SyncType::Periodic => "periodic",
                };
                write!(f, "{at}  {kind:<9}  {}  {}", tag_text(tag), word(state))?;
                match state {
                    SyncTraceState::Firing => write!(f, "  attempt {attempt}")?,
                    _ => write!(f, "{}", delay_ms.map_or(String::new(), after))?,
                }
                if *last_chance && *state == SyncTraceState::Firing {
                    write!(f, "  last chance")?;
                }
                reason.as_ref().map_or(Ok(()), |reason| write!(f, "  {}", one_line(reason)))
            }
            TraceKind::Dispatch { tag, state, last_chance, reason, .. } => {
                write!(f, "{at}  dispatch   {}  {}", tag_text(tag), word(state))?;
                if *last_chance && *state == DispatchTraceState::Dispatched {
                    write!(f, "  last chance")?;
                }
                reason.as_ref().map_or(Ok(()), |reason| write!(f, "  {}", one_line(reason)))
            }
            TraceKind::Fetch { method, url, status, source, error, .. } => {
                write!(f, "{at}  fetch      {method} {url}  ")?;
                match (status, error) {
                    (Some(status), _) if source.is_network() => write!(f, "{status}"),
                    (Some(status), _) => write!(f, "{status}  by the service worker"),
                    (None, error) => {
                        write!(f, "failed: {}", one_line(error.as_deref().unwrap_or("unknown")))
                    }
                }
            }
            TraceKind::Network { state, conditions } => {
                write!(f, "{at}  network    {state}")?;
                conditions.as_ref().map_or(Ok(()), |text| write!(f, "  {text}"))
            }
            TraceKind::Console { level, text } => {
                write!(f, "{at}  console    {}  {}", word(level), one_line(text))
            }
            TraceKind::Error { exception } => {
                write!(f, "{at}  error      {}", one_line(&exception.to_string()))
            }
            TraceKind::Message { to, text } => {
                write!(f, "{at}  message    to {}  {}", word(to), one_line(text))
            }
            other => other.write_event(&at, f),
        }
    }
}

impl TraceKind {
    /// What reaches a worker from outside, what it shows, and what it may not have.
    fn write_event(&self, at: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceKind::Push { state, text, .. } => {
                write!(f, "{at}  push       {}", word(state))?;
                text.as_ref().map_or(Ok(()), |text| write!(f, "  {}", one_line(text)))
            }
            TraceKind::Limit { limit, amount, subject, url, outcome } => {
                let (subject, outcome) = (word(subject), word(outcome));
                let amount = limit.text_of(*amount);
                write!(f, "{at}  limit      {limit} {amount}  {subject}  {url}  {outcome}")
            }
            TraceKind::Notification { state, title, body, tag } => {
                write!(f, "{at}  notification  {}  {}", word(state), one_line(title))?;
                for part in [body, tag].into_iter().filter(|part| !part.is_empty()) {
                    write!(f, "  {}", one_line(part))?;
                }
                Ok(())
            }
            TraceKind::BackgroundFetch { .. } => self.write_background_fetch(at, f),
            TraceKind::Badge { number, .. } => match number {
                None => write!(f, "{at}  badge      shown"),
                Some(0) => write!(f, "{at}  badge      cleared"),
                Some(number) => write!(f, "{at}  badge      {number}"),
            },
            TraceKind::Content { state, id, title, .. } => {
                write!(f, "{at}  content    {}  {}", tag_text(id), word(state))?;
                title.as_ref().map_or(Ok(()), |title| write!(f, "  {}", one_line(title)))
            }
            other => unreachable!("invariant: {other:?} was written already"),
        }
    }

    fn write_background_fetch(&self, at: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TraceKind::BackgroundFetch { id, state, requests, downloaded, delay_ms, text, .. } =
            self
        else {
            unreachable!("invariant: {self:?} is of a background fetch")
        };
        write!(f, "{at}  background-fetch  {}  {}", tag_text(id), word(state))?;
        match state {
            BackgroundFetchTraceState::Begun => {
                write!(f, "{}", count(*requests as u64, "request"))?;
            }
            BackgroundFetchTraceState::Succeeded => write!(f, "{}", count(*downloaded, "byte"))?,
            _ => write!(f, "{}", delay_ms.map_or(String::new(), after))?,
        }
        text.as_ref().map_or(Ok(()), |text| write!(f, "  {}", one_line(text)))
    }
}

/// How many of a thing, in words.
fn count(number: u64, thing: &str) -> String {
    format!("  {number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A time as the trace writes it: `0s`, `5m`, `1h30m`, `250ms`.
pub(crate) fn duration_text(milliseconds: u64) -> String {
    let text = humantime::format_duration(Duration::from_millis(milliseconds)).to_string();
    text.replace(' ', "")
}

fn after(delay_ms: u64) -> String {
    format!("  {}", duration_text(delay_ms))
}

/// A name as it stands in JSON, so that both forms share their words.
fn word(name: &impl Serialize) -> String {
    match serde_json::to_value(name) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("names serialise as strings, not {other:?}"),
    }
}

/// A tag bare where that is unambiguous, quoted where it is empty or has blanks.
fn tag_text(tag: &str) -> String {
    let plain = !tag.is_empty() && !tag.contains(|c: char| c.is_whitespace() || c.is_control());
    if plain { tag.to_owned() } else { format!("{tag:?}") }
}

/// One event, one line.
fn one_line(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}
