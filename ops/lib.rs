//! The border: what JavaScript may ask of the host, one op a question.
//!
//! An op converts its arguments, asks [`Services`], converts the answer. It holds no policy, no SQL
//! and no step of a specification: those are the runtime's, the store's, and `js/`'s.
//!
//! Invariant: [`Host`] is the only thing of ours in `OpState`, so that a realm reaches nothing but
//! what its host gave it.

#![allow(missing_docs, reason = "op2 moves documented functions into items of its own")]

mod background_fetch;
mod blobs;
mod buckets;
mod cache;
mod clients;
mod clock;
mod console;
mod content_index;
mod cookies;
mod error;
mod event;
mod fetch;
mod fetch_event;
mod host;
mod indexed_db;
mod keys;
mod lazy;
mod locks;
mod mappings;
mod message_port;
mod navigation_preload;
mod network;
mod notifications;
mod periodic;
mod permissions;
mod push;
mod script;
mod serialized;
mod service_worker;
mod static_routing;
mod structured_clone;
mod sync;
mod testing;
mod web_socket;
mod windows;

pub use background_fetch::*;
pub use blobs::{Blobs, StoredBlob, op_blob_part};
pub use buckets::*;
pub use cache::*;
pub use clients::*;
pub use clock::*;
pub use console::*;
pub use content_index::*;
pub use cookies::*;
pub use error::{OpError, ScriptException};
pub use event::*;
pub use fetch::*;
pub use fetch_event::*;
pub use host::{Host, RealmId, Services};
pub use indexed_db::*;
pub use keys::*;
pub use lazy::*;
pub use locks::*;
pub use mappings::{op_mappings_have_room, op_mappings_have_room_for_clone, op_wasm_memories};
pub use message_port::*;
pub use navigation_preload::*;
pub use network::*;
pub use notifications::*;
pub use periodic::*;
pub use permissions::*;
pub use push::*;
pub use script::*;
pub use service_worker::*;
pub use static_routing::*;
pub use structured_clone::op_clone_is_forged;
pub use sync::*;
pub use testing::*;
pub use web_socket::*;
pub use windows::*;
