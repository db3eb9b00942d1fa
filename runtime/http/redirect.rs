//! Where a response redirects to, and the loads that follow it there.
//!
//! Invariant: the location of a redirect is read by this code alone; `fetch()` decides by itself
//! whether it goes there.

use percent_encoding::{AsciiSet, percent_encode};
use url::Url;

use super::{Http, HttpError, HttpRequest, HttpResponse};

/// <https://fetch.spec.whatwg.org/#concept-http-redirect-fetch>
pub(crate) const REDIRECTS_AT_MOST: usize = 20;

/// <https://fetch.spec.whatwg.org/#concept-response-location-url>: where a response to a request of
/// `url` redirects to; `None` if it does not, or has no `location`.
pub(crate) fn redirect_target(
    url: &Url,
    status: u16,
    location: Option<&str>,
) -> Result<Option<Url>, HttpError> {
    let Some(location) = location.filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308)) else {
        return Ok(None);
    };
    // One character is one byte: what is UTF-8 is read so, any other byte stays as it is.
    let bytes: Vec<u8> = location.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect();
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|invalid| percent_encode(invalid.as_bytes(), &AsciiSet::EMPTY).to_string());
    let mut target = url.join(&text).map_err(|_| HttpError::RedirectInvalid {
        url: url.clone(),
        location: location.to_owned(),
    })?;
    if !matches!(target.scheme(), "http" | "https") {
        return Err(HttpError::UnsupportedScheme { url: target });
    }
    if target.fragment().is_none() {
        target.set_fragment(url.fragment());
    }
    Ok(Some(target))
}

/// Gets `url` and follows redirects, for the host's own loads, which tell no origin anything of
/// another.
pub(crate) async fn follow(http: &dyn Http, mut url: Url) -> Result<HttpResponse, HttpError> {
    for _ in 0..=REDIRECTS_AT_MOST {
        let response = http.send(HttpRequest::get(url.clone())).await?;
        match redirect_target(&url, response.status, response.header("location"))? {
            None => return Ok(response),
            Some(target) => url = target,
        }
    }
    Err(HttpError::TooManyRedirects { url })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::ScriptedServers;

    fn target(status: u16, location: &str) -> Result<Option<Url>, String> {
        let url = Url::parse("http://a.test/path#part").unwrap();
        redirect_target(&url, status, Some(location)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_location_is_relative_to_what_was_asked_and_takes_its_fragment() {
        let next = |status, location| target(status, location).unwrap().map(String::from);
        assert_eq!(next(302, "next").as_deref(), Some("http://a.test/next#part"));
        assert_eq!(next(308, "//b.test/#own").as_deref(), Some("http://b.test/#own"));
        assert_eq!(next(301, "/\u{c3}\u{a9}").as_deref(), Some("http://a.test/%C3%A9#part"));
        assert_eq!(next(301, "/?\u{ff}").as_deref(), Some("http://a.test/?%FF#part"));
        assert_eq!(next(200, "/next"), None);
    }

    #[test]
    fn a_redirect_to_nowhere_is_an_error() {
        let message = "http://a.test/path#part redirects to `http://`, which is no URL";
        assert_eq!(target(302, "http://").unwrap_err(), message);
        assert_eq!(target(302, "data:,x").unwrap_err(), "data:,x is neither http nor https");
    }

    #[tokio::test]
    async fn a_load_follows_twenty_redirects() {
        let redirect = "{ status = 302, headers = { location = '/' } }, ";
        let load = async |redirects: usize| {
            let answers = format!("[{}200]", redirect.repeat(redirects));
            let servers = format!("['http://a.test']\n'GET /' = {answers}");
            let servers: ScriptedServers = toml::from_str(&servers).unwrap();
            let loaded = follow(&servers, Url::parse("http://a.test/").unwrap()).await;
            loaded.map(|response| response.status).map_err(|error| error.to_string())
        };
        assert_eq!(load(20).await, Ok(200));
        let message = "more than 20 redirects, the last one by http://a.test/";
        assert_eq!(load(21).await, Err(message.to_owned()));
    }
}
