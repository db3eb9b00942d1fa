//! Kittiwake: a headless service-worker runtime with Background Synchronization.
//!
//! It loads an *unmodified* service worker script into V8, gives it the web platform that it
//! expects, and wakes it when the network comes back. This library is what the command
//! `kittiwake` is made of; start with [`Runtime::builder`].

mod accounts;
mod activity;
mod buckets;
mod caches;
mod client_fetch;
mod commits;
mod connectivity;
mod cookies;
mod dispatch;
mod doors;
mod drive;
mod dump;
mod engine;
mod extension;
mod fetch;
mod fetch_events;
mod fetches;
mod firing;
mod history;
mod host;
mod http;
mod indexed_db;
mod lifecycle;
mod limits;
mod listing;
mod locks;
mod message_ports;
mod messages;
mod meter;
mod navigation;
mod navigation_preload;
mod network;
mod notifications;
mod pages;
mod permissions;
mod policy;
mod push;
mod quiet;
#[expect(unsafe_code, reason = "entering and leaving isolates, each with a SAFETY line")]
mod realm;
mod registering;
mod runtime;
mod scenario;
mod scheduler;
mod services;
mod simulation;
mod static_routing;
mod sync;
mod testing;
mod time_jumps;
mod trace;
mod watchdog;
mod web_socket;
mod windows;

pub use client_fetch::{
    ClientBody, ClientRequest, ClientRequestKind, ClientResponse, ClientResponseBody,
};
pub use dispatch::{EventOutcome, LastChance};
pub use dump::dump_databases;
pub use fetch::{Cors, ResponseSource};
pub use http::{HostRule, NetworkPolicy};
pub use kittiwake_ops::{ConsoleLevel, Permission, PermissionState, ScriptException};
pub use kittiwake_store::{Profile, StoreError, SyncPolicy, SyncState, SyncType};

pub use limits::{Limit, LimitError, LimitOutcome, LimitSetting, LimitSubject, LimitUnit, Limits};
pub use listing::{
    StoredDatabase, StoredObjectStore, StoredSync, StoredSyncs, stored_databases, stored_syncs,
};
pub use network::{
    Conditions, ManualSignal, Network, NetworkError, NetworkSignal, NetworkState, NetworkSwitch,
    Outlook, Probe, RealNetwork, RealSignal, RealSignalError, Timeline, TimelineError,
};
pub use notifications::NotificationClick;
pub use pages::PageSource;
pub use policy::{PolicyError, PolicyOptions, parse_max_event, parse_profile};
pub use push::{PushRequest, PushResponse};
pub use runtime::{
    Builder, Error, NotificationId, NotificationInfo, OpenPage, PageId, RegistrationInfo, Runtime,
    UnsettledSync,
};
pub use scenario::{Scenario, ScenarioError, page_from_file};
pub use simulation::{RecordedRequest, ScriptedServers, ServersError};
pub use testing::{
    SnapshotMode, Snapshots, TestCase, TestFailure, TestFileError, TestMode, TestRun, TestWorld,
    TestWorldOptions,
};
pub use trace::{
    DispatchTraceState, LifecycleSubject, MessageRecipient, NotificationTraceState, SyncTraceState,
    TraceEvent, TraceKind,
};

/// The README's example, compiled and run with the tests of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
