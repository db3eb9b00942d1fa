//! Whether the daemon lives, whether it is ready, and how much there is of everything.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::daemon::problem::Problem;
use crate::daemon::{Daemon, metrics};

/// How long the host thread may let wait for it. A turn of JavaScript may take ten seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a probe reads.
#[derive(Serialize, ToSchema)]
pub struct Health {
    status: &'static str,
}

/// How much there is.
#[derive(Serialize, ToSchema)]
pub struct Status {
    version: &'static str,
    /// When this process started, in Unix epoch milliseconds.
    started_ms: u64,
    /// Workers by state: those that outlive the process.
    workers: Vec<Count>,
    /// Syncs by type and state.
    syncs: Vec<SyncCount>,
    /// Sync events under way.
    firing: usize,
    /// Workers and pages that are in memory.
    realms: usize,
    /// Bytes of memory that these had when they last came to rest.
    memory_bytes: usize,
}

/// So many workers.
#[derive(Serialize, ToSchema)]
pub struct Count {
    state: &'static str,
    count: u64,
}

/// So many syncs.
#[derive(Serialize, ToSchema)]
pub struct SyncCount {
    #[serde(rename = "type")]
    kind: &'static str,
    state: &'static str,
    count: u64,
}

/// Says that the process lives. Needs no token.
#[utoipa::path(
    get, path = "/healthz", tag = "health", security(()),
    responses((status = 200, body = Health))
)]
pub async fn live() -> Json<Health> {
    Json(Health { status: "alive" })
}

/// Says whether requests are answered: the host thread is there, and nobody stops it. Needs no
/// token.
#[utoipa::path(
    get, path = "/readyz", tag = "health", security(()),
    responses((status = 200, body = Health), (status = 503, body = Problem))
)]
pub async fn ready(State(daemon): State<Arc<Daemon>>) -> Result<Json<Health>, Problem> {
    if *daemon.stopping.borrow() {
        return Err(Problem::stopping());
    }
    match timeout(PATIENCE, daemon.runtime.network()).await {
        Ok(network) => network.map(|_| Json(Health { status: "ready" })).map_err(Problem::from),
        Err(_) => {
            let detail = "a script keeps the host thread busy; ask again";
            let title = "The host thread is busy";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", title, detail))
        }
    }
}

/// Shows how much there is of everything.
#[utoipa::path(
    get, path = "/v1/status", tag = "health",
    responses((status = 200, body = Status), (status = "4XX", body = Problem))
)]
pub async fn status(State(daemon): State<Arc<Daemon>>) -> Result<Json<Status>, Problem> {
    let counts = daemon.runtime.counts().await?;
    let usage = daemon.runtime.usage().await?;
    let workers = counts.workers.into_iter().map(|(state, count)| Count { state, count });
    let syncs = counts.syncs.into_iter().map(|((kind, state), count)| SyncCount {
        kind: kind.as_str(),
        state: state.as_str(),
        count,
    });
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        started_ms: daemon.started_ms,
        workers: workers.collect(),
        syncs: syncs.collect(),
        firing: usage.syncs,
        realms: usage.workers + usage.pages,
        memory_bytes: usage.memory_bytes,
    }))
}

/// Numbers for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses(
        (status = 200, content_type = "application/openmetrics-text", body = String),
        (status = "4XX", body = Problem)
    )
)]
pub async fn metrics(State(daemon): State<Arc<Daemon>>) -> Result<Response, Problem> {
    let counts = daemon.runtime.counts().await?;
    let network = daemon.runtime.network().await?;
    let usage = daemon.runtime.usage().await?;
    let now = metrics::Now { counts, usage, network, dropped: daemon.log_drops.dropped_lines() };
    let text = daemon.metrics.text(&now);
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}
