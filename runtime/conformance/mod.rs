//! What every door keeps, as tests for doors of your own. Call them from yours; each panics where a
//! door does not keep what Kittiwake relies on, and says what that is.
//!
//! ```
//! use kittiwake::{Clock, conformance};
//!
//! /// Says the time that somebody else has set.
//! struct Frozen;
//!
//! impl Clock for Frozen {
//!     fn now_ms(&self) -> f64 {
//!         1_735_689_600_000.0
//!     }
//! }
//!
//! conformance::clock(&Frozen);
//! ```
//!
//! Invariant: a suite knows a door by its trait alone.

mod http;
mod network_signal;

use std::collections::BTreeSet;
use std::sync::Mutex;

use crate::doors::{Clock, Entropy};

pub use http::http;
pub use network_signal::{NETWORK_SIGNAL_CASES, NetworkWorld, network_signal};

/// Calls that each of some threads makes: shards ask beside each other.
const CALLS: usize = 10_000;
const THREADS: usize = 4;

/// Tests a clock: it tells times that a `Date` can hold, whichever thread asks.
///
/// # Panics
///
/// If it does not.
pub fn clock(clock: &(impl Clock + ?Sized)) {
    from_threads(|| {
        let now_ms = clock.now_ms();
        assert!(now_ms.abs() <= 8.64e15, "a clock tells the time of a Date, not {now_ms} ms");
    });
}

/// Tests entropy: numbers from 0 (included) to 1 (excluded), whichever thread asks, and not always
/// the same.
///
/// # Panics
///
/// If they are not.
pub fn entropy(entropy: &(impl Entropy + ?Sized)) {
    let seen = Mutex::new(BTreeSet::new());
    from_threads(|| {
        let number = entropy.random();
        assert!((0.0..1.0).contains(&number), "{number} is not from 0 to below 1");
        seen.lock().expect("no holder of this lock panics").insert(number.to_bits());
    });
    let seen = seen.into_inner().expect("no holder of this lock panics").len();
    assert!(seen > CALLS / 2, "of {} numbers only {seen} differ", CALLS * THREADS);
}

fn from_threads(call: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..CALLS).for_each(|_| call()));
        }
    });
}
