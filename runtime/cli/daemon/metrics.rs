//! Numbers for Prometheus, in the format of OpenMetrics.
//!
//! Invariant: no label has a value that a script, a request or a state folder can choose, so that
//! the number of series is bounded.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kittiwake::{
    Counts, Measurement, NetworkState, NetworkStatus, ResponseSource, SyncTraceState, SyncType,
    TraceEvent, TraceKind,
};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::timeline::kind_word;

/// The format that [`Metrics::text`] answers in.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// So many labels, each with its value.
type Labels<const N: usize> = [(&'static str, &'static str); N];
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Gauges<const N: usize> = Family<Labels<N>, Gauge>;

/// What is counted while the daemon runs. Shared by the host thread and the server.
pub struct Metrics {
    registry: Registry,
    trace_events: Counters<1>,
    sync_attempts: Counters<2>,
    fetches: Counters<2>,
    events: Histograms<2>,
    commits: Histogram,
    committed_writes: Counter,
    requests: Counters<1>,
}

/// From a thousandth of a second to half an hour: a sync may take minutes.
fn event_seconds() -> Histogram {
    Histogram::new([0.001, 0.004, 0.016, 0.064, 0.25, 1.0, 4.0, 16.0, 60.0, 180.0, 300.0])
}

impl Metrics {
    /// All at zero. `started` is the time of day in seconds.
    pub fn new(started: Duration) -> Metrics {
        let mut registry = Registry::default();
        let metrics = Metrics {
            registry: Registry::default(),
            trace_events: Family::default(),
            sync_attempts: Family::default(),
            fetches: Family::default(),
            events: Family::new_with_constructor(event_seconds),
            commits: Histogram::new([0.0001, 0.001, 0.004, 0.016, 0.064, 0.25, 1.0]),
            committed_writes: Counter::default(),
            requests: Family::default(),
        };
        // A counter that appears with its first event hides that event from a rate.
        for kind in [SyncType::OneShot, SyncType::Periodic] {
            for outcome in ["done", "failed", "gave-up"] {
                let labels = [("type", kind.as_str()), ("outcome", outcome)];
                drop(metrics.sync_attempts.get_or_create(&labels));
            }
        }
        let own = registry.sub_registry_with_prefix("kittiwake");
        let mut counters = |name, help, family: &Counters<2>| {
            own.register(name, help, family.clone());
        };
        counters("sync_attempts", "Ended attempts of syncs", &metrics.sync_attempts);
        counters("fetches", "Ended requests of scripts", &metrics.fetches);
        own.register("trace_events", "What happened", metrics.trace_events.clone());
        own.register("event_duration_seconds", "Events of workers", metrics.events.clone());
        own.register("commit_duration_seconds", "Commits of syncs", metrics.commits.clone());
        let writes = metrics.committed_writes.clone();
        own.register("committed_writes", "Changes of syncs that are on disk", writes);
        own.register("api_requests", "Answers of this API", metrics.requests.clone());
        let build: Gauges<1> = Family::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        own.register("build", "What runs", build);
        let start: Gauge<f64, AtomicU64> = Gauge::default();
        start.set(started.as_secs_f64());
        registry.register("process_start_time_seconds", "When this process started", start);
        Metrics { registry, ..metrics }
    }

    /// Counts what the trace tells.
    pub fn count(&self, event: &TraceEvent) {
        let kind = kind_word(&event.kind);
        self.trace_events.get_or_create(&[("kind", kind)]).inc();
        match &event.kind {
            TraceKind::Sync { sync_type, state, .. } => {
                let outcome = match state {
                    SyncTraceState::Done => "done",
                    SyncTraceState::Waiting => "failed",
                    SyncTraceState::GaveUp => "gave-up",
                    _ => return,
                };
                let labels = [("type", sync_type.as_str()), ("outcome", outcome)];
                self.sync_attempts.get_or_create(&labels).inc();
            }
            TraceKind::Fetch { status, source, .. } => {
                let outcome = match status {
                    None => "failed",
                    Some(100..300) => "2xx",
                    Some(300..400) => "3xx",
                    Some(400..500) => "4xx",
                    Some(_) => "5xx",
                };
                let source = match source {
                    ResponseSource::Network => "network",
                    ResponseSource::ServiceWorker => "worker",
                };
                self.fetches.get_or_create(&[("outcome", outcome), ("source", source)]).inc();
            }
            _ => {}
        }
    }

    /// Counts what took time.
    pub fn measure(&self, measurement: Measurement) {
        match measurement {
            Measurement::Event { event, end, took } => {
                let labels = [("event", event), ("outcome", end.as_str())];
                self.events.get_or_create(&labels).observe(took.as_secs_f64());
            }
            Measurement::Commit { writes, took } => {
                self.commits.observe(took.as_secs_f64());
                self.committed_writes.inc_by(writes as u64);
            }
        }
    }

    /// Counts an answer of the API.
    pub fn count_request(&self, status: u16) {
        let class = match status {
            ..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&[("outcome", class)]).inc();
    }

    /// Everything, with what there is now.
    pub fn text(&self, counts: &Counts, network: &NetworkStatus, dropped: usize) -> String {
        let mut now = Registry::default();
        describe_now(now.sub_registry_with_prefix("kittiwake"), counts, network);
        let log: Counter = Counter::default();
        log.inc_by(dropped as u64);
        now.register("kittiwake_log_lines_dropped", "Lines that the log has left out", log);
        describe_process(&mut now);
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &now))
            .and_then(|()| encode_eof(&mut text))
            .expect("a string takes all");
        text
    }
}

fn describe_now(registry: &mut Registry, counts: &Counts, network: &NetworkStatus) {
    let registrations: Gauges<1> = Family::default();
    for state in ["installed", "activating", "activated"] {
        let count = counts.workers.get(state).copied().unwrap_or_default();
        registrations.get_or_create(&[("worker", state)]).set(as_gauge(count));
    }
    let help = "Registrations that have a worker in this state";
    registry.register("registrations", help, registrations);
    let syncs: Gauges<2> = Family::default();
    for ((kind, state), count) in &counts.syncs {
        let labels = [("type", kind.as_str()), ("state", state.as_str())];
        syncs.get_or_create(&labels).set(as_gauge(*count));
    }
    registry.register("syncs", "Registered syncs, by type and state", syncs);
    let realms: Gauges<1> = Family::default();
    realms.get_or_create(&[("kind", "worker")]).set(counts.worker_realms as i64);
    realms.get_or_create(&[("kind", "page")]).set(counts.page_realms as i64);
    registry.register("realms", "Global scopes that are in memory", realms);
    let one = |value: i64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        gauge
    };
    registry.register("syncs_firing", "Sync events under way", one(counts.firing as i64));
    let online = i64::from(network.state == NetworkState::Online);
    registry.register("network_online", "Whether the network is there", one(online));
}

/// What Linux tells of this process; nothing elsewhere.
fn describe_process(registry: &mut Registry) {
    let one = |value: i64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        gauge
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()
    });
    if let Some(kilobytes) = kilobytes {
        let help = "Memory that is resident";
        registry.register("process_resident_memory_bytes", help, one(kilobytes * 1024));
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the folder itself.
        let open = files.count().saturating_sub(1) as i64;
        registry.register("process_open_fds", "Open file descriptors", one(open));
    }
}

fn as_gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
