//! IndexedDB for the realms of a shard: who has which database open, and what they asked for.
//!
//! Invariant: a realm reaches databases of its own origin, and connections and transactions of its
//! own; when it ends, its transactions are rolled back and its connections closed.

mod border;
mod open;
mod storage;
mod transactions;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;

use kittiwake_ops::{
    BucketNumber, IndexedDb, IndexedDbAnswer, IndexedDbBegin, IndexedDbEnd, IndexedDbEvent,
    IndexedDbOperation, RealmId,
};
use kittiwake_store::indexed_db::{Durability, IndexedDatabase, IndexedDbError, IndexedDbFolder};
use tokio::sync::{Mutex, MutexGuard, Notify, oneshot};
use tokio::task::spawn_local;

use self::transactions::{Mode, Transaction, Transactions};
use crate::accounts::Taken;
use crate::activity::{Activity, Busy};
use crate::host::Shard;
use crate::realm::Call;

/// Every database that a realm of the shard has asked for.
pub(crate) struct IndexedDbs {
    /// The state folder; without one, databases are in memory.
    state: Option<PathBuf>,
    threads: Threads,
    /// By storage key and name.
    databases: RefCell<BTreeMap<DatabaseId, Rc<Database>>>,
    connections: RefCell<BTreeMap<u32, Rc<Connection>>>,
    transactions: RefCell<BTreeMap<u32, Rc<Transaction>>>,
    /// Databases on disk that nobody has open, the one that was closed first in front.
    resting: RefCell<VecDeque<Rc<Database>>>,
    sizes: storage::Sizes,
}

/// How many databases stay ready though nobody has them open.
const RESTING: usize = 8;

/// A storage key, which is an origin but for buckets, and a name in UTF-16.
type DatabaseId = (String, Vec<u16>);

/// Who asks for databases, and for those of which bucket.
#[derive(Clone, Copy)]
struct Asked {
    realm: RealmId,
    bucket: BucketNumber,
    request: u32,
}

/// Where the disk is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// On the host thread: a simulation is the same in every run.
    HostOnly,
    /// What may take long runs on another thread, so that other realms go on.
    Blocking,
}

/// One database: <https://w3c.github.io/IndexedDB/#database-construct>
struct Database {
    /// Where it is stored: an origin, or a bucket of one.
    key: String,
    name: Vec<u16>,
    folder: IndexedDbFolder,
    /// The version that is committed; 0 if it does not exist for scripts, or is not known yet.
    version: Cell<u64>,
    /// <https://w3c.github.io/IndexedDB/#connection-queue>: opened or deleted by one at a time.
    queue: Mutex<()>,
    /// `None` until somebody asks for it.
    engine: Mutex<Option<IndexedDatabase>>,
    /// Those that are not closed.
    connections: RefCell<BTreeMap<u32, Rc<Connection>>>,
    transactions: Transactions,
    /// A connection has closed.
    closed: Notify,
}

/// <https://w3c.github.io/IndexedDB/#connection-construct>
struct Connection {
    id: u32,
    realm: RealmId,
    database: Rc<Database>,
    /// <https://w3c.github.io/IndexedDB/#connection-close-pending-flag>
    close_pending: Cell<bool>,
    /// Whoever waits for the end of its `versionchange` event, to hear whether connections that
    /// have had one are open then.
    version_change: RefCell<Option<oneshot::Sender<bool>>>,
    /// Whether it has had such an event.
    asked_to_close: Cell<bool>,
    _taken: Taken,
}

impl IndexedDbs {
    pub(crate) fn new(state: Option<PathBuf>, threads: Threads) -> Self {
        Self {
            state,
            threads,
            databases: RefCell::default(),
            connections: RefCell::default(),
            transactions: RefCell::default(),
            resting: RefCell::default(),
            sizes: storage::Sizes::default(),
        }
    }

    fn folder(&self, key: &str) -> IndexedDbFolder {
        IndexedDbFolder::new(self.state.as_deref(), key)
    }

    fn database(&self, key: &str, name: Vec<u16>) -> Rc<Database> {
        let folder = self.folder(key);
        let mut databases = self.databases.borrow_mut();
        let database = databases.entry((key.to_owned(), name.clone()));
        let database = database.or_insert_with(|| {
            Rc::new(Database {
                key: key.to_owned(),
                name,
                folder,
                version: Cell::new(0),
                queue: Mutex::default(),
                engine: Mutex::default(),
                connections: RefCell::default(),
                transactions: Transactions::default(),
                closed: Notify::default(),
            })
        });
        database.clone()
    }

    fn connection(&self, realm: RealmId, id: u32) -> Option<Rc<Connection>> {
        let connections = self.connections.borrow();
        connections.get(&id).filter(|connection| connection.realm == realm).cloned()
    }

    fn transaction(&self, realm: RealmId, id: u32) -> Option<Rc<Transaction>> {
        let transactions = self.transactions.borrow();
        transactions.get(&id).filter(|each| each.connection.realm == realm).cloned()
    }
}

impl Threads {
    async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self {
            Threads::HostOnly => work(),
            Threads::Blocking => {
                tokio::task::spawn_blocking(work).await.expect("invariant: the engine never panics")
            }
        }
    }
}

impl Database {
    /// Waits for the earlier requests to open or delete it. They may wait for somebody else, so
    /// nothing is under way meanwhile.
    async fn turn(&self, activity: &Activity, busy: &mut Option<Busy>) -> MutexGuard<'_, ()> {
        if let Ok(turn) = self.queue.try_lock() {
            return turn;
        }
        *busy = None;
        let turn = self.queue.lock().await;
        *busy = Some(activity.begin());
        turn
    }

    /// Works on the database, which is opened if it is not yet.
    async fn work<T: Send + 'static>(
        &self,
        threads: Threads,
        work: impl FnOnce(&mut IndexedDatabase) -> Result<T, IndexedDbError> + Send + 'static,
    ) -> Result<T, IndexedDbError> {
        let mut engine = self.engine.lock().await;
        let mut taken = match engine.take() {
            Some(taken) => taken,
            None => {
                let (folder, name) = (self.folder.clone(), self.name.clone());
                threads.run(move || folder.open(&name)).await?
            }
        };
        let (taken, result) = threads
            .run(move || {
                let result = work(&mut taken);
                (taken, result)
            })
            .await;
        *engine = Some(taken);
        result
    }
}

impl Shard {
    fn notify_realm(&self, realm: RealmId, event: IndexedDbEvent) {
        self.call_realm(realm, Call::IndexedDb(event));
    }

    /// <https://w3c.github.io/IndexedDB/#close-a-database-connection>
    fn close_connection(&self, connection: &Rc<Connection>) {
        connection.close_pending.set(true);
        self.connection_may_be_closed(connection);
    }

    /// A connection whose close is pending is closed when its transactions have finished.
    fn connection_may_be_closed(&self, connection: &Rc<Connection>) {
        let database = &connection.database;
        if connection.close_pending.get() && !database.transactions.any_of(connection.id) {
            self.indexed_db.connections.borrow_mut().remove(&connection.id);
            database.connections.borrow_mut().remove(&connection.id);
            database.closed.notify_waiters();
            self.rest(database);
        }
    }

    /// Nobody has the database open, and somebody may soon again: some engines stay as they are,
    /// but a script that opens many databases must not take all of the process's files.
    fn rest(&self, database: &Rc<Database>) {
        if self.indexed_db.state.is_none() || !database.connections.borrow().is_empty() {
            return;
        }
        let mut resting = self.indexed_db.resting.borrow_mut();
        resting.retain(|other| !Rc::ptr_eq(other, database));
        resting.push_back(database.clone());
        if resting.len() <= RESTING {
            return;
        }
        let oldest = resting.pop_front().expect("there are more than none");
        let threads = self.indexed_db.threads;
        spawn_local(async move {
            // Whoever has the turn uses it.
            let Ok(_turn) = oldest.queue.try_lock() else { return };
            if oldest.connections.borrow().is_empty() {
                let engine = oldest.engine.lock().await.take();
                threads.run(move || drop(engine)).await;
            }
        });
    }

    /// The realm has ended.
    pub(crate) fn drop_databases_of(&self, realm: RealmId) {
        let connections: Vec<Rc<Connection>> = {
            let connections = self.indexed_db.connections.borrow();
            connections.values().filter(|each| each.realm == realm).cloned().collect()
        };
        for connection in connections {
            connection.version_change.take();
            for transaction in connection.database.transactions.of(connection.id) {
                self.end_transaction(&transaction, IndexedDbEnd::Abort);
            }
            self.close_connection(&connection);
        }
    }
}

impl IndexedDb for Shard {
    fn indexed_db_open(
        &self,
        realm: RealmId,
        bucket: BucketNumber,
        request: u32,
        name: Vec<u16>,
        version: Option<u64>,
    ) {
        let asked = Asked { realm, bucket, request };
        let (shard, busy) = (self.me(), self.activity.begin());
        spawn_local(async move { shard.open_database(asked, name, version, busy).await });
    }

    fn indexed_db_delete(
        &self,
        realm: RealmId,
        bucket: BucketNumber,
        request: u32,
        name: Vec<u16>,
    ) {
        let asked = Asked { realm, bucket, request };
        let (shard, busy) = (self.me(), self.activity.begin());
        spawn_local(async move { shard.delete_database(asked, name, busy).await });
    }

    fn indexed_db_list(&self, realm: RealmId, bucket: BucketNumber, request: u32) {
        let asked = Asked { realm, bucket, request };
        let (shard, busy) = (self.me(), self.activity.begin());
        spawn_local(async move { shard.list_databases(asked, busy).await });
    }

    fn indexed_db_close(&self, realm: RealmId, connection: u32) {
        if let Some(connection) = self.indexed_db.connection(realm, connection) {
            self.close_connection(&connection);
        }
    }

    fn indexed_db_acknowledge(&self, realm: RealmId, connection: u32) {
        let Some(connection) = self.indexed_db.connection(realm, connection) else { return };
        if let Some(waiting) = connection.version_change.take() {
            let connections = connection.database.connections.borrow();
            let mut asked = connections.values().filter(|each| each.asked_to_close.get());
            // Whoever waited may have given up.
            let _ = waiting.send(asked.any(|each| !each.close_pending.get()));
        }
    }

    fn indexed_db_begin(&self, realm: RealmId, connection: u32, options: IndexedDbBegin) -> u32 {
        let Some(connection) = self.indexed_db.connection(realm, connection) else { return 0 };
        let mode = if options.writes { Mode::ReadWrite } else { Mode::ReadOnly };
        let durability = if options.relaxed { Durability::Relaxed } else { Durability::Strict };
        let scope = options.scope.into_iter().collect();
        let (transaction, _) = self.make_transaction(&connection, mode, scope, durability);
        self.notify_realm(realm, IndexedDbEvent::TurnOver);
        transaction.id
    }

    fn indexed_db_request(
        &self,
        realm: RealmId,
        transaction: u32,
        request: u32,
        operation: IndexedDbOperation,
    ) {
        if let Some(transaction) = self.indexed_db.transaction(realm, transaction) {
            transaction.pending.borrow_mut().push_back((request, operation));
            self.pump(&transaction.connection.database);
        }
    }

    fn indexed_db_serve(
        &self,
        realm: RealmId,
        transaction: u32,
        waiting: usize,
        round: u32,
    ) -> Vec<(u32, IndexedDbAnswer)> {
        let transaction = self.indexed_db.transaction(realm, transaction);
        transaction.map_or_else(Vec::new, |each| self.serve_at_once(&each, waiting, round))
    }

    fn indexed_db_end(&self, realm: RealmId, transaction: u32, end: IndexedDbEnd) {
        if let Some(transaction) = self.indexed_db.transaction(realm, transaction) {
            self.end_transaction(&transaction, end);
        }
    }
}
