//! Messages between clients and workers: <https://w3c.github.io/ServiceWorker/#dom-client-postmessage>
//!
//! Invariant: a message reaches realms of its sender's origin only, and in the order of posting.

use std::rc::Rc;

use kittiwake_ops::{Delivery, OpError, RealmId, Recipient};
use tokio::task::spawn_local;

use crate::host::{RealmOwner, Shard};
use crate::lifecycle::Worker;
use crate::realm::{Call, ExtendableInit, Message, MessageSource};
use crate::trace::{MessageRecipient, TraceKind};

impl Shard {
    /// Sends a realm's message to a worker or a page.
    pub(crate) fn deliver(&self, realm: RealmId, delivery: Delivery) -> Result<(), OpError> {
        let origin = self.origin_of(realm);
        let Delivery { to, message, text } = delivery;
        let message = self.posted(realm, message)?;
        match to {
            Recipient::Worker(id) => {
                // A redundant worker drops its messages.
                let Some(worker) = self.worker(id) else {
                    return Ok(());
                };
                if Some(&worker.origin) != origin.as_ref() {
                    return Err(OpError::RecipientGone);
                }
                let source = match self.realm_owner(realm) {
                    Some(RealmOwner::Page(page)) => {
                        MessageSource { client: Some(page.describe()), worker: None }
                    }
                    Some(RealmOwner::Worker(worker)) => {
                        MessageSource { client: None, worker: Some(worker.describe()) }
                    }
                    None => MessageSource::default(),
                };
                self.send_to_worker(worker, Message::Posted(Rc::new(message)), source, text);
            }
            Recipient::Client(id) => {
                let Some((to, page)) = self.page_by_client_id(&id) else {
                    return Ok(());
                };
                if Some(&page.origin) != origin.as_ref() {
                    return Err(OpError::RecipientGone);
                }
                let source = match self.realm_owner(realm) {
                    Some(RealmOwner::Worker(worker)) => Some(worker.describe()),
                    _ => None,
                };
                self.trace(TraceKind::Message { to: MessageRecipient::Page, text });
                match &mut *page.held_messages.borrow_mut() {
                    Some(held) => held.push((message, source)),
                    None => self.call_realm(to, Call::ClientMessage { message, source }),
                }
            }
        }
        Ok(())
    }

    /// Traces a message to a worker and dispatches it; a sleeping worker starts for it.
    pub(crate) fn send_to_worker(
        &self,
        worker: Rc<Worker>,
        message: Message,
        source: MessageSource,
        text: String,
    ) {
        self.trace(TraceKind::Message { to: MessageRecipient::Worker, text });
        let (shard, busy) = (self.me(), self.activity.begin());
        spawn_local(async move {
            let init = ExtendableInit::Message { message, source };
            let end = shard.dispatch_functional(&worker, init, shard.event_limit()).await;
            shard.trace_rejection(end);
            drop(busy);
        });
    }
}
