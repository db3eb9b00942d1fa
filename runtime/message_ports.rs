//! Message ports: <https://html.spec.whatwg.org/#message-ports>
//!
//! Invariant: a port is one realm's, or in one message that is under way; it ends with the realm or
//! the message. What waits to be received is bounded for each origin.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use kittiwake_ops::{
    MessagePortServices, OpError, PortEnd, RealmId, SerializedMessage, Transferred,
};

use crate::drive::Command;
use crate::host::Shard;
use crate::limits::{Limit, LimitOutcome};
use crate::realm::Call;

/// What a message takes besides its bytes, so that a flood of empty ones is bounded too.
const MESSAGE_OVERHEAD_BYTES: usize = 512;

/// The ports of all realms.
#[derive(Default)]
pub(crate) struct MessagePorts {
    ports: RefCell<BTreeMap<u32, Port>>,
    last: Cell<u32>,
    /// By origin.
    accounts: RefCell<BTreeMap<String, Rc<Account>>>,
    /// Ports whose message was dropped; a list, because messages in messages are no recursion.
    ending: RefCell<Vec<u32>>,
    is_ending: Cell<bool>,
}

/// What an origin has.
#[derive(Default)]
struct Account {
    undelivered_bytes: Cell<usize>,
    ports: Cell<usize>,
}

struct Port {
    account: Rc<Account>,
    /// None while it is in a message.
    owner: Option<RealmId>,
    /// None when the other end is gone.
    peer: Option<u32>,
    started: bool,
    queue: VecDeque<Posted>,
    /// How the other end ended, until the owner has been told.
    end: Option<PortEnd>,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.account.ports.set(self.account.ports.get() - 1);
    }
}

/// A message on its way. Dropped before it was delivered, it takes its ports along.
pub(crate) struct Posted {
    /// Taken when it is delivered.
    pub(crate) data: Cell<Vec<u8>>,
    pub(crate) transfer: Vec<Transferred>,
    bytes: usize,
    account: Rc<Account>,
    shard: Weak<Shard>,
}

impl Posted {
    fn ports(&self) -> impl Iterator<Item = u32> {
        self.transfer.iter().flat_map(|each| &each.ports).copied()
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        let undelivered = &self.account.undelivered_bytes;
        undelivered.set(undelivered.get() - self.bytes);
        if !self.transfer.is_empty()
            && let Some(shard) = self.shard.upgrade()
        {
            shard.end_undelivered(self.ports());
        }
    }
}

/// What a port's owner is to hear next.
enum Next {
    Message(Posted),
    End(PortEnd),
}

impl MessagePortServices for Shard {
    fn port_create(&self, realm: RealmId) -> Result<(u32, u32), OpError> {
        let account = self.account_of(realm);
        let limit = self.limits.count(Limit::Ports);
        if account.ports.get() + 2 > limit {
            self.strike(realm, Limit::Ports, LimitOutcome::Refused);
            return Err(OpError::TooManyPorts { limit });
        }
        account.ports.set(account.ports.get() + 2);
        let first = self.message_ports.last.get() + 1;
        self.message_ports.last.set(first + 1);
        let port = |peer| Port {
            account: account.clone(),
            owner: Some(realm),
            peer: Some(peer),
            started: false,
            queue: VecDeque::new(),
            end: None,
        };
        let mut ports = self.message_ports.ports.borrow_mut();
        ports.insert(first, port(first + 1));
        ports.insert(first + 1, port(first));
        Ok((first, first + 1))
    }

    fn port_post(
        &self,
        realm: RealmId,
        port: u32,
        message: SerializedMessage,
    ) -> Result<(), OpError> {
        let peer = self.own_port(realm, port, |port| port.peer).flatten();
        let message = self.posted(realm, message)?;
        // Whoever sends a port to itself loses both: https://html.spec.whatwg.org/#message-port-post-message-steps
        let Some(peer) = peer.filter(|peer| !message.ports().any(|port| port == *peer)) else {
            return Ok(());
        };
        let mut ports = self.message_ports.ports.borrow_mut();
        let peer_port = ports.get_mut(&peer).expect("invariant: a port's peer is there");
        peer_port.queue.push_back(message);
        let listening = peer_port.owner.filter(|_| peer_port.started);
        drop(ports);
        if let Some(owner) = listening {
            self.command_realm(owner, Command::Port(peer));
        }
        Ok(())
    }

    fn port_start(&self, realm: RealmId, port: u32) {
        let queued = self.own_port(realm, port, |port| {
            let queued = if port.started { 0 } else { port.queue.len() };
            port.started = true;
            queued
        });
        for _ in 0..queued.unwrap_or(0) {
            self.command_realm(realm, Command::Port(port));
        }
    }

    fn port_close(&self, realm: RealmId, port: u32, end: PortEnd) {
        if self.own_port(realm, port, |_| ()).is_some() {
            self.end_port(port, end);
        }
    }

    fn client_messages_start(&self, realm: RealmId) {
        let page = self.pages.borrow().get(&realm).cloned();
        let held = page.and_then(|page| page.held_messages.take());
        for (message, source) in held.into_iter().flatten() {
            self.call_realm(realm, Call::ClientMessage { message, source });
        }
    }
}

impl Shard {
    /// A message of a realm on its way; what it transfers is nobody's until it is delivered.
    pub(crate) fn posted(
        &self,
        realm: RealmId,
        message: SerializedMessage,
    ) -> Result<Posted, OpError> {
        let account = self.account_of(realm);
        let bytes = message.data.len() + MESSAGE_OVERHEAD_BYTES;
        let undelivered = account.undelivered_bytes.get() + bytes;
        account.undelivered_bytes.set(undelivered);
        let SerializedMessage { data, transfer } = message;
        let data = Cell::new(data);
        let mut posted =
            Posted { data, transfer, bytes, account, shard: Rc::downgrade(&self.me()) };
        let mut ports = self.message_ports.ports.borrow_mut();
        for port in posted.transfer.iter_mut().flat_map(|each| &mut each.ports) {
            match ports.get_mut(port).filter(|port| port.owner == Some(realm)) {
                Some(sent) => (sent.owner, sent.started) = (None, false),
                None => *port = 0, // it was closed
            }
        }
        drop(ports);
        if undelivered > self.limits.count(Limit::Messages) {
            self.strike(realm, Limit::Messages, LimitOutcome::Refused);
            return Err(self.too_many_messages());
        }
        Ok(posted)
    }

    /// The message's ports become the realm's that is about to receive it.
    pub(crate) fn receive_ports(&self, realm: RealmId, message: &Posted) {
        for port in message.ports() {
            let mut ports = self.message_ports.ports.borrow_mut();
            let Some(received) = ports.get_mut(&port) else { continue };
            received.owner = Some(realm);
            let has_ended = received.end.is_some();
            drop(ports);
            if has_ended {
                self.command_realm(realm, Command::Port(port));
            }
        }
    }

    /// What a realm is to hear of a port at this turn: there is one such turn for each message.
    pub(crate) fn next_of_port(&self, realm: RealmId, port: u32) -> Option<Call> {
        let next = self.own_port(realm, port, |port| match port.queue.pop_front() {
            Some(message) if port.started => Some(Next::Message(message)),
            Some(message) => {
                port.queue.push_front(message);
                port.end.take().map(Next::End)
            }
            None => port.end.take().map(Next::End),
        });
        match next.flatten()? {
            Next::Message(message) => Some(Call::PortMessage { port, message }),
            Next::End(end) => {
                let is_over = self.own_port(realm, port, |port| port.queue.is_empty());
                if is_over == Some(true) {
                    self.message_ports.ports.borrow_mut().remove(&port);
                }
                Some(Call::PortEnded { port, told: end == PortEnd::Told })
            }
        }
    }

    /// Ends the ports of a realm that has ended.
    pub(crate) fn end_ports_of(&self, realm: RealmId) {
        let ports = self.message_ports.ports.borrow();
        let own = ports.iter().filter(|(_, port)| port.owner == Some(realm));
        let own: Vec<u32> = own.map(|(port, _)| *port).collect();
        drop(ports);
        for port in own {
            self.end_port(port, PortEnd::Told);
        }
    }

    fn end_port(&self, port: u32, end: PortEnd) {
        let ended = self.message_ports.ports.borrow_mut().remove(&port);
        let Some(peer) = ended.as_ref().and_then(|port| port.peer) else { return };
        let mut ports = self.message_ports.ports.borrow_mut();
        let peer_port = ports.get_mut(&peer).expect("invariant: a port's peer is there");
        (peer_port.peer, peer_port.end) = (None, Some(end));
        let owner = peer_port.owner;
        drop(ports);
        if let Some(owner) = owner {
            self.command_realm(owner, Command::Port(peer));
        }
    }

    fn end_undelivered(&self, ports: impl Iterator<Item = u32>) {
        let all = &self.message_ports;
        all.ending.borrow_mut().extend(ports);
        if all.is_ending.replace(true) {
            return;
        }
        loop {
            let Some(port) = all.ending.borrow_mut().pop() else { break };
            let undelivered =
                all.ports.borrow().get(&port).is_some_and(|port| port.owner.is_none());
            if undelivered {
                self.end_port(port, PortEnd::Told);
            }
        }
        all.is_ending.set(false);
    }

    pub(crate) fn too_many_messages(&self) -> OpError {
        let limit = Limit::Messages.text_of(self.limits.of(Limit::Messages));
        OpError::TooManyMessages { limit }
    }

    fn own_port<R>(
        &self,
        realm: RealmId,
        port: u32,
        then: impl FnOnce(&mut Port) -> R,
    ) -> Option<R> {
        let mut ports = self.message_ports.ports.borrow_mut();
        ports.get_mut(&port).filter(|port| port.owner == Some(realm)).map(then)
    }

    fn account_of(&self, realm: RealmId) -> Rc<Account> {
        let origin = self.origin_of(realm).unwrap_or_default();
        self.message_ports.accounts.borrow_mut().entry(origin).or_default().clone()
    }
}
