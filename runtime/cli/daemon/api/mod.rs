//! The control API over HTTP: what there is, and the document that describes it (OpenAPI).
//!
//! Invariant: every operation is in the document, because its route is made from the same lines.

mod events;
mod fetch;
mod health;
mod registrations;
mod syncs;
mod trace;
mod world;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router, middleware};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Problem;
use super::{Daemon, guard, page};

/// What a list has at most, unless it is asked for less.
const PAGE: usize = 100;

/// What it may be asked for.
const LONGEST_PAGE: usize = 1000;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Kittiwake",
        description = "Registers service workers, shows what they and their syncs do, and moves \
                       them. Every error is a problem as in RFC 9457."
    ),
    components(schemas(Problem)),
    modifiers(&Bearer),
    security(("token" = []))
)]
struct Document;

/// How a client shows who it is.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

/// Everything that is answered.
pub fn router(daemon: Arc<Daemon>) -> Router {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(registrations::list, registrations::register))
        .routes(routes!(registrations::inspect, registrations::unregister))
        .routes(routes!(events::push))
        .routes(routes!(events::message))
        .routes(routes!(events::sync))
        .routes(routes!(fetch::fetch))
        .routes(routes!(syncs::list))
        .routes(routes!(syncs::fire))
        .routes(routes!(world::network, world::set_network))
        .routes(routes!(world::realms))
        .routes(routes!(world::clients))
        .routes(routes!(trace::newest))
        .routes(routes!(trace::stream))
        .routes(routes!(health::status))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .split_for_parts();
    let document = Arc::new(document);
    router
        .route("/openapi.json", get(move || async move { Json((*document).clone()) }))
        .route("/", get(page::document))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(guard::BODY_LIMIT))
        .layer(middleware::from_fn_with_state(daemon.clone(), guard::attend))
        .with_state(daemon)
}

async fn unknown_path() -> Problem {
    let detail = "there is nothing at this path; GET /openapi.json says what there is";
    Problem::new(StatusCode::NOT_FOUND, "unknown-path", "Nothing is here", detail)
}

async fn unknown_method() -> Problem {
    let detail = "this path has other methods; GET /openapi.json says which";
    let title = "The method is not for this path";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "unknown-method", title, detail)
}

/// How long a list may be.
fn page_length(limit: Option<usize>) -> Result<usize, Problem> {
    match limit {
        None => Ok(PAGE),
        Some(limit) if (1..=LONGEST_PAGE).contains(&limit) => Ok(limit),
        Some(limit) => {
            Err(Problem::bad_request(format!("`limit` is {limit}; give 1 to {LONGEST_PAGE}")))
        }
    }
}

/// A scope that a client has sent.
fn parse_scope(text: &str) -> Result<url::Url, Problem> {
    let mut scope = url::Url::parse(text).map_err(|error| {
        Problem::bad_request(format!("`{text}` is no scope: {error}; give a URL"))
    })?;
    scope.set_fragment(None);
    Ok(scope)
}
