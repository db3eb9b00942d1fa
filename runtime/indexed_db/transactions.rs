//! Transactions: when they start, what they do, how they end.
//! <https://w3c.github.io/IndexedDB/#transaction-scheduling>
//!
//! Invariant: a transaction starts only when no earlier one that is live overlaps its scope, unless
//! neither writes; one at a time writes to a database; it is told as complete only after its
//! commit.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use kittiwake_ops::{IndexedDbAnswer, IndexedDbEnd, IndexedDbEvent, IndexedDbOperation};
use kittiwake_store::indexed_db::{
    Durability, IndexedDatabase, IndexedDbError, Operation, Outcome, Values,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::{Connection, Database, Threads, border};
use crate::host::Shard;

/// How many of a database's transactions are looked at: those behind them wait, however many a
/// script makes.
const LOOK_AHEAD: usize = 128;
/// Requests that cross to the engine together.
const BATCH: usize = 1024;
/// Answers whose events are dispatched in one turn, which has a limit of its own.
const ANSWERS: usize = 64;
/// What runs on the host thread: so many requests, with values up to so many bytes.
const LIGHT_REQUESTS: usize = 16;
const LIGHT_BYTES: usize = 16 << 10;
/// How long a turn may go on because its events ask for more: so often, and for so long.
const ROUNDS: u32 = 64;
const ROUNDS_TIME: Duration = Duration::from_millis(4);

/// <https://w3c.github.io/IndexedDB/#transaction-mode>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    ReadOnly,
    ReadWrite,
    VersionChange,
}

/// <https://w3c.github.io/IndexedDB/#transaction-construct>
pub(super) struct Transaction {
    pub(super) id: u32,
    pub(super) connection: Rc<Connection>,
    mode: Mode,
    /// Identifiers of object stores; an upgrade has the database for itself.
    scope: BTreeSet<u32>,
    durability: Durability,
    /// Whether its requests may be served.
    started: Cell<bool>,
    /// Whether the engine has a transaction for it.
    begun: Cell<bool>,
    /// When the turn began whose events ask for more.
    rounds_since: Cell<Option<Instant>>,
    /// Requests that were not served yet.
    pub(super) pending: RefCell<VecDeque<(u32, IndexedDbOperation)>>,
    end: RefCell<Option<End>>,
    finished: RefCell<Option<oneshot::Sender<Finished>>>,
}

enum End {
    Commit,
    /// With what the disk said, if the script did not want it.
    Abort(Option<IndexedDbError>),
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finished {
    Committed,
    Aborted,
}

/// What is to be done next for a transaction.
enum Job {
    Serve(Vec<(u32, IndexedDbOperation)>),
    Commit,
    Abort(Option<IndexedDbError>),
}

/// The transactions of a database that have not finished, in the order of their creation.
#[derive(Default)]
pub(super) struct Transactions {
    live: RefCell<Vec<Rc<Transaction>>>,
    pumping: Cell<bool>,
}

impl Transactions {
    pub(super) fn any_of(&self, connection: u32) -> bool {
        self.live.borrow().iter().any(|each| each.connection.id == connection)
    }

    pub(super) fn of(&self, connection: u32) -> Vec<Rc<Transaction>> {
        let live = self.live.borrow();
        live.iter().filter(|each| each.connection.id == connection).cloned().collect()
    }

    fn remove(&self, transaction: &Transaction) {
        self.live.borrow_mut().retain(|each| each.id != transaction.id);
    }

    /// Starts what nothing holds back.
    fn start(&self) {
        let live = self.live.borrow();
        let live = || live.iter().take(LOOK_AHEAD);
        let mut writes = live().any(|each| each.started.get() && each.mode != Mode::ReadOnly);
        let (mut read, mut written) = (BTreeSet::new(), BTreeSet::new());
        for each in live() {
            let writer = each.mode != Mode::ReadOnly;
            let free = each.scope.is_disjoint(&written)
                && !(writer && (writes || !each.scope.is_disjoint(&read)));
            if free && !each.started.get() {
                each.started.set(true);
                writes |= writer;
            }
            let scope = each.scope.iter().copied();
            if writer { written.extend(scope) } else { read.extend(scope) }
        }
    }

    fn next_job(&self) -> Option<(Rc<Transaction>, Job)> {
        self.start();
        let live = self.live.borrow();
        // The earliest first: each has its turn, because a script asks for more only when the
        // others have been served.
        let mut jobs = live.iter().take(LOOK_AHEAD);
        jobs.find_map(|each| each.next_job().map(|job| (each.clone(), job)))
    }
}

impl Transaction {
    fn next_job(&self) -> Option<Job> {
        if !self.started.get() {
            return None;
        }
        let mut end = self.end.borrow_mut();
        if let Some(End::Abort(error)) = end.take_if(|end| matches!(end, End::Abort(_))) {
            return Some(Job::Abort(error));
        }
        let mut pending = self.pending.borrow_mut();
        if !pending.is_empty() {
            let count = pending.len().min(BATCH);
            return Some(Job::Serve(pending.drain(..count).collect()));
        }
        end.take().map(|_| Job::Commit)
    }

    /// Whether the engine is to begin a transaction for it now.
    fn begins(&self) -> bool {
        self.mode != Mode::ReadOnly && !self.begun.replace(true)
    }

    /// What the realm is told. A failure of the disk ends the transaction.
    fn answers_of(&self, served: Result<Served, IndexedDbError>) -> Vec<(u32, IndexedDbAnswer)> {
        let (answers, failure) = served.unwrap_or_else(|error| (vec![], Some(error)));
        if let Some(error) = failure {
            self.pending.borrow_mut().clear();
            *self.end.borrow_mut() = Some(End::Abort(Some(error)));
        }
        answers.into_iter().map(|(id, result)| (id, border::answer(result))).collect()
    }
}

/// What requests answered, and what the disk said, if that ended them.
type Served = (Vec<(u32, Result<Outcome, IndexedDbError>)>, Option<IndexedDbError>);

/// With what a transaction that writes begins.
struct Begin {
    durability: Durability,
    /// Bytes that its database may have.
    quota: u64,
}

/// Who is given values of requests before their answers.
type Parts = mpsc::UnboundedSender<(u32, Values)>;

fn execute(
    engine: &mut IndexedDatabase,
    begin: Option<Begin>,
    requests: &[(u32, Operation)],
    parts: Option<&Parts>,
) -> Result<Served, IndexedDbError> {
    if let Some(Begin { durability, quota }) = begin {
        engine.limit(quota)?;
        engine.begin(durability)?;
    }
    let mut answers = Vec::with_capacity(requests.len());
    for (id, operation) in requests {
        // Nobody receives them any more: nor the answers.
        let mut part = parts.map(|parts| |values| drop(parts.send((*id, values))));
        let part = part.as_mut().map(|part| part as &mut dyn FnMut(Values));
        match engine.execute_in_parts(operation, part) {
            Err(error @ IndexedDbError::Store(_)) => return Ok((answers, Some(error))),
            result => answers.push((*id, result)),
        }
    }
    Ok((answers, None))
}

/// Whether they are certain to be served soon.
fn are_light<'a>(
    requests: impl IntoIterator<Item = &'a (u32, IndexedDbOperation), IntoIter: ExactSizeIterator>,
) -> bool {
    let mut requests = requests.into_iter();
    requests.len() <= LIGHT_REQUESTS
        && requests.all(|(_, each)| border::is_light(each, LIGHT_BYTES))
}

fn to_store(
    requests: impl IntoIterator<Item = (u32, IndexedDbOperation)>,
) -> Vec<(u32, Operation)> {
    requests.into_iter().map(|(id, each)| (id, border::operation(each))).collect()
}

impl Shard {
    /// Makes a transaction; the receiver hears how it ends.
    pub(super) fn make_transaction(
        &self,
        connection: &Rc<Connection>,
        mode: Mode,
        scope: BTreeSet<u32>,
        durability: Durability,
    ) -> (Rc<Transaction>, oneshot::Receiver<Finished>) {
        let (finished, end) = oneshot::channel();
        let transaction = Rc::new(Transaction {
            id: self.next_id(),
            connection: connection.clone(),
            mode,
            scope,
            durability,
            started: Cell::new(mode == Mode::VersionChange),
            begun: Cell::new(false),
            rounds_since: Cell::new(None),
            pending: RefCell::default(),
            end: RefCell::default(),
            finished: RefCell::new(Some(finished)),
        });
        let database = &connection.database;
        database.transactions.live.borrow_mut().push(transaction.clone());
        let mut transactions = self.indexed_db.transactions.borrow_mut();
        transactions.insert(transaction.id, transaction.clone());
        (transaction, end)
    }

    pub(super) fn end_transaction(&self, transaction: &Rc<Transaction>, end: IndexedDbEnd) {
        match end {
            IndexedDbEnd::Commit => {
                transaction.end.borrow_mut().get_or_insert(End::Commit);
            }
            IndexedDbEnd::Abort => {
                transaction.pending.borrow_mut().clear();
                *transaction.end.borrow_mut() = Some(End::Abort(None));
                // It waits for nobody: nothing of it has happened.
                transaction.started.set(true);
            }
        }
        self.pump(&transaction.connection.database);
    }

    /// Does what a database's transactions want, until there is nothing left. It begins after this
    /// turn: what the turn asks for is served together.
    pub(super) fn pump(&self, database: &Rc<Database>) {
        if database.transactions.pumping.replace(true) {
            return;
        }
        let (shard, database, busy) = (self.me(), database.clone(), self.activity.begin());
        spawn_local(async move {
            while let Some((transaction, job)) = database.transactions.next_job() {
                match job {
                    Job::Serve(requests) => shard.serve(&transaction, requests).await,
                    Job::Commit => shard.commit_transaction(&transaction).await,
                    Job::Abort(error) => shard.roll_back(&transaction, error).await,
                }
            }
            database.transactions.pumping.set(false);
            drop(busy);
        });
    }

    async fn serve(&self, transaction: &Rc<Transaction>, requests: Vec<(u32, IndexedDbOperation)>) {
        let light = are_light(&requests);
        let threads = if light { Threads::HostOnly } else { self.indexed_db.threads };
        let begin = self.begin(transaction);
        let requests = to_store(requests);
        let database = &transaction.connection.database;
        let (parts, mut incoming) = mpsc::unbounded_channel();
        // With another thread, the host's makes objects of what was found while that finds more.
        let parts = (threads == Threads::Blocking).then_some(parts);
        let served =
            database.work(threads, move |engine| execute(engine, begin, &requests, parts.as_ref()));
        let mut served = pin!(served);
        let served = loop {
            tokio::select! {
                biased;
                Some((request, values)) = incoming.recv() => {
                    self.hand_on(transaction, request, values);
                }
                served = &mut served => break served,
            }
        };
        while let Ok((request, values)) = incoming.try_recv() {
            self.hand_on(transaction, request, values);
        }
        let answers = transaction.answers_of(served);
        let mut answers = answers.into_iter().peekable();
        while answers.peek().is_some() {
            let (transaction, realm) = (transaction.id, transaction.connection.realm);
            let answers = answers.by_ref().take(ANSWERS).collect();
            self.notify_realm(realm, IndexedDbEvent::Answered { transaction, answers });
        }
    }

    fn hand_on(&self, transaction: &Transaction, request: u32, values: Values) {
        let (transaction, realm) = (transaction.id, transaction.connection.realm);
        let values = border::values(values);
        self.notify_realm(realm, IndexedDbEvent::Part { transaction, request, values });
    }

    fn begin(&self, transaction: &Transaction) -> Option<Begin> {
        transaction.begins().then(|| Begin {
            durability: transaction.durability,
            quota: self.quota_of_database(&transaction.connection.database),
        })
    }

    /// Serves what events of this turn have asked for, without another turn, if nothing is in the
    /// way. A turn that went on and on would keep others waiting.
    pub(super) fn serve_at_once(
        &self,
        transaction: &Transaction,
        waiting: usize,
        round: u32,
    ) -> Vec<(u32, IndexedDbAnswer)> {
        if round == 0 {
            transaction.rounds_since.set(Some(Instant::now()));
        }
        let is_late = || transaction.rounds_since.get().is_none_or(|at| at.elapsed() > ROUNDS_TIME);
        // Fewer than it waits for: the host has answers that the realm has not had yet.
        let is_next = transaction.pending.borrow().len() == waiting
            && transaction.started.get()
            && transaction.end.borrow().is_none()
            && are_light(transaction.pending.borrow().iter());
        if !is_next || round >= ROUNDS || is_late() {
            return vec![];
        }
        let database = &transaction.connection.database;
        let Ok(mut engine) = database.engine.try_lock() else { return vec![] };
        let Some(engine) = engine.as_mut() else { return vec![] };
        let requests = to_store(transaction.pending.borrow_mut().drain(..));
        transaction.answers_of(execute(engine, self.begin(transaction), &requests, None))
    }

    async fn commit_transaction(&self, transaction: &Rc<Transaction>) {
        let durable = transaction.durability == Durability::Strict;
        let threads = if durable { self.indexed_db.threads } else { Threads::HostOnly };
        if transaction.begun.get() {
            let database = &transaction.connection.database;
            let committed = database.work(threads, |engine| {
                engine.commit()?;
                engine.bytes()
            });
            match committed.await {
                Ok(bytes) => self.indexed_db.sizes.note(database, bytes),
                Err(error) => return self.roll_back(transaction, Some(error)).await,
            }
        }
        let event = IndexedDbEvent::Completed { transaction: transaction.id };
        self.finish(transaction, Finished::Committed, event);
    }

    async fn roll_back(&self, transaction: &Rc<Transaction>, error: Option<IndexedDbError>) {
        let database = &transaction.connection.database;
        // One that was set aside meanwhile has nothing to take back.
        if transaction.begun.get() && database.engine.lock().await.is_some() {
            let rolled_back = database.work(self.indexed_db.threads, |engine| {
                engine.roll_back();
                Ok(())
            });
            // It fails only if the database cannot be opened: then there is nothing to take back.
            let _ = rolled_back.await;
        }
        let (error, cut_off) = match error {
            Some(error) => {
                let (error, cut_off) = self.set_aside_if_damaged(database, error).await;
                (Some(self.script_error(error)), cut_off)
            }
            None => (None, vec![]),
        };
        let event = IndexedDbEvent::Aborted { transaction: transaction.id, error };
        self.finish(transaction, Finished::Aborted, event);
        cut_off.iter().for_each(|connection| self.close_by_force(connection));
    }

    fn finish(&self, transaction: &Rc<Transaction>, how: Finished, event: IndexedDbEvent) {
        let connection = &transaction.connection;
        connection.database.transactions.remove(transaction);
        self.indexed_db.transactions.borrow_mut().remove(&transaction.id);
        self.notify_realm(connection.realm, event);
        if let Some(waiting) = transaction.finished.take() {
            // Only an upgrade has somebody who waits.
            let _ = waiting.send(how);
        }
        self.connection_may_be_closed(connection);
    }
}
