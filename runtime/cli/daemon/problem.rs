//! What the control API answers when it cannot do what was asked for.
//! <https://www.rfc-editor.org/rfc/rfc9457>
//!
//! Invariant: every error has this one shape, and names its request.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kittiwake::{Error, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use utoipa::ToSchema;

/// How long the body of a request may take.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A problem, as `application/problem+json`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of problem it is: a name that does not change.
    #[serde(rename = "type")]
    #[schema(example = "urn:kittiwake:problem:unknown-scope")]
    pub kind: String,
    /// The same for people.
    pub title: &'static str,
    /// The status of the response.
    #[schema(value_type = u16, example = 404)]
    #[serde(serialize_with = "status_number")]
    pub status: StatusCode,
    /// What is wrong here, and what to do about it.
    pub detail: String,
    /// The request, as the log and the header `x-request-id` name it.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(example = "urn:kittiwake:request:18c1f2a3b4-7")]
    pub instance: String,
}

fn status_number<S: serde::Serializer>(
    status: &StatusCode,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem of a kind.
    pub fn new(
        status: StatusCode,
        kind: &str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        let kind = format!("urn:kittiwake:problem:{kind}");
        Problem { kind, title, status, detail: detail.into(), instance: String::new() }
    }

    /// What was sent cannot be meant.
    pub fn bad_request(detail: impl Into<String>) -> Problem {
        let title = "The request is not well-formed";
        Problem::new(StatusCode::BAD_REQUEST, "bad-request", title, detail)
    }

    /// What was sent can be read, and not be done.
    pub fn unprocessable(kind: &str, title: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, kind, title, detail)
    }

    /// No registration has this scope.
    pub fn unknown_scope(scope: &str) -> Problem {
        let detail = format!(
            "no service worker is registered for {scope}; GET /v1/registrations lists the scopes"
        );
        Problem::new(StatusCode::NOT_FOUND, "unknown-scope", "The scope is not registered", detail)
    }

    /// The daemon is about to end.
    pub fn stopping() -> Problem {
        let detail = "the daemon is stopping; ask again when it has started anew";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "The daemon is stopping", detail)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let detail = error.to_string();
        match error {
            Error::Registration { .. } => {
                Problem::unprocessable("not-registered", "The worker was not registered", detail)
            }
            Error::Install { .. } => {
                Problem::unprocessable("not-installed", "The worker was not installed", detail)
            }
            Error::NoWorker { scope } => Problem::unknown_scope(&scope),
            Error::Stopped => Problem::stopping(),
            Error::Fetch { .. } => {
                let title = "The request got a network error";
                Problem::new(StatusCode::BAD_GATEWAY, "network-error", title, detail)
            }
            Error::Store(error) if matches!(*error, StoreError::DiskFull { .. }) => {
                let title = "The disk is full";
                Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", title, detail)
            }
            Error::Store(_) => {
                let title = "The state folder failed";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "store", title, detail)
            }
            _ => {
                let title = "It could not be done";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", title, detail)
            }
        }
    }
}

impl IntoResponse for Problem {
    /// `guard.rs` writes the body, because it knows the request's name.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the problem of a response, if it has one, with the name of its request.
pub fn write(response: &mut Response, request: &str) {
    let Some(mut problem) = response.extensions_mut().remove::<Problem>() else { return };
    problem.instance = format!("urn:kittiwake:request:{request}");
    let mut body = serde_json::to_vec(&problem).expect("a problem serialises");
    body.push(b'\n');
    *response.body_mut() = body.into();
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().remove(header::CONTENT_LENGTH);
}

/// A body of JSON; whatever is wrong with it is a problem.
pub struct Body<T>(pub T);

/// The parameters after the `?`; whatever is wrong with them is a problem.
pub struct Parameters<T>(pub T);

/// The parameters in the path; whatever is wrong with them is a problem.
pub struct InPath<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        // A client that sends nothing keeps its place for so long and no longer.
        match timeout(BODY_TIME, Json::from_request(request, state)).await {
            Ok(body) => Ok(Body(body?.0)),
            Err(_) => {
                let title = "The body did not come";
                let detail = "a body has to come within 30 s";
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", title, detail))
            }
        }
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Parameters(Query::from_request_parts(parts, state).await?.0))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(InPath(Path::from_request_parts(parts, state).await?.0))
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Problem {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "The body is too large",
                format!("a body has {} bytes at most", super::guard::BODY_LIMIT),
            ),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not-json",
                "The body is no JSON",
                "send JSON, with `Content-Type: application/json`",
            ),
            _ => Problem::bad_request(rejection.body_text()),
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Problem {
        Problem::bad_request(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Problem {
        Problem::bad_request(rejection.body_text())
    }
}
