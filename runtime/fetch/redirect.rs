//! HTTP-redirect fetch: <https://fetch.spec.whatwg.org/#concept-http-redirect-fetch>
//!
//! Invariant: pure; what one origin was told does not reach another by a redirect.

use url::Url;

use super::{Body, FetchError, Mode, ReferrerPolicy, Request, Tainting, header};
use crate::http::{HttpError, REDIRECTS_AT_MOST, redirect_target};

/// Headers that describe a body, and go when it goes.
const BODY_HEADERS: [&str; 5] =
    ["content-encoding", "content-language", "content-length", "content-location", "content-type"];

/// Where a response to the request's current URL redirects to, if it does and may.
pub(super) fn target(
    request: &Request,
    status: u16,
    headers: &[(String, String)],
) -> Result<Option<Url>, FetchError> {
    let location = header(headers, "location");
    let Some(target) = redirect_target(request.url(), status, location.as_deref())? else {
        return Ok(None);
    };
    if request.url_list.len() > REDIRECTS_AT_MOST {
        return Err(HttpError::TooManyRedirects { url: request.url().clone() }.into());
    }
    let has_credentials = !target.username().is_empty() || target.password().is_some();
    let leaves = request.mode == Mode::Cors && request.origin != target.origin();
    if has_credentials && (leaves || request.tainting == Tainting::Cors) {
        return Err(FetchError::RedirectCredentials { url: target });
    }
    if status != 303 && matches!(request.body, Body::Stream(_)) {
        return Err(FetchError::StreamRedirected { url: request.url().clone() });
    }
    Ok(Some(target))
}

/// Makes the request the one for `target`.
pub(super) fn follow(
    request: &mut Request,
    status: u16,
    headers: &[(String, String)],
    target: Url,
) {
    let becomes_get = match status {
        301 | 302 => request.method == "POST",
        303 => !matches!(request.method.as_str(), "GET" | "HEAD"),
        _ => false,
    };
    if becomes_get {
        request.method = "GET".to_owned();
        request.body = Body::Empty;
        request.remove_headers(&BODY_HEADERS);
    }
    if request.url().origin() != target.origin() {
        request.remove_headers(&["authorization"]);
    }
    request.url_list.push(target);
    // https://w3c.github.io/webappsec-referrer-policy/#set-requests-referrer-policy-on-redirect
    if let Some(policy) = header(headers, "referrer-policy").and_then(|v| ReferrerPolicy::last(&v))
    {
        request.referrer_policy = policy;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::fetch::tests::request;

    fn headers(location: &str) -> Vec<(String, String)> {
        vec![("location".to_owned(), location.to_owned())]
    }

    fn redirected(method: &str, status: u16, location: &str) -> Request {
        let mut request = request(method, "https://a.test/#part");
        for name in ["Content-Type", "Authorization", "X-Kept"] {
            request.headers.push((name.to_owned(), "text/plain".to_owned()));
        }
        request.body = Body::Whole(Bytes::from_static(b"text"));
        let headers = headers(location);
        let target = target(&request, status, &headers).unwrap().unwrap();
        follow(&mut request, status, &headers, target);
        request
    }

    fn names(request: &Request) -> Vec<&str> {
        request.headers.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn a_post_becomes_a_get_without_its_body() {
        for (method, status) in [("POST", 301), ("POST", 302), ("POST", 303), ("PUT", 303)] {
            let next = redirected(method, status, "/next");
            assert_eq!(next.method, "GET");
            assert!(matches!(next.body, Body::Empty));
            assert_eq!(names(&next), ["Authorization", "X-Kept"]);
            assert_eq!(next.url().as_str(), "https://a.test/next#part");
        }
    }

    #[test]
    fn other_methods_and_codes_keep_method_and_body() {
        let kept = [("POST", 307), ("POST", 308), ("PUT", 301), ("PUT", 302), ("HEAD", 303)];
        for (method, status) in kept {
            let next = redirected(method, status, "next#other");
            assert_eq!(next.method, method);
            assert!(matches!(next.body, Body::Whole(_)));
            assert_eq!(names(&next), ["Content-Type", "Authorization", "X-Kept"]);
        }
    }

    #[test]
    fn another_origin_does_not_learn_the_authorization() {
        let next = redirected("POST", 307, "https://b.test/");
        assert_eq!(names(&next), ["Content-Type", "X-Kept"]);
    }

    #[test]
    fn an_origin_is_tainted_by_a_detour_over_others() {
        let mut request = request("GET", "https://a.test/");
        let mut visit = |url: &str| {
            follow(&mut request, 302, &[], Url::parse(url).unwrap());
            request.serialized_origin()
        };
        assert_eq!(visit("https://b.test/"), "https://a.test");
        assert_eq!(visit("https://b.test/again"), "https://a.test");
        assert_eq!(visit("https://c.test/"), "null");
        assert_eq!(visit("https://a.test/"), "null");
    }

    #[test]
    fn credentials_and_streams_are_not_redirected() {
        let mut request = request("POST", "https://a.test/");
        let error = target(&request, 302, &headers("https://u:p@b.test/")).err().unwrap();
        assert!(matches!(error, FetchError::RedirectCredentials { .. }), "{error}");
        assert!(target(&request, 302, &headers("https://u:p@a.test/")).is_ok());
        request.body = Body::Stream(Box::pin(futures::stream::empty()));
        let error = target(&request, 307, &headers("/")).err().unwrap();
        assert!(matches!(error, FetchError::StreamRedirected { .. }), "{error}");
        assert!(target(&request, 303, &headers("/")).is_ok());
    }

    #[test]
    fn twenty_redirects_are_followed() {
        let mut request = request("GET", "https://a.test/");
        for _ in 0..20 {
            let next = target(&request, 302, &headers("/")).unwrap().unwrap();
            follow(&mut request, 302, &[], next);
        }
        let error = target(&request, 302, &headers("/")).err().unwrap().to_string();
        assert_eq!(error, "more than 20 redirects, the last one by https://a.test/");
    }
}
