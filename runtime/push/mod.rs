//! Push messages, and the push service that they come by: ours.
//! <https://w3c.github.io/push-api/>, <https://www.rfc-editor.org/rfc/rfc8030>
//!
//! Invariant: a message that the service takes was sent by the owner of the subscription's key.
//! What was taken is delivered if the network returns within its time, as long as the process
//! lives.

mod encryption;
mod vapid;

use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use kittiwake_ops::{
    NewPushSubscription, OpError, Permission, PushServices, PushSubscriptionState, RealmId,
};
use kittiwake_store::{PushSubscription, StoreError};
use serde::Serialize;
use tokio::task::spawn_local;
use tokio::time::Instant;
use url::Url;

use crate::dispatch::EventOutcome;
use crate::host::Shard;
use crate::lifecycle::{Registration, plain_exception};
use crate::realm::ExtendableInit;
use crate::runtime::Error;
use crate::trace::{PushTraceState, TraceKind};

/// What an encrypted message may have: <https://www.rfc-editor.org/rfc/rfc8030#section-7.2>
const MAX_MESSAGE_BYTES: usize = 4096;

/// Messages that wait for the network; the oldest goes.
const MAX_HELD: usize = 1000;

/// A message that somebody sends to a subscription's endpoint.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// Where to; its last part names the subscription.
    pub endpoint: Url,
    /// The headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The message, encrypted; empty for one without data.
    pub body: Vec<u8>,
}

/// What the push service answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushResponse {
    /// An HTTP status: 201 for a message that was taken.
    pub status: u16,
    /// Why it was not.
    pub reason: String,
}

/// A message that waits for the network.
pub(crate) struct HeldPush {
    token: String,
    data: Option<Vec<u8>>,
    until: Instant,
}

/// A subscription as a `pushsubscriptionchange` event shows it.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OldPushSubscription {
    scope: String,
    endpoint: String,
    application_server_key: Vec<u8>,
    p256dh: Vec<u8>,
    auth: Vec<u8>,
}

impl PushServices for Shard {
    fn push_subscribe(
        &self,
        realm: RealmId,
        scope: &str,
        subscription: NewPushSubscription,
    ) -> Result<PushSubscriptionState, OpError> {
        let key = subscription.application_server_key.to_vec();
        if !encryption::is_public_key(&key) {
            return Err(OpError::PushKeyInvalid);
        }
        if !subscription.user_visible_only || !self.is_granted(Permission::Notifications) {
            return Err(OpError::PushDenied);
        }
        let registration = self.own_registration(realm, scope);
        let registration = registration.filter(|found| found.active().is_some());
        let id = registration.and_then(|found| found.id.get()).ok_or(OpError::PushWithoutWorker)?;
        let failed = |error: StoreError| self.push_failed(&error);
        if let Some(known) = self.store.push_subscription(id).map_err(failed)? {
            return match known.application_server_key == key {
                true => Ok(self.describe_push(&known)),
                false => Err(OpError::PushKeyDiffers),
            };
        }
        let (private_key, rest) = subscription.secret.split_at(32);
        let (auth, token) = rest.split_at(16);
        let known = PushSubscription {
            registration: id,
            token: BASE64.encode(token),
            application_server_key: key,
            private_key: private_key.to_vec(),
            auth: auth.to_vec(),
        };
        if encryption::public_key(&known.private_key).is_none() {
            return Err(OpError::PushFailed); // one of 2^32 draws
        }
        self.store.push_subscribe(&known).map_err(failed)?;
        self.trace(TraceKind::Push {
            scope: scope.to_owned(),
            state: PushTraceState::Subscribed,
            text: Some(self.push_endpoint(&known.token).to_string()),
        });
        Ok(self.describe_push(&known))
    }

    fn push_subscription(
        &self,
        realm: RealmId,
        scope: &str,
    ) -> Result<Option<PushSubscriptionState>, OpError> {
        let registration = self.own_registration(realm, scope).and_then(|found| found.id.get());
        let Some(id) = registration else { return Ok(None) };
        let known = self.store.push_subscription(id).map_err(|error| self.push_failed(&error))?;
        Ok(known.map(|known| self.describe_push(&known)))
    }

    fn push_unsubscribe(
        &self,
        realm: RealmId,
        scope: &str,
        endpoint: &str,
    ) -> Result<bool, OpError> {
        let registration = self.own_registration(realm, scope).and_then(|found| found.id.get());
        let Some(id) = registration else { return Ok(false) };
        let failed = |error: StoreError| self.push_failed(&error);
        let known = self.store.push_subscription(id).map_err(failed)?;
        let is_another =
            |known: PushSubscription| self.push_endpoint(&known.token).as_str() != endpoint;
        if known.is_none_or(is_another) {
            return Ok(false);
        }
        self.store.push_unsubscribe(id).map_err(failed)?;
        self.trace(TraceKind::Push {
            scope: scope.to_owned(),
            state: PushTraceState::Unsubscribed,
            text: None,
        });
        Ok(true)
    }
}

impl Shard {
    /// Takes a message for a subscription, as the push service that it is sent to.
    /// Whether an endpoint is that of a subscription.
    pub(crate) fn has_endpoint(&self, endpoint: &Url) -> Result<bool, StoreError> {
        let token = endpoint.path().rsplit('/').next().unwrap_or_default();
        Ok(self.store.push_subscription_by_token(token)?.is_some())
    }

    pub(crate) fn receive_push(&self, request: &PushRequest) -> Result<PushResponse, StoreError> {
        let refused = |status, reason: &str| {
            self.trace(TraceKind::Push {
                scope: request.endpoint.to_string(),
                state: PushTraceState::Refused,
                text: Some(format!("{status} {reason}")),
            });
            Ok(PushResponse { status, reason: reason.to_owned() })
        };
        let header = |name: &str| {
            let found = request.headers.iter().find(|(each, _)| each == name);
            found.map(|(_, value)| value.as_str())
        };
        let token = request.endpoint.path().rsplit('/').next().unwrap_or_default();
        let Some(subscription) = self.store.push_subscription_by_token(token)? else {
            return refused(410, "nobody is subscribed here");
        };
        let Some(ttl_s) = header("ttl").and_then(|ttl| ttl.trim().parse::<u32>().ok()) else {
            return refused(400, "the header TTL is missing");
        };
        if request.body.len() > MAX_MESSAGE_BYTES {
            return refused(413, "a message has 4096 bytes at most");
        }
        let Some(authorization) = header("authorization") else {
            return refused(401, "the header Authorization is missing");
        };
        let audience = self.push_service.origin().ascii_serialization();
        let key = &subscription.application_server_key;
        if let Err(reason) = vapid::verify(authorization, key, &audience, self.clock.now_ms()) {
            return refused(403, reason);
        }
        let is_coded = header("content-encoding") == Some("aes128gcm");
        if !request.body.is_empty() && !is_coded {
            return refused(400, "the message's Content-Encoding is not aes128gcm");
        }
        let PushSubscription { private_key, auth, .. } = &subscription;
        let data = match request.body.is_empty() {
            true => None,
            // A real service could not tell; the browser would drop it.
            false => match encryption::decrypt(private_key, auth, &request.body) {
                Ok(data) => Some(data),
                Err(reason) => return refused(201, &format!("dropped: {reason}")),
            },
        };
        let until = Instant::now() + Duration::from_secs(u64::from(ttl_s));
        self.hold_push(HeldPush { token: subscription.token, data, until });
        Ok(PushResponse { status: 201, reason: String::new() })
    }

    fn hold_push(&self, push: HeldPush) {
        let mut held = self.held_pushes.borrow_mut();
        if held.len() >= MAX_HELD {
            held.remove(0);
        }
        held.push(push);
        drop(held);
        self.deliver_held_pushes();
    }

    /// Dispatches what waited for the network, if it is there.
    pub(crate) fn deliver_held_pushes(&self) {
        if !self.is_online() {
            return;
        }
        for HeldPush { token, data, until } in self.held_pushes.take() {
            if until < Instant::now() {
                continue;
            }
            let (shard, busy) = (self.me(), self.activity.begin());
            spawn_local(async move {
                let found = shard.store.push_subscription_by_token(&token);
                let found = found.inspect_err(|error| shard.trace_store_error(error));
                let subscription = found.ok().flatten();
                let registration =
                    subscription.and_then(|found| shard.registration_by_id(found.registration));
                if let Some(registration) = registration {
                    // What became of it is in the trace.
                    let _ = shard.dispatch_push(&registration, data).await;
                }
                drop(busy);
            });
        }
    }

    /// Dispatches a `push` event: <https://w3c.github.io/push-api/#dfn-fire-the-push-event>
    pub(crate) async fn dispatch_push(
        &self,
        registration: &Rc<Registration>,
        data: Option<Vec<u8>>,
    ) -> Result<EventOutcome, Error> {
        let text = data.as_ref().map(|data| String::from_utf8_lossy(data).into_owned());
        let (scope, state) = (registration.scope.clone(), PushTraceState::Delivered);
        self.trace(TraceKind::Push { scope, state, text });
        let init = ExtendableInit::Push { data };
        self.dispatch_and_tell(registration, init).await
    }

    /// Ends a subscription from the service's side, and tells the worker.
    /// <https://w3c.github.io/push-api/#the-pushsubscriptionchange-event>
    pub(crate) async fn expire_push(
        &self,
        registration: &Rc<Registration>,
    ) -> Result<Option<EventOutcome>, Error> {
        let Some(id) = registration.id.get() else { return Ok(None) };
        let Some(old) = self.store.push_unsubscribe(id)? else { return Ok(None) };
        let (scope, state) = (registration.scope.clone(), PushTraceState::Expired);
        self.trace(TraceKind::Push { scope, state, text: None });
        let old = OldPushSubscription {
            scope: registration.scope.clone(),
            endpoint: self.push_endpoint(&old.token).to_string(),
            p256dh: encryption::public_key(&old.private_key).unwrap_or_default(),
            application_server_key: old.application_server_key,
            auth: old.auth,
        };
        let init = ExtendableInit::PushSubscriptionChange { old: Box::new(old) };
        self.dispatch_and_tell(registration, init).await.map(Some)
    }

    fn push_endpoint(&self, token: &str) -> Url {
        self.push_service.join(token).expect("invariant: a token is part of a path")
    }

    fn describe_push(&self, subscription: &PushSubscription) -> PushSubscriptionState {
        let p256dh = encryption::public_key(&subscription.private_key);
        PushSubscriptionState {
            endpoint: self.push_endpoint(&subscription.token).to_string(),
            application_server_key: subscription.application_server_key.clone().into(),
            p256dh: p256dh.expect("invariant: only keys are stored").into(),
            auth: subscription.auth.clone().into(),
        }
    }

    fn push_failed(&self, error: &StoreError) -> OpError {
        self.trace_exception(plain_exception(error.to_string()));
        OpError::PushFailed
    }
}
