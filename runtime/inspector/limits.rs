//! Limits of time, which a debugger stretches.
//!
//! Invariant: in a simulation nothing is stretched: there a debugger takes no time.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::now;
use crate::host::Shard;

impl Shard {
    /// Waits for `limit` at most, and anew if a debugger was there meanwhile.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        awaited: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let mut awaited = pin!(awaited);
        loop {
            let began = now();
            match timeout(limit, &mut awaited).await {
                Err(_) if self.was_debugged_since(began) => {}
                ended => return ended,
            }
        }
    }

    /// Whether a person may have taken the time since then.
    pub(crate) fn was_debugged_since(&self, then: Instant) -> bool {
        self.seed.is_none() && self.debugged.since(then)
    }
}
