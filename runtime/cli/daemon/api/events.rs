//! Events at somebody's wish: push, message, sync. Nothing that is registered is changed by them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kittiwake::{EventOutcome, LastChance};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::parse_scope;
use crate::daemon::Daemon;
use crate::daemon::problem::{Body, InPath, Problem};

/// A push message. Without either the event has no data.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PushMessage {
    /// Its data, as text.
    data: Option<String>,
    /// Its data, as bytes in base64.
    data_base64: Option<String>,
}

/// A message.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Any JSON, which is the event's `data`.
    message: serde_json::Value,
}

/// A sync event.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncEvent {
    /// Its tag, which need not be registered.
    tag: String,
    /// Whether it says that no attempt follows.
    #[serde(default)]
    last_chance: bool,
}

/// How an event ended.
#[derive(Serialize, ToSchema)]
pub struct Outcome {
    /// `fulfilled`, `rejected`, `timed-out` or `terminated`.
    outcome: &'static str,
    /// For one that was rejected: with what.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<EventOutcome> for Outcome {
    fn from(outcome: EventOutcome) -> Outcome {
        let (outcome, reason) = match outcome {
            EventOutcome::Fulfilled => ("fulfilled", None),
            EventOutcome::Rejected(exception) => ("rejected", Some(exception.to_string())),
            EventOutcome::TimedOut => ("timed-out", None),
            EventOutcome::Terminated => ("terminated", None),
        };
        Outcome { outcome, reason }
    }
}

/// Dispatches a push event, and waits for its end.
#[utoipa::path(
    post, path = "/v1/registrations/{scope}/push", tag = "events", request_body = PushMessage,
    params(("scope" = String, Path, description = "The scope, percent-encoded")),
    responses((status = 200, body = Outcome), (status = "4XX", body = Problem))
)]
pub async fn push(
    State(daemon): State<Arc<Daemon>>,
    InPath(scope): InPath<String>,
    Body(message): Body<PushMessage>,
) -> Result<Json<Outcome>, Problem> {
    let data = bytes_of(message.data, message.data_base64, "data")?;
    let scope = parse_scope(&scope)?;
    Ok(Json(daemon.runtime.dispatch_push(Some(scope), data).await?.into()))
}

/// Posts a message to the worker. Answers when it is on its way.
#[utoipa::path(
    post, path = "/v1/registrations/{scope}/message", tag = "events", request_body = Message,
    params(("scope" = String, Path, description = "The scope, percent-encoded")),
    responses((status = 202), (status = "4XX", body = Problem))
)]
pub async fn message(
    State(daemon): State<Arc<Daemon>>,
    InPath(scope): InPath<String>,
    Body(message): Body<Message>,
) -> Result<StatusCode, Problem> {
    let scope = parse_scope(&scope)?;
    daemon.runtime.post_message(Some(scope), message.message).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Dispatches a sync event beside the registrations, and waits for its end.
#[utoipa::path(
    post, path = "/v1/registrations/{scope}/sync", tag = "events", request_body = SyncEvent,
    params(("scope" = String, Path, description = "The scope, percent-encoded")),
    responses((status = 200, body = Outcome), (status = "4XX", body = Problem))
)]
pub async fn sync(
    State(daemon): State<Arc<Daemon>>,
    InPath(scope): InPath<String>,
    Body(event): Body<SyncEvent>,
) -> Result<Json<Outcome>, Problem> {
    let scope = parse_scope(&scope)?;
    let chance = if event.last_chance { LastChance::Yes } else { LastChance::No };
    Ok(Json(daemon.runtime.dispatch_sync(Some(scope), &event.tag, chance).await?.into()))
}

/// Bytes that came as text or in base64.
pub fn bytes_of(
    text: Option<String>,
    base64: Option<String>,
    name: &str,
) -> Result<Option<Vec<u8>>, Problem> {
    match (text, base64) {
        (Some(_), Some(_)) => {
            Err(Problem::bad_request(format!("give `{name}` or `{name}_base64`, not both")))
        }
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(base64)) => BASE64_STANDARD.decode(base64).map(Some).map_err(|error| {
            Problem::bad_request(format!("`{name}_base64` is no base64: {error}"))
        }),
        (None, None) => Ok(None),
    }
}
