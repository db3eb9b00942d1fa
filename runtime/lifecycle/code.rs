//! What V8 made of a worker's scripts, kept beside them: the worker's next start reads it instead
//! of compiling.
//!
//! Invariant: nothing that a script or the trace could tell depends on it.

use std::rc::Rc;
use std::sync::Arc;

use kittiwake_ops::{RealmId, ScriptSource};
use kittiwake_store::{StoreError, VersionId};
use tokio::task::{spawn_blocking, spawn_local};

use super::Worker;
use crate::drive::Command;
use crate::host::Shard;
use crate::quiet::let_others_run;

impl Shard {
    /// A script of the worker, with its code if that was kept.
    pub(super) fn with_kept_code(&self, worker: &Worker, url: &str, text: String) -> ScriptSource {
        let version = worker.version.get().filter(|_| self.keeps_code);
        let code = version.and_then(|version| self.told(self.store.script_code(version, url))?);
        ScriptSource { text, code: code.map(Arc::from) }
    }

    /// Keeps the code of what the worker's realm has compiled from text, once: after an event, when
    /// the functions that events need have run.
    pub(super) fn keep_code(&self, worker: &Rc<Worker>, realm: RealmId) {
        let Some(version) = worker.version.get() else { return };
        let wants_code = {
            let realms = self.realms.borrow();
            realms.get(&realm).is_some_and(|handle| handle.wants_code.replace(false))
        };
        if !wants_code {
            return;
        }
        let (shard, busy) = (self.me(), self.activity.begin());
        spawn_local(async move {
            // Whoever waits for the event is told first.
            let_others_run().await;
            let codes = shard.ask_realm(realm, |done| Command::TakeCode { done }).await;
            // A realm that has ended meanwhile keeps nothing.
            let codes = codes.unwrap_or_default();
            if !codes.is_empty() {
                shard.told(shard.write_code(version, codes).await);
            }
            drop(busy);
        });
    }

    async fn write_code(
        &self,
        version: VersionId,
        codes: Vec<(String, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        let (store, limits) = (self.store.clone(), self.pace.code);
        let write = move || store.keep_script_code(version, &codes, limits);
        match self.seed {
            // In a simulation, on the host thread: each run is the same.
            Some(_) => write(),
            None => spawn_blocking(write).await.expect("invariant: the store does not panic"),
        }
    }
}
