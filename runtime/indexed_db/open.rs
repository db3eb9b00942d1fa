//! Opening, upgrading, deleting and listing databases.
//! <https://w3c.github.io/IndexedDB/#opening>
//!
//! Invariant: requests for one database are served one after the other, in their order; an upgrade
//! has the database for itself.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use kittiwake_ops::{IndexedDbError, IndexedDbEvent, IndexedDbOperation, RealmId};
use kittiwake_store::indexed_db::{Durability, Metadata};
use tokio::sync::oneshot;

use super::transactions::{Finished, Mode};
use super::{Asked, Connection, Database, border};
use crate::activity::Busy;
use crate::host::Shard;
use crate::limits::Limit;

impl Shard {
    /// <https://w3c.github.io/IndexedDB/#open-a-database-connection>
    pub(super) async fn open_database(
        &self,
        asked: Asked,
        name: Vec<u16>,
        version: Option<u64>,
        busy: Busy,
    ) {
        let Asked { realm, request, .. } = asked;
        let Some(database) = self.database_asked_for(asked, name) else { return };
        let mut busy = Some(busy);
        let _turn = database.turn(&self.activity, &mut busy).await;
        if self.storage_key(realm, asked.bucket).is_none() {
            return self.refuse_gone_bucket(asked);
        }
        if let Err(error) = self.connect(realm, request, &database, version, &mut busy).await {
            self.notify_realm(realm, IndexedDbEvent::Failed { request, error });
        }
    }

    /// The database, or `None` if its bucket or the realm that asks is gone.
    fn database_asked_for(&self, asked: Asked, name: Vec<u16>) -> Option<Rc<Database>> {
        match self.storage_key(asked.realm, asked.bucket) {
            Some(key) => Some(self.indexed_db.database(&key, name)),
            None => {
                self.refuse_gone_bucket(asked);
                None
            }
        }
    }

    fn refuse_gone_bucket(&self, Asked { realm, request, .. }: Asked) {
        let message = "Internal error.".to_owned();
        let error = IndexedDbError { name: "UnknownError", message };
        self.notify_realm(realm, IndexedDbEvent::Failed { request, error });
    }

    async fn connect(
        &self,
        realm: RealmId,
        request: u32,
        database: &Rc<Database>,
        version: Option<u64>,
        busy: &mut Option<Busy>,
    ) -> Result<(), IndexedDbError> {
        let metadata = match self.metadata_of(database).await {
            Ok(metadata) => metadata,
            Err(error) => return Err(self.script_error(error)),
        };
        let old_version = metadata.version;
        database.version.set(old_version);
        let version = version.unwrap_or(old_version.max(1));
        if version < old_version {
            let message = format!(
                "The requested version ({version}) is less than the existing version \
                 ({old_version})."
            );
            return Err(IndexedDbError { name: "VersionError", message });
        }
        if self.realm_owner(realm).is_none() {
            return Ok(());
        }
        let connection = self.make_connection(realm, database)?;
        if version == old_version {
            let metadata = Some(border::metadata(&database.name, metadata));
            let connection = connection.id;
            self.notify_realm(realm, IndexedDbEvent::Opened { request, connection, metadata });
            return Ok(());
        }
        self.close_others(realm, request, database, old_version, Some(version), busy).await;
        self.upgrade(request, &connection, metadata, version).await
    }

    /// What the database has; if that cannot be read, nobody goes on with it.
    async fn metadata_of(
        &self,
        database: &Rc<Database>,
    ) -> Result<Metadata, kittiwake_store::indexed_db::IndexedDbError> {
        let read = database.work(self.indexed_db.threads, |engine| engine.metadata()).await;
        match read {
            Ok(metadata) => Ok(metadata),
            Err(error) => {
                let (error, cut_off) = self.set_aside_if_damaged(database, error).await;
                cut_off.iter().for_each(|connection| self.close_by_force(connection));
                Err(error)
            }
        }
    }

    fn make_connection(
        &self,
        realm: RealmId,
        database: &Rc<Database>,
    ) -> Result<Rc<Connection>, IndexedDbError> {
        let taken = self.take(realm, Limit::Connections, 1).ok_or_else(|| {
            let message = "Too many connections to databases are open.".to_owned();
            IndexedDbError { name: "QuotaExceededError", message }
        })?;
        let connection = Rc::new(Connection {
            id: self.next_id(),
            realm,
            database: database.clone(),
            close_pending: Cell::new(false),
            version_change: RefCell::default(),
            asked_to_close: Cell::default(),
            _taken: taken,
        });
        let id = connection.id;
        database.connections.borrow_mut().insert(id, connection.clone());
        self.indexed_db.connections.borrow_mut().insert(id, connection.clone());
        Ok(connection)
    }

    /// Asks every other connection to close, and waits until they have.
    async fn close_others(
        &self,
        realm: RealmId,
        request: u32,
        database: &Database,
        old_version: u64,
        new_version: Option<u64>,
        busy: &mut Option<Busy>,
    ) {
        // The youngest connection may be the one that asks; nobody else can connect meanwhile.
        let own = new_version.and_then(|_| database.connections.borrow().keys().last().copied());
        let others = || -> Vec<Rc<Connection>> {
            let connections = database.connections.borrow();
            connections.values().filter(|each| Some(each.id) != own).cloned().collect()
        };
        let mut dispatched = Vec::new();
        for connection in others() {
            if connection.close_pending.get() {
                continue;
            }
            let (done, end) = oneshot::channel();
            *connection.version_change.borrow_mut() = Some(done);
            connection.asked_to_close.set(true);
            let id = connection.id;
            let event = IndexedDbEvent::VersionChange { connection: id, old_version, new_version };
            self.notify_realm(connection.realm, event);
            dispatched.push(end);
        }
        // As it was when the last of the events was over: this task may hear of it later.
        let mut open = Vec::new();
        for end in dispatched {
            // A realm that ended meanwhile has closed its connections.
            open.extend(end.await.ok());
        }
        if !open.is_empty() && !open.contains(&false) {
            self.notify_realm(realm, IndexedDbEvent::Blocked { request, old_version, new_version });
        }
        while !others().is_empty() {
            // Until somebody closes, there is nothing to do.
            let closed = database.closed.notified();
            *busy = None;
            closed.await;
            *busy = Some(self.activity.begin());
        }
    }

    /// <https://w3c.github.io/IndexedDB/#upgrade-a-database>
    async fn upgrade(
        &self,
        request: u32,
        connection: &Rc<Connection>,
        mut metadata: Metadata,
        version: u64,
    ) -> Result<(), IndexedDbError> {
        let (database, realm) = (&connection.database, connection.realm);
        let old_version = std::mem::replace(&mut metadata.version, version);
        let scope = BTreeSet::new();
        let durability = Durability::Strict;
        let (transaction, end) =
            self.make_transaction(connection, Mode::VersionChange, scope, durability);
        let set_version = IndexedDbOperation::SetVersion(version);
        transaction.pending.borrow_mut().push_back((0, set_version));
        self.pump(database);
        self.notify_realm(
            realm,
            IndexedDbEvent::UpgradeNeeded {
                request,
                connection: connection.id,
                transaction: transaction.id,
                old_version,
                metadata: border::metadata(&database.name, metadata),
            },
        );
        if self.realm_owner(realm).is_none() {
            // It ended while others closed.
            self.drop_databases_of(realm);
        }
        let finished = end.await.expect("invariant: a transaction ends");
        let abort =
            |message: &str| Err(IndexedDbError { name: "AbortError", message: message.to_owned() });
        if finished == Finished::Aborted {
            self.close_connection(connection);
            if old_version == 0 {
                self.remove(database).await.map_err(|error| self.script_error(error))?;
            }
            return abort("Version change transaction was aborted in upgradeneeded event handler.");
        }
        database.version.set(version);
        if connection.close_pending.get() {
            return abort("The connection was closed.");
        }
        let connection = connection.id;
        self.notify_realm(realm, IndexedDbEvent::Opened { request, connection, metadata: None });
        Ok(())
    }

    pub(super) async fn remove(
        &self,
        database: &Database,
    ) -> Result<(), kittiwake_store::indexed_db::IndexedDbError> {
        let mut engine = database.engine.lock().await;
        let (taken, folder) = (engine.take(), database.folder.clone());
        let name = database.name.clone();
        database.version.set(0);
        self.indexed_db.sizes.forget(database);
        let threads = self.indexed_db.threads;
        threads.run(move || drop(taken)).await;
        threads.run(move || folder.delete(&name)).await
    }

    /// <https://w3c.github.io/IndexedDB/#delete-a-database>
    pub(super) async fn delete_database(&self, asked: Asked, name: Vec<u16>, busy: Busy) {
        let Asked { realm, request, .. } = asked;
        let Some(database) = self.database_asked_for(asked, name) else { return };
        let mut busy = Some(busy);
        let _turn = database.turn(&self.activity, &mut busy).await;
        let deleted = async {
            let known = database.engine.lock().await.is_some();
            if !known && !database.folder.has(&database.name) {
                return Ok(0);
            }
            let old_version = self.metadata_of(&database).await?.version;
            self.close_others(realm, request, &database, old_version, None, &mut busy).await;
            self.remove(&database).await.map(|()| old_version)
        };
        let event = match deleted.await {
            Ok(old_version) => IndexedDbEvent::Deleted { request, old_version },
            Err(error) => IndexedDbEvent::Failed { request, error: self.script_error(error) },
        };
        self.notify_realm(realm, event);
    }

    /// <https://w3c.github.io/IndexedDB/#dom-idbfactory-databases>
    pub(super) async fn list_databases(&self, asked: Asked, _busy: Busy) {
        let Asked { realm, request, .. } = asked;
        let Some(key) = self.storage_key(realm, asked.bucket) else {
            return self.notify_realm(realm, IndexedDbEvent::Listed { request, databases: None });
        };
        let known: Vec<Rc<Database>> = {
            let databases = self.indexed_db.databases.borrow();
            let own = databases.iter().filter(|((owner, _), _)| *owner == key);
            own.map(|(_, database)| database.clone()).collect()
        };
        let mut databases = Vec::new();
        let mut open = Vec::new();
        for database in known {
            if database.engine.lock().await.is_some() {
                open.push(database.name.clone());
                if database.version.get() > 0 {
                    databases.push((database.name.clone(), database.version.get()));
                }
            }
        }
        let folder = self.indexed_db.folder(&key);
        for file in self.indexed_db.threads.run(move || folder.list(&open)).await {
            match file {
                Ok(file) => databases.push((file.name, file.version)),
                Err(error) => self.trace_store_error(&error),
            }
        }
        databases.sort();
        let databases = Some(databases);
        self.notify_realm(realm, IndexedDbEvent::Listed { request, databases });
    }
}
