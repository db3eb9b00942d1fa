//! Web Locks, apart for each origin. <https://w3c.github.io/web-locks/#algorithms>
//!
//! Invariant: a lock is held by a realm that lives; when it ends, its locks go to whoever waits.

use std::collections::{BTreeMap, BTreeSet};

use deno_core::futures::FutureExt;
use deno_core::futures::future::LocalBoxFuture;
use kittiwake_ops::{
    LockInfo, LockMode, LockRequest, LockServices, LockSnapshot, OpError, RealmId,
};
use tokio::sync::oneshot;

use crate::activity::Busy;
use crate::host::{RealmOwner, Shard};
use crate::limits::{Limit, LimitOutcome};

/// A script's heap is bounded; what it has the host keep has bounds too.
const MAX_NAME_UNITS: usize = 64 << 10;

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

    /// Grants what may be granted of a name, in order.
    /// <https://w3c.github.io/web-locks/#process-the-lock-request-queue>
    fn process(&mut self, name: &[u16], busy: &dyn Fn() -> Busy) {
        let of_name = |waiting: &Waiting| waiting.info.name == name;
        while let Some(at) = self.queue.iter().position(of_name) {
            if !self.is_free(&self.queue[at].info) {
                break;
            }
            let Waiting { id, info, answer } = self.queue.remove(at);
            self.held.push(Held { id, info, broken: None });
            // Its realm ends in this very moment, and then lets go.
            let _ = answer.send((true, busy()));
        }
    }

    /// Lets go of a lock, for whoever waits; whether it was held.
    fn release(&mut self, id: u32, busy: &dyn Fn() -> Busy) -> bool {
        let Some(at) = self.held.iter().position(|held| held.id == id) else { return false };
        let held = self.held.remove(at);
        let name = held.info.name.clone();
        tell(held, false);
        self.process(&name, busy);
        true
    }

    /// Takes a request back, or lets go of its lock; whether there was one.
    fn abort(&mut self, id: u32, busy: &dyn Fn() -> Busy) -> bool {
        let Some(at) = self.queue.iter().position(|waiting| waiting.id == id) else {
            return self.release(id, busy);
        };
        let name = self.queue.remove(at).info.name;
        // A shared request behind it may go with the holders now.
        self.process(&name, busy);
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
    fn lock_request(&self, realm: RealmId, request: LockRequest) -> Result<u32, OpError> {
        if request.name.len() > MAX_NAME_UNITS {
            return Err(OpError::TooManyLocks("The name is too long."));
        }
        let known = self.with_locks(realm, |locks| locks.queue.len() + locks.held.len());
        if known.unwrap_or(0) >= self.limits.count(Limit::Locks) {
            self.strike(realm, Limit::Locks, LimitOutcome::Refused);
            return Err(OpError::TooManyLocks("Too many locks are held or waited for."));
        }
        let id = self.next_id();
        let LockRequest { name, mode, if_available, steal } = request;
        let info = Info { realm, name: name.clone(), mode };
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
            locks.process(&name, &|| self.activity.begin());
        });
        Ok(id)
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
        self.with_locks(realm, |locks| locks.abort(request, &|| self.activity.begin()))
            .unwrap_or(false)
    }

    fn lock_release(&self, realm: RealmId, request: u32) -> bool {
        self.with_locks(realm, |locks| locks.release(request, &|| self.activity.begin()))
            .unwrap_or(false)
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
    /// The locks of a realm's origin, unless the realm has ended.
    fn with_locks<T>(
        &self,
        realm: RealmId,
        use_it: impl FnOnce(&mut OriginLocks) -> T,
    ) -> Option<T> {
        let origin = self.origin_of(realm)?;
        Some(use_it(self.locks.borrow_mut().0.entry(origin).or_default()))
    }

    /// Gives up what a realm that ends holds and waits for.
    pub(crate) fn release_locks_of(&self, realm: RealmId) {
        for locks in self.locks.borrow_mut().0.values_mut() {
            let gone = |info: &Info| info.realm == realm;
            let requests = locks.queue.extract_if(.., |waiting| gone(&waiting.info));
            let mut names: BTreeSet<_> = requests.map(|waiting| waiting.info.name).collect();
            let held = locks.held.extract_if(.., |held| gone(&held.info));
            names.extend(held.map(|held| held.info.name));
            for name in names {
                locks.process(&name, &|| self.activity.begin());
            }
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
