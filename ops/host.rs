//! Who is asking, and whom the ops ask.
//!
//! Invariant: every method of [`Services`] takes the asking realm, so that the runtime, and never a
//! script, decides what that realm may see.

use std::rc::Rc;
use std::sync::Arc;

use deno_core::OpState;
use deno_core::futures::future::LocalBoxFuture;

use crate::{
    BackgroundFetchServices, Blobs, BucketServices, CacheServices, ConsoleLevel, ContentServices,
    CookieServices, Delivery, FetchAnswer, FetchRequest, FetchResponse, IndexedDb, LockServices,
    MessagePortServices, NavigationPreloadServices, NetworkInformation, NotificationServices,
    OpError, Permission, PermissionState, PushServices, RegisterWorker, RegistrationState,
    RequestBody, RouterRule, ScriptException, ScriptSource, ServiceWorkerState, SocketServices,
    TestServices, WindowServices,
};

/// Names one realm (a service worker or a page) for as long as its process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RealmId(pub u32);

/// What a realm's `OpState` holds of Kittiwake.
pub struct Host {
    /// The realm that asks.
    pub realm: RealmId,
    /// The runtime that answers.
    pub services: Rc<dyn Services>,
    /// What its Blob and File objects hold.
    pub blobs: Arc<Blobs>,
}

impl Host {
    /// The host of the realm that `state` belongs to, with the realm's name.
    pub fn of(state: &OpState) -> (Rc<dyn Services>, RealmId) {
        let host = state.borrow::<Host>();
        (host.services.clone(), host.realm)
    }
}

/// The runtime, as its realms see it. All methods run on the host thread.
pub trait Services:
    BackgroundFetchServices
    + BucketServices
    + CacheServices
    + ContentServices
    + CookieServices
    + IndexedDb
    + LockServices
    + MessagePortServices
    + NavigationPreloadServices
    + NotificationServices
    + PushServices
    + SocketServices
    + TestServices
    + WindowServices
{
    /// Milliseconds since the Unix epoch, by the clock door.
    fn now_ms(&self) -> f64;
    /// Milliseconds since the realm was created: the realm's `performance.now()`.
    fn elapsed_ms(&self, realm: RealmId) -> f64;
    /// A number in [0, 1), by the entropy door.
    fn random(&self) -> f64;
    /// Whether the network signal says online (`navigator.onLine`).
    fn online(&self) -> bool;
    /// What the network signal makes of the connection (`navigator.connection`).
    fn network_information(&self) -> NetworkInformation;

    /// A line that the script wrote to its console.
    fn console(&self, realm: RealmId, level: ConsoleLevel, text: String);
    /// Room for so many bytes of blobs, until it is dropped.
    fn blob_room(&self, realm: RealmId, bytes: usize) -> Result<Box<dyn Send + Sync>, OpError>;
    /// Whether a message of so many bytes may go to all of the realm's origin that listen.
    fn may_broadcast(&self, realm: RealmId, bytes: usize) -> Result<(), OpError>;
    /// The most bytes that a script may have in one buffer.
    fn buffer_limit(&self) -> usize;
    /// The script wanted more timers than it may have.
    fn timer_refused(&self, realm: RealmId);
    /// An exception or a rejection that nobody caught.
    fn exception(&self, realm: RealmId, exception: ScriptException);

    /// An extendable event has no pending promise left; `rejection` is the first of its reasons.
    fn event_settled(&self, realm: RealmId, event: u32, rejection: Option<ScriptException>);

    /// Asks for a background sync, and answers the number of the write. As soon as it is on disk,
    /// the realm is called by `resolveSyncs`, or by `rejectSync` if it could not be made.
    fn sync_register(&self, realm: RealmId, scope: &str, tag: String) -> Result<u64, OpError>;
    /// The tags of the registration's background syncs.
    fn sync_tags(&self, realm: RealmId, scope: &str) -> Result<Vec<String>, OpError>;

    /// As [`Services::sync_register`], for a periodic background sync.
    fn periodic_register(
        &self,
        realm: RealmId,
        scope: &str,
        tag: String,
        min_interval_ms: i64,
    ) -> Result<u64, OpError>;
    /// Ends a periodic background sync, if there is one; as [`Services::sync_register`].
    fn periodic_unregister(&self, realm: RealmId, scope: &str, tag: String)
    -> Result<u64, OpError>;
    /// The tags of the registration's periodic background syncs.
    fn periodic_tags(&self, realm: RealmId, scope: &str) -> Result<Vec<String>, OpError>;
    /// Whether the asking realm's origin may use a feature.
    fn permission(&self, realm: RealmId, permission: Permission) -> PermissionState;

    /// Fetches for the asking realm: <https://fetch.spec.whatwg.org/#concept-fetch>
    fn fetch(
        &self,
        realm: RealmId,
        request: FetchRequest,
        body: RequestBody,
    ) -> LocalBoxFuture<'static, Result<FetchResponse, OpError>>;

    /// The body of the request of a fetch event of the asking worker.
    fn fetch_event_body(&self, realm: RealmId, event: u32) -> RequestBody;
    /// The asking worker's answer to a fetch event; only the first one counts.
    fn fetch_event_answered(&self, realm: RealmId, event: u32, answer: FetchAnswer);

    /// The source of an imported script: from the network while the worker installs, later from
    /// its script resource map. Blocks the host thread.
    fn import_script(&self, realm: RealmId, url: &str) -> Result<ScriptSource, OpError>;
    /// Adds router rules to the asking worker, which installs.
    fn add_routes(&self, realm: RealmId, rules: Vec<RouterRule>) -> Result<(), OpError>;
    /// Whether there were listeners of fetch events when the asking worker's script had run.
    fn fetch_listeners(&self, realm: RealmId, are_there: bool);
    /// The asking worker no longer waits for its predecessor's clients.
    fn skip_waiting(&self, realm: RealmId);
    /// The asking worker becomes the controller of the clients in its scope.
    fn claim(&self, realm: RealmId) -> Result<(), OpError>;

    /// Registers a service worker for the asking page.
    fn register_worker(
        &self,
        realm: RealmId,
        options: RegisterWorker,
    ) -> LocalBoxFuture<'static, Result<RegistrationState, OpError>>;
    /// Drops a registration with its background syncs; whether there was one.
    fn unregister(
        &self,
        realm: RealmId,
        scope: &str,
    ) -> LocalBoxFuture<'static, Result<bool, OpError>>;
    /// Updates the registration with this scope and number.
    fn update_worker(
        &self,
        realm: RealmId,
        scope: &str,
        number: u32,
    ) -> LocalBoxFuture<'static, Result<RegistrationState, OpError>>;
    /// The registrations of the asking realm's origin.
    fn registrations(&self, realm: RealmId) -> Vec<RegistrationState>;
    /// The worker that controls the asking page.
    fn controller(&self, realm: RealmId) -> Option<ServiceWorkerState>;

    /// Posts a message to a worker or a client of the asking realm's origin.
    fn post_message(&self, realm: RealmId, delivery: Delivery) -> Result<(), OpError>;
    /// The window clients of the asking worker's origin.
    fn clients(&self, realm: RealmId, include_uncontrolled: bool) -> Vec<crate::ClientState>;
}
