//! Background syncs of both types: where each stands, and one fired now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use kittiwake::{DueNow, StoredSync, SyncPlace, SyncQuery, SyncState, SyncType};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{page_length, parse_scope};
use crate::daemon::Daemon;
use crate::daemon::problem::{Body, Parameters, Problem};
use crate::syncs::rfc_3339;

/// Whether a sync fires once.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SyncKind {
    /// It fires once.
    OneShot,
    /// It fires time and again.
    Periodic,
}

/// Where a sync stands.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It fires as soon as the network is there.
    Pending,
    /// It waits for its next attempt, or its next period.
    Waiting,
    /// Its event is under way.
    Firing,
    /// Its event is under way, and it was registered again meanwhile.
    ReregisteredWhileFiring,
}

/// A sync.
#[derive(Serialize, ToSchema)]
pub struct Sync {
    origin: String,
    /// The scope of its worker.
    scope: String,
    /// Its tag; may be empty.
    tag: String,
    #[serde(rename = "type")]
    kind: SyncKind,
    state: Standing,
    /// How many of its attempts have failed.
    failed_attempts: u32,
    /// For one that waits: when it is due (RFC 3339).
    next_due: Option<String>,
}

/// A part of the syncs: by type, registration and tag.
#[derive(Serialize, ToSchema)]
pub struct Syncs {
    /// When it was read (RFC 3339).
    now: String,
    syncs: Vec<Sync>,
    /// The `after` of the next part; none at the end.
    next: Option<String>,
}

/// Which syncs.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Of this registration alone.
    scope: Option<String>,
    /// Of this type alone.
    #[serde(rename = "type")]
    kind: Option<SyncKind>,
    /// In this state alone.
    state: Option<Standing>,
    /// The `next` of the part before.
    after: Option<String>,
    /// So many at most: 1 to 1000. By default 100.
    limit: Option<usize>,
}

/// Which sync is to fire.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fire {
    /// The scope of its worker.
    scope: String,
    /// Its tag.
    tag: String,
    /// Its type. By default `one-shot`.
    #[serde(rename = "type", default = "one_shot")]
    kind: SyncKind,
}

/// What becomes of it.
#[derive(Serialize, ToSchema)]
pub struct Fired {
    /// `due`: it fires as soon as the network is there. `under-way`: it is firing already.
    state: &'static str,
}

fn one_shot() -> SyncKind {
    SyncKind::OneShot
}

/// Lists syncs.
#[utoipa::path(
    get, path = "/v1/syncs", tag = "syncs", params(Wanted),
    responses((status = 200, body = Syncs), (status = "4XX", body = Problem))
)]
pub async fn list(
    State(daemon): State<Arc<Daemon>>,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Json<Syncs>, Problem> {
    let query = SyncQuery {
        scope: wanted.scope.as_deref().map(parse_scope).transpose()?,
        kind: wanted.kind.map(SyncType::from),
        state: wanted.state.map(SyncState::from),
        after: wanted.after.as_deref().map(place_from).transpose()?,
        limit: page_length(wanted.limit)?,
    };
    let page = daemon.runtime.sync_page(query).await?;
    Ok(Json(Syncs {
        now: rfc_3339(page.part.now_ms),
        syncs: page.part.syncs.into_iter().map(Sync::from).collect(),
        next: page.next.map(|place| place_text(&place)),
    }))
}

/// Makes a registered sync due now, whatever it waits for, and lets it fire.
#[utoipa::path(
    post, path = "/v1/syncs/fire", tag = "syncs", request_body = Fire,
    responses((status = 202, body = Fired), (status = "4XX", body = Problem))
)]
pub async fn fire(
    State(daemon): State<Arc<Daemon>>,
    Body(fire): Body<Fire>,
) -> Result<(StatusCode, Json<Fired>), Problem> {
    let scope = parse_scope(&fire.scope)?;
    let found = daemon.runtime.make_sync_due(scope, fire.kind.into(), &fire.tag).await?;
    let state = match found {
        DueNow::Due => "due",
        DueNow::UnderWay => "under-way",
        DueNow::NotFound => {
            let (kind, tag, scope) = (SyncType::from(fire.kind), fire.tag, fire.scope);
            let detail = format!(
                "{scope} has no {kind} sync {tag:?}; GET /v1/syncs?scope= lists its syncs, and \
                 POST /v1/registrations/{{scope}}/sync dispatches an event for any tag"
            );
            let title = "The sync is not registered";
            return Err(Problem::new(StatusCode::NOT_FOUND, "unknown-sync", title, detail));
        }
    };
    Ok((StatusCode::ACCEPTED, Json(Fired { state })))
}

/// A place as clients keep it: they need not know what is in it.
fn place_text(place: &SyncPlace) -> String {
    let (kind, registration) = (place.kind.as_str(), place.registration.0);
    BASE64_URL_SAFE_NO_PAD.encode(format!("{kind} {registration} {}", place.tag))
}

fn place_from(text: &str) -> Result<SyncPlace, Problem> {
    let parse = || {
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut parts = text.splitn(3, ' ');
        let kind = match parts.next()? {
            "one-shot" => SyncType::OneShot,
            "periodic" => SyncType::Periodic,
            _ => return None,
        };
        Some(SyncPlace::new(kind, parts.next()?.parse().ok()?, parts.next()?.to_owned()))
    };
    parse().ok_or_else(|| Problem::bad_request("`after` is no `next` of an earlier answer"))
}

impl From<StoredSync> for Sync {
    fn from(sync: StoredSync) -> Sync {
        Sync {
            origin: sync.origin,
            scope: sync.scope,
            tag: sync.tag,
            kind: match sync.kind {
                SyncType::OneShot => SyncKind::OneShot,
                SyncType::Periodic => SyncKind::Periodic,
            },
            state: match sync.state {
                SyncState::Pending => Standing::Pending,
                SyncState::Waiting => Standing::Waiting,
                SyncState::Firing => Standing::Firing,
                SyncState::ReregisteredWhileFiring => Standing::ReregisteredWhileFiring,
            },
            failed_attempts: sync.failed_attempts,
            next_due: sync.due_at_ms.map(rfc_3339),
        }
    }
}

impl From<SyncKind> for SyncType {
    fn from(kind: SyncKind) -> SyncType {
        match kind {
            SyncKind::OneShot => SyncType::OneShot,
            SyncKind::Periodic => SyncType::Periodic,
        }
    }
}

impl From<Standing> for SyncState {
    fn from(state: Standing) -> SyncState {
        match state {
            Standing::Pending => SyncState::Pending,
            Standing::Waiting => SyncState::Waiting,
            Standing::Firing => SyncState::Firing,
            Standing::ReregisteredWhileFiring => SyncState::ReregisteredWhileFiring,
        }
    }
}
