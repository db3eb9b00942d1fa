//! What happens: the newest trace events, and a stream of what follows (server-sent events).
//! <https://html.spec.whatwg.org/#server-sent-events>
//!
//! Invariant: a reader costs a position and no queue; what it was too slow for it is told as a gap.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::IntoParams;

use super::page_length;
use crate::daemon::Daemon;
use crate::daemon::problem::{Parameters, Problem};
use crate::daemon::timeline::{Next, Position, Reader};

/// How often a quiet stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a browser waits before it asks again.
const RETRY: Duration = Duration::from_secs(2);

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Newest {
    /// So many at most: 1 to 1000. By default 100.
    limit: Option<usize>,
}

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Streamed {
    /// Of these kinds alone, with commas between: `sync,fetch`.
    kind: Option<String>,
    /// As the header `Last-Event-ID`: begins after this event.
    after: Option<String>,
}

/// The newest trace events, oldest first.
#[utoipa::path(
    get, path = "/v1/trace", tag = "trace", params(Newest),
    responses(
        (status = 200, description = "A list: `events`", body = serde_json::Value),
        (status = "4XX", body = Problem)
    )
)]
pub async fn newest(
    State(daemon): State<Arc<Daemon>>,
    Parameters(newest): Parameters<Newest>,
) -> Result<Response, Problem> {
    let events = daemon.timeline.newest(page_length(newest.limit)?);
    let events: Vec<&str> = events.iter().map(|entry| entry.json.as_str()).collect();
    let json = format!("{{\"events\":[{}]}}", events.join(","));
    Ok(([(header::CONTENT_TYPE, "application/json")], Bytes::from(json)).into_response())
}

/// A stream of trace events: first those that are kept, then each as it happens.
///
/// Each is an event `trace` with its `id`. What a reader has missed is an event `gap` with
/// `{"missed": 17}`, or `null` if the daemon has started anew meanwhile.
#[utoipa::path(
    get, path = "/v1/trace/stream", tag = "trace",
    params(Streamed, ("last-event-id" = Option<String>, Header, description = "Begins after it")),
    responses(
        (status = 200, content_type = "text/event-stream", body = String),
        (status = 503, description = "Too many streams", body = Problem),
        (status = "4XX", body = Problem)
    )
)]
pub async fn stream(
    State(daemon): State<Arc<Daemon>>,
    Parameters(streamed): Parameters<Streamed>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let after = last.or(streamed.after).filter(|id| !id.is_empty());
    let after = after.map(|id| id.parse::<Position>().map_err(Problem::bad_request)).transpose()?;
    let kinds = streamed.kind.map(|kinds| kinds.split(',').map(str::to_owned).collect());
    let place = daemon.streams.clone().try_acquire_owned().map_err(|_| {
        let detail = "as many streams are open as may be; close one, or read GET /v1/trace";
        let title = "Too many streams are open";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "streams", title, detail)
    })?;
    let follower = Follower {
        reader: daemon.timeline.read(after),
        kinds,
        stopping: daemon.stopping.clone(),
        _place: place,
    };
    let events = stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// A stream's reader.
struct Follower {
    reader: Reader,
    kinds: Option<BTreeSet<String>>,
    stopping: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

impl Follower {
    /// `None` when the daemon stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let next = tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stopping| *stopping) => None,
                next = self.reader.next() => next,
            };
            match next? {
                Next::Event(entry) => {
                    if self.kinds.as_ref().is_some_and(|kinds| !kinds.contains(entry.kind)) {
                        continue;
                    }
                    let id = self.reader.position_of(&entry).to_string();
                    return Some(Event::default().event("trace").id(id).data(&entry.json));
                }
                Next::Gap { missed, position } => {
                    let missed = missed.map_or("null".to_owned(), |missed| missed.to_string());
                    let gap = Event::default().event("gap").id(position.to_string());
                    return Some(gap.retry(RETRY).data(format!("{{\"missed\":{missed}}}")));
                }
            }
        }
    }
}
