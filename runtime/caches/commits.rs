//! Group commit: entries that are put together share one commit and one fsync.
//!
//! Invariant: whoever puts is answered after the commit reached the disk; whoever reads the caches
//! sees every write that was asked for before.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use kittiwake_ops::OpError;
use kittiwake_store::{CacheWrite, StoreError};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use super::body::WrittenBody;
use crate::host::Shard;
use crate::quiet::let_others_run;

/// Writes that wait for the next commit, in the order in which they were asked for.
pub(crate) type Queue = RefCell<Vec<(CacheWrite, Vec<WrittenBody>, Answer)>>;

type Answer = oneshot::Sender<Result<(), OpError>>;

impl Shard {
    /// Puts with the next commit; the answer comes when it is on disk.
    pub(super) fn commit_cache(
        &self,
        write: CacheWrite,
        bodies: Vec<WrittenBody>,
    ) -> oneshot::Receiver<Result<(), OpError>> {
        let (committed, answer) = oneshot::channel();
        let first = self.caches.commits.borrow().is_empty();
        self.caches.commits.borrow_mut().push((write, bodies, committed));
        if first {
            let (shard, busy) = (self.me(), self.activity.begin());
            spawn_local(async move {
                // Whatever is ready to run now may have something to put.
                let_others_run().await;
                shard.flush_caches();
                drop(busy);
            });
        }
        answer
    }

    /// Commits what waits. To be called before the store is asked about caches.
    pub(crate) fn flush_caches(&self) {
        let queue = self.caches.commits.take();
        if queue.is_empty() {
            return;
        }
        let mut writes = Vec::with_capacity(queue.len());
        let mut waiting = Vec::with_capacity(queue.len());
        for (write, bodies, answer) in queue {
            writes.push(write);
            waiting.push((bodies, answer));
        }
        let put = self.quotas_of(&writes).and_then(|quotas| {
            let quota_of = |key: &str| quotas.get(key).copied().unwrap_or_default();
            self.store.cache_put_all(&writes, quota_of)
        });
        match put {
            Ok(results) => {
                for ((bodies, answer), result) in waiting.into_iter().zip(results) {
                    let result = result.map_err(|error| self.cache_error(&error));
                    // Whoever asked may have been terminated meanwhile.
                    let _ = answer.send(result.map(|released| {
                        bodies.into_iter().for_each(WrittenBody::keep);
                        self.release_bodies(released);
                    }));
                }
            }
            Err(error) => {
                let error = self.cache_error(&error);
                for (_, answer) in waiting {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// By storage key, before anything is written: the store is not asked within a transaction.
    fn quotas_of(&self, writes: &[CacheWrite]) -> Result<BTreeMap<String, u64>, StoreError> {
        let caches: BTreeSet<_> = writes.iter().map(|write| write.cache).collect();
        let mut quotas = BTreeMap::new();
        for cache in caches {
            if let Some(key) = self.store.cache_storage_key(cache)? {
                quotas.insert(key.clone(), self.quota_of_caches(&key));
            }
        }
        Ok(quotas)
    }
}
