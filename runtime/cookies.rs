//! Cookies as scripts see them: <https://wicg.github.io/cookie-store/>
//!
//! Invariant: a script sees what its URL is sent, but for `HttpOnly`; of a cookie's change a worker
//! hears if its registration has a subscription for it, a page if the cookie is its own.

use std::rc::Rc;

use kittiwake_ops::{
    CookieChanges, CookieItem, CookieQuery, CookieServices, CookieToSet, OpError, RealmId,
    SubscriptionChange,
};
use kittiwake_store::{CookieSubscription, RegistrationId, StoreError};
use tokio::task::spawn_local;
use url::Url;

use crate::fetch::CookieObserved;
use crate::host::{RealmOwner, Shard};
use crate::lifecycle::Registration;
use crate::realm::{Call, ExtendableInit};

/// Of one registration; a script could fill the disk with them.
const SUBSCRIPTIONS_AT_MOST: usize = 1024;

const MALFORMED: &str =
    "Cookie was malformed and could not be stored, due to problem(s) while parsing.";

impl CookieServices for Shard {
    fn cookies(&self, realm: RealmId, query: CookieQuery) -> Result<Vec<CookieItem>, OpError> {
        let url = self.cookie_url(realm, query.url)?;
        let origin = self.origin_of(realm).ok_or(OpError::StorageUnusable)?;
        let mut items = self.jar(&origin).borrow_mut().list(&url, self.now_ms());
        items.retain(|item| query.name.as_ref().is_none_or(|name| *name == item.name));
        Ok(items)
    }

    fn cookie_set(&self, realm: RealmId, cookie: CookieToSet) -> Result<(), OpError> {
        let malformed = || OpError::CookieRefused(MALFORMED.to_owned());
        let (url, now_ms) =
            (self.client_url(realm).ok_or(OpError::StorageUnusable)?, self.now_ms());
        let origin = self.origin_of(realm).ok_or(OpError::StorageUnusable)?;
        let jar = self.jar(&origin);
        let change = jar.borrow_mut().set_by_script(&cookie, &url, now_ms).ok_or_else(malformed)?;
        let kept = self.store.change_cookies_durably(&origin, &[change], now_ms);
        let observed = jar.borrow_mut().observed();
        self.tell_cookie_changes(&origin, &observed);
        kept.map_err(|error| self.subscription_error(&error))
    }

    fn cookie_subscribe(
        &self,
        realm: RealmId,
        scope: &str,
        subscriptions: Vec<CookieQuery>,
        change: SubscriptionChange,
    ) -> Result<(), OpError> {
        let mut asked = Vec::with_capacity(subscriptions.len());
        for CookieQuery { name, url } in subscriptions {
            let url = self.subscription_url(realm, scope, url)?;
            asked.push(CookieSubscription { name, url: url.into() });
        }
        let id = self.subscribing(realm, scope).ok_or(OpError::CookieSubscriptionFailed)?;
        let mut all = self.subscriptions_of(id)?;
        match change {
            SubscriptionChange::Subscribe => {
                for subscription in asked {
                    if !all.contains(&subscription) {
                        all.push(subscription);
                    }
                }
            }
            SubscriptionChange::Unsubscribe => all.retain(|each| !asked.contains(each)),
        }
        if all.len() > SUBSCRIPTIONS_AT_MOST {
            return Err(OpError::QuotaExceeded);
        }
        let written = self.store.set_cookie_subscriptions(id, &all);
        written.map_err(|error| self.subscription_error(&error))
    }

    fn cookie_subscriptions(
        &self,
        realm: RealmId,
        scope: &str,
    ) -> Result<Vec<CookieQuery>, OpError> {
        let Some(id) = self.subscribing(realm, scope) else { return Ok(vec![]) };
        let all = self.subscriptions_of(id)?.into_iter();
        let query = |each: CookieSubscription| CookieQuery { name: each.name, url: Some(each.url) };
        Ok(all.map(query).collect())
    }
}

impl Shard {
    /// Tells whoever may know of what happened to cookies of an origin's jar.
    pub(crate) fn tell_cookie_changes(&self, origin: &str, observed: &[CookieObserved]) {
        if observed.is_empty() {
            return;
        }
        let pages = self.pages.borrow();
        for (realm, page) in pages.iter().filter(|(_, page)| page.origin == origin) {
            let seen = changes(observed, |cookie| cookie.matches(&page.url));
            if let Some(changes) = seen {
                self.call_realm(*realm, Call::ChangeCookies(changes));
            }
        }
        drop(pages);
        for registration in self.registrations_of(origin) {
            let subscriptions = registration.id.get().map(|id| self.subscriptions_of(id));
            let Some(Ok(subscriptions)) = subscriptions else { continue };
            let is_subscribed = |cookie: &CookieObserved| {
                subscriptions.iter().any(|CookieSubscription { name, url }| {
                    name.as_ref().is_none_or(|name| *name == cookie.item.name)
                        && Url::parse(url).is_ok_and(|url| cookie.matches(&url))
                })
            };
            if let Some(changes) = changes(observed, is_subscribed) {
                self.fire_cookie_change(registration, changes);
            }
        }
    }

    /// <https://wicg.github.io/cookie-store/#process-cookie-changes>
    fn fire_cookie_change(&self, registration: Rc<Registration>, changes: CookieChanges) {
        let (shard, busy) = (self.me(), self.activity.begin());
        spawn_local(async move {
            let _busy = busy;
            if let Some(worker) = registration.activated_worker().await {
                let init = ExtendableInit::CookieChange(changes);
                let end = shard.dispatch_functional(&worker, init, shard.event_limit()).await;
                shard.trace_rejection(end);
            }
        });
    }

    /// A worker may ask for what is sent to URLs that begin with its own, a page to its own.
    fn cookie_url(&self, realm: RealmId, url: Option<String>) -> Result<Url, OpError> {
        let own = self.client_url(realm).ok_or(OpError::StorageUnusable)?;
        let Some(url) = url else { return Ok(own) };
        let asked = own.join(&url);
        match self.realm_owner(realm) {
            Some(RealmOwner::Page(_)) => {
                let is_own = asked
                    .is_ok_and(|asked| without_fragment(asked) == without_fragment(own.clone()));
                let text = "URL must match the document URL";
                is_own.then_some(own).ok_or_else(|| OpError::CookieRefused(text.to_owned()))
            }
            Some(RealmOwner::Worker(worker)) => {
                let text = "URL must be within Service Worker scope";
                // Chromium says scope, and means the script's URL.
                let asked = asked.ok().filter(|asked| is_within(asked, &worker.script_url));
                asked.ok_or_else(|| OpError::CookieRefused(text.to_owned()))
            }
            None => Err(OpError::StorageUnusable),
        }
    }

    fn subscription_url(
        &self,
        realm: RealmId,
        scope: &str,
        url: Option<String>,
    ) -> Result<Url, OpError> {
        let own = self.client_url(realm).ok_or(OpError::StorageUnusable)?;
        let asked = match url {
            None => Url::parse(scope),
            Some(url) => own.join(&url),
        };
        let within = asked.ok().filter(|asked| is_within(asked, scope));
        let text = "URL must be within ServiceWorker scope";
        within.ok_or_else(|| OpError::CookieRefused(text.to_owned()))
    }

    /// A registration of the realm's own origin that has an active worker.
    fn subscribing(&self, realm: RealmId, scope: &str) -> Option<RegistrationId> {
        let registration = self.own_registration(realm, scope)?;
        registration.active()?;
        registration.id.get()
    }

    fn subscriptions_of(&self, id: RegistrationId) -> Result<Vec<CookieSubscription>, OpError> {
        let all = self.store.cookie_subscriptions(id);
        all.map_err(|error| self.subscription_error(&error))
    }

    fn subscription_error(&self, error: &StoreError) -> OpError {
        self.trace_store_error(error);
        match error {
            StoreError::DiskFull { .. } => OpError::QuotaExceeded,
            _ => OpError::StorageUnusable,
        }
    }
}

fn changes(
    observed: &[CookieObserved],
    may_see: impl Fn(&CookieObserved) -> bool,
) -> Option<CookieChanges> {
    let mut changes = CookieChanges::default();
    for cookie in observed.iter().filter(|cookie| may_see(cookie)) {
        let list = if cookie.deleted { &mut changes.deleted } else { &mut changes.changed };
        list.push(cookie.item.clone());
    }
    (changes != CookieChanges::default()).then_some(changes)
}

fn is_within(url: &Url, start: &str) -> bool {
    url.as_str().starts_with(start)
}

fn without_fragment(mut url: Url) -> Url {
    url.set_fragment(None);
    url
}
