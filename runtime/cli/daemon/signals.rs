//! Whoever asks the daemon to stop: SIGTERM and SIGINT.
//!
//! Invariant: no signal is lost between two waits.

use crate::Refusal;

/// Hears of signals from its making on.
pub struct StopSignals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// Begins to listen: from now on no signal ends the process by itself.
    pub fn listen() -> Result<StopSignals, Refusal> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let listen = |kind| {
                signal(kind).map_err(|error| {
                    Refusal::Failure(format!("cannot listen for signals: {error}"))
                })
            };
            let terminate = listen(SignalKind::terminate())?;
            Ok(StopSignals { terminate, interrupt: listen(SignalKind::interrupt())? })
        }
        #[cfg(not(unix))]
        Ok(StopSignals {})
    }

    /// Resolves with the next one.
    pub async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}
