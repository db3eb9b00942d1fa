//! What a program gets that embeds the library for long: workers that come and go, code that is
//! kept, shards, doors of its own.
//!
//! Invariant: it uses the public API only, as an embedder does; what is looked at on disk besides
//! is what a person could look at too.

mod code_cache;
mod doors;
mod examples;
mod large_answers;
mod many_workers;
mod other_engine;
mod shards;
mod spare_realm;
mod world;
