//! Group commit: writes of both types of background sync that arrive together share one commit and
//! one fsync.
//!
//! Invariant: whoever waits for a write is answered after its commit reached the disk; who reads
//! the store sees every write that was asked for before.

use std::cell::RefCell;
use std::sync::Arc;

use kittiwake_store::{StoreError, SyncWrite, SyncWritten};
use tokio::task::spawn_local;

use crate::host::Shard;
use crate::quiet::let_others_run;

/// Writes that wait for the next commit, in the order in which they were asked for.
#[derive(Default)]
pub(crate) struct Queue(RefCell<(Vec<SyncWrite>, Vec<Answer>)>);

/// What hears of a write, once. It enters no realm: it may run within a turn of one.
type Answer = Box<dyn FnOnce(&Shard, SyncWrite, Written)>;

/// What a write did, or why it could not be made.
pub(crate) type Written = Result<SyncWritten, Arc<StoreError>>;

impl Shard {
    /// Makes a write with the next commit; `answer` hears of it when it is on disk. Answers come in
    /// the order of the writes.
    pub(crate) fn commit(
        &self,
        write: SyncWrite,
        answer: impl FnOnce(&Shard, SyncWrite, Written) + 'static,
    ) {
        let mut queue = self.commits.0.borrow_mut();
        let (writes, answers) = &mut *queue;
        writes.push(write);
        answers.push(Box::new(answer));
        if writes.len() == 1 {
            let (shard, busy) = (self.me(), self.activity.begin());
            spawn_local(async move {
                // Whatever is ready to run now may have a write of its own.
                let_others_run().await;
                shard.flush_commits();
                drop(busy);
            });
        }
    }

    /// Commits what waits. To be called before the store is asked about syncs.
    pub(crate) fn flush_commits(&self) {
        let (writes, answers) = self.commits.0.take();
        if writes.is_empty() {
            return;
        }
        match self.store.sync_write_all(&writes, &self.policy, self.now_ms()) {
            Ok(written) => {
                for ((write, answer), written) in writes.into_iter().zip(answers).zip(written) {
                    answer(self, write, written.map_err(Arc::new));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for (write, answer) in writes.into_iter().zip(answers) {
                    answer(self, write, Err(error.clone()));
                }
            }
        }
    }
}
