//! Requests that may outlive who asked: <https://fetch.spec.whatwg.org/#request-keepalive-flag>
//!
//! Invariant: a keepalive request ends with its answer or by its abort, or with the process,
//! whatever becomes of its realm meanwhile. No realm has more than 64 KiB of them under way.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use deno_core::futures::FutureExt;
use deno_core::futures::future::LocalBoxFuture;
use kittiwake_ops::{FetchResponse, OpError, RealmId};
use tokio::task::JoinHandle;

use crate::host::Shard;

/// The bytes that keepalive requests of each realm carry, as long as they are under way.
#[derive(Clone, Default)]
pub(crate) struct KeepaliveBytes(Rc<RefCell<BTreeMap<RealmId, usize>>>);

/// So many bytes under way, until dropped.
struct UnderWay {
    all: KeepaliveBytes,
    realm: RealmId,
    bytes: usize,
}

impl KeepaliveBytes {
    pub(crate) fn of(&self, realm: RealmId) -> usize {
        self.0.borrow().get(&realm).copied().unwrap_or_default()
    }

    fn begin(&self, realm: RealmId, bytes: usize) -> UnderWay {
        *self.0.borrow_mut().entry(realm).or_default() += bytes;
        UnderWay { all: self.clone(), realm, bytes }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut all = self.all.0.borrow_mut();
        let left = all[&self.realm] - self.bytes;
        match left {
            0 => all.remove(&self.realm),
            _ => all.insert(self.realm, left),
        };
    }
}

type Fetched = Result<FetchResponse, OpError>;

/// A request in a task of its own, while its realm waits for the answer.
struct Asked {
    shard: Rc<Shard>,
    realm: RealmId,
    task: JoinHandle<Fetched>,
}

impl Drop for Asked {
    /// Who stops waiting has aborted the request, or has ended.
    fn drop(&mut self) {
        if self.shard.realm_owner(self.realm).is_some() {
            self.task.abort();
        }
    }
}

impl Shard {
    /// Lets `fetched` go on, with a body of so many bytes, also when its realm has ended.
    pub(crate) fn keep_alive(
        &self,
        realm: RealmId,
        bytes: usize,
        fetched: LocalBoxFuture<'static, Fetched>,
    ) -> LocalBoxFuture<'static, Fetched> {
        let (under_way, busy) = (self.keepalive.begin(realm, bytes), self.activity.begin());
        let task = tokio::task::spawn_local(async move {
            let _until_then = (under_way, busy);
            fetched.await
        });
        let mut asked = Asked { shard: self.me(), realm, task };
        async move {
            let ended = (&mut asked.task).await;
            ended.expect("invariant: a fetch does not panic, and who aborts it does not wait")
        }
        .boxed_local()
    }
}
