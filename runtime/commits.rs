//! Group commit: writes of background syncs that arrive together share one commit and one fsync.
//!
//! Invariant: whoever waits for a write is answered after its commit reached the disk; who reads
//! the store sees every write that was asked for before.

use std::cell::RefCell;
use std::sync::Arc;

use kittiwake_store::{Registered, StoreError, SyncWrite, SyncWritten};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use crate::host::Shard;
use crate::trace::{SyncTraceState, SyncType, TraceKind};

/// Writes that wait for the next commit, in the order in which they were asked for.
pub(crate) type Queue = RefCell<Vec<(SyncWrite, oneshot::Sender<Written>)>>;

/// What a write did, or why it could not be made.
type Written = Result<SyncWritten, Arc<StoreError>>;

impl Shard {
    /// Makes a write with the next commit; the answer comes when it is on disk.
    pub(crate) fn commit(&self, write: SyncWrite) -> oneshot::Receiver<Written> {
        let (written, answer) = oneshot::channel();
        let first = self.commits.borrow().is_empty();
        self.commits.borrow_mut().push((write, written));
        if first {
            let (shard, busy) = (self.me(), self.activity.begin());
            spawn_local(async move {
                // Whatever is ready to run now may have a write of its own.
                tokio::task::yield_now().await;
                shard.flush_commits();
                drop(busy);
            });
        }
        answer
    }

    /// Commits what waits. To be called before the store is asked about syncs.
    pub(crate) fn flush_commits(&self) {
        let queue = self.commits.take();
        if queue.is_empty() {
            return;
        }
        let (writes, answers): (Vec<_>, Vec<_>) = queue.into_iter().unzip();
        match self.store.sync_write_all(&writes, &self.policy, self.now_ms()) {
            Ok(results) => {
                for ((write, result), answer) in writes.iter().zip(results).zip(answers) {
                    self.trace_registered(write, &result);
                    // Whoever asked may have been terminated meanwhile.
                    let _ = answer.send(result.map_err(Arc::new));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }

    fn trace_registered(&self, write: &SyncWrite, result: &Result<SyncWritten, StoreError>) {
        let (SyncWrite::Register { registration, tag }, Ok(SyncWritten::Registered(registered))) =
            (write, result)
        else {
            return;
        };
        let state = match registered {
            Registered::New | Registered::WaitEnded => SyncTraceState::Registered,
            Registered::Reregistered => SyncTraceState::Reregistered,
            Registered::Unchanged => return,
        };
        let scope = self.registration_by_id(*registration).map(|found| found.scope.clone());
        self.trace(TraceKind::Sync {
            sync_type: SyncType::OneShot,
            tag: tag.clone(),
            scope: scope.unwrap_or_default(),
            state,
            attempt: 0,
            last_chance: false,
            delay_ms: None,
            reason: None,
        });
    }
}
