//! The newest trace events, kept for whoever looks: the log, the API, and the live page.
//!
//! Invariant: what is kept is bounded in number and in bytes, whatever happens and whoever reads; a
//! reader who is too slow is told how much it has missed. The host thread never waits for one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use kittiwake::{ConsoleLevel, SyncTraceState, TraceEvent, TraceKind};
use serde::Serialize;
use tokio::sync::watch;

/// Events that are kept.
const EVENTS: usize = 10_000;

/// Bytes that they may have, about.
const BYTES: usize = 16 << 20;

/// Bytes of one event; of a longer one, only the beginning of its text is kept.
const EVENT_BYTES: usize = 64 << 10;

/// Characters of the text of such an event.
const CUT_TO: usize = 1_000;

/// Kept events, in their order.
pub struct Timeline {
    /// When this process began to keep them, in Unix epoch ms; names them over restarts.
    epoch_ms: u64,
    kept: Mutex<Kept>,
    /// The number of the newest.
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    events: VecDeque<Arc<Entry>>,
    bytes: usize,
}

/// An event that is kept.
pub struct Entry {
    /// Counts from 1.
    pub number: u64,
    /// Its kind, as JSON has it.
    pub kind: &'static str,
    /// How much an operator cares.
    pub level: tracing::Level,
    /// What it is about, if that is a registration.
    pub scope: Option<String>,
    /// As the trace's text form says it.
    pub text: String,
    /// As JSON, with its name and its time of day.
    pub json: String,
}

/// Where a reader stands after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    epoch_ms: u64,
    number: u64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{}", self.epoch_ms, self.number)
    }
}

impl std::str::FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('-').and_then(|(epoch, number)| {
            let epoch_ms = u64::from_str_radix(epoch, 16).ok()?;
            Some(Position { epoch_ms, number: number.parse().ok()? })
        });
        parsed.ok_or_else(|| format!("`{text}` names no event; give an `id` of one"))
    }
}

impl Timeline {
    /// An empty one. `now_ms` is the time of day, in Unix epoch ms, at which the runtime starts.
    pub fn new(now_ms: u64) -> Arc<Timeline> {
        let (kept, newest) = (Mutex::default(), watch::Sender::new(0));
        Arc::new(Timeline { epoch_ms: now_ms, kept, newest })
    }

    /// Keeps an event, and tells readers. To be called in the order of events.
    pub fn push(&self, event: &TraceEvent) {
        let number = *self.newest.borrow() + 1;
        let entry = Arc::new(self.entry(number, event));
        let mut kept = self.kept();
        kept.bytes += entry.bytes();
        kept.events.push_back(entry);
        while kept.events.len() > EVENTS || kept.bytes > BYTES {
            let Some(oldest) = kept.events.pop_front() else { break };
            kept.bytes -= oldest.bytes();
        }
        drop(kept);
        self.newest.send_replace(number);
    }

    /// The newest `limit` events, oldest first.
    pub fn newest(&self, limit: usize) -> Vec<Arc<Entry>> {
        let kept = self.kept();
        let skipped = kept.events.len().saturating_sub(limit);
        kept.events.iter().skip(skipped).cloned().collect()
    }

    /// What follows after a position; from the oldest kept event on without one, or if it is of
    /// another process.
    pub fn read(self: &Arc<Self>, after: Option<Position>) -> Reader {
        let is_known = |position: &Position| {
            position.epoch_ms == self.epoch_ms && position.number <= *self.newest.borrow()
        };
        let (next, is_anew) = match after {
            Some(position) if is_known(&position) => (position.number + 1, false),
            Some(_) => (1, true),
            None => (self.kept().events.front().map_or(1, |oldest| oldest.number), false),
        };
        Reader { timeline: self.clone(), next, is_anew, newest: self.newest.subscribe() }
    }

    /// The position after an event.
    pub fn position(&self, number: u64) -> Position {
        Position { epoch_ms: self.epoch_ms, number }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no holder of this lock panics")
    }

    fn entry(&self, number: u64, event: &TraceEvent) -> Entry {
        #[derive(Serialize)]
        struct Line<'a> {
            id: String,
            time_ms: u64,
            #[serde(flatten)]
            event: &'a TraceEvent,
        }
        #[derive(Serialize)]
        struct CutLine<'a> {
            id: String,
            time_ms: u64,
            at_ms: u64,
            kind: &'a str,
            cut: bool,
            text: &'a str,
        }
        let (id, kind) = (self.position(number).to_string(), kind_word(&event.kind));
        let time_ms = self.epoch_ms + event.at_ms;
        let mut text = event.to_string();
        let line = Line { id: id.clone(), time_ms, event };
        let mut json = serde_json::to_string(&line).expect("an event serialises");
        if text.len() + json.len() > EVENT_BYTES {
            text = text.chars().take(CUT_TO).chain(['…']).collect();
            let at_ms = event.at_ms;
            let line = CutLine { id, time_ms, at_ms, kind, cut: true, text: &text };
            json = serde_json::to_string(&line).expect("an event serialises");
        }
        let scope = scope_of(&event.kind).map(str::to_owned);
        Entry { number, kind, level: level_of(&event.kind), scope, text, json }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        size_of::<Entry>() + self.text.len() + self.json.len()
    }
}

/// Somebody who reads, and remembers nothing but where it is.
pub struct Reader {
    timeline: Arc<Timeline>,
    next: u64,
    /// It has read from another process before.
    is_anew: bool,
    newest: watch::Receiver<u64>,
}

/// What comes next.
pub enum Next {
    /// An event.
    Event(Arc<Entry>),
    /// Events are not kept any more that had not been read.
    Gap {
        /// How many; unknown if an earlier process had them.
        missed: Option<u64>,
        /// What follows is after this.
        position: Position,
    },
}

impl Reader {
    /// Waits for what comes next; `None` when there is nobody any more who could bring it.
    pub async fn next(&mut self) -> Option<Next> {
        loop {
            if let Some(next) = self.take() {
                return Some(next);
            }
            self.newest.changed().await.ok()?;
        }
    }

    /// Where a reader stands who has read this event.
    pub fn position_of(&self, entry: &Entry) -> Position {
        self.timeline.position(entry.number)
    }

    fn take(&mut self) -> Option<Next> {
        self.newest.borrow_and_update();
        let kept = self.timeline.kept();
        let oldest = kept.events.front().map(|entry| entry.number);
        if self.is_anew || oldest.is_some_and(|oldest| oldest > self.next) {
            let from = oldest.unwrap_or(1);
            let missed = (!self.is_anew).then(|| from - self.next);
            (self.next, self.is_anew) = (from, false);
            let position = self.timeline.position(from - 1);
            return Some(Next::Gap { missed, position });
        }
        let index = usize::try_from(self.next.checked_sub(oldest?)?).ok()?;
        let entry = kept.events.get(index)?.clone();
        self.next += 1;
        Some(Next::Event(entry))
    }
}

/// The kind of an event, as its JSON form has it.
pub fn kind_word(kind: &TraceKind) -> &'static str {
    match kind {
        TraceKind::Lifecycle { .. } => "lifecycle",
        TraceKind::Sync { .. } => "sync",
        TraceKind::Dispatch { .. } => "dispatch",
        TraceKind::Fetch { .. } => "fetch",
        TraceKind::Network { .. } => "network",
        TraceKind::Console { .. } => "console",
        TraceKind::Error { .. } => "error",
        TraceKind::Limit { .. } => "limit",
        TraceKind::Message { .. } => "message",
        TraceKind::Push { .. } => "push",
        TraceKind::BackgroundFetch { .. } => "background-fetch",
        TraceKind::Badge { .. } => "badge",
        TraceKind::Content { .. } => "content",
        TraceKind::Notification { .. } => "notification",
    }
}

fn scope_of(kind: &TraceKind) -> Option<&str> {
    match kind {
        TraceKind::Sync { scope, .. } | TraceKind::Dispatch { scope, .. } => Some(scope),
        TraceKind::Push { scope, .. } | TraceKind::BackgroundFetch { scope, .. } => Some(scope),
        TraceKind::Content { scope, .. } => Some(scope),
        TraceKind::Lifecycle { scope, .. } => scope.as_deref(),
        _ => None,
    }
}

fn level_of(kind: &TraceKind) -> tracing::Level {
    use tracing::Level;
    match kind {
        TraceKind::Error { .. } => Level::ERROR,
        TraceKind::Limit { .. } | TraceKind::Sync { state: SyncTraceState::GaveUp, .. } => {
            Level::WARN
        }
        TraceKind::Console { level, .. } => match level {
            ConsoleLevel::Error => Level::ERROR,
            ConsoleLevel::Warn => Level::WARN,
            _ => Level::DEBUG,
        },
        TraceKind::Fetch { .. } | TraceKind::Message { .. } => Level::DEBUG,
        _ => Level::INFO,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn event(text: String) -> TraceEvent {
        let level = ConsoleLevel::Log;
        TraceEvent { at_ms: 5, kind: TraceKind::Console { level, text } }
    }

    fn next(reader: &mut Reader) -> Option<Next> {
        reader.next().now_or_never().flatten()
    }

    #[test]
    fn many_events_push_the_oldest_out() {
        let timeline = Timeline::new(1000);
        let mut slow = timeline.read(None);
        let mut quick = timeline.read(None);
        for number in 0..EVENTS + 7 {
            timeline.push(&event(number.to_string()));
            let Some(Next::Event(entry)) = next(&mut quick) else { panic!("it is kept") };
            assert_eq!(entry.number, number as u64 + 1);
        }
        assert_eq!(timeline.kept().events.len(), EVENTS);
        let Some(Next::Gap { missed, position }) = next(&mut slow) else { panic!("a gap") };
        assert_eq!((missed, position), (Some(7), timeline.position(7)));
        let Some(Next::Event(entry)) = next(&mut slow) else { panic!("it goes on") };
        assert_eq!((entry.number, entry.text.as_str()), (8, "5ms  console    log  7"));
        assert!(entry.json.contains(r#""id":"3e8-8","time_ms":1005,"at_ms":5,"kind":"console""#));
    }

    #[test]
    fn long_events_are_cut_and_many_of_them_take_no_more_than_their_bytes() {
        let timeline = Timeline::new(0);
        timeline.push(&event("x".repeat(EVENT_BYTES)));
        let newest = timeline.newest(1);
        assert!(newest[0].json.len() < 2 * CUT_TO && newest[0].json.contains(r#""cut":true"#));
        for _ in 0..2000 {
            timeline.push(&event("y".repeat(EVENT_BYTES / 3)));
        }
        let kept = timeline.kept();
        assert!(kept.bytes <= BYTES && kept.events.len() > 100, "{}", kept.bytes);
        assert_eq!(kept.bytes, kept.events.iter().map(|entry| entry.bytes()).sum::<usize>());
    }

    #[test]
    fn a_position_of_another_process_is_told_and_read_from_the_oldest() {
        let timeline = Timeline::new(1000);
        timeline.push(&event("one".to_owned()));
        for foreign in ["3e7-1", "3e8-2"] {
            let position = foreign.parse::<Position>().expect("a position");
            assert_eq!(position.to_string(), foreign);
            let mut reader = timeline.read(Some(position));
            assert!(matches!(next(&mut reader), Some(Next::Gap { missed: None, .. })));
            assert!(matches!(next(&mut reader), Some(Next::Event(_))));
            assert!(next(&mut reader).is_none());
        }
        for nonsense in ["", "1", "x-1", "1-x", "-", "1--1"] {
            nonsense.parse::<Position>().expect_err("it names nothing");
        }
    }
}
