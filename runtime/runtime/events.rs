//! What reaches a worker from outside: push messages, and what a person does at notifications.

use std::rc::Rc;

use url::Url;

use super::{Error, Runtime};
use crate::dispatch::EventOutcome;
use crate::host::Shard;
use crate::notifications::{NotificationClick, Shown};
use crate::push::{PushRequest, PushResponse};

/// Names a notification that is shown, for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NotificationId {
    shard: usize,
    id: u32,
}

/// What a person would see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationInfo {
    /// Its name.
    pub notification: NotificationId,
    /// The scope of its registration; none for one that a page made itself.
    pub scope: Option<String>,
    /// Its title.
    pub title: String,
    /// Its text; may be empty.
    pub body: String,
    /// Its tag; may be empty.
    pub tag: String,
    /// The names of its actions.
    pub actions: Vec<String>,
}

impl Runtime {
    /// Dispatches one `push` event at the active worker of `scope`, or of the only registration,
    /// and waits for its end: as the button of a browser's developer tools. No subscription is
    /// needed, and the network signal is not asked.
    ///
    /// # Errors
    ///
    /// [`Error::NoWorker`], [`Error::ManyWorkers`]. A rejection is an outcome, not an error.
    pub async fn dispatch_push(
        &self,
        scope: Option<Url>,
        data: Option<Vec<u8>>,
    ) -> Result<EventOutcome, Error> {
        let command = |scope| {
            move |shard: Rc<Shard>| async move {
                let registration = shard.registration_to_ask(scope)?;
                shard.dispatch_push(&registration, data).await
            }
        };
        match scope {
            Some(scope) => self.ask_in_turn(&scope.clone(), command(Some(scope))).await?,
            None => self.ask_shard(self.shard_to_ask(None).await?, command(None)).await?,
        }
    }

    /// Takes a message as the push service that subscriptions' endpoints are at: RFC 8030, with the
    /// sender's VAPID token (RFC 8292) and a message that is encrypted for the subscription (RFC
    /// 8291). What is taken is dispatched as soon as the network signal is online, within the
    /// message's time to live.
    ///
    /// # Errors
    ///
    /// [`Error::Store`]. A message that is refused is a response, not an error.
    pub async fn receive_push(&self, request: PushRequest) -> Result<PushResponse, Error> {
        let mut number = 0;
        if self.shards.len() > 1 {
            let endpoint = request.endpoint.clone();
            let known = self.ask_all(move |shard| async move { shard.has_endpoint(&endpoint) });
            for (shard, is_known) in known.await?.into_iter().enumerate() {
                number = if is_known? { shard } else { number };
            }
        }
        let receive = move |shard: Rc<Shard>| async move { Ok(shard.receive_push(&request)?) };
        self.ask_shard(number, receive).await?
    }

    /// Ends the push subscription of `scope`, or of the only registration, as a push service may,
    /// and dispatches `pushsubscriptionchange`. None if there was no subscription.
    ///
    /// # Errors
    ///
    /// [`Error::NoWorker`], [`Error::ManyWorkers`], [`Error::Store`].
    pub async fn expire_push_subscription(
        &self,
        scope: Option<Url>,
    ) -> Result<Option<EventOutcome>, Error> {
        let number = self.shard_to_ask(scope.as_ref()).await?;
        self.ask_shard(number, move |shard| async move {
            let registration = shard.registration_to_ask(scope)?;
            shard.expire_push(&registration).await
        })
        .await?
    }

    /// Clicks at what a person would see of the newest background fetch with this id of `scope`, or
    /// of the only registration: `backgroundfetchclick` at its worker, which may then focus or open
    /// one window within ten seconds.
    ///
    /// # Errors
    ///
    /// [`Error::NoBackgroundFetch`], [`Error::NoWorker`], [`Error::ManyWorkers`].
    pub async fn click_background_fetch(
        &self,
        scope: Option<Url>,
        id: String,
    ) -> Result<EventOutcome, Error> {
        let number = self.shard_to_ask(scope.as_ref()).await?;
        self.ask_shard(number, move |shard| async move {
            let registration = shard.registration_to_ask(scope)?;
            shard.click_background_fetch(&registration, &id).await
        })
        .await?
    }

    /// Deletes an entry of the content index of `scope`, or of the only registration, as a person
    /// who wants its room back: `contentdelete` at its worker.
    ///
    /// # Errors
    ///
    /// [`Error::NoContent`], [`Error::NoWorker`], [`Error::ManyWorkers`], [`Error::Store`].
    pub async fn delete_content(
        &self,
        scope: Option<Url>,
        id: String,
    ) -> Result<EventOutcome, Error> {
        let number = self.shard_to_ask(scope.as_ref()).await?;
        self.ask_shard(number, move |shard| async move {
            let registration = shard.registration_to_ask(scope)?;
            shard.delete_content(&registration, &id).await
        })
        .await?
    }

    /// The notifications that are shown, oldest first; those of one shard together.
    pub async fn notifications(&self) -> Result<Vec<NotificationInfo>, Error> {
        let describe = |shard: usize, shown: &Shown| NotificationInfo {
            notification: NotificationId { shard, id: shown.id },
            scope: Some(shown.scope.clone()).filter(|scope| !scope.is_empty()),
            title: shown.entry.title.clone(),
            body: shown.entry.body.clone(),
            tag: shown.entry.tag.clone(),
            actions: shown.entry.actions.iter().map(|each| each.action.clone()).collect(),
        };
        let mut notifications = Vec::new();
        for number in 0..self.shards.len() {
            let shown = self.ask_shard(number, move |shard| async move {
                let shown = shard.notifications.borrow();
                shown.iter().map(|each| describe(number, each)).collect::<Vec<_>>()
            });
            notifications.extend(shown.await?);
        }
        Ok(notifications)
    }

    /// Clicks at a notification: `notificationclick` at its worker, which may then focus or open
    /// one window within ten seconds. The notification stays until the script closes it.
    ///
    /// # Errors
    ///
    /// [`Error::NoNotification`], [`Error::NoWorker`].
    pub async fn click_notification(
        &self,
        notification: NotificationId,
        click: NotificationClick,
    ) -> Result<EventOutcome, Error> {
        let NotificationId { shard, id } = notification;
        let click =
            move |shard: Rc<Shard>| async move { shard.click_notification(id, click).await };
        self.ask_shard(shard, click).await?
    }

    /// Takes a notification away, as a person who wipes it: `notificationclose` at its worker.
    ///
    /// # Errors
    ///
    /// [`Error::NoNotification`], [`Error::NoWorker`].
    pub async fn dismiss_notification(
        &self,
        notification: NotificationId,
    ) -> Result<EventOutcome, Error> {
        let NotificationId { shard, id } = notification;
        let dismiss = move |shard: Rc<Shard>| async move { shard.dismiss_notification(id).await };
        self.ask_shard(shard, dismiss).await?
    }
}
