//! Main fetch and HTTP fetch: <https://fetch.spec.whatwg.org/#main-fetch>
//!
//! Invariant: whatever a response's type, it was filtered before it leaves this file.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use super::cors::{self, Cors, Preflight, cors_error};
use super::network::{self, SiteRelation, network_or_cache, site_relation};
use super::scheme::{local_response, require_good_port};
use super::{
    Environment, FetchError, Mode, RedirectMode, Request, Response, ResponseSource, ResponseType,
    ServiceWorkersMode, Tainting, header, integrity, redirect,
};
use crate::http::{HttpError, HttpResponse, whole_body};

/// Fetches, follows redirects as the request says, and filters the response.
pub(crate) async fn fetch(
    environment: &Environment,
    mut request: Request,
) -> Result<Response, FetchError> {
    loop {
        require_good_port(request.url())?;
        let is_http = matches!(request.url().scheme(), "http" | "https");
        let preflight = taint(&mut request, is_http)?;
        if !is_http {
            let kind = kind_of(request.tainting);
            return with_integrity(&request, local_response(&request, kind)?).await;
        }
        let response = match intercepted(environment, &mut request).await? {
            Some(response) => response,
            None => from_network(environment, &mut request, preflight).await?,
        };
        if matches!(response.status, 301 | 302 | 303 | 307 | 308) {
            match request.redirect {
                RedirectMode::Error => {
                    let url = request.url().clone();
                    return Err(HttpError::RedirectForbidden { url }.into());
                }
                RedirectMode::Manual => {
                    return Ok(Response { kind: ResponseType::OpaqueRedirect, ..response });
                }
                RedirectMode::Follow => {
                    let target = redirect::target(&request, response.status, &response.headers)?;
                    if let Some(target) = target {
                        redirect::follow(&mut request, response.status, &response.headers, target);
                        continue;
                    }
                }
            }
        }
        return with_integrity(&request, filtered(environment, &request, response)).await;
    }
}

/// What the client's controller answers, if it has one and it answers.
/// <https://fetch.spec.whatwg.org/#concept-http-fetch>
async fn intercepted(
    environment: &Environment,
    request: &mut Request,
) -> Result<Option<Response>, FetchError> {
    let Some(interceptor) = &environment.interceptor else { return Ok(None) };
    if request.service_workers == ServiceWorkersMode::None {
        return Ok(None);
    }
    let response = interceptor.handle(request).await?;
    // What the network redirects to is not shown to a worker that left the request to it.
    if response.is_none() && request.redirect == RedirectMode::Follow {
        request.service_workers = ServiceWorkersMode::None;
    }
    Ok(response)
}

async fn from_network(
    environment: &Environment,
    request: &mut Request,
    preflight: Option<Preflight>,
) -> Result<Response, FetchError> {
    let enforces = environment.cors == Cors::Enforce;
    if let (Some(preflight), true) = (preflight, enforces) {
        require_preflight(environment, request, &preflight).await?;
    }
    let response = network_or_cache(environment, request).await?;
    if enforces {
        check_response(environment, request, &response)?;
    }
    // https://fetch.spec.whatwg.org/#null-body-status
    let is_null =
        request.method == "HEAD" || matches!(response.status, 101 | 103 | 204 | 205 | 304);
    Ok(Response {
        kind: kind_of(request.tainting),
        status: response.status,
        status_text: response.status_text,
        headers: response.headers,
        url_list: request.url_list.clone(),
        body: (!is_null).then_some(response.body),
        source: ResponseSource::Network,
    })
}

/// How the response will be tainted, or why the request may not be made; and the preflight that it
/// needs. <https://fetch.spec.whatwg.org/#main-fetch>, the step that sets response
fn taint(request: &mut Request, is_http: bool) -> Result<Option<Preflight>, FetchError> {
    let url = request.url();
    let is_same_origin = request.is_of_origin(url) && request.tainting == Tainting::Basic;
    if is_same_origin || url.scheme() == "data" || request.mode == Mode::Navigate {
        request.tainting = Tainting::Basic;
        return Ok(None);
    }
    match request.mode {
        Mode::SameOrigin => return Err(FetchError::NotSameOrigin { url: url.clone() }),
        Mode::NoCors if request.redirect != RedirectMode::Follow => {
            return Err(FetchError::NoCorsWithoutFollow);
        }
        Mode::NoCors => {
            request.tainting = Tainting::Opaque;
            return Ok(None);
        }
        _ if url.scheme() == "blob" => return Err(FetchError::NoBlob { url: url.clone() }),
        _ if !is_http => return Err(FetchError::Scheme { scheme: url.scheme().to_owned() }),
        _ => {}
    }
    request.tainting = Tainting::Cors;
    let preflight = Preflight::of(request);
    Ok(preflight.is_needed().then_some(preflight))
}

/// <https://fetch.spec.whatwg.org/#cors-preflight-fetch>
async fn require_preflight(
    environment: &Environment,
    request: &Request,
    preflight: &Preflight,
) -> Result<(), FetchError> {
    if environment.preflights.borrow().allows(request, preflight, environment.now_ms) {
        return Ok(());
    }
    let answer = network::preflight(environment, request, preflight.headers()).await?;
    let mut cache = environment.preflights.borrow_mut();
    match preflight.check(request, answer.status, &answer.headers) {
        Ok(grant) => {
            cache.remember(request, grant, &answer.headers, environment.now_ms);
            Ok(())
        }
        Err(problem) => {
            cache.forget(request);
            Err(FetchError::Preflight { url: request.url().clone(), problem })
        }
    }
}

/// What the server's headers forbid: <https://fetch.spec.whatwg.org/#concept-http-fetch>
fn check_response(
    environment: &Environment,
    request: &Request,
    response: &HttpResponse,
) -> Result<(), FetchError> {
    match request.tainting {
        Tainting::Basic => Ok(()),
        Tainting::Cors => cors::check(request, &response.headers).map_err(|problem| {
            environment.preflights.borrow_mut().forget(request);
            cors_error(request, problem)
        }),
        Tainting::Opaque => {
            // https://fetch.spec.whatwg.org/#cross-origin-resource-policy-internal-check
            let relation = site_relation(request, request.url());
            let allowed = match header(&response.headers, "cross-origin-resource-policy").as_deref()
            {
                Some("same-origin") => relation == SiteRelation::SameOrigin,
                Some("same-site") => relation <= SiteRelation::SameSite,
                _ => true,
            };
            let url = request.url().clone();
            if allowed { Ok(()) } else { Err(FetchError::ResourcePolicy { url }) }
        }
    }
}

fn kind_of(tainting: Tainting) -> ResponseType {
    match tainting {
        Tainting::Basic => ResponseType::Basic,
        Tainting::Cors => ResponseType::Cors,
        Tainting::Opaque => ResponseType::Opaque,
    }
}

/// <https://fetch.spec.whatwg.org/#concept-filtered-response>. An opaque response keeps everything:
/// js/fetch/response.js hides it, and a cache can keep it. A worker's response was filtered when
/// the worker got it.
fn filtered(environment: &Environment, request: &Request, mut response: Response) -> Response {
    if response.source == ResponseSource::ServiceWorker {
        return response;
    }
    let headers = &mut response.headers;
    if matches!(response.kind, ResponseType::Basic | ResponseType::Cors) {
        headers.retain(|(name, _)| name != "set-cookie" && name != "set-cookie2");
    }
    if response.kind == ResponseType::Cors && environment.cors == Cors::Enforce {
        let exposes = cors::exposes(request, headers);
        headers.retain(|(name, _)| exposes(name));
    }
    response
}

/// The response, if its body has the integrity that the request asks for.
async fn with_integrity(request: &Request, mut response: Response) -> Result<Response, FetchError> {
    if !integrity::asks(&request.integrity) {
        return Ok(response);
    }
    let failed = || FetchError::Integrity { url: request.url().clone() };
    if !matches!(response.kind, ResponseType::Basic | ResponseType::Cors) {
        return Err(failed());
    }
    let mut bytes = BytesMut::new();
    if let Some(body) = &mut response.body {
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk?);
        }
    }
    if !integrity::matches(&request.integrity, &bytes) {
        return Err(failed());
    }
    let whole: Bytes = bytes.freeze();
    response.body = response.body.map(|_| whole_body(whole));
    Ok(response)
}
