//! The start of a runtime's shards, one after the other.
//!
//! Invariant: if one cannot start, those before it have ended when whoever asked hears of it.

use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use super::thread::{ShardPlace, run_host_thread};
use super::{Builder, Command, Error};
use crate::door_guard::DoorFaults;
use crate::engine::spawn_host_thread;

/// Shards that have started. If the next one cannot, these end.
#[derive(Default)]
pub(super) struct Starting {
    pub(super) commands: Vec<mpsc::Sender<Command>>,
    pub(super) threads: Vec<JoinHandle<()>>,
}

impl Starting {
    pub(super) fn start(
        &mut self,
        builder: Builder,
        place: ShardPlace,
        faults: &DoorFaults,
    ) -> Result<(), Error> {
        let (commands, incoming) = mpsc::channel(COMMAND_QUEUE);
        let (report, started) = std::sync::mpsc::sync_channel(1);
        let main = move || run_host_thread(builder, place, incoming, report);
        let thread = spawn_host_thread(Box::new(main)).inspect_err(|_| self.end())?;
        let answer = loop {
            match started.recv_timeout(LOOK_EVERY) {
                Ok(answer) => break answer,
                Err(RecvTimeoutError::Disconnected) => break Err(Error::Stopped),
                // A door of the embedder's may never come back: then the thread is left to it.
                Err(RecvTimeoutError::Timeout) => {
                    if let Some((door, fault)) = faults.first() {
                        return Err(Error::Door { door, fault });
                    }
                }
            }
        };
        self.threads.push(thread);
        answer.inspect_err(|_| self.end())?;
        self.commands.push(commands);
        Ok(())
    }

    /// Gives the state folder back before whoever asked hears of the failure.
    fn end(&mut self) {
        self.commands.clear();
        for thread in self.threads.drain(..) {
            // What it would have to say is said already.
            let _ = thread.join();
        }
    }
}

/// How many commands may wait before a sender has to.
const COMMAND_QUEUE: usize = 64;

/// How often a start looks whether a door is out of order.
const LOOK_EVERY: Duration = Duration::from_millis(50);
