//! The host of a rehearsal (../rehearsal.rs).
//!
//! Invariant: what is asked of it has no effect, and is answered at once.

use std::rc::Rc;

use deno_core::futures::future::{LocalBoxFuture, ready};
use deno_core::futures::stream;
use kittiwake_ops::*;

/// A host on which everything succeeds at once.
pub(super) struct Stage;

type Answer<T> = LocalBoxFuture<'static, Result<T, OpError>>;

impl Services for Stage {
    fn now_ms(&self) -> f64 {
        0.0
    }
    fn elapsed_ms(&self, _: RealmId) -> f64 {
        0.0
    }
    fn random(&self) -> f64 {
        0.0
    }
    fn online(&self) -> bool {
        true
    }
    fn network_information(&self) -> NetworkInformation {
        NetworkInformation {
            effective_type: EffectiveConnectionType::Type4g,
            rtt: 100,
            downlink: 1.45,
        }
    }
    fn console(&self, _: RealmId, _: ConsoleLevel, _: String) {}
    fn timer_refused(&self, _: RealmId) {}
    fn blob_room(&self, _: RealmId, _: usize) -> Result<Box<dyn Send + Sync>, OpError> {
        Ok(Box::new(()))
    }
    fn may_broadcast(&self, _: RealmId, _: usize) -> Result<(), OpError> {
        Ok(())
    }
    fn buffer_limit(&self) -> usize {
        usize::MAX
    }
    fn exception(&self, _: RealmId, exception: ScriptException) {
        panic!("the rehearsal throws: {exception}");
    }
    fn event_settled(&self, _: RealmId, _: u32, _: Option<ScriptException>) {}
    fn sync_register(&self, _: RealmId, _: &str, _: String) -> Result<u64, OpError> {
        Ok(1)
    }
    fn sync_tags(&self, _: RealmId, _: &str) -> Result<Vec<String>, OpError> {
        Ok(vec![])
    }
    fn periodic_register(&self, _: RealmId, _: &str, _: String, _: i64) -> Result<u64, OpError> {
        Ok(1)
    }
    fn periodic_tags(&self, _: RealmId, _: &str) -> Result<Vec<String>, OpError> {
        Ok(vec![])
    }
    fn periodic_unregister(&self, _: RealmId, _: &str, _: String) -> Result<u64, OpError> {
        Ok(1)
    }
    fn permission(&self, _: RealmId, _: Permission) -> PermissionState {
        PermissionState::Granted
    }
    fn fetch(&self, _: RealmId, request: FetchRequest, _: RequestBody) -> Answer<FetchResponse> {
        Box::pin(ready(Ok(FetchResponse {
            kind: "basic",
            status: 200,
            status_text: "OK".into(),
            headers: vec![],
            url_list: vec![request.url],
            body: Some(Box::pin(stream::empty())),
        })))
    }
    fn fetch_event_body(&self, _: RealmId, _: u32) -> RequestBody {
        RequestBody::Empty
    }
    fn fetch_event_answered(&self, _: RealmId, _: u32, _: FetchAnswer) {}
    fn import_script(&self, _: RealmId, _: &str) -> Result<ScriptSource, OpError> {
        Ok(ScriptSource::default())
    }
    fn add_routes(&self, _: RealmId, _: Vec<RouterRule>) -> Result<(), OpError> {
        Ok(())
    }
    fn fetch_listeners(&self, _: RealmId, _: bool) {}
    fn skip_waiting(&self, _: RealmId) {}
    fn claim(&self, _: RealmId) -> Result<(), OpError> {
        Ok(())
    }
    fn register_worker(&self, _: RealmId, _: RegisterWorker) -> Answer<RegistrationState> {
        Box::pin(ready(Ok(RegistrationState {
            number: 1,
            scope: "https://rehearsal.test/".into(),
            update_via_cache: "imports".into(),
            installing: None,
            waiting: None,
            active: Some(ServiceWorkerState {
                id: 1,
                script_url: "https://rehearsal.test/sw.js".into(),
                script_type: "classic".into(),
                state: WorkerState::Activated,
            }),
        })))
    }
    fn update_worker(&self, _: RealmId, _: &str, _: u32) -> Answer<RegistrationState> {
        Box::pin(ready(Err(OpError::StorageFailed)))
    }
    fn unregister(&self, _: RealmId, _: &str) -> Answer<bool> {
        Box::pin(ready(Ok(true)))
    }
    fn registrations(&self, _: RealmId) -> Vec<RegistrationState> {
        vec![]
    }
    fn controller(&self, _: RealmId) -> Option<ServiceWorkerState> {
        None
    }
    fn post_message(&self, _: RealmId, _: Delivery) -> Result<(), OpError> {
        Ok(())
    }
    fn clients(&self, _: RealmId, _: bool) -> Vec<ClientState> {
        vec![]
    }
}

/// The rehearsal opens no database.
impl IndexedDb for Stage {
    fn indexed_db_open(&self, _: RealmId, _: i64, _: u32, _: Vec<u16>, _: Option<u64>) {}
    fn indexed_db_delete(&self, _: RealmId, _: i64, _: u32, _: Vec<u16>) {}
    fn indexed_db_list(&self, _: RealmId, _: i64, _: u32) {}
    fn indexed_db_close(&self, _: RealmId, _: u32) {}
    fn indexed_db_acknowledge(&self, _: RealmId, _: u32) {}
    fn indexed_db_begin(&self, _: RealmId, _: u32, _: IndexedDbBegin) -> u32 {
        0
    }
    fn indexed_db_request(&self, _: RealmId, _: u32, _: u32, _: IndexedDbOperation) {}
    fn indexed_db_serve(
        &self,
        _: RealmId,
        _: u32,
        _: usize,
        _: u32,
    ) -> Vec<(u32, IndexedDbAnswer)> {
        vec![]
    }
    fn indexed_db_end(&self, _: RealmId, _: u32, _: IndexedDbEnd) {}
}

/// Nor does it fetch in the background.
impl BackgroundFetchServices for Stage {
    fn background_fetch_begin(
        &self,
        _: RealmId,
        _: &str,
        _: NewBackgroundFetch,
    ) -> Answer<BackgroundFetchSnapshot> {
        unreachable!()
    }
    fn background_fetch_get(
        &self,
        _: RealmId,
        _: &str,
        _: &str,
    ) -> Option<BackgroundFetchSnapshot> {
        unreachable!()
    }
    fn background_fetch_watch(&self, _: RealmId, _: i64) -> Option<BackgroundFetchSnapshot> {
        unreachable!()
    }
    fn background_fetch_ids(&self, _: RealmId, _: &str) -> Vec<String> {
        unreachable!()
    }
    fn background_fetch_abort(&self, _: RealmId, _: i64) -> Answer<bool> {
        unreachable!()
    }
    fn background_fetch_match(
        &self,
        _: RealmId,
        _: i64,
        _: Option<CacheQuery>,
        _: bool,
        _: usize,
    ) -> Result<Vec<MatchedRecord>, OpError> {
        unreachable!()
    }
    fn background_fetch_response(&self, _: RealmId, _: i64, _: u32) -> Answer<CacheMatch> {
        unreachable!()
    }
    fn background_fetch_update_ui(&self, _: RealmId, _: i64, _: &str) {}
}

/// Nor has it anything to show.
impl ContentServices for Stage {
    fn badge_set(&self, _: RealmId, _: Badge) {}
    fn content_add(&self, _: RealmId, _: &str, _: ContentDescription) -> Result<(), OpError> {
        unreachable!()
    }
    fn content_delete(&self, _: RealmId, _: &str, _: &str) -> Result<(), OpError> {
        unreachable!()
    }
    fn contents(&self, _: RealmId, _: &str) -> Result<Vec<ContentDescription>, OpError> {
        unreachable!()
    }
}

impl TestServices for Stage {
    fn test_ask(&self, _: RealmId, _: u32, _: String) {}
    fn test_call(&self, _: RealmId, _: &str) -> String {
        String::new()
    }
}

impl LockServices for Stage {
    fn lock_request(&self, _: RealmId, _: LockRequest) -> Result<u32, OpError> {
        Ok(0)
    }
    fn lock_granted(&self, _: RealmId, _: u32) -> LocalBoxFuture<'static, bool> {
        Box::pin(ready(true))
    }
    fn lock_broken(&self, _: RealmId, _: u32) -> LocalBoxFuture<'static, bool> {
        Box::pin(ready(false))
    }
    fn lock_abort(&self, _: RealmId, _: u32) -> bool {
        true
    }
    fn lock_release(&self, _: RealmId, _: u32) -> bool {
        true
    }
    fn lock_query(&self, _: RealmId) -> LockSnapshot {
        LockSnapshot { held: vec![], pending: vec![] }
    }
}

impl MessagePortServices for Stage {
    fn port_create(&self, _: RealmId) -> Result<(u32, u32), OpError> {
        Ok((1, 2))
    }
    fn port_post(&self, _: RealmId, _: u32, _: SerializedMessage) -> Result<(), OpError> {
        Ok(())
    }
    fn port_start(&self, _: RealmId, _: u32) {}
    fn port_close(&self, _: RealmId, _: u32, _: PortEnd) {}
    fn client_messages_start(&self, _: RealmId) {}
}

impl NotificationServices for Stage {
    fn notification_show(
        &self,
        _: RealmId,
        _: &str,
        _: NotificationEntry,
        _: Vec<u8>,
    ) -> Result<u32, OpError> {
        Ok(0)
    }
    fn notifications(&self, _: RealmId, _: &str, _: &str) -> Vec<ShownNotification> {
        vec![]
    }
    fn notification_close(&self, _: RealmId, _: u32) {}
}

impl PushServices for Stage {
    fn push_subscribe(
        &self,
        _: RealmId,
        _: &str,
        _: NewPushSubscription,
    ) -> Result<PushSubscriptionState, OpError> {
        Err(OpError::PushFailed)
    }
    fn push_subscription(
        &self,
        _: RealmId,
        _: &str,
    ) -> Result<Option<PushSubscriptionState>, OpError> {
        Ok(None)
    }
    fn push_unsubscribe(&self, _: RealmId, _: &str, _: &str) -> Result<bool, OpError> {
        Ok(false)
    }
}

impl SocketServices for Stage {
    fn socket_connect(&self, _: RealmId, _: SocketRequest) -> Answer<SocketConnection> {
        Box::pin(ready(Err(OpError::FailedToFetch)))
    }
}

/// The rehearsal asks for no cache.
impl WindowServices for Stage {
    fn location_navigate(&self, _: RealmId, _: &str, _: HistoryHandling) {}
    fn location_reload(&self, _: RealmId) {}
    fn history_entry(&self, _: RealmId) -> HistoryEntry {
        HistoryEntry { length: 1, state: None }
    }
    fn history_update(&self, _: RealmId, _: HistoryUpdate) -> Result<(), OpError> {
        Ok(())
    }
    fn history_go(&self, _: RealmId, _: i32) {}
    fn client_focus(&self, _: RealmId, _: &str) -> Result<ClientState, OpError> {
        Err(OpError::ClientNotFound)
    }
    fn client_navigate(&self, _: RealmId, _: String, _: String) -> Answer<Option<ClientState>> {
        Box::pin(ready(Ok(None)))
    }
    fn window_open(&self, _: RealmId, _: String) -> Answer<Option<ClientState>> {
        Box::pin(ready(Ok(None)))
    }
}

impl CacheServices for Stage {
    fn cache_open(&self, _: RealmId, _: i64, _: &[u16]) -> Result<i64, OpError> {
        unreachable!()
    }
    fn cache_has(&self, _: RealmId, _: i64, _: &[u16]) -> Result<bool, OpError> {
        unreachable!()
    }
    fn cache_delete(&self, _: RealmId, _: i64, _: &[u16]) -> Result<bool, OpError> {
        unreachable!()
    }
    fn cache_names(&self, _: RealmId, _: i64) -> Result<Vec<Vec<u16>>, OpError> {
        unreachable!()
    }
    fn cache_match_any(
        &self,
        _: RealmId,
        _: i64,
        _: CacheQuery,
        _: Option<&[u16]>,
    ) -> Result<Option<CacheMatch>, OpError> {
        unreachable!()
    }
    fn cache_match(
        &self,
        _: RealmId,
        _: i64,
        _: Option<CacheQuery>,
        _: usize,
    ) -> Result<Vec<CacheMatch>, OpError> {
        unreachable!()
    }
    fn cache_requests(
        &self,
        _: RealmId,
        _: i64,
        _: Option<CacheQuery>,
    ) -> Result<Vec<CacheRequest>, OpError> {
        unreachable!()
    }
    fn cache_delete_entries(&self, _: RealmId, _: i64, _: CacheQuery) -> Result<bool, OpError> {
        unreachable!()
    }
    fn cache_body(&self, _: RealmId) -> Rc<dyn CacheBody> {
        unreachable!()
    }
    fn cache_put(&self, _: RealmId, _: i64, _: Vec<CacheEntry>) -> Answer<()> {
        unreachable!()
    }
}

/// Nor for a bucket.
impl BucketServices for Stage {
    fn bucket_open(&self, _: RealmId, _: String, _: BucketOptions) -> Result<i64, OpError> {
        unreachable!()
    }
    fn bucket_names(&self, _: RealmId) -> Result<Vec<String>, OpError> {
        unreachable!()
    }
    fn bucket_delete(&self, _: RealmId, _: String) -> Answer<()> {
        unreachable!()
    }
    fn bucket_state(&self, _: RealmId, _: i64) -> Option<BucketState> {
        unreachable!()
    }
    fn bucket_change(&self, _: RealmId, _: i64, _: BucketChange) -> Result<bool, OpError> {
        unreachable!()
    }
    fn storage_estimate(&self, _: RealmId, _: i64) -> Result<Option<StorageEstimate>, OpError> {
        unreachable!()
    }
}

impl NavigationPreloadServices for Stage {
    fn preload_state(&self, _: RealmId, _: &str) -> NavigationPreloadState {
        NavigationPreloadState::default()
    }
    fn set_preload_state(
        &self,
        _: RealmId,
        _: &str,
        _: NavigationPreloadState,
    ) -> Result<(), OpError> {
        Ok(())
    }
    fn fetch_event_preload(&self, _: RealmId, _: u32) -> Answer<FetchResponse> {
        Box::pin(ready(Err(OpError::PreloadFailed)))
    }
}

/// Nor for a cookie.
impl CookieServices for Stage {
    fn cookies(&self, _: RealmId, _: CookieQuery) -> Result<Vec<CookieItem>, OpError> {
        unreachable!()
    }
    fn cookie_set(&self, _: RealmId, _: CookieToSet) -> Result<(), OpError> {
        unreachable!()
    }
    fn cookie_subscribe(
        &self,
        _: RealmId,
        _: &str,
        _: Vec<CookieQuery>,
        _: SubscriptionChange,
    ) -> Result<(), OpError> {
        unreachable!()
    }
    fn cookie_subscriptions(&self, _: RealmId, _: &str) -> Result<Vec<CookieQuery>, OpError> {
        unreachable!()
    }
}
