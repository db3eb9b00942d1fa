//! Time and chance, and timers that are too many.

use deno_core::{OpState, op2};

use crate::Host;

/// `Date.now()`, in milliseconds with a fraction.
#[op2(fast)]
pub fn op_clock_now(state: &mut OpState) -> f64 {
    Host::of(state).0.now_ms()
}

/// `setTimeout()` or `setInterval()` when too many timers wait already.
#[op2(fast)]
pub fn op_timer_refused(state: &mut OpState) {
    let (services, realm) = Host::of(state);
    services.timer_refused(realm);
}

/// `Math.random()`.
#[op2(fast)]
pub fn op_entropy_random(state: &mut OpState) -> f64 {
    Host::of(state).0.random()
}

/// Stands in for deno_web's `op_now`, which reads the machine's clock: seconds and nanoseconds
/// since the realm was created.
#[op2(fast)]
pub fn op_clock_elapsed(state: &mut OpState, #[buffer] out: &mut [u8]) {
    let (services, realm) = Host::of(state);
    write_duration(services.elapsed_ms(realm), out);
}

/// Stands in for deno_web's `op_time_origin`: the Unix time at which the realm was created.
#[op2(fast)]
pub fn op_clock_origin(state: &mut OpState, #[buffer] out: &mut [u8]) {
    let (services, realm) = Host::of(state);
    write_duration(services.now_ms() - services.elapsed_ms(realm), out);
}

/// deno_web's layout: `u32` seconds, then `u32` nanoseconds, in native order.
fn write_duration(milliseconds: f64, out: &mut [u8]) {
    let seconds = (milliseconds / 1e3).floor();
    let nanoseconds = (milliseconds - seconds * 1e3) * 1e6;
    if out.len() >= 8 {
        out[0..4].copy_from_slice(&(seconds as u32).to_ne_bytes());
        out[4..8].copy_from_slice(&(nanoseconds as u32).to_ne_bytes());
    }
}
