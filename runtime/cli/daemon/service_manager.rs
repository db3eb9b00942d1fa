//! What the daemon tells systemd, if it was started by it: that it is ready, that it lives, that it
//! stops. <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>
//!
//! Invariant: without a service manager nothing is said; it lives if its host thread answers.

use std::convert::Infallible;
use std::time::Duration;

use kittiwake::Runtime;

/// Requests are answered from now on.
pub fn tell_ready(address: &str) {
    #[cfg(unix)]
    {
        let status = format!("listening on {address}");
        tell(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status(&status)]);
    }
    #[cfg(not(unix))]
    let _ = address;
}

/// No request is taken any more; it may take so long until all has ended.
pub fn tell_stopping(drain: Duration) {
    #[cfg(unix)]
    {
        let longest = drain + Duration::from_secs(30);
        let longest = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
        let states =
            [sd_notify::NotifyState::Stopping, sd_notify::NotifyState::ExtendTimeoutUsec(longest)];
        tell(&states);
    }
    #[cfg(not(unix))]
    let _ = drain;
}

/// Tells that the daemon lives, as often as the service manager wants to hear it.
pub async fn show_life(runtime: &Runtime) -> Infallible {
    #[cfg(unix)]
    if let Some(limit) = sd_notify::watchdog_enabled() {
        loop {
            // Half of it, so that one that is late does no harm.
            tokio::time::sleep(limit / 2).await;
            if runtime.network().await.is_ok() {
                tell(&[sd_notify::NotifyState::Watchdog]);
            }
        }
    }
    let _ = runtime;
    std::future::pending().await
}

#[cfg(unix)]
fn tell(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager was not told");
    }
}
