//! Kittiwake: a headless service-worker runtime with Background Synchronization.
//!
//! It loads an *unmodified* service worker script into V8, gives it the web platform that it
//! expects, and wakes it when the network comes back. This library is what the command
//! `kittiwake` is made of; start with [`Runtime::builder`].

mod accounts;
mod activity;
mod background_fetch;
pub mod blocking;
mod buckets;
mod caches;
mod client_fetch;
mod commits;
pub mod conformance;
mod connectivity;
mod content_index;
mod cookies;
mod coverage;
mod dispatch;
mod document;
mod door_guard;
mod doors;
mod drive;
mod dump;
mod embedders_doors;
mod ending;
mod engine;
mod extension;
mod fetch;
mod fetch_events;
mod fetches;
mod firing;
mod helper;
mod history;
mod host;
mod http;
mod import_map;
mod indexed_db;
mod inspector;
mod keepalive;
mod lifecycle;
mod limits;
mod listing;
mod locks;
mod measure;
mod message_ports;
mod messages;
mod meter;
mod navigation;
mod navigation_preload;
mod network;
mod notifications;
mod page_modules;
mod pages;
mod permissions;
mod policy;
mod push;
mod quiet;
#[expect(unsafe_code, reason = "entering and leaving isolates, each with a SAFETY line")]
mod realm;
mod registering;
mod residency;
mod revalidations;
mod runtime;
mod scenario;
mod scheduler;
mod services;
mod simulation;
mod spare;
mod static_routing;
mod sync;
mod testing;
mod time_jumps;
mod trace;
mod trace_hub;
mod turnstile;
mod watchdog;
mod web_socket;
mod windows;

pub use client_fetch::{
    ClientBody, ClientRequest, ClientRequestKind, ClientResponse, ClientResponseBody,
};
pub use coverage::{CountedRange, Coverage, FunctionCoverage, ScriptCoverage};
pub use dispatch::{EventOutcome, LastChance};
pub use door_guard::{Door, DoorFault};
pub use doors::{Clock, Entropy, SeededEntropy, SimulatedClock, SystemClock, SystemEntropy};
pub use dump::dump_databases;
pub use engine::{on_engine_failure, prepare_engine};
pub use fetch::{Cors, ResponseSource};
pub use http::{
    DoorAnswer, DoorBody, DoorError, DoorRequest, DoorResponse, HostRule, HttpDoor, NetworkPolicy,
};
pub use inspector::{Inspector, InspectorStart, InspectorTarget};
pub use kittiwake_ops::{ConsoleLevel, Permission, PermissionState, ScriptException};
pub use kittiwake_store::{
    DueNow, Profile, StoreError, SyncPlace, SyncPolicy, SyncState, SyncType, Unregistered,
};

pub use limits::{Limit, LimitError, LimitOutcome, LimitSetting, LimitSubject, LimitUnit, Limits};
pub use listing::{
    StoredDatabase, StoredObjectStore, StoredSync, StoredSyncs, stored_databases, stored_syncs,
};
pub use measure::{MeasuredEnd, Measurement};
pub use network::{
    Conditions, ManualSignal, Network, NetworkError, NetworkSignal, NetworkState, NetworkSwitch,
    Outlook, Probe, RealNetwork, RealSignal, RealSignalError, Timeline, TimelineError,
};
pub use notifications::NotificationClick;
pub use pages::PageSource;
pub use policy::{PolicyError, PolicyOptions, parse_max_event, parse_profile};
pub use push::{PushRequest, PushResponse};
pub use runtime::{
    Builder, Counts, Error, NetworkStatus, NotificationId, NotificationInfo, OpenPage, PageId,
    RealmInfo, RealmOwnerKind, RegistrationDetail, RegistrationInfo, RegistrationPage, Runtime,
    SyncPage, SyncQuery, UnsettledSync, Usage, WorkerDetail,
};
pub use scenario::{Scenario, ScenarioError, page_from_file};
pub use simulation::{RecordedRequest, ScriptedServers, ServersError};
pub use testing::{
    DriveAnswer, DriveError, DriveErrorCode, DriveOutcome, DriveRequest, DrivenWorld, SnapshotMode,
    Snapshots, TestCase, TestFailure, TestFileError, TestMode, TestRun, TestWorld,
    TestWorldOptions,
};
pub use trace::{
    DispatchTraceState, LifecycleSubject, MessageRecipient, NotificationTraceState, SyncTraceState,
    TraceEvent, TraceKind,
};
pub use trace_hub::{TraceItem, TraceStream};

/// The README's example, compiled and run with the tests of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
