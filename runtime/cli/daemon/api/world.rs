//! The network, and what is in memory: realms and clients.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use kittiwake::RealmOwnerKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::daemon::Daemon;
use crate::daemon::problem::{Body, Problem};

/// What requests and syncs meet.
#[derive(Serialize, ToSchema)]
pub struct NetworkReport {
    /// `online` or `offline`.
    state: String,
    /// The same with what requests meet on the way, as `--network` writes it.
    network: String,
    /// Whether syncs may fire: the network is there and known.
    syncs_may_fire: bool,
    /// `real` follows the machine's network; `manual` can be set.
    signal: &'static str,
}

/// What they are to meet.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNetwork {
    /// `online`, `offline`, or with conditions: `online+latency=200ms+loss=10%`.
    #[schema(example = "offline")]
    network: String,
}

/// The global scopes that are in memory.
#[derive(Serialize, ToSchema)]
pub struct Realms {
    /// Oldest first.
    realms: Vec<Realm>,
}

/// A global scope.
#[derive(Serialize, ToSchema)]
pub struct Realm {
    /// Its number in this process.
    number: u32,
    /// `worker` or `page`.
    kind: &'static str,
    /// The worker's script, or the page's URL.
    url: String,
    origin: String,
    /// How long it has been there, in milliseconds.
    age_ms: u64,
}

/// The pages that are open.
#[derive(Serialize, ToSchema)]
pub struct Clients {
    /// The one that was in front last first.
    clients: Vec<Client>,
}

/// A page that is open.
#[derive(Serialize, ToSchema)]
pub struct Client {
    url: String,
    /// Whether it is visible and focused.
    in_front: bool,
}

/// Shows the network.
#[utoipa::path(
    get, path = "/v1/network", tag = "world",
    responses((status = 200, body = NetworkReport), (status = "4XX", body = Problem))
)]
pub async fn network(State(daemon): State<Arc<Daemon>>) -> Result<Json<NetworkReport>, Problem> {
    report(&daemon).await.map(Json)
}

/// Sets the network, unless the daemon follows the machine's.
#[utoipa::path(
    put, path = "/v1/network", tag = "world", request_body = NewNetwork,
    responses(
        (status = 200, body = NetworkReport),
        (status = 409, description = "The daemon follows the machine's network", body = Problem),
        (status = "4XX", body = Problem)
    )
)]
pub async fn set_network(
    State(daemon): State<Arc<Daemon>>,
    Body(new): Body<NewNetwork>,
) -> Result<Json<NetworkReport>, Problem> {
    if daemon.follows_machine {
        let detail = "the daemon follows the machine's network; start it with --network online to \
                      set it by hand";
        let title = "The network is not set by hand";
        return Err(Problem::new(StatusCode::CONFLICT, "network-is-real", title, detail));
    }
    let network: kittiwake::Network =
        new.network.parse().map_err(|error| Problem::bad_request(format!("{error}")))?;
    daemon.runtime.set_network(network).await?;
    report(&daemon).await.map(Json)
}

async fn report(daemon: &Daemon) -> Result<NetworkReport, Problem> {
    let status = daemon.runtime.network().await?;
    let (state, conditions) = (status.state, status.conditions);
    Ok(NetworkReport {
        state: state.to_string(),
        network: kittiwake::Network { state, conditions }.to_string(),
        syncs_may_fire: status.may_fire,
        signal: if daemon.follows_machine { "real" } else { "manual" },
    })
}

/// Lists the global scopes that are in memory.
#[utoipa::path(
    get, path = "/v1/realms", tag = "world",
    responses((status = 200, body = Realms), (status = "4XX", body = Problem))
)]
pub async fn realms(State(daemon): State<Arc<Daemon>>) -> Result<Json<Realms>, Problem> {
    let realms = daemon.runtime.realms().await?.into_iter().map(|realm| Realm {
        number: realm.number,
        kind: match realm.kind {
            RealmOwnerKind::Worker => "worker",
            RealmOwnerKind::Page => "page",
        },
        url: realm.url,
        origin: realm.origin,
        age_ms: realm.age.as_millis() as u64,
    });
    Ok(Json(Realms { realms: realms.collect() }))
}

/// Lists the pages that are open.
#[utoipa::path(
    get, path = "/v1/clients", tag = "world",
    responses((status = 200, body = Clients), (status = "4XX", body = Problem))
)]
pub async fn clients(State(daemon): State<Arc<Daemon>>) -> Result<Json<Clients>, Problem> {
    let pages = daemon.runtime.pages().await?.into_iter();
    let clients = pages.map(|page| Client { url: page.url.to_string(), in_front: page.in_front });
    Ok(Json(Clients { clients: clients.collect() }))
}
