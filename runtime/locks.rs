//! Web Locks, apart for each origin. <https://w3c.github.io/web-locks/#algorithms>
//!
//! Invariant: a lock is held by a realm that lives; when it ends, its locks go to whoever waits.

use std::collections::BTreeMap;

use deno_core::futures::FutureExt;
use deno_core::futures::future::LocalBoxFuture;
use kittiwake_ops::{LockInfo, LockMode, LockRequest, LockServices, LockSnapshot, RealmId};
use tokio::sync::oneshot;

use crate::activity::Busy;
use crate::host::{RealmOwner, Shard};

/// The locks of a shard, by origin.
#[derive(Default)]
pub(crate) struct Locks(BTreeMap<String, OriginLocks>);

/// One origin's: <https://w3c.github.io/web-locks/#lock-manager>
#[derive(Default)]
struct OriginLocks {
    held: Vec<Held>,
    /// All names in one queue; requests of one name are in order.
    queue: Vec<Waiting>,
    /// Answers that their realm has not asked for yet.
    answers: BTreeMap<u32, oneshot::Receiver<(bool, Busy)>>,
}

struct Held {
    id: u32,
    info: Info,
    /// Told when the lock is stolen or released.
    broken: Option<oneshot::Sender<bool>>,
}

struct Waiting {
    id: u32,
    info: Info,
    /// The work that follows is begun before whoever let go is done.
    answer: oneshot::Sender<(bool, Busy)>,
}

struct Info {
    realm: RealmId,
    name: Vec<u16>,
    mode: LockMode,
}

impl OriginLocks {
    /// <https://w3c.github.io/web-locks/#grantable>, but for the requests before it.
    fn is_free(&self, wanted: &Info) -> bool {
        let mut holders = self.held.iter().filter(|held| held.info.name == wanted.name);
        match wanted.mode {
            LockMode::Exclusive => holders.next().is_none(),
            LockMode::Shared => holders.all(|held| held.info.mode == LockMode::Shared),
        }
    }

    /// <https://w3c.github.io/web-locks/#process-the-lock-request-queue>
    fn process(&mut self, busy: &dyn Fn() -> Busy) {
        let mut blocked: Vec<Vec<u16>> = Vec::new();
        let mut at = 0;
        while let Some(next) = self.queue.get(at) {
            if blocked.contains(&next.info.name) {
                at += 1;
            } else if self.is_free(&next.info) {
                let Waiting { id, info, answer } = self.queue.remove(at);
                self.held.push(Held { id, info, broken: None });
                // Its realm ends in this very moment, and then lets go.
                let _ = answer.send((true, busy()));
            } else {
                blocked.push(next.info.name.clone());
                at += 1;
            }
        }
    }

    /// Lets go of a lock; whether it was held.
    fn release(&mut self, id: u32) -> bool {
        let Some(at) = self.held.iter().position(|held| held.id == id) else { return false };
        tell(self.held.remove(at), false);
        true
    }

    /// Breaks the locks of a name, for one that steals it.
    fn steal(&mut self, name: &[u16]) {
        for held in self.held.extract_if(.., |held| held.info.name == name) {
            tell(held, true);
        }
    }
}

fn tell(held: Held, is_stolen: bool) {
    if let Some(broken) = held.broken {
        // Whoever held it may have gone.
        let _ = broken.send(is_stolen);
    }
}

impl LockServices for Shard {
    fn lock_request(&self, realm: RealmId, request: LockRequest) -> u32 {
        let id = self.next_id();
        let LockRequest { name, mode, if_available, steal } = request;
        let info = Info { realm, name, mode };
        let (answer, answered) = oneshot::channel();
        self.with_locks(realm, |locks| {
            locks.answers.insert(id, answered);
            if steal {
                locks.steal(&info.name);
                locks.queue.insert(0, Waiting { id, info, answer });
            } else if if_available && !locks.is_available(&info) {
                let _ = answer.send((false, self.activity.begin()));
            } else {
                locks.queue.push(Waiting { id, info, answer });
            }
        });
        id
    }

    fn lock_granted(&self, realm: RealmId, request: u32) -> LocalBoxFuture<'static, bool> {
        let answered = self.with_locks(realm, |locks| locks.answers.remove(&request));
        async move {
            match answered.flatten() {
                // The answer is taken back when its request is.
                Some(answered) => answered.await.is_ok_and(|(granted, _busy)| granted),
                None => false,
            }
        }
        .boxed_local()
    }

    fn lock_broken(&self, realm: RealmId, request: u32) -> LocalBoxFuture<'static, bool> {
        let (broken, told) = oneshot::channel();
        self.with_locks(realm, |locks| {
            match locks.held.iter_mut().find(|held| held.id == request) {
                Some(held) => held.broken = Some(broken),
                // It was stolen before its holder looked.
                None => drop(broken.send(true)),
            }
        });
        async move { told.await.unwrap_or(false) }.boxed_local()
    }

    fn lock_abort(&self, realm: RealmId, request: u32) -> bool {
        let aborted = self.with_locks(realm, |locks| {
            let waiting = locks.queue.len();
            locks.queue.retain(|each| each.id != request);
            locks.queue.len() < waiting || locks.release(request)
        });
        aborted.unwrap_or(false)
    }

    fn lock_release(&self, realm: RealmId, request: u32) -> bool {
        self.with_locks(realm, |locks| locks.release(request)).unwrap_or(false)
    }

    fn lock_query(&self, realm: RealmId) -> LockSnapshot {
        let describe = |info: &Info| LockInfo {
            name: info.name.clone(),
            mode: info.mode,
            client_id: self.client_id_of(info.realm),
        };
        let snapshot = self.with_locks(realm, |locks| LockSnapshot {
            held: locks.held.iter().map(|held| describe(&held.info)).collect(),
            pending: locks.queue.iter().map(|waiting| describe(&waiting.info)).collect(),
        });
        snapshot.unwrap_or(LockSnapshot { held: vec![], pending: vec![] })
    }
}

impl OriginLocks {
    /// Whether a request that does not wait is granted: nobody has the lock, or waits for it.
    fn is_available(&self, wanted: &Info) -> bool {
        let is_awaited = self.queue.iter().any(|waiting| waiting.info.name == wanted.name);
        !is_awaited && self.is_free(wanted)
    }
}

impl Shard {
    /// Changes the locks of a realm's origin; whoever may have one then gets it.
    fn with_locks<T>(
        &self,
        realm: RealmId,
        change: impl FnOnce(&mut OriginLocks) -> T,
    ) -> Option<T> {
        let origin = self.origin_of(realm)?;
        let mut locks = self.locks.borrow_mut();
        let own = locks.0.entry(origin).or_default();
        let answer = change(own);
        own.process(&|| self.activity.begin());
        Some(answer)
    }

    /// Gives up what a realm that ends holds and waits for.
    pub(crate) fn release_locks_of(&self, realm: RealmId) {
        for locks in self.locks.borrow_mut().0.values_mut() {
            locks.queue.retain(|waiting| waiting.info.realm != realm);
            locks.held.retain(|held| held.info.realm != realm);
            locks.process(&|| self.activity.begin());
        }
    }

    fn client_id_of(&self, realm: RealmId) -> String {
        match self.realm_owner(realm) {
            Some(RealmOwner::Page(page)) => page.id.clone(),
            Some(RealmOwner::Worker(worker)) => format!("worker-{}", worker.id),
            None => String::new(),
        }
    }
}
