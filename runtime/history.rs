//! A window's session history: <https://html.spec.whatwg.org/#session-history>
//!
//! Invariant: there is a current entry from the first page on; entries of one document are
//! neighbours.

use kittiwake_ops::{HistoryEntry, HistoryHandling, OpError, RealmId};
use url::Url;

use crate::pages::PageSource;

/// As many as in Chromium; the oldest goes.
const MAX_ENTRIES: usize = 50;

/// What one entry's state may take.
const MAX_STATE_BYTES: usize = 2 << 20;

#[derive(Default)]
pub(crate) struct History {
    entries: Vec<Entry>,
    current: usize,
}

#[derive(Clone)]
struct Entry {
    url: Url,
    /// From what the document is made again.
    source: PageSource,
    state: Option<Vec<u8>>,
    /// The realm of the document; realms that have ended are none any more.
    document: RealmId,
}

/// Where a navigation goes.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) url: Url,
    pub(crate) source: PageSource,
    /// The realm that shows it already, if it lives.
    pub(crate) document: Option<RealmId>,
    /// For an entry that there is already.
    pub(crate) index: usize,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    New(HistoryHandling),
    Existing,
}

impl Target {
    pub(crate) fn new(url: Url, source: PageSource, handling: HistoryHandling) -> Self {
        Target { url, source, document: None, index: 0, place: Place::New(handling) }
    }
}

impl History {
    pub(crate) fn describe(&self) -> HistoryEntry {
        let state = self.entries.get(self.current).and_then(|entry| entry.state.clone());
        HistoryEntry { length: self.entries.len() as u32, state: state.map(Into::into) }
    }

    /// The entry that is so many steps away.
    pub(crate) fn at(&self, delta: i32) -> Option<Target> {
        let index = self.current.checked_add_signed(delta as isize)?;
        let entry = self.entries.get(index)?;
        Some(Target {
            url: entry.url.clone(),
            source: entry.source.clone(),
            document: Some(entry.document),
            index,
            place: Place::Existing,
        })
    }

    pub(crate) fn reload(&self) -> Target {
        self.at(0).expect("invariant: there is a current entry")
    }

    /// The window shows the document of `target` in a new realm.
    pub(crate) fn navigated(&mut self, target: Target, url: Url, document: RealmId) {
        let Target { source, index, place, .. } = target;
        match place {
            Place::New(handling) => {
                self.put(Entry { url, source, state: None, document }, handling);
            }
            Place::Existing => {
                let old = self.entries[index].document;
                // All entries of the document that is made again.
                for entry in self.entries.iter_mut().filter(|entry| entry.document == old) {
                    entry.document = document;
                }
                self.current = index;
            }
        }
    }

    /// Within the document: `pushState()` and its kin.
    pub(crate) fn update(
        &mut self,
        url: Url,
        state: Option<Vec<u8>>,
        handling: HistoryHandling,
    ) -> Result<(), OpError> {
        if state.as_ref().is_some_and(|state| state.len() > MAX_STATE_BYTES) {
            return Err(OpError::HistoryStateTooLarge);
        }
        let Entry { source, document, .. } = self.entries[self.current].clone();
        self.put(Entry { url, source, state, document }, handling);
        Ok(())
    }

    /// Goes to an entry of the same document, and answers its state.
    pub(crate) fn traverse(&mut self, index: usize) -> Option<Vec<u8>> {
        self.current = index;
        self.entries[index].state.clone()
    }

    fn put(&mut self, entry: Entry, handling: HistoryHandling) {
        match (handling, self.entries.is_empty()) {
            (HistoryHandling::Replace, false) => self.entries[self.current] = entry,
            _ => {
                self.entries.truncate(self.current + 1);
                self.entries.push(entry);
                if self.entries.len() > MAX_ENTRIES {
                    self.entries.remove(0);
                }
                self.current = self.entries.len() - 1;
            }
        }
    }
}
