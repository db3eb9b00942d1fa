//! Storage buckets, and how much an origin stores.
//!
//! Invariant: a realm reaches buckets of its own origin that have not ended; what a bucket held is
//! gone when the promise of its deletion resolves, and at the latest when the next process starts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::ready;
use std::path::Path;

use deno_core::futures::FutureExt;
use deno_core::futures::future::LocalBoxFuture;
use kittiwake_ops::{
    BucketChange, BucketNumber, BucketOptions, BucketServices, BucketState, DEFAULT_BUCKET,
    OpError, RealmId, StorageEstimate,
};
use kittiwake_store::indexed_db::IndexedDbFolder;
use kittiwake_store::{BucketId, StorageBucket, Store, StoreError, parse_storage_key};
use tokio::task::spawn_local;

use crate::activity::Busy;
use crate::host::Shard;
use crate::limits::{Limit, LimitOutcome};

/// A script could fill the disk with empty ones.
const BUCKETS_AT_MOST: usize = 1024;

/// Every bucket of every origin, as the store has them.
#[derive(Default)]
pub(crate) struct Buckets(RefCell<BTreeMap<BucketId, StorageBucket>>);

impl Buckets {
    /// Reads them, and deletes the databases of buckets that a crash kept from being deleted
    /// whole.
    pub(crate) fn recover(store: &Store, state: Option<&Path>) -> Result<Self, StoreError> {
        let buckets = store.buckets()?.into_iter().map(|bucket| (bucket.id, bucket));
        let buckets: BTreeMap<_, _> = buckets.collect();
        if let Some(state) = state {
            IndexedDbFolder::sweep(state, |key| match parse_storage_key(key) {
                (_, None) => true,
                (_, Some(id)) => buckets.contains_key(&id),
            })?;
        }
        Ok(Self(RefCell::new(buckets)))
    }

    fn named(&self, origin: &str, name: &str) -> Option<StorageBucket> {
        let buckets = self.0.borrow();
        buckets.values().find(|each| each.origin == origin && each.name == name).cloned()
    }

    fn of(&self, origin: &str) -> Vec<StorageBucket> {
        self.0.borrow().values().filter(|each| each.origin == origin).cloned().collect()
    }
}

impl BucketServices for Shard {
    fn bucket_open(
        &self,
        realm: RealmId,
        name: String,
        options: BucketOptions,
    ) -> Result<BucketNumber, OpError> {
        let origin = self.origin_of(realm).ok_or(OpError::StorageUnusable)?;
        self.delete_ended_buckets(&origin);
        if let Some(found) = self.buckets.named(&origin, &name) {
            return Ok(found.id.0);
        }
        if self.buckets.of(&origin).len() >= BUCKETS_AT_MOST {
            return Err(OpError::QuotaExceeded);
        }
        let created = self.store.bucket_create(StorageBucket {
            id: BucketId(0),
            origin,
            name,
            persisted: options.persisted,
            quota_bytes: options.quota,
            expires_at_ms: options.expires,
        });
        let bucket = created.map_err(|error| self.bucket_error(&error))?;
        let id = bucket.id;
        self.buckets.0.borrow_mut().insert(id, bucket);
        Ok(id.0)
    }

    fn bucket_names(&self, realm: RealmId) -> Result<Vec<String>, OpError> {
        let origin = self.origin_of(realm).ok_or(OpError::StorageUnusable)?;
        self.delete_ended_buckets(&origin);
        let mut names: Vec<_> =
            self.buckets.of(&origin).into_iter().map(|each| each.name).collect();
        names.sort();
        Ok(names)
    }

    fn bucket_delete(
        &self,
        realm: RealmId,
        name: String,
    ) -> LocalBoxFuture<'static, Result<(), OpError>> {
        let origin = self.origin_of(realm).unwrap_or_default();
        let bucket = match self.buckets.named(&origin, &name) {
            None => return ready(Ok(())).boxed_local(),
            Some(bucket) => match self.forget_bucket(&bucket) {
                Ok(()) => bucket,
                Err(error) => return ready(Err(error)).boxed_local(),
            },
        };
        let (shard, busy) = (self.me(), self.activity.begin());
        // In a task of the host's, because it tells realms.
        let deleted = spawn_local(async move { shard.delete_rest_of_bucket(&bucket, busy).await });
        async move { deleted.await.expect("invariant: deleting does not panic") }.boxed_local()
    }

    fn bucket_state(&self, realm: RealmId, bucket: BucketNumber) -> Option<BucketState> {
        let StorageBucket { persisted, expires_at_ms, .. } = self.bucket_of(realm, bucket)?;
        Some(BucketState { persisted, expires: expires_at_ms })
    }

    fn bucket_change(
        &self,
        realm: RealmId,
        bucket: BucketNumber,
        change: BucketChange,
    ) -> Result<bool, OpError> {
        let Some(mut bucket) = self.bucket_of(realm, bucket) else { return Ok(false) };
        match change {
            BucketChange::Persist => bucket.persisted = true,
            BucketChange::Expire(at_ms) => bucket.expires_at_ms = Some(at_ms),
        }
        let changed = self.store.bucket_change(&bucket);
        changed.map_err(|error| self.bucket_error(&error))?;
        self.buckets.0.borrow_mut().insert(bucket.id, bucket);
        Ok(true)
    }

    fn storage_estimate(
        &self,
        realm: RealmId,
        bucket: BucketNumber,
    ) -> Result<Option<StorageEstimate>, OpError> {
        self.flush_caches();
        let Some(key) = self.storage_key(realm, bucket) else { return Ok(None) };
        let (origin, id) = parse_storage_key(&key);
        let keys = match id {
            Some(_) => vec![key.clone()],
            None => self.storage_keys(origin),
        };
        let mut estimate = StorageEstimate { quota: self.quota_of(id), caches: 0, indexed_db: 0 };
        for key in &keys {
            let caches = self.store.cache_usage(key);
            estimate.caches += caches.map_err(|error| self.bucket_error(&error))?;
            estimate.indexed_db += self.indexed_db_usage(key);
        }
        Ok(Some(estimate))
    }
}

impl Shard {
    /// Where a bucket of the realm's origin keeps what it holds; `None` if it is gone.
    pub(crate) fn storage_key(&self, realm: RealmId, bucket: BucketNumber) -> Option<String> {
        match bucket {
            DEFAULT_BUCKET => self.origin_of(realm),
            bucket => Some(self.bucket_of(realm, bucket)?.storage_key()),
        }
    }

    fn bucket_of(&self, realm: RealmId, bucket: BucketNumber) -> Option<StorageBucket> {
        let origin = self.origin_of(realm)?;
        let buckets = self.buckets.0.borrow();
        let bucket = buckets.get(&BucketId(bucket)).filter(|bucket| bucket.origin == origin)?;
        (!self.has_ended(bucket)).then(|| bucket.clone())
    }

    fn has_ended(&self, bucket: &StorageBucket) -> bool {
        bucket.expires_at_ms.is_some_and(|end| end <= self.now_ms())
    }

    /// The storage keys of all buckets of an origin.
    fn storage_keys(&self, origin: &str) -> Vec<String> {
        let named = self.buckets.of(origin).into_iter().map(|bucket| bucket.storage_key());
        std::iter::once(origin.to_owned()).chain(named).collect()
    }

    fn quota_of(&self, bucket: Option<BucketId>) -> u64 {
        let buckets = self.buckets.0.borrow();
        let own = bucket.and_then(|id| buckets.get(&id)?.quota_bytes);
        own.map_or(self.limits.of(Limit::Storage), |own| own.min(self.limits.of(Limit::Storage)))
    }

    /// How many bytes the caches of a storage key may have, with what else its origin stores.
    pub(crate) fn quota_of_caches(&self, key: &str) -> u64 {
        self.room_beside_other_buckets(key).saturating_sub(self.indexed_db_usage(key))
    }

    /// How many bytes the databases of a storage key may have, with what else its origin stores.
    pub(crate) fn quota_of_databases(&self, key: &str) -> u64 {
        self.room_beside_other_buckets(key).saturating_sub(self.usage_of_caches(key))
    }

    /// What a storage key was to keep is too much.
    pub(crate) fn strike_storage(&self, key: &str) {
        let (origin, _) = parse_storage_key(key);
        self.strike_origin(origin, Limit::Storage, LimitOutcome::Refused);
    }

    fn room_beside_other_buckets(&self, key: &str) -> u64 {
        let (origin, bucket) = parse_storage_key(key);
        let others = self.storage_keys(origin).into_iter().filter(|other| other != key);
        let used = others.map(|other| self.usage_of_caches(&other) + self.indexed_db_usage(&other));
        self.quota_of(bucket).min(self.limits.of(Limit::Storage).saturating_sub(used.sum()))
    }

    /// A store that cannot be read takes nothing either, and says why.
    fn usage_of_caches(&self, key: &str) -> u64 {
        let usage = self.store.cache_usage(key);
        usage.inspect_err(|error| self.trace_store_error(error)).unwrap_or_default()
    }

    fn delete_ended_buckets(&self, origin: &str) {
        for bucket in self.buckets.of(origin) {
            if !self.has_ended(&bucket) || self.forget_bucket(&bucket).is_err() {
                continue;
            }
            // Nobody finds it any more, so that nobody waits for the rest.
            let (shard, busy) = (self.me(), self.activity.begin());
            spawn_local(async move { shard.delete_rest_of_bucket(&bucket, busy).await });
        }
    }

    /// Deletes a bucket with its caches, so that nobody finds it any more.
    fn forget_bucket(&self, bucket: &StorageBucket) -> Result<(), OpError> {
        self.flush_caches();
        let released = self.store.bucket_delete(bucket);
        let released = released.map_err(|error| self.bucket_error(&error))?;
        self.buckets.0.borrow_mut().remove(&bucket.id);
        self.release_bodies(released);
        Ok(())
    }

    /// Deletes the databases of a bucket. What fails here, the next start does.
    async fn delete_rest_of_bucket(
        &self,
        bucket: &StorageBucket,
        _busy: Busy,
    ) -> Result<(), OpError> {
        let deleted = self.delete_databases_of(&bucket.storage_key()).await;
        deleted.map_err(|error| self.bucket_error(&error))
    }

    /// What a script learns of a failure.
    fn bucket_error(&self, error: &StoreError) -> OpError {
        self.trace_store_error(error);
        match error {
            StoreError::DiskFull { .. } => OpError::QuotaExceeded,
            _ => OpError::StorageUnusable,
        }
    }
}
