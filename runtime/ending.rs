//! The orderly end of a shard.
//!
//! Invariant: a sync whose event is under way is given back uncounted, and then nothing fires and
//! nothing is settled any more.

use kittiwake_store::{StoreError, SyncChange, SyncWrite};

use crate::host::Shard;

impl Shard {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Gives firing syncs back uncounted, and ends every realm.
    pub(crate) fn shut_down(&self) -> Result<(), StoreError> {
        if let Some(signal) = self.signal.borrow_mut().take() {
            signal.abort();
        }
        // What is given back must not fire again.
        self.signal_is_known.set(false);
        self.flush_commits();
        self.flush_caches();
        self.stopping.set(true);
        self.stopped.notify_one();
        let firing = self.firing.take().into_iter();
        let back = firing.map(|(sync_type, registration, tag)| SyncWrite {
            registration,
            tag,
            change: SyncChange::HandBack(sync_type),
        });
        for result in self.store.sync_write_all(&back.collect::<Vec<_>>(), &self.policy, 0)? {
            result?;
        }
        self.give_background_fetches_back()?;
        self.realms.borrow_mut().clear();
        self.drop_spare();
        Ok(())
    }
}
