//! Notifications, which the trace shows. <https://notifications.spec.whatwg.org/#showing-a-notification>
//!
//! Invariant: one notification of each tag that is not empty, in each registration; an origin sees
//! its own.

use kittiwake_ops::{NotificationEntry, NotificationServices, OpError, RealmId, ShownNotification};

use crate::host::Shard;
use crate::trace::{NotificationTraceState, TraceKind};

/// So many of one origin: then the oldest goes, as in Chromium.
const MAX_SHOWN: usize = 1000;

/// What one of them may take of the host's memory; Chromium's limit for its data.
const MAX_BYTES: usize = 1 << 20;

/// A notification that is shown.
pub(crate) struct Shown {
    id: u32,
    origin: String,
    /// Empty for one that a page made itself.
    scope: String,
    entry: NotificationEntry,
    data: Vec<u8>,
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
        self.trace(TraceKind::Notification {
            state: NotificationTraceState::Shown,
            title: entry.title.clone(),
            body: entry.body.clone(),
            tag: entry.tag.clone(),
        });
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
        shown.push(Shown { id, origin, scope: scope.to_owned(), entry, data });
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
        let Shown { entry, .. } = shown.remove(at);
        drop(shown);
        self.trace(TraceKind::Notification {
            state: NotificationTraceState::Closed,
            title: entry.title,
            body: entry.body,
            tag: entry.tag,
        });
    }
}

fn size_of(entry: &NotificationEntry) -> usize {
    let NotificationEntry { title, body, tag, lang, icon, image, badge, actions, vibrate, .. } =
        entry;
    let texts = [title, body, tag, lang, icon, image, badge].into_iter();
    let of_actions = actions.iter().flat_map(|each| [&each.action, &each.icon, &each.title]);
    texts.chain(of_actions).map(String::len).sum::<usize>() + size_of_val(vibrate.as_slice())
}
