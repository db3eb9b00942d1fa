//! How much databases hold, and their end: with the bucket that they are in, or by damage.
//!
//! Invariant: a database may grow only as far as its origin's quota, or its bucket's, lets it; a
//! damaged one is kept, and nobody goes on with it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use kittiwake_ops::{IndexedDbEnd, IndexedDbEvent};
use kittiwake_store::StoreError;
use kittiwake_store::indexed_db::{IndexedDbError, IndexedDbFolder};

use super::{Connection, Database};
use crate::host::Shard;

/// Bytes of databases: by storage key, then by file. A key is read from disk when it is first asked
/// for, and followed from then on.
#[derive(Default)]
pub(super) struct Sizes(RefCell<BTreeMap<String, BTreeMap<String, u64>>>);

impl Sizes {
    pub(super) fn note(&self, database: &Database, bytes: u64) {
        if let Some(files) = self.0.borrow_mut().get_mut(&database.key) {
            files.insert(IndexedDbFolder::file_name(&database.name), bytes);
        }
    }

    pub(super) fn forget(&self, database: &Database) {
        if let Some(files) = self.0.borrow_mut().get_mut(&database.key) {
            files.remove(&IndexedDbFolder::file_name(&database.name));
        }
    }
}

impl Shard {
    /// Bytes that the databases of a storage key hold.
    pub(crate) fn indexed_db_usage(&self, key: &str) -> u64 {
        let known = self.indexed_db.sizes.0.borrow().get(key).map(|files| files.values().sum());
        known.unwrap_or_else(|| {
            let sizes = self.indexed_db.folder(key).sizes();
            let sizes = sizes.inspect_err(|error| self.trace_store_error(error));
            let sizes = sizes.unwrap_or_default();
            let sum = sizes.values().sum();
            self.indexed_db.sizes.0.borrow_mut().insert(key.to_owned(), sizes);
            sum
        })
    }

    /// How many bytes a database may hold.
    pub(super) fn quota_of_database(&self, database: &Database) -> u64 {
        let key = &database.key;
        let all = self.indexed_db_usage(key);
        let sizes = self.indexed_db.sizes.0.borrow();
        let file = IndexedDbFolder::file_name(&database.name);
        let own = sizes.get(key).and_then(|files| files.get(&file)).copied().unwrap_or_default();
        drop(sizes);
        self.quota_of_databases(key).saturating_sub(all - own)
    }

    /// Closes and deletes every database of a storage key, which nobody can ask for any more.
    pub(crate) async fn delete_databases_of(&self, key: &str) -> Result<(), StoreError> {
        let databases: Vec<Rc<Database>> = {
            let databases = self.indexed_db.databases.borrow();
            let own = databases.iter().filter(|((owner, _), _)| owner == key);
            own.map(|(_, database)| database.clone()).collect()
        };
        for database in databases {
            loop {
                let connections: Vec<_> = database.connections.borrow().values().cloned().collect();
                connections.iter().for_each(|connection| self.close_by_force(connection));
                let turn = database.queue.lock().await;
                if database.connections.borrow().is_empty() {
                    match self.remove(&database).await {
                        Ok(()) => break,
                        Err(IndexedDbError::Store(error)) => return Err(error),
                        Err(refused) => unreachable!("deleting breaks no constraint: {refused}"),
                    }
                }
                let closed = database.closed.notified();
                drop(turn);
                closed.await;
            }
        }
        let folder = self.indexed_db.folder(key);
        self.indexed_db.databases.borrow_mut().retain(|(owner, _), _| owner != key);
        self.indexed_db.resting.borrow_mut().retain(|database| database.key != key);
        self.indexed_db.sizes.0.borrow_mut().remove(key);
        self.indexed_db.threads.run(move || folder.delete_all()).await
    }

    /// Whoever opens a damaged database next begins anew. What is to be told is the answer, and the
    /// connections that are to be closed by force then.
    pub(super) async fn set_aside_if_damaged(
        &self,
        database: &Rc<Database>,
        error: IndexedDbError,
    ) -> (IndexedDbError, Vec<Rc<Connection>>) {
        let damage = match error {
            IndexedDbError::Store(damage) if damage.is_damage() => damage,
            error => return (error, vec![]),
        };
        let cut_off = database.connections.borrow().values().cloned().collect();
        let mut engine = database.engine.lock().await;
        let (taken, folder, name) = (engine.take(), database.folder.clone(), database.name.clone());
        database.version.set(0);
        self.indexed_db.sizes.forget(database);
        let set_aside = self.indexed_db.threads.run(move || {
            if let Some(engine) = taken {
                engine.abandon();
            }
            folder.set_aside(&name, damage)
        });
        (set_aside.await.into(), cut_off)
    }

    /// <https://w3c.github.io/IndexedDB/#close-a-database-connection>, with the forced flag
    pub(super) fn close_by_force(&self, connection: &Rc<Connection>) {
        if connection.close_pending.get() {
            return;
        }
        connection.version_change.take();
        let id = connection.id;
        for transaction in connection.database.transactions.of(id) {
            self.end_transaction(&transaction, IndexedDbEnd::Abort);
        }
        self.notify_realm(connection.realm, IndexedDbEvent::Closed { connection: id });
        self.close_connection(connection);
    }
}
