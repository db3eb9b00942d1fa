//! Push subscriptions: <https://w3c.github.io/push-api/>.

use deno_core::serde_v8::ToJsBuffer;
use deno_core::{JsBuffer, OpState, op2};
use serde::{Deserialize, Serialize};

use crate::{Host, OpError, RealmId};

/// What `PushManager.subscribe()` asks for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewPushSubscription {
    /// Of whoever may send: an uncompressed P-256 point.
    pub application_server_key: JsBuffer,
    /// Whether each message leads to something that a person sees.
    pub user_visible_only: bool,
    /// 64 bytes by the crypto library: 32 for a private key, 16 for the authentication secret, 16
    /// for the endpoint.
    pub secret: JsBuffer,
}

/// What a script may know of a subscription.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PushSubscriptionState {
    /// Where messages are sent.
    pub endpoint: String,
    /// Who may send.
    pub application_server_key: ToJsBuffer,
    /// With what they are encrypted: a P-256 point.
    pub p256dh: ToJsBuffer,
    /// And with this.
    pub auth: ToJsBuffer,
}

/// Who keeps push subscriptions. All of it is on disk when a method returns.
pub trait PushServices {
    /// Subscribes a registration; a subscription with the same key stays as it is.
    fn push_subscribe(
        &self,
        realm: RealmId,
        scope: &str,
        subscription: NewPushSubscription,
    ) -> Result<PushSubscriptionState, OpError>;
    /// The registration's subscription.
    fn push_subscription(
        &self,
        realm: RealmId,
        scope: &str,
    ) -> Result<Option<PushSubscriptionState>, OpError>;
    /// Ends it if it is the one with that endpoint; whether it was.
    fn push_unsubscribe(
        &self,
        realm: RealmId,
        scope: &str,
        endpoint: &str,
    ) -> Result<bool, OpError>;
}

/// `PushManager.subscribe()`.
#[op2]
#[serde]
pub fn op_push_subscribe(
    state: &mut OpState,
    #[string] scope: &str,
    #[serde] subscription: NewPushSubscription,
) -> Result<PushSubscriptionState, OpError> {
    let (services, realm) = Host::of(state);
    services.push_subscribe(realm, scope, subscription)
}

/// `PushManager.getSubscription()`.
#[op2]
#[serde]
pub fn op_push_subscription(
    state: &mut OpState,
    #[string] scope: &str,
) -> Result<Option<PushSubscriptionState>, OpError> {
    let (services, realm) = Host::of(state);
    services.push_subscription(realm, scope)
}

/// `PushSubscription.unsubscribe()`.
#[op2(fast)]
pub fn op_push_unsubscribe(
    state: &mut OpState,
    #[string] scope: &str,
    #[string] endpoint: &str,
) -> Result<bool, OpError> {
    let (services, realm) = Host::of(state);
    services.push_unsubscribe(realm, scope, endpoint)
}
