//! Registrations: register, list, inspect, delete.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use kittiwake::{RegistrationDetail, Unregistered, WorkerDetail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::{IntoParams, ToSchema};

use super::{page_length, parse_scope};
use crate::daemon::Daemon;
use crate::daemon::problem::{Body, InPath, Parameters, Problem};
use crate::files::require_secure;

/// What is to be registered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRegistration {
    /// The script's URL: https, or http on this machine.
    #[schema(example = "https://app.example/sw.js")]
    script: String,
    /// The scope's URL. By default the script's folder.
    scope: Option<String>,
    /// What the script is.
    #[serde(rename = "type", default)]
    worker_type: WorkerType,
}

/// What a script is.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkerType {
    /// A script.
    #[default]
    Classic,
    /// An ES module.
    Module,
}

/// A registration, with its workers.
#[derive(Serialize, ToSchema)]
pub struct Registration {
    /// Its scope, which names it.
    scope: String,
    /// Its origin.
    origin: String,
    /// When its updates may be answered from the HTTP cache: `imports`, `all` or `none`.
    update_via_cache: String,
    /// The worker whose install event is under way.
    installing: Option<Worker>,
    /// The worker that is installed, and waits.
    waiting: Option<Worker>,
    /// The worker that gets events.
    active: Option<Worker>,
}

/// A worker of a registration.
#[derive(Serialize, ToSchema)]
pub struct Worker {
    /// Its script's URL.
    script: String,
    /// `classic` or `module`.
    #[serde(rename = "type")]
    script_type: String,
    /// `installing`, `installed`, `activating`, `activated`.
    state: &'static str,
    /// Whether it is in memory now. One that sleeps is started for its next event.
    running: bool,
}

/// A part of the registrations, ordered by scope.
#[derive(Serialize, ToSchema)]
pub struct Registrations {
    registrations: Vec<Registration>,
    /// The `after` of the next part; none at the end.
    next: Option<String>,
}

/// Which part.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Part {
    /// The `next` of the part before.
    after: Option<String>,
    /// So many at most: 1 to 1000. By default 100.
    limit: Option<usize>,
}

impl From<RegistrationDetail> for Registration {
    fn from(detail: RegistrationDetail) -> Registration {
        Registration {
            scope: detail.scope,
            origin: detail.origin,
            update_via_cache: detail.update_via_cache,
            installing: detail.installing.map(Worker::from),
            waiting: detail.waiting.map(Worker::from),
            active: detail.active.map(Worker::from),
        }
    }
}

impl From<WorkerDetail> for Worker {
    fn from(detail: WorkerDetail) -> Worker {
        let WorkerDetail { script, script_type, state, is_running } = detail;
        Worker { script, script_type, state, running: is_running }
    }
}

/// Lists registrations.
#[utoipa::path(
    get, path = "/v1/registrations", tag = "registrations", params(Part),
    responses((status = 200, body = Registrations), (status = "4XX", body = Problem))
)]
pub async fn list(
    State(daemon): State<Arc<Daemon>>,
    Parameters(part): Parameters<Part>,
) -> Result<Json<Registrations>, Problem> {
    let limit = page_length(part.limit)?;
    let page = daemon.runtime.registration_page(part.after.unwrap_or_default(), limit).await?;
    let registrations = page.registrations.into_iter().map(Registration::from).collect();
    Ok(Json(Registrations { registrations, next: page.next }))
}

/// Registers a worker, and waits until it is activated.
///
/// One that is registered already is compared with its server's script, and updated if that is
/// another. Nothing is registered if the answer is a problem, and what was there before still is.
#[utoipa::path(
    post, path = "/v1/registrations", tag = "registrations", request_body = NewRegistration,
    responses(
        (status = 201, body = Registration, headers(("location" = String))),
        (status = 422, body = Problem), (status = "4XX", body = Problem)
    )
)]
pub async fn register(
    State(daemon): State<Arc<Daemon>>,
    Body(new): Body<NewRegistration>,
) -> Result<Response, Problem> {
    let insecure =
        |reason| Problem::unprocessable("script", "The script cannot be a worker's", reason);
    let script = Url::parse(&new.script)
        .map_err(|error| Problem::bad_request(format!("`script` is no URL: {error}")))?;
    let script = require_secure(script).map_err(insecure)?;
    let scope = new.scope.as_deref().map(parse_scope).transpose()?;
    let runtime = &daemon.runtime;
    let registered = match new.worker_type {
        WorkerType::Classic => runtime.register(script, scope).await?,
        WorkerType::Module => runtime.register_module(script, scope).await?,
    };
    let found = runtime.registration(registered.scope.clone()).await?;
    // Somebody may have unregistered it in the meantime.
    let found = found.ok_or_else(|| Problem::unknown_scope(registered.scope.as_str()))?;
    let name = utf8_percent_encode(registered.scope.as_str(), NON_ALPHANUMERIC);
    let location = [(header::LOCATION, format!("/v1/registrations/{name}"))];
    Ok((StatusCode::CREATED, location, Json(Registration::from(found))).into_response())
}

/// Shows a registration.
#[utoipa::path(
    get, path = "/v1/registrations/{scope}", tag = "registrations",
    params(("scope" = String, Path, description = "The scope, percent-encoded")),
    responses((status = 200, body = Registration), (status = "4XX", body = Problem))
)]
pub async fn inspect(
    State(daemon): State<Arc<Daemon>>,
    InPath(scope): InPath<String>,
) -> Result<Json<Registration>, Problem> {
    let scope = parse_scope(&scope)?;
    let found = daemon.runtime.registration(scope.clone()).await?;
    let found = found.ok_or_else(|| Problem::unknown_scope(scope.as_str()))?;
    Ok(Json(found.into()))
}

/// Unregisters a worker, with its syncs.
#[utoipa::path(
    delete, path = "/v1/registrations/{scope}", tag = "registrations",
    params(("scope" = String, Path, description = "The scope, percent-encoded")),
    responses((status = 204), (status = "4XX", body = Problem))
)]
pub async fn unregister(
    State(daemon): State<Arc<Daemon>>,
    InPath(scope): InPath<String>,
) -> Result<StatusCode, Problem> {
    let scope = parse_scope(&scope)?;
    match daemon.runtime.unregister(scope.clone()).await? {
        Unregistered::Removed => Ok(StatusCode::NO_CONTENT),
        Unregistered::NotFound => Err(Problem::unknown_scope(scope.as_str())),
    }
}
