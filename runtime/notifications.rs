//! Notifications, which the trace shows. <https://notifications.spec.whatwg.org/#showing-a-notification>
//!
//! Invariant: one notification of each tag that is not empty, in each registration; an origin sees
//! its own.

use kittiwake_ops::{NotificationEntry, NotificationServices, OpError, RealmId, ShownNotification};
use serde::Serialize;

use crate::dispatch::EventOutcome;
use crate::host::Shard;
use crate::realm::{Call, ExtendableInit};
use crate::runtime::Error;
use crate::trace::{NotificationTraceState, TraceKind};

/// So many of one origin: then the oldest goes, as in Chromium.
const MAX_SHOWN: usize = 1000;

/// What one of them may take of the host's memory; Chromium's limit for its data.
const MAX_BYTES: usize = 1 << 20;

/// A notification that is shown.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) id: u32,
    /// Who made it; may be gone.
    realm: RealmId,
    origin: String,
    /// Empty for one that a page made itself.
    pub(crate) scope: String,
    pub(crate) entry: NotificationEntry,
    data: Vec<u8>,
}

/// What a person does at a notification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotificationClick {
    /// Which of its actions was chosen; empty for the notification itself.
    pub action: String,
    /// The text that was typed, for an action that takes one.
    pub reply: Option<String>,
}

/// What a `notificationclick` or `notificationclose` event is made of.
#[derive(Clone, Serialize)]
pub(crate) struct NotificationEventInit {
    id: u32,
    entry: NotificationEntry,
    data: Vec<u8>,
    action: String,
    reply: Option<String>,
}

impl Shard {
    /// What a person would see now: title and text of each.
    pub(crate) fn shown_titles(&self) -> Vec<serde_json::Value> {
        let shown = self.notifications.borrow();
        let each = shown.iter().map(|Shown { entry, .. }| {
            serde_json::json!({ "title": entry.title, "body": entry.body, "tag": entry.tag })
        });
        each.collect()
    }
}

impl NotificationServices for Shard {
    fn notification_show(
        &self,
        realm: RealmId,
        scope: &str,
        entry: NotificationEntry,
        data: Vec<u8>,
    ) -> Result<u32, OpError> {
        if size_of(&entry) + data.len() > MAX_BYTES {
            return Err(OpError::NotificationTooLarge);
        }
        let id = self.next_id();
        let Some(origin) = self.origin_of(realm) else { return Ok(id) };
        self.trace_notification(NotificationTraceState::Shown, &entry);
        let mut shown = self.notifications.borrow_mut();
        shown.retain(|other| {
            let is_same_tag = !entry.tag.is_empty() && other.entry.tag == entry.tag;
            !(is_same_tag && other.origin == origin && other.scope == scope)
        });
        if shown.iter().filter(|other| other.origin == origin).count() >= MAX_SHOWN
            && let Some(oldest) = shown.iter().position(|other| other.origin == origin)
        {
            shown.remove(oldest);
        }
        let by_page = scope.is_empty();
        shown.push(Shown { id, realm, origin, scope: scope.to_owned(), entry, data });
        if by_page {
            self.call_realm(realm, Call::NotificationEvent { id, name: "show" });
        }
        Ok(id)
    }

    fn notifications(&self, realm: RealmId, scope: &str, tag: &str) -> Vec<ShownNotification> {
        let origin = self.origin_of(realm);
        let shown = self.notifications.borrow();
        let own = shown.iter().filter(|each| {
            Some(&each.origin) == origin.as_ref()
                && each.scope == scope
                && (tag.is_empty() || each.entry.tag == tag)
        });
        let describe = |each: &Shown| ShownNotification {
            id: each.id,
            entry: each.entry.clone(),
            data: each.data.clone().into(),
        };
        own.map(describe).collect()
    }

    fn notification_close(&self, realm: RealmId, id: u32) {
        let origin = self.origin_of(realm);
        let mut shown = self.notifications.borrow_mut();
        let own = |each: &Shown| each.id == id && Some(&each.origin) == origin.as_ref();
        let Some(at) = shown.iter().position(own) else { return };
        let closed = shown.remove(at);
        drop(shown);
        self.trace_notification(NotificationTraceState::Closed, &closed.entry);
        self.tell_page(&closed, "close");
    }
}

impl Shard {
    /// A person clicks at a notification. The worker may move one window for it.
    /// <https://notifications.spec.whatwg.org/#activating-a-notification>
    pub(crate) async fn click_notification(
        &self,
        id: u32,
        click: NotificationClick,
    ) -> Result<EventOutcome, Error> {
        let clicked = self.shown_notification(id)?;
        self.trace_notification(NotificationTraceState::Clicked, &clicked.entry);
        if clicked.scope.is_empty() {
            self.tell_page(&clicked, "click");
            return Ok(EventOutcome::Fulfilled);
        }
        let registration = self.registration(&clicked.scope);
        let registration =
            registration.ok_or_else(|| Error::NoWorker { scope: clicked.scope.clone() })?;
        let worker = self.worker_to_ask(&registration).await?;
        if let Ok(realm) = self.ensure_running(&worker).await {
            self.allow_interaction(realm);
        }
        let NotificationClick { action, reply } = click;
        let init = ExtendableInit::NotificationClick(Box::new(event_init(clicked, action, reply)));
        self.dispatch_and_tell(&registration, init).await
    }

    /// A person takes a notification away without a click.
    /// <https://notifications.spec.whatwg.org/#closing-a-notification>
    pub(crate) async fn dismiss_notification(&self, id: u32) -> Result<EventOutcome, Error> {
        let dismissed = self.shown_notification(id)?;
        self.notifications.borrow_mut().retain(|each| each.id != id);
        self.trace_notification(NotificationTraceState::Dismissed, &dismissed.entry);
        let Some(registration) = self.registration(&dismissed.scope) else {
            self.tell_page(&dismissed, "close");
            return Ok(EventOutcome::Fulfilled);
        };
        let init = event_init(dismissed, String::new(), None);
        let init = ExtendableInit::NotificationClose(Box::new(init));
        self.dispatch_and_tell(&registration, init).await
    }

    fn shown_notification(&self, id: u32) -> Result<Shown, Error> {
        let shown = self.notifications.borrow();
        shown.iter().find(|each| each.id == id).cloned().ok_or(Error::NoNotification)
    }

    /// An event at the object of a page that made the notification itself.
    fn tell_page(&self, shown: &Shown, name: &'static str) {
        if shown.scope.is_empty() {
            self.call_realm(shown.realm, Call::NotificationEvent { id: shown.id, name });
        }
    }

    fn trace_notification(&self, state: NotificationTraceState, entry: &NotificationEntry) {
        self.trace(TraceKind::Notification {
            state,
            title: entry.title.clone(),
            body: entry.body.clone(),
            tag: entry.tag.clone(),
        });
    }
}

fn event_init(shown: Shown, action: String, reply: Option<String>) -> NotificationEventInit {
    let Shown { id, entry, data, .. } = shown;
    NotificationEventInit { id, entry, data, action, reply }
}

fn size_of(entry: &NotificationEntry) -> usize {
    let NotificationEntry { title, body, tag, lang, icon, image, badge, actions, vibrate, .. } =
        entry;
    let texts = [title, body, tag, lang, icon, image, badge].into_iter();
    let of_actions = actions.iter().flat_map(|each| [&each.action, &each.icon, &each.title]);
    texts.chain(of_actions).map(String::len).sum::<usize>() + size_of_val(vibrate.as_slice())
}
