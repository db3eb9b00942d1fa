//! Storage buckets: <https://wicg.github.io/storage-buckets/>, and what an origin stores in all:
//! <https://storage.spec.whatwg.org/>.

use std::cell::RefCell;
use std::rc::Rc;

use deno_core::futures::future::LocalBoxFuture;
use deno_core::{OpState, op2};
use serde::{Deserialize, Serialize};

use crate::{Host, OpError, RealmId};

/// By which ops name a bucket of the asking realm's origin.
pub type BucketNumber = i64;

/// The bucket that every origin has: `caches` and `indexedDB` of the global scope.
pub const DEFAULT_BUCKET: BucketNumber = 0;

/// <https://wicg.github.io/storage-buckets/#dictdef-storagebucketoptions>
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketOptions {
    /// Whether it is to persist.
    pub persisted: bool,
    /// Bytes that it may hold, if there is to be a limit.
    pub quota: Option<u64>,
    /// When it ends, in Unix epoch ms.
    pub expires: Option<i64>,
}

/// What a script may ask of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BucketState {
    /// Whether it was asked to persist.
    pub persisted: bool,
    /// When it ends, in Unix epoch ms.
    pub expires: Option<i64>,
}

/// What a script may change of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketChange {
    /// `persist()`
    Persist,
    /// `setExpires()`, in Unix epoch ms.
    Expire(i64),
}

/// What a bucket keeps, and may keep: <https://storage.spec.whatwg.org/#dictdef-storageestimate>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageEstimate {
    /// Bytes that it may keep.
    pub quota: u64,
    /// Bytes in its caches.
    pub caches: u64,
    /// Bytes in its databases.
    pub indexed_db: u64,
}

/// The part of [`Services`](crate::Services) that has buckets. A bucket that is gone is `None`, or
/// false.
pub trait BucketServices {
    /// The bucket of this name, which is made if there is none; when it returns, it is on disk.
    fn bucket_open(
        &self,
        realm: RealmId,
        name: String,
        options: BucketOptions,
    ) -> Result<BucketNumber, OpError>;
    /// The names of the origin's buckets, sorted.
    fn bucket_names(&self, realm: RealmId) -> Result<Vec<String>, OpError>;
    /// Deletes a bucket, if there is one; when the future resolves, nothing of it is left.
    fn bucket_delete(
        &self,
        realm: RealmId,
        name: String,
    ) -> LocalBoxFuture<'static, Result<(), OpError>>;
    /// What a bucket is like.
    fn bucket_state(&self, realm: RealmId, bucket: BucketNumber) -> Option<BucketState>;
    /// Changes a bucket; when it returns, that is on disk.
    fn bucket_change(
        &self,
        realm: RealmId,
        bucket: BucketNumber,
        change: BucketChange,
    ) -> Result<bool, OpError>;
    /// What a bucket keeps, and may keep; the default bucket answers for the whole origin.
    fn storage_estimate(
        &self,
        realm: RealmId,
        bucket: BucketNumber,
    ) -> Result<Option<StorageEstimate>, OpError>;
}

/// `StorageBucketManager.open(name, options)`: names the bucket to the other ops.
#[op2]
#[number]
pub fn op_bucket_open(
    state: &mut OpState,
    #[string] name: String,
    #[serde] options: BucketOptions,
) -> Result<i64, OpError> {
    let (services, realm) = Host::of(state);
    services.bucket_open(realm, name, options)
}

/// `StorageBucketManager.keys()`
#[op2]
#[serde]
pub fn op_bucket_names(state: &mut OpState) -> Result<Vec<String>, OpError> {
    let (services, realm) = Host::of(state);
    services.bucket_names(realm)
}

/// `StorageBucketManager.delete(name)`
#[op2]
pub async fn op_bucket_delete(
    state: Rc<RefCell<OpState>>,
    #[string] name: String,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(&state.borrow());
    services.bucket_delete(realm, name).await
}

/// `StorageBucket.persisted()` and `expires()`
#[op2]
#[serde]
pub fn op_bucket_state(state: &mut OpState, #[number] bucket: i64) -> Option<BucketState> {
    let (services, realm) = Host::of(state);
    services.bucket_state(realm, bucket)
}

/// `StorageBucket.persist()`
#[op2(fast)]
pub fn op_bucket_persist(state: &mut OpState, #[number] bucket: i64) -> Result<bool, OpError> {
    let (services, realm) = Host::of(state);
    services.bucket_change(realm, bucket, BucketChange::Persist)
}

/// `StorageBucket.setExpires(expires)`
#[op2(fast)]
pub fn op_bucket_expire(
    state: &mut OpState,
    #[number] bucket: i64,
    #[number] expires: i64,
) -> Result<bool, OpError> {
    let (services, realm) = Host::of(state);
    services.bucket_change(realm, bucket, BucketChange::Expire(expires))
}

/// `StorageManager.estimate()` and `StorageBucket.estimate()`
#[op2]
#[serde]
pub fn op_storage_estimate(
    state: &mut OpState,
    #[number] bucket: i64,
) -> Result<Option<StorageEstimate>, OpError> {
    let (services, realm) = Host::of(state);
    services.storage_estimate(realm, bucket)
}
