//! What a runtime uses right now.

use super::{Error, Runtime};
use crate::host::{RealmOwner, Shard};

/// What a runtime uses: for metrics, and for whoever sets limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Workers that are in memory, at work or idle.
    pub workers: usize,
    /// Pages that are open.
    pub pages: usize,
    /// Blank realms that wait for a worker or page ([`Builder::spare_realm`]).
    ///
    /// [`Builder::spare_realm`]: crate::Builder::spare_realm
    pub spare_realms: usize,
    /// Sync events under way.
    pub syncs: usize,
    /// Bytes of memory that all realms had together, each when it last came to rest: asked at most
    /// once a second.
    pub memory_bytes: usize,
}

impl Runtime {
    /// What is in memory and under way.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`].
    pub async fn usage(&self) -> Result<Usage, Error> {
        let shards = self.ask_all(|shard| async move { shard.usage() }).await?;
        Ok(shards.into_iter().fold(Usage::default(), |sum, of| Usage {
            workers: sum.workers + of.workers,
            pages: sum.pages + of.pages,
            spare_realms: sum.spare_realms + of.spare_realms,
            syncs: sum.syncs + of.syncs,
            memory_bytes: sum.memory_bytes + of.memory_bytes,
        }))
    }
}

impl Shard {
    fn usage(&self) -> Usage {
        let realms = self.realms.borrow();
        let is_worker = |owner: &RealmOwner| matches!(owner, RealmOwner::Worker(_));
        let workers = realms.values().filter(|handle| is_worker(&handle.owner)).count();
        Usage {
            workers,
            pages: realms.len() - workers,
            spare_realms: usize::from(self.spare.is_there()),
            syncs: self.firing.borrow().len(),
            memory_bytes: self.resident_bytes.get(),
        }
    }
}
