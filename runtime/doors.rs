//! Two of the four doors by which the world enters: the clock and entropy.
//!
//! Invariant: nothing else in Kittiwake asks the machine for the time of day or for randomness.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// What time it is: for [`Builder::clock`](crate::Builder::clock). Host threads ask, and whatever
/// they do waits for the answer. [`conformance::clock`](crate::conformance::clock) tests one.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch, possibly with a fraction. A real clock may step backwards
    /// when the machine's clock is set; a simulated one never does.
    fn now_ms(&self) -> f64;
}

/// Which of the two scripts ask, because the engine's own would tell something else.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostDoors {
    /// `Date`.
    pub(crate) clock: bool,
    /// `Math.random`.
    pub(crate) entropy: bool,
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock door")]
    fn now_ms(&self) -> f64 {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => since.as_secs_f64() * 1000.0,
            Err(before) => before.duration().as_secs_f64() * -1000.0,
        }
    }
}

/// A clock that starts at a given time and advances with `tokio::time`. While tokio's clock is
/// paused, it stands still between waits and jumps over each of them.
#[derive(Clone, Copy, Debug)]
pub struct SimulatedClock {
    origin_ms: f64,
    started: Instant,
}

impl SimulatedClock {
    /// When a simulation starts unless it says otherwise: 2025-01-01T00:00:00Z.
    pub const DEFAULT_ORIGIN_MS: f64 = 1_735_689_600_000.0;

    /// Starts the clock at `origin_ms`, in milliseconds since the Unix epoch.
    pub fn new(origin_ms: f64) -> SimulatedClock {
        SimulatedClock { origin_ms, started: Instant::now() }
    }
}

impl Default for SimulatedClock {
    fn default() -> SimulatedClock {
        SimulatedClock::new(SimulatedClock::DEFAULT_ORIGIN_MS)
    }
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> f64 {
        // By whole microseconds, so that a wait of 100 ms reads as 100 and not as 99.999...
        self.origin_ms + self.started.elapsed().as_micros() as f64 / 1000.0
    }
}

/// What nobody can guess.
pub fn secret() -> [u8; 16] {
    use aes_gcm::aead::OsRng;
    use aes_gcm::aead::rand_core::RngCore;
    let mut secret = [0; 16];
    OsRng.fill_bytes(&mut secret);
    secret
}

/// Where `Math.random` gets its numbers, for [`Builder::entropy`](crate::Builder::entropy). Not for
/// keys: those come from the crypto library. Host threads ask, and wait for the answer.
/// [`conformance::entropy`](crate::conformance::entropy) tests one.
pub trait Entropy: Send + Sync {
    /// A number from 0 (included) to 1 (excluded).
    fn random(&self) -> f64;
}

/// Numbers that differ in every run.
#[derive(Debug, Default)]
pub struct SystemEntropy(Mutex<fastrand::Rng>);

impl Entropy for SystemEntropy {
    fn random(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }
}

/// Numbers that are the same in every run with the same seed.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<fastrand::Rng>);

impl SeededEntropy {
    /// Starts the sequence that belongs to `seed`.
    pub fn new(seed: u64) -> SeededEntropy {
        SeededEntropy(Mutex::new(fastrand::Rng::with_seed(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn random(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_system_clock_is_past_the_day_this_was_written() {
        assert!(SystemClock.now_ms() > 1_760_000_000_000.0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_simulated_clock_moves_only_with_waits() {
        let clock = SimulatedClock::default();
        assert_eq!(clock.now_ms(), SimulatedClock::DEFAULT_ORIGIN_MS);
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(clock.now_ms(), SimulatedClock::DEFAULT_ORIGIN_MS + 300_000.0);
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        let numbers = |seed| {
            let entropy = SeededEntropy::new(seed);
            [entropy.random(), entropy.random(), entropy.random()]
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        assert!(numbers(7).iter().all(|number| (0.0..1.0).contains(number)));
    }

    #[test]
    fn two_runs_of_the_system_differ() {
        let (one, other) = (SystemEntropy::default(), SystemEntropy::default());
        assert_ne!([one.random(), one.random()], [other.random(), other.random()]);
    }
}
