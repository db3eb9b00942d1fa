//! A request through a worker, as a page's in a browser.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use kittiwake::{ClientBody, ClientRequest, ClientRequestKind, ResponseSource};
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::events::bytes_of;
use crate::daemon::Daemon;
use crate::daemon::problem::{Body, Problem};

/// Bytes of a response's body that are answered.
const ANSWERED: usize = 8 << 20;

/// A header.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Header {
    name: String,
    value: String,
}

/// A request.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FetchRequest {
    /// The URL: the registration that it matches has the controller.
    url: String,
    /// The method. By default GET.
    method: Option<String>,
    /// Its headers.
    #[serde(default)]
    headers: Vec<Header>,
    /// Its body, as text.
    body: Option<String>,
    /// Its body, as bytes in base64.
    body_base64: Option<String>,
    /// What asks.
    #[serde(default)]
    mode: FetchMode,
    /// What it asks for, as a browser's `Sec-Fetch-Dest`; empty for `fetch()`.
    #[serde(default)]
    destination: String,
}

/// What asks for a request.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FetchMode {
    /// A page that is about to be.
    Navigate,
    /// A page that is there.
    #[default]
    Cors,
    /// An image or a script of such a page.
    NoCors,
}

/// What it was answered with.
#[derive(Serialize, ToSchema)]
pub struct FetchResponse {
    status: u16,
    status_text: String,
    headers: Vec<Header>,
    /// Who answered: `worker` or `network`.
    source: &'static str,
    /// The body, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// The body in base64, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// Whether the body went on: 8 MiB of it are answered.
    cut: bool,
}

/// Sends a request through the worker that its URL matches.
#[utoipa::path(
    post, path = "/v1/fetch", tag = "events", request_body = FetchRequest,
    responses(
        (status = 200, body = FetchResponse),
        (status = 502, description = "A network error", body = Problem),
        (status = "4XX", body = Problem)
    )
)]
pub async fn fetch(
    State(daemon): State<Arc<Daemon>>,
    Body(request): Body<FetchRequest>,
) -> Result<Json<FetchResponse>, Problem> {
    let response = daemon.runtime.fetch(converted(request)?).await?;
    let mut bytes = Vec::new();
    let mut cut = false;
    if let Some(mut body) = response.body {
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk?);
            if bytes.len() > ANSWERED {
                bytes.truncate(ANSWERED);
                cut = true;
                break;
            }
        }
    }
    let (body, body_base64) = match String::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(BASE64_STANDARD.encode(error.as_bytes()))),
    };
    let headers = response.headers.into_iter();
    Ok(Json(FetchResponse {
        status: response.status,
        status_text: response.status_text,
        headers: headers.map(|(name, value)| Header { name, value }).collect(),
        source: match response.source {
            ResponseSource::ServiceWorker => "worker",
            ResponseSource::Network => "network",
        },
        body,
        body_base64,
        cut,
    }))
}

fn converted(request: FetchRequest) -> Result<ClientRequest, Problem> {
    let url = Url::parse(&request.url)
        .map_err(|error| Problem::bad_request(format!("`url` is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Problem::bad_request("`url` is neither http nor https"));
    }
    let method = request.method.unwrap_or_else(|| "GET".to_owned());
    let method = http::Method::from_bytes(method.as_bytes())
        .map_err(|_| Problem::bad_request("`method` is no HTTP method"))?;
    // https://fetch.spec.whatwg.org/#forbidden-method
    if matches!(method.as_str(), "CONNECT" | "TRACE" | "TRACK") {
        let detail = format!("no page can make a request with the method {method}");
        return Err(Problem::bad_request(detail));
    }
    for Header { name, value } in &request.headers {
        let is_good = http::HeaderName::from_bytes(name.as_bytes()).is_ok()
            && http::HeaderValue::from_str(value).is_ok();
        if !is_good {
            return Err(Problem::bad_request(format!("`{name}` is no header with a good value")));
        }
    }
    let body = match bytes_of(request.body, request.body_base64, "body")? {
        Some(_) if matches!(method, http::Method::GET | http::Method::HEAD) => {
            return Err(Problem::bad_request(format!("a {method} request has no body")));
        }
        Some(bytes) => ClientBody::Whole(Bytes::from(bytes)),
        None => ClientBody::Empty,
    };
    let headers = request.headers.into_iter().map(|header| (header.name, header.value)).collect();
    let kind = match request.mode {
        FetchMode::Navigate => ClientRequestKind::Navigation,
        mode => ClientRequestKind::Subresource {
            destination: request.destination,
            no_cors: matches!(mode, FetchMode::NoCors),
        },
    };
    Ok(ClientRequest { method: method.to_string(), url, headers, body, kind })
}
