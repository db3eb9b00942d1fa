//! Redirects, by the Fetch Standard: <https://fetch.spec.whatwg.org/#http-redirect-fetch>
//!
//! Invariant: the real door and the scripted servers follow redirects by this code alone.

use url::Url;

use super::{HttpError, HttpRequest, HttpResponse, RedirectMode};

const REDIRECTS_AT_MOST: usize = 20;

/// Headers that describe a body, and go when it goes.
const BODY_HEADERS: [&str; 5] =
    ["content-encoding", "content-language", "content-length", "content-location", "content-type"];

/// Headers that one origin must not learn about another. The standard names `authorization` alone,
/// because its requests carry no `cookie` header yet at this point; ours do.
const ORIGIN_HEADERS: [&str; 2] = ["authorization", "cookie"];

/// Sends `request` by `exchange`, which makes one exchange each, and again to wherever the response
/// says, as the request's mode allows.
pub(crate) async fn follow(
    mut request: HttpRequest,
    exchange: impl AsyncFn(&HttpRequest) -> Result<HttpResponse, HttpError>,
) -> Result<HttpResponse, HttpError> {
    let mut url_list = Vec::new();
    loop {
        url_list.push(request.url.clone());
        let mut response = exchange(&request).await?;
        let target = match (response.status, request.redirect) {
            (301 | 302 | 303 | 307 | 308, RedirectMode::Follow) => target(&request, &response)?,
            (301 | 302 | 303 | 307 | 308, RedirectMode::Error) => {
                return Err(HttpError::RedirectForbidden { url: request.url });
            }
            _ => None,
        };
        let Some(target) = target else {
            response.url_list = url_list;
            return Ok(response);
        };
        if url_list.len() > REDIRECTS_AT_MOST {
            return Err(HttpError::TooManyRedirects { url: request.url });
        }
        request = redirected(request, response.status, target);
    }
}

/// Where the response redirects to; `None` without a `location` header, which makes it a response
/// like any other.
fn target(request: &HttpRequest, response: &HttpResponse) -> Result<Option<Url>, HttpError> {
    let Some(location) = response.header("location") else {
        return Ok(None);
    };
    let mut target = request.url.join(location).map_err(|_| HttpError::RedirectInvalid {
        url: request.url.clone(),
        location: location.to_owned(),
    })?;
    if !matches!(target.scheme(), "http" | "https") {
        return Err(HttpError::UnsupportedScheme { url: target });
    }
    if target.fragment().is_none() {
        target.set_fragment(request.url.fragment());
    }
    Ok(Some(target))
}

fn redirected(mut request: HttpRequest, status: u16, target: Url) -> HttpRequest {
    let becomes_get = match status {
        301 | 302 => request.method == "POST",
        303 => !matches!(request.method.as_str(), "GET" | "HEAD"),
        _ => false,
    };
    if becomes_get {
        request.method = "GET".to_owned();
        request.body = None;
        remove(&mut request.headers, &BODY_HEADERS);
    }
    if request.url.origin() != target.origin() {
        remove(&mut request.headers, &ORIGIN_HEADERS);
    }
    request.url = target;
    request
}

fn remove(headers: &mut Vec<(String, String)>, names: &[&str]) {
    headers.retain(|(name, _)| !names.iter().any(|removed| name.eq_ignore_ascii_case(removed)));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::http::Http;
    use crate::simulation::{RecordedRequest, ScriptedServers};

    fn request(method: &str, url: &str) -> HttpRequest {
        let headers = [("Content-Type", "text/plain"), ("Authorization", "me"), ("X-Kept", "yes")];
        HttpRequest {
            method: method.to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            body: Some(Bytes::from_static(b"text")),
            ..HttpRequest::get(Url::parse(url).unwrap())
        }
    }

    fn redirect_to(status: u16, location: &str) -> String {
        format!("{{ status = {status}, headers = {{ location = '{location}' }} }}")
    }

    /// Sends to servers of which `http://a.test/` redirects by `status` to `location`; answers the
    /// second request.
    async fn second_request(method: &str, status: u16, location: &str) -> RecordedRequest {
        let answer = redirect_to(status, location);
        let servers: ScriptedServers = toml::from_str(&format!(
            "['http://a.test']\n'{method} /' = {answer}\n['http://b.test']"
        ))
        .unwrap();
        let response = servers.send(request(method, "http://a.test/#part")).await.unwrap();
        let url = response.url().clone();
        let mut requests = servers.requests();
        assert_eq!(requests.len(), 2);
        let second = requests.remove(1);
        assert_eq!(url, second.url);
        second
    }

    fn names(request: &RecordedRequest) -> Vec<&str> {
        request.headers.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[tokio::test]
    async fn a_post_becomes_a_get_without_its_body() {
        for (method, status) in [("POST", 301), ("POST", 302), ("POST", 303), ("PUT", 303)] {
            let second = second_request(method, status, "/next").await;
            assert_eq!((second.method.as_str(), second.body.as_deref()), ("GET", None));
            assert_eq!(names(&second), ["Authorization", "X-Kept"]);
            assert_eq!(second.url.as_str(), "http://a.test/next#part");
        }
    }

    #[tokio::test]
    async fn other_methods_and_codes_keep_method_and_body() {
        let kept = [("POST", 307), ("POST", 308), ("PUT", 301), ("PUT", 302), ("HEAD", 303)];
        for (method, status) in kept {
            let second = second_request(method, status, "next#other").await;
            assert_eq!(
                (second.method.as_str(), second.body.as_deref()),
                (method, Some(&b"text"[..]))
            );
            assert_eq!(names(&second), ["Content-Type", "Authorization", "X-Kept"]);
            assert_eq!(second.url.as_str(), "http://a.test/next#other");
        }
    }

    #[tokio::test]
    async fn another_origin_does_not_learn_the_authorization() {
        let second = second_request("POST", 307, "http://b.test/").await;
        assert_eq!(names(&second), ["Content-Type", "X-Kept"]);
    }

    async fn outcome(mode: RedirectMode, answer: &str) -> Result<(u16, usize), String> {
        let servers: ScriptedServers =
            toml::from_str(&format!("['http://a.test']\n'GET /' = {answer}")).unwrap();
        let request = HttpRequest {
            redirect: mode,
            ..HttpRequest::get(Url::parse("http://a.test/").unwrap())
        };
        let response = servers.send(request).await.map_err(|error| error.to_string())?;
        Ok((response.status, response.url_list.len()))
    }

    #[tokio::test]
    async fn the_mode_says_what_happens() {
        let loops = redirect_to(302, "/");
        let follow = outcome(RedirectMode::Follow, &loops).await;
        assert_eq!(follow.unwrap_err(), "more than 20 redirects, the last one by http://a.test/");
        assert_eq!(outcome(RedirectMode::Manual, &loops).await, Ok((302, 1)));
        let forbidden = outcome(RedirectMode::Error, &loops).await;
        assert_eq!(forbidden.unwrap_err(), "http://a.test/ redirects, which the request forbids");
        assert_eq!(outcome(RedirectMode::Follow, "302").await, Ok((302, 1)));
        let twice = format!("[{0}, {0}, 200]", redirect_to(302, "/"));
        assert_eq!(outcome(RedirectMode::Follow, &twice).await, Ok((200, 3)));
        let twenty = format!("[{}200]", format!("{}, ", redirect_to(302, "/")).repeat(20));
        assert_eq!(outcome(RedirectMode::Follow, &twenty).await, Ok((200, 21)));
    }

    #[tokio::test]
    async fn a_redirect_to_nowhere_is_an_error() {
        let invalid = outcome(RedirectMode::Follow, &redirect_to(302, "http://")).await;
        let message = "http://a.test/ redirects to `http://`, which is no URL";
        assert_eq!(invalid.unwrap_err(), message);
        let scheme = outcome(RedirectMode::Follow, &redirect_to(302, "data:,x")).await;
        assert_eq!(scheme.unwrap_err(), "data:,x is neither http nor https");
    }
}
