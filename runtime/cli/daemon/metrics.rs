//! Numbers for Prometheus, in the format of OpenMetrics.
//!
//! Invariant: no label has a value that a script, a request or a state folder can choose, so that
//! the number of series is bounded.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kittiwake::{
    Counts, LimitOutcome, Measurement, NetworkState, NetworkStatus, ResponseSource, SyncTraceState,
    SyncType, TraceEvent, TraceKind, Usage,
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
    limits: Family<[(&'static str, String); 2], Counter>,
    sync_attempts: Counters<2>,
    fetches: Counters<2>,
    fetch_time: Histograms<1>,
    events: Histograms<2>,
    commits: Histogram,
    committed_writes: Counter,
    requests: Counters<1>,
}

/// What there is now.
pub struct Now {
    /// On disk.
    pub counts: Counts,
    /// In memory.
    pub usage: Usage,
    /// What requests meet.
    pub network: NetworkStatus,
    /// Lines that the log has left out.
    pub dropped: usize,
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
            limits: Family::default(),
            sync_attempts: Family::default(),
            fetches: Family::default(),
            fetch_time: Family::new_with_constructor(event_seconds),
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
        own.register("limits", "Limits that struck a script", metrics.limits.clone());
        own.register("trace_events", "What happened", metrics.trace_events.clone());
        own.register("event_duration_seconds", "Events of workers", metrics.events.clone());
        own.register("fetch_duration_seconds", "Requests of scripts", metrics.fetch_time.clone());
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
            TraceKind::Fetch { status, source, elapsed_ms, .. } => {
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
                let took = Duration::from_millis(*elapsed_ms);
                self.fetch_time.get_or_create(&[("source", source)]).observe(took.as_secs_f64());
            }
            TraceKind::Limit { limit, outcome, .. } => {
                let outcome = match outcome {
                    LimitOutcome::Terminated => "terminated",
                    LimitOutcome::Refused => "refused",
                    LimitOutcome::Dropped => "dropped",
                    LimitOutcome::TimedOut => "timed-out",
                };
                let labels = [("limit", limit.name()), ("outcome", outcome.to_owned())];
                self.limits.get_or_create(&labels).inc();
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
    pub fn text(&self, now: &Now) -> String {
        let mut registry = Registry::default();
        now.describe(registry.sub_registry_with_prefix("kittiwake"));
        describe_process(&mut registry);
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &registry))
            .and_then(|()| encode_eof(&mut text))
            .expect("a string takes all");
        text
    }
}

impl Now {
    fn describe(&self, registry: &mut Registry) {
        let registrations: Gauges<1> = Family::default();
        for state in ["installed", "activating", "activated"] {
            let count = self.counts.workers.get(state).copied().unwrap_or_default();
            registrations.get_or_create(&[("worker", state)]).set(as_gauge(count));
        }
        let help = "Registrations that have a worker in this state";
        registry.register("registrations", help, registrations);
        let syncs: Gauges<2> = Family::default();
        for ((kind, state), count) in &self.counts.syncs {
            let labels = [("type", kind.as_str()), ("state", state.as_str())];
            syncs.get_or_create(&labels).set(as_gauge(*count));
        }
        registry.register("syncs", "Registered syncs, by type and state", syncs);
        let realms: Gauges<1> = Family::default();
        realms.get_or_create(&[("kind", "worker")]).set(self.usage.workers as i64);
        realms.get_or_create(&[("kind", "page")]).set(self.usage.pages as i64);
        realms.get_or_create(&[("kind", "spare")]).set(self.usage.spare_realms as i64);
        registry.register("realms", "Global scopes that are in memory", realms);
        let help = "Memory of these, when each last came to rest";
        registry.register("realm_memory_bytes", help, gauge(self.usage.memory_bytes as i64));
        let firing = gauge(self.usage.syncs as i64);
        registry.register("syncs_firing", "Sync events under way", firing);
        let online = i64::from(self.network.state == NetworkState::Online);
        registry.register("network_online", "Whether the network is there", gauge(online));
        let log: Counter = Counter::default();
        log.inc_by(self.dropped as u64);
        registry.register("log_lines_dropped", "Lines that the log has left out", log);
    }
}

/// What Linux tells of this process; nothing elsewhere.
fn describe_process(registry: &mut Registry) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()
    });
    if let Some(kilobytes) = kilobytes {
        let help = "Memory that is resident";
        registry.register("process_resident_memory_bytes", help, gauge(kilobytes * 1024));
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the folder itself.
        let open = files.count().saturating_sub(1) as i64;
        registry.register("process_open_fds", "Open file descriptors", gauge(open));
    }
}

fn gauge(value: i64) -> Gauge {
    let gauge: Gauge = Gauge::default();
    gauge.set(value);
    gauge
}

fn as_gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
