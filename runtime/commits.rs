//! Group commit: writes of both types of background sync that arrive together share one commit and
//! one fsync. While a thread of its own waits for the disk, realms run on, and what they ask for is
//! the next commit.
//!
//! Invariant: whoever waits for a write is answered after its commit reached the disk; writes are
//! made and answered in the order in which they were asked for, one commit after the other; who
//! reads the store sees every write that was asked for before.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use kittiwake_ops::{OpError, RealmId};
use kittiwake_store::{StoreError, SyncWrite, SyncWritten};
use tokio::sync::oneshot;
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::Instant;

use crate::host::Shard;
use crate::indexed_db::Threads;
use crate::lifecycle::Registration;
use crate::measure::Measurement;
use crate::quiet::let_others_run;
use crate::realm::Call;

/// The writes of a shard that are not answered yet.
pub(crate) struct Commits {
    threads: Threads,
    last_number: Cell<u64>,
    /// What the next commit takes.
    waiting: RefCell<Batch>,
    under_way: RefCell<Option<UnderWay>>,
    /// Whether a task sees to it that what waits is committed.
    attended: Cell<bool>,
    /// Since when the next commit could begin.
    ready_since: Cell<Instant>,
    /// How long the last one took.
    last_took: Cell<Duration>,
}

/// In the order in which they were asked for.
#[derive(Default)]
struct Batch {
    writes: Vec<SyncWrite>,
    answers: Vec<Answer>,
}

/// Who hears of a write, once.
pub(crate) enum Answer {
    /// A promise in a script, by the number that the script has.
    Promise { realm: RealmId, number: u64, registration: Rc<Registration> },
    /// It enters no realm: it may run within a turn of one.
    Call(AfterWrite),
}

/// What is done when a write is on disk.
type AfterWrite = Box<dyn FnOnce(&Shard, SyncWrite, Written)>;

/// What a write did, or why it could not be made.
pub(crate) type Written = Result<SyncWritten, Arc<StoreError>>;

/// A commit on another thread.
struct UnderWay {
    answers: Vec<Answer>,
    began: Instant,
    result: mpsc::Receiver<(Vec<SyncWrite>, AllWritten)>,
    /// Told after the result is there; for the task that attends.
    ended: Option<oneshot::Receiver<()>>,
}

type AllWritten = Result<Vec<Result<SyncWritten, StoreError>>, StoreError>;

impl Commits {
    pub(crate) fn new(threads: Threads) -> Self {
        Commits {
            threads,
            last_number: Cell::default(),
            waiting: RefCell::default(),
            under_way: RefCell::default(),
            attended: Cell::default(),
            ready_since: Cell::new(Instant::now()),
            last_took: Cell::default(),
        }
    }

    /// Names a write for a script.
    pub(crate) fn next_number(&self) -> u64 {
        self.last_number.set(self.last_number.get() + 1);
        self.last_number.get()
    }

    /// Whether the disk has rested for long enough. A batch grows for a quarter of the time that a
    /// commit takes: on a slow disk, whatever is ready to run is in it; on a fast one, the disk and
    /// the realms work at the same time.
    fn is_due(&self) -> bool {
        self.threads == Threads::Blocking
            && self.under_way.borrow().is_none()
            && self.ready_since.get().elapsed() * 4 > self.last_took.get()
    }

    /// A commit that began then is over.
    fn disk_rests(&self, began: Instant) {
        let now = Instant::now();
        self.last_took.set(now - began);
        self.ready_since.set(now);
    }
}

impl Shard {
    /// Makes a write with the next commit; `answer` hears of it when it is on disk.
    pub(crate) fn commit(&self, write: SyncWrite, answer: Answer) {
        let commits = &self.commits;
        {
            let mut waiting = commits.waiting.borrow_mut();
            waiting.writes.push(write);
            waiting.answers.push(answer);
        }
        if !commits.attended.replace(true) {
            if commits.threads == Threads::Blocking {
                commits.ready_since.set(Instant::now());
            }
            let (shard, busy) = (self.me(), self.activity.begin());
            spawn_local(async move {
                shard.attend_commits().await;
                drop(busy);
            });
        } else if commits.is_due() {
            self.begin_commit();
        }
    }

    /// Commits what waits, and waits for it. To be called before the store is asked about syncs.
    pub(crate) fn flush_commits(&self) {
        let under_way = self.commits.under_way.take();
        if let Some(UnderWay { answers, began, result, .. }) = under_way {
            let (writes, written) = result.recv().expect("invariant: the store does not panic");
            self.commits.disk_rests(began);
            self.measure_commit(&writes, began);
            self.answer(writes, answers, written);
        }
        let Batch { writes, answers } = self.commits.waiting.take();
        if !writes.is_empty() {
            let began = Instant::now();
            let written = self.store.sync_write_all(&writes, &self.policy, self.now_ms());
            self.measure_commit(&writes, began);
            self.answer(writes, answers, written);
        }
    }

    /// Until nothing waits.
    async fn attend_commits(&self) {
        let commits = &self.commits;
        loop {
            let ended = commits.under_way.borrow_mut().as_mut().and_then(|it| it.ended.take());
            if let Some(ended) = ended {
                ended.await.expect("invariant: the store does not panic");
                self.end_commit_if_over();
                continue;
            }
            // Whatever is ready to run now may have a write of its own.
            let_others_run().await;
            if commits.under_way.borrow().is_some() {
                continue;
            }
            if commits.waiting.borrow().writes.is_empty() {
                break;
            }
            match commits.threads {
                Threads::HostOnly => self.flush_commits(),
                Threads::Blocking => self.begin_commit(),
            }
        }
        commits.attended.set(false);
    }

    /// Commits what waits on another thread. None may be under way.
    fn begin_commit(&self) {
        let Batch { writes, answers } = self.commits.waiting.take();
        let (store, policy, now_ms) = (self.store.clone(), self.policy, self.now_ms());
        let (tell, result) = mpsc::sync_channel(1);
        let (end, ended) = oneshot::channel();
        spawn_blocking(move || {
            let written = store.sync_write_all(&writes, &policy, now_ms);
            // The shard may have ended: then nobody is there to be told.
            let _ = tell.send((writes, written));
            let _ = end.send(());
        });
        let (began, ended) = (Instant::now(), Some(ended));
        let under_way = UnderWay { answers, began, result, ended };
        let before = self.commits.under_way.replace(Some(under_way));
        assert!(before.is_none(), "invariant: one commit after the other");
    }

    /// Somebody may have flushed meanwhile, and another commit may be under way.
    fn end_commit_if_over(&self) {
        let mut under_way = self.commits.under_way.borrow_mut();
        let Some(Ok((writes, written))) = under_way.as_ref().map(|it| it.result.try_recv()) else {
            return;
        };
        let UnderWay { answers, began, .. } = under_way.take().expect("it was there");
        drop(under_way);
        self.commits.disk_rests(began);
        self.measure_commit(&writes, began);
        self.answer(writes, answers, written);
    }

    fn measure_commit(&self, writes: &[SyncWrite], began: Instant) {
        let (writes, took) = (writes.len(), began.elapsed());
        self.gauge.tell(Measurement::Commit { writes, took });
    }

    fn answer(&self, writes: Vec<SyncWrite>, answers: Vec<Answer>, written: AllWritten) {
        let written: Vec<Written> = match written {
            Ok(written) => written.into_iter().map(|each| each.map_err(Arc::new)).collect(),
            Err(error) => {
                let error = Arc::new(error);
                writes.iter().map(|_| Err(error.clone())).collect()
            }
        };
        let mut resolved = Resolved { shard: self, realm: None, numbers: Vec::new() };
        for ((write, answer), written) in writes.into_iter().zip(answers).zip(written) {
            match answer {
                Answer::Call(answer) => answer(self, write, written),
                Answer::Promise { realm, number, registration } => {
                    match self.tell_written(write, &registration.scope, written) {
                        Ok(()) => resolved.push(realm, number),
                        Err(error) => resolved.push_failure(realm, number, error),
                    }
                }
            }
        }
        resolved.call();
    }
}

/// Promises of one realm that resolve in one turn, because their writes follow each other.
struct Resolved<'a> {
    shard: &'a Shard,
    realm: Option<RealmId>,
    numbers: Vec<u64>,
}

impl Resolved<'_> {
    fn push(&mut self, realm: RealmId, number: u64) {
        if self.realm != Some(realm) {
            self.call();
            self.realm = Some(realm);
        }
        self.numbers.push(number);
    }

    fn push_failure(&mut self, realm: RealmId, number: u64, error: OpError) {
        self.call();
        self.shard.call_realm(realm, Call::RejectSync { number, error });
    }

    fn call(&mut self) {
        let numbers = std::mem::take(&mut self.numbers);
        match self.realm.take() {
            // Nobody will hear of it: it may fire at once.
            Some(realm) if self.shard.realm_owner(realm).is_none() => {
                self.shard.wake.wake(&self.shard.activity);
            }
            Some(realm) => self.shard.call_realm(realm, Call::ResolveSyncs { numbers }),
            None => {}
        }
    }
}
