//! A service of your own in which your users' workers answer: each request is a `fetch` event at
//! the worker of the host that it names.
//!
//! ```sh
//! cargo run --example axum_service
//! curl -H 'host: anna.example' http://127.0.0.1:3000/hello
//! ```

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt};
use kittiwake::{ClientBody, ClientRequest, ClientRequestKind, ClientResponse, Runtime};
use url::Url;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What two users have written; a real service has these in its database.
const WORKERS: [(&str, &str); 2] = [
    (
        "https://anna.example/",
        "onfetch = (event) => event.respondWith(new Response(`anna says ${event.request.url}`));",
    ),
    (
        "https://ben.example/",
        "onfetch = (event) => event.respondWith(event.request.text().then(
           (text) => Response.json({ ben: text.toUpperCase() }, { status: 201 })));",
    ),
];

#[tokio::main]
async fn main() -> Result<()> {
    let scripts = tempfile::tempdir()?;
    let runtime = start(scripts.path()).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{} answers for anna.example and ben.example", listener.local_addr()?);
    let stopped = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    axum::serve(listener, service(runtime.clone())).with_graceful_shutdown(stopped).await?;
    runtime.shut_down().await?;
    Ok(())
}

/// A runtime in which the users' workers are registered.
pub async fn start(scripts: &std::path::Path) -> Result<Runtime> {
    let mut builder = Runtime::builder().shards(2);
    for (number, (origin, script)) in WORKERS.iter().enumerate() {
        let folder = scripts.join(number.to_string());
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("sw.js"), script)?;
        builder = builder.serve(origin.parse()?, folder);
    }
    let runtime = builder.start()?;
    for (origin, _) in WORKERS {
        runtime.register(Url::parse(origin)?.join("sw.js")?, None).await?;
    }
    Ok(runtime)
}

/// The part of a service that workers answer.
pub fn service(runtime: Runtime) -> Router {
    Router::new().fallback(answer).with_state(runtime)
}

async fn answer(State(runtime): State<Runtime>, request: Request) -> Response {
    let Some(request) = client_request(request) else {
        return (StatusCode::BAD_REQUEST, "which host?").into_response();
    };
    match runtime.fetch(request).await {
        Ok(response) => http_response(response),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

fn client_request(request: Request) -> Option<ClientRequest> {
    let (head, body) = request.into_parts();
    let host = head.headers.get(HOST)?.to_str().ok()?;
    let url = Url::parse(&format!("https://{host}{}", head.uri)).ok()?;
    // One character is one byte.
    let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect();
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), text(value.as_bytes())));
    let chunks = body.into_data_stream().map_err(|error| error.to_string());
    Some(ClientRequest {
        method: head.method.to_string(),
        url,
        headers: headers.collect(),
        body: match head.method.as_str() {
            "GET" | "HEAD" => ClientBody::Empty,
            _ => ClientBody::Stream(chunks.boxed()),
        },
        kind: ClientRequestKind::Subresource { destination: String::new(), no_cors: false },
    })
}

fn http_response(response: ClientResponse) -> Response {
    let mut built = Response::builder().status(response.status);
    for (name, value) in &response.headers {
        // The body is decoded, and its length is the connection's business.
        if !["content-encoding", "content-length"].contains(&name.as_str()) {
            let bytes: Vec<u8> = value.chars().map(|c| c as u8).collect();
            built = built.header(name, bytes);
        }
    }
    let body = response.body.map_or_else(Body::empty, Body::from_stream);
    built.body(body).unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}
