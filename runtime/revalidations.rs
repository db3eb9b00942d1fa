//! Stale responses that a script got at once, while the server is asked for them anew:
//! <https://www.rfc-editor.org/rfc/rfc5861#section-3>
//!
//! Invariant: a revalidation counts as a request of its realm, and ends with it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use deno_core::futures::future::LocalBoxFuture;
use kittiwake_ops::{RealmId, RequestBody};
use tokio::task::JoinSet;
use url::Url;

use crate::fetch::{FetchError, ResponseSource, shortened};
use crate::host::Shard;

/// Those under way, by their realms.
#[derive(Default)]
pub(crate) struct Revalidations(RefCell<BTreeMap<RealmId, JoinSet<()>>>);

impl Revalidations {
    pub(crate) fn end_of(&self, realm: RealmId) {
        self.0.borrow_mut().remove(&realm);
    }
}

impl Shard {
    /// Runs a revalidation of `url` beside the realm, which may have too many requests for it.
    pub(crate) fn revalidate_for(
        &self,
        realm: RealmId,
        url: &Url,
        revalidation: LocalBoxFuture<'static, Result<u16, FetchError>>,
    ) {
        let Some(under_way) = self.take_fetch(realm, &RequestBody::Empty) else { return };
        let (shard, busy, started) = (self.me(), self.activity.begin(), self.elapsed_ms());
        let (method, url) = ("GET".to_owned(), shortened(url));
        let mut all = self.revalidations.0.borrow_mut();
        let tasks = all.entry(realm).or_default();
        // Those that have ended are let go.
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(async move {
            let _until_then = (under_way, busy);
            let answer = revalidation.await;
            let outcome = answer.as_ref().map(|status| (*status, ResponseSource::Network));
            shard.trace_fetch(started, method, url, outcome);
        });
    }
}
