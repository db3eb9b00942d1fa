//! What bounds scripts: how much each may have, and what happens when one wants more.
//!
//! Invariant: every limit has a name, a unit, a default and a smallest amount, all in one table;
//! whatever strikes is told to the trace by that name.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Something that scripts may have only so much of.
///
/// ```
/// use kittiwake::{Limit, Limits};
///
/// let mut limits = Limits::default();
/// assert_eq!(limits.of(Limit::Fetches), 500);
/// limits.set("heap=64MiB".parse()?);
/// limits.set("turn=2s".parse()?);
/// assert_eq!(limits.of(Limit::Heap), 64 << 20);
/// assert_eq!(limits.of(Limit::Turn), 2_000);
/// # Ok::<(), kittiwake::LimitError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Bytes of one realm's JavaScript heap. A realm that needs more is terminated.
    Heap,
    /// Bytes of one realm's array buffers and WebAssembly memories, which are outside the heap. An
    /// allocation that would need more is a `RangeError`; a realm that has more all the same, in
    /// WebAssembly or by many small pieces, is terminated.
    Buffers,
    /// Real time of one turn of JavaScript. A realm whose turn does not end is terminated.
    Turn,
    /// Timers of one realm that have not fired. More are refused with a `QuotaExceededError`.
    Timers,
    /// Bytes that one realm may write to its console in a second. The rest is dropped.
    Console,
    /// Time that one event may take: of `sync` events it is the policy's. Its promises are not
    /// waited for any longer.
    Event,
    /// Processor time that a worker may use while one event is under way. It is terminated.
    EventCpu,
    /// Requests of one origin that are under way. More fail, as in Chromium.
    Fetches,
    /// Bytes of one origin's request bodies that are under way. A request with more fails.
    Uploads,
    /// Bytes of one response. It breaks off. By default there is no such limit.
    Response,
    /// WebSockets of one origin that are open. More fail.
    Sockets,
    /// Bytes that one origin may keep in caches, databases and buckets. More is a
    /// `QuotaExceededError`.
    Storage,
    /// Bytes of one origin's Blobs and Files that are in memory. More is a `RangeError`.
    Blobs,
    /// Connections to databases that one origin has open. More is a `QuotaExceededError`.
    Connections,
    /// Registrations of service workers of one origin. More are refused with a `TypeError`.
    Registrations,
    /// Background syncs of one origin that are not settled, of both types. More are refused with a
    /// `QuotaExceededError`.
    Syncs,
    /// Locks of one origin that are held or waited for. More is a `QuotaExceededError`.
    Locks,
    /// Message ports of one origin that are open. More is a `QuotaExceededError`.
    Ports,
    /// Bytes of one origin's messages that nobody has received. More is a `DataCloneError`.
    Messages,
    /// Pages of the runtime that are open. More are refused.
    Pages,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitUnit {
    /// Bytes; written as in `64MiB`.
    Bytes,
    /// Milliseconds; written as in `10s`.
    Milliseconds,
    /// Things; written as in `100`.
    Count,
}

use LimitUnit::{Bytes, Count, Milliseconds};

/// A limit with its unit, its default and the least that it may be.
type Row = (Limit, LimitUnit, u64, u64);

/// In the order of the enum.
const TABLE: [Row; 20] = [
    (Limit::Heap, Bytes, 256 << 20, 16 << 20),
    (Limit::Buffers, Bytes, 512 << 20, 1 << 20),
    (Limit::Turn, Milliseconds, 10_000, 1),
    (Limit::Timers, Count, 100_000, 1),
    (Limit::Console, Bytes, 16 << 20, 1),
    (Limit::Event, Milliseconds, 300_000, 1),
    (Limit::EventCpu, Milliseconds, 60_000, 1),
    (Limit::Fetches, Count, 500, 1),
    (Limit::Uploads, Bytes, 256 << 20, 1),
    (Limit::Response, Bytes, u64::MAX, 1),
    (Limit::Sockets, Count, 256, 1),
    (Limit::Storage, Bytes, 10 << 30, 1),
    (Limit::Blobs, Bytes, 256 << 20, 1),
    (Limit::Connections, Count, 1_000, 1),
    (Limit::Registrations, Count, 1_000, 1),
    (Limit::Syncs, Count, 100_000, 1),
    (Limit::Locks, Count, 10_000, 1),
    (Limit::Ports, Count, 16_384, 2),
    (Limit::Messages, Bytes, 256 << 20, 1 << 10),
    (Limit::Pages, Count, 1_000, 1),
];

impl Limit {
    /// All of them.
    pub const ALL: [Limit; TABLE.len()] = {
        let mut all = [Limit::Heap; TABLE.len()];
        let mut at = 0;
        while at < all.len() {
            assert!(TABLE[at].0 as usize == at, "the table has the enum's order");
            all[at] = TABLE[at].0;
            at += 1;
        }
        all
    };

    /// As options and the trace write it: `event-cpu`.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            other => unreachable!("names serialise as strings, not {other:?}"),
        }
    }

    /// What it counts.
    pub fn unit(self) -> LimitUnit {
        self.row().1
    }

    /// What holds if nobody says otherwise.
    pub fn default_amount(self) -> u64 {
        self.row().2
    }

    /// An amount of it as people read it: `64MiB`, `10s`, `1000`, `none`.
    pub fn text_of(self, amount: u64) -> String {
        match self.unit() {
            _ if amount == u64::MAX => "none".to_owned(),
            Bytes => bytes_text(amount),
            Milliseconds => crate::trace::duration_text(amount),
            Count => amount.to_string(),
        }
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// How much scripts may have, of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits([u64; TABLE.len()]);

impl Default for Limits {
    fn default() -> Self {
        Limits(TABLE.map(|(_, _, default, _)| default))
    }
}

impl Limits {
    /// How much there may be of it, in its unit.
    pub fn of(&self, limit: Limit) -> u64 {
        self.0[limit as usize]
    }

    /// Sets one.
    pub fn set(&mut self, LimitSetting { limit, amount }: LimitSetting) {
        self.0[limit as usize] = amount;
    }

    /// How many there may be of it, or how many bytes.
    pub(crate) fn count(&self, limit: Limit) -> usize {
        usize::try_from(self.of(limit)).unwrap_or(usize::MAX)
    }

    /// How long it may be.
    pub(crate) fn time(&self, limit: Limit) -> std::time::Duration {
        std::time::Duration::from_millis(self.of(limit))
    }

    /// What is set can be kept.
    pub(crate) fn check(&self) -> Result<(), LimitError> {
        let settings = Limit::ALL.map(|limit| LimitSetting { limit, amount: self.of(limit) });
        settings.iter().try_for_each(LimitSetting::check)
    }
}

/// One limit and its amount, as in `heap=64MiB`. The amount is in the limit's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSetting {
    /// Which.
    pub limit: Limit,
    /// How much; `u64::MAX` for no limit.
    pub amount: u64,
}

impl LimitSetting {
    fn check(&self) -> Result<(), LimitError> {
        let LimitSetting { limit, amount } = *self;
        let (_, _, _, least) = *limit.row();
        if amount < least {
            let (limit, amount) = (limit.name(), limit.text_of(amount));
            let least = self.limit.text_of(least);
            return Err(LimitError::TooLittle { limit, amount, least });
        }
        Ok(())
    }
}

/// A limit that cannot be read or kept, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// There is no such limit.
    #[error("there is no limit `{name}`; there are {}", names())]
    Unknown {
        /// What was written.
        name: String,
    },
    /// What was written is no amount of it.
    #[error("`{text}` is no amount for the limit `{limit}`; write {remedy}")]
    Unreadable {
        /// The limit.
        limit: String,
        /// What was written.
        text: String,
        /// What may be written.
        remedy: &'static str,
    },
    /// Nothing could run with so little.
    #[error("the limit `{limit}` cannot be {amount}; give {least} or more")]
    TooLittle {
        /// The limit.
        limit: String,
        /// What was wanted.
        amount: String,
        /// The least that it may be.
        least: String,
    },
}

fn names() -> String {
    Limit::ALL.map(Limit::name).join(", ")
}

/// Reads `heap=64MiB`, `turn=2s`, `fetches=100`; `none` lifts a limit.
impl FromStr for LimitSetting {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let (name, amount) = text.split_once('=').unwrap_or((text, ""));
        let known = Limit::ALL.into_iter().find(|limit| limit.name() == name);
        let limit = known.ok_or_else(|| LimitError::Unknown { name: name.to_owned() })?;
        let (read, remedy) = match limit.unit() {
            _ if amount == "none" => (Some(u64::MAX), ""),
            Bytes => (parse_bytes(amount), "bytes, as in `64MiB` or `1000`, or `none`"),
            Milliseconds => {
                let read = humantime::parse_duration(amount).ok();
                let milliseconds = read.and_then(|time| u64::try_from(time.as_millis()).ok());
                (milliseconds, "a time, as in `500ms` or `10s`, or `none`")
            }
            Count => (amount.parse().ok(), "a number, as in `100`, or `none`"),
        };
        let unreadable = || {
            let (limit, text) = (limit.name(), amount.to_owned());
            LimitError::Unreadable { limit, text, remedy }
        };
        let setting = LimitSetting { limit, amount: read.ok_or_else(unreadable)? };
        setting.check().map(|()| setting)
    }
}

const BYTE_UNITS: [(&str, u32); 3] = [("KiB", 10), ("MiB", 20), ("GiB", 30)];

fn parse_bytes(text: &str) -> Option<u64> {
    for (unit, shift) in BYTE_UNITS {
        if let Some(number) = text.strip_suffix(unit) {
            return number.parse::<u64>().ok()?.checked_mul(1 << shift);
        }
    }
    text.parse().ok()
}

fn bytes_text(bytes: u64) -> String {
    let whole = |shift: u32| bytes >= 1 << shift && bytes.trailing_zeros() >= shift;
    let unit = BYTE_UNITS.iter().rev().find(|(_, shift)| whole(*shift));
    unit.map_or(bytes.to_string(), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}

/// Who wanted more than a limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitSubject {
    /// A service worker, named by its script.
    Worker,
    /// A page, named by its URL.
    Page,
    /// An origin.
    Origin,
}

/// What became of whoever wanted more than a limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitOutcome {
    /// The realm has ended, with all that it had under way.
    Terminated,
    /// What was asked for was not done; the script has an exception or a rejection.
    Refused,
    /// What was too much is gone; the script does not hear of it.
    Dropped,
    /// It is not waited for any longer.
    TimedOut,
}
