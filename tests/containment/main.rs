//! Hostile scripts: those that want everything, and those that want out.
//!
//! Invariant: each attack runs beside a worker of another origin and one of its own, and both
//! answer after it; so does the process.

mod counts;
mod escapes;
mod memory;
mod origins;
mod pollution;
mod time;
mod world;
