//! What an operator does to registrations and their syncs, and the orderly end of a long run.

use futures::future::join_all;
use kittiwake_store::{DueNow, SyncType, Unregistered};
use url::Url;

use super::{Error, Runtime};
use crate::lifecycle::{Done, Job, RegisterError};

impl Runtime {
    /// Unregisters the worker of `scope`, with its syncs and its push subscription. It is gone from
    /// the disk when this returns; a worker that pages use serves them until the last has gone, and
    /// an event that is under way goes on.
    ///
    /// # Errors
    ///
    /// [`Error::Store`]: then it is still there.
    pub async fn unregister(&self, scope: Url) -> Result<Unregistered, Error> {
        let number = self.shard_for(&scope);
        self.ask_shard(number, move |shard| async move {
            match shard.schedule(scope.as_str(), Job::Unregister).await {
                Ok(Done::Unregistered(true)) => Ok(Unregistered::Removed),
                Ok(_) => Ok(Unregistered::NotFound),
                Err(RegisterError::Store(error)) => Err(Error::Store(error)),
                Err(other) => {
                    unreachable!("invariant: unregistering fails by the store only: {other:?}")
                }
            }
        })
        .await?
    }

    /// Makes a registered sync due now, whatever the wait that it is in, and lets it fire: as soon
    /// as the network is there, within the limits of [`Builder::sync_concurrency`]. It keeps its
    /// failed attempts, and what follows is as after any attempt. Answers when that is on disk; the
    /// trace tells how the event ends.
    ///
    /// [`Builder::sync_concurrency`]: crate::Builder::sync_concurrency
    ///
    /// # Errors
    ///
    /// [`Error::NoWorker`], [`Error::Store`]. That there is no such sync is an answer, no error.
    pub async fn make_sync_due(
        &self,
        scope: Url,
        kind: SyncType,
        tag: &str,
    ) -> Result<DueNow, Error> {
        let (tag, number) = (tag.to_owned(), self.shard_for(&scope));
        self.ask_shard(number, move |shard| async move {
            shard.flush_commits();
            let registration = shard.registration(scope.as_str());
            let id = registration.and_then(|registration| registration.id.get());
            let id = id.ok_or_else(|| Error::NoWorker { scope: scope.to_string() })?;
            let found = shard.store.sync_make_due(kind, id, &tag, shard.now_ms())?;
            shard.wake.wake(&shard.activity);
            Ok(found)
        })
        .await?
    }

    /// Lets no further sync fire, and waits until every event that is under way has ended. What
    /// follows should be [`Runtime::shut_down`], which gives back what still fires if this was not
    /// waited for to its end.
    pub async fn drain(&self) -> Result<(), Error> {
        let drained = (0..self.shards.len()).map(|number| {
            self.wait(number, |shard| async move {
                shard.signal_is_known.set(false);
                shard.gauge.no_event().await;
            })
        });
        join_all(drained).await.into_iter().collect()
    }
}
