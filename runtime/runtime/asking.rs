//! How a handle asks its shards: the one that has an origin, or all.
//!
//! Invariant: whoever asks is answered, or told that the runtime has ended or that a door of the
//! embedder's is out of order; nobody waits for a shard that can answer no more.

use std::future::Future;
use std::rc::Rc;

use futures::future::join_all;
use kittiwake_store::shard_of_origin;
use tokio::sync::oneshot;
use url::Url;

use super::{Command, Error, Runtime};
use crate::door_guard::{Door, DoorFault};
use crate::host::Shard;
use crate::turnstile::Admission;

impl Runtime {
    /// The shard that has the origin of a URL.
    pub(super) fn shard_for(&self, url: &Url) -> usize {
        shard_of_origin(&url.origin().ascii_serialization(), self.shards.len())
    }

    /// The shard that has this scope, or the only registration.
    ///
    /// # Errors
    ///
    /// [`Error::ManyWorkers`].
    pub(super) async fn shard_to_ask(&self, scope: Option<&Url>) -> Result<usize, Error> {
        if let Some(scope) = scope {
            return Ok(self.shard_for(scope));
        }
        if self.shards.len() == 1 {
            return Ok(0);
        }
        let mut scopes = Vec::new();
        let found = self.ask_all(|shard| async move {
            let registrations = shard.all_registrations()?;
            let scopes = registrations.iter().map(|each| each.scope.clone());
            Ok::<Vec<_>, Error>(scopes.collect())
        });
        for (shard, found) in found.await?.into_iter().enumerate() {
            scopes.extend(found?.into_iter().map(|scope| (scope, shard)));
        }
        match &scopes[..] {
            // It says that there is none.
            [] => Ok(0),
            [(_, shard)] => Ok(*shard),
            _ => {
                scopes.sort();
                let scopes = scopes.into_iter().map(|(scope, _)| scope).collect();
                Err(Error::ManyWorkers { scopes })
            }
        }
    }

    /// Asks the first shard: the only one, in a simulation.
    pub(crate) async fn ask<R, F>(
        &self,
        command: impl FnOnce(Rc<Shard>) -> F + Send + 'static,
    ) -> Result<R, Error>
    where
        R: Send + 'static,
        F: Future<Output = R> + 'static,
    {
        self.ask_shard(0, command).await
    }

    /// Asks one shard.
    pub(super) async fn ask_shard<R, F>(
        &self,
        shard: usize,
        command: impl FnOnce(Rc<Shard>) -> F + Send + 'static,
    ) -> Result<R, Error>
    where
        R: Send + 'static,
        F: Future<Output = R> + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let command: Command = Box::new(move |shard| {
            Box::pin(async move {
                // Whoever asked may have gone meanwhile; what was asked for is done all the same.
                let _ = reply.send(command(shard).await);
            })
        });
        self.hear(shard, command, answer).await
    }

    /// Asks the shard that has the origin of a URL, when it is that origin's turn.
    pub(super) async fn ask_in_turn<R, F>(
        &self,
        url: &Url,
        command: impl FnOnce(Rc<Shard>) -> F + Send + 'static,
    ) -> Result<R, Error>
    where
        R: Send + 'static,
        F: Future<Output = R> + 'static,
    {
        let admission = self.enter(url).await?;
        self.ask_shard(self.shard_for(url), move |shard| async move {
            // What was asked for goes on also if nobody waits for it any more.
            let _admission = admission;
            command(shard).await
        })
        .await
    }

    /// Waits for the turn of the origin of a URL.
    pub(super) async fn enter(&self, url: &Url) -> Result<Admission, Error> {
        let origin = url.origin().ascii_serialization();
        tokio::select! {
            biased;
            admission = self.turnstile.enter(origin) => Ok(admission),
            (door, fault) = self.faults.fault() => Err(Error::Door { door, fault }),
        }
    }

    /// Asks every shard, all at once; answers come in the shards' order.
    pub(super) async fn ask_all<R, F>(
        &self,
        command: impl FnOnce(Rc<Shard>) -> F + Send + Clone + 'static,
    ) -> Result<Vec<R>, Error>
    where
        R: Send + 'static,
        F: Future<Output = R> + 'static,
    {
        let asked = (0..self.shards.len()).map(|shard| self.ask_shard(shard, command.clone()));
        join_all(asked).await.into_iter().collect()
    }

    /// Sends a command and waits for its answer.
    pub(super) async fn hear<R>(
        &self,
        shard: usize,
        command: Command,
        answer: oneshot::Receiver<R>,
    ) -> Result<R, Error> {
        self.require_doors()?;
        let asked = async {
            self.shards[shard].send(command).await.map_err(|_| Error::Stopped)?;
            answer.await.map_err(|_| Error::Stopped)
        };
        tokio::select! {
            biased;
            answered = asked => answered,
            (door, fault) = self.faults.fault() => Err(Error::Door { door, fault }),
        }
    }

    fn require_doors(&self) -> Result<(), Error> {
        self.faults.first().map_or(Ok(()), |(door, fault)| Err(Error::Door { door, fault }))
    }

    /// Whether a host thread may be in a door's call for ever.
    pub(super) fn is_blocked(&self) -> Option<(Door, DoorFault)> {
        self.faults.first().filter(|(_, fault)| matches!(fault, DoorFault::Blocked(_)))
    }
}
