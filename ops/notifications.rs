//! Notifications: <https://notifications.spec.whatwg.org/>.

use deno_core::serde_v8::ToJsBuffer;
use deno_core::{JsBuffer, OpState, op2};
use serde::{Deserialize, Serialize};

use crate::{Host, OpError, RealmId};

/// What a script asked to show: <https://notifications.spec.whatwg.org/#concept-notification>
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the members of NotificationOptions, by their names")]
pub struct NotificationEntry {
    pub title: String,
    pub actions: Vec<NotificationAction>,
    pub badge: String,
    pub body: String,
    pub dir: String,
    pub icon: String,
    pub image: String,
    pub lang: String,
    pub renotify: bool,
    pub require_interaction: bool,
    pub silent: bool,
    pub tag: String,
    pub timestamp: f64,
    pub vibrate: Vec<u32>,
}

/// <https://notifications.spec.whatwg.org/#dictdef-notificationaction>
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the members of NotificationAction, by their names")]
pub struct NotificationAction {
    pub action: String,
    pub icon: String,
    pub title: String,
}

/// A notification that is shown.
#[derive(Serialize)]
pub struct ShownNotification {
    /// Names it within this process.
    pub id: u32,
    /// What is shown.
    pub entry: NotificationEntry,
    /// Its `data`, by V8's serialiser.
    pub data: ToJsBuffer,
}

/// What people would see, if there were any.
pub trait NotificationServices {
    /// Shows a notification of a registration (or, with an empty scope, of a page), in the place of
    /// the one with its tag.
    fn notification_show(
        &self,
        realm: RealmId,
        scope: &str,
        entry: NotificationEntry,
        data: Vec<u8>,
    ) -> Result<u32, OpError>;
    /// What is shown of a registration, oldest first; with a tag that is not empty, only that.
    fn notifications(&self, realm: RealmId, scope: &str, tag: &str) -> Vec<ShownNotification>;
    /// Takes a notification of the realm's origin away, if it is there.
    fn notification_close(&self, realm: RealmId, id: u32);
}

/// Shows a notification.
#[op2]
pub fn op_notification_show(
    state: &mut OpState,
    #[string] scope: &str,
    #[serde] entry: NotificationEntry,
    #[buffer] data: JsBuffer,
) -> Result<u32, OpError> {
    let (services, realm) = Host::of(state);
    services.notification_show(realm, scope, entry, data.to_vec())
}

/// `ServiceWorkerRegistration.getNotifications()`.
#[op2]
#[serde]
pub fn op_notification_list(
    state: &mut OpState,
    #[string] scope: &str,
    #[string] tag: &str,
) -> Vec<ShownNotification> {
    let (services, realm) = Host::of(state);
    services.notifications(realm, scope, tag)
}

/// `Notification.close()`.
#[op2(fast)]
pub fn op_notification_close(state: &mut OpState, id: u32) {
    let (services, realm) = Host::of(state);
    services.notification_close(realm, id);
}
