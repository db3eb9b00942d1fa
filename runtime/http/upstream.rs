//! One origin whose server is somewhere else.
//!
//! Invariant: nobody behind this door sees the origin, and nobody before it sees the upstream.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use url::Url;

use super::{
    Http, HttpError, HttpRequest, HttpResponse, Loaded, UpgradedConnection, WebSocketRequest,
};

/// Sends the requests of one origin to another, as a reverse proxy does, and passes every other
/// request on.
pub struct Upstream {
    origin: Url,
    upstream: Url,
    inner: Box<dyn Http>,
}

impl Upstream {
    /// The server of `upstream` answers for the origin of `origin`; the paths of both are ignored.
    pub fn new(origin: Url, upstream: Url, inner: Box<dyn Http>) -> Upstream {
        Upstream { origin, upstream, inner }
    }

    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.origin.origin()
    }
}

/// The URL with its path, at another origin.
fn moved(url: &Url, to: &Url) -> Url {
    let mut moved = to.clone();
    moved.set_path(url.path());
    moved.set_query(url.query());
    moved.set_fragment(url.fragment());
    moved
}

impl Http for Upstream {
    fn send(
        &self,
        mut request: HttpRequest,
    ) -> LocalBoxFuture<'static, Result<HttpResponse, HttpError>> {
        if !self.is_own(&request.url) {
            return self.inner.send(request);
        }
        let asked = request.url.clone();
        request.url = moved(&request.url, &self.upstream);
        let (origin, upstream) = (self.origin.clone(), self.upstream.origin());
        let response = self.inner.send(request);
        async move {
            let mut response = response.await?;
            // A redirect to the upstream itself is one of the origin.
            for (name, value) in &mut response.headers {
                if matches!(name.as_str(), "location" | "content-location")
                    && let Ok(target) = Url::parse(value)
                    && target.origin() == upstream
                {
                    *value = moved(&target, &origin).into();
                }
            }
            response.url = asked;
            Ok(response)
        }
        .boxed_local()
    }

    fn load(&self, url: &Url) -> Result<Loaded, HttpError> {
        if !self.is_own(url) {
            return self.inner.load(url);
        }
        let mut loaded = self.inner.load(&moved(url, &self.upstream))?;
        if loaded.url.origin() == self.upstream.origin() {
            loaded.url = moved(&loaded.url, &self.origin);
        }
        Ok(loaded)
    }

    fn connect(
        &self,
        mut request: WebSocketRequest,
    ) -> LocalBoxFuture<'static, Result<UpgradedConnection, HttpError>> {
        if self.is_own(&request.url) {
            request.url = moved(&request.url, &self.upstream);
        }
        self.inner.connect(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::ScriptedServers;

    const SERVERS: &str = "
        ['http://up.test:3000']
        'GET /a?b' = { status = 200, body = 'hi' }
        'GET /old' = { status = 301, headers = { location = 'http://up.test:3000/a?b' } }
        'GET /away' = { status = 301, headers = { location = 'http://other.test/' } }
        ['http://other.test']
        'GET /' = 204
    ";

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn door() -> Upstream {
        let servers = toml::from_str::<ScriptedServers>(SERVERS).unwrap();
        Upstream::new(url("https://a.test"), url("http://up.test:3000"), Box::new(servers))
    }

    #[tokio::test]
    async fn requests_of_the_origin_go_upstream_and_others_do_not() {
        let answer = door().send(HttpRequest::get(url("https://a.test/a?b"))).await.unwrap();
        assert_eq!((answer.status, answer.url.as_str()), (200, "https://a.test/a?b"));
        let other = door().send(HttpRequest::get(url("http://other.test/"))).await.unwrap();
        assert_eq!(other.status, 204);
    }

    #[tokio::test]
    async fn a_redirect_to_the_upstream_is_one_to_the_origin() {
        let cases = [("old", "https://a.test/a?b"), ("away", "http://other.test/")];
        for (path, location) in cases {
            let request = HttpRequest::get(url(&format!("https://a.test/{path}")));
            let answer = door().send(request).await.unwrap();
            assert_eq!(answer.header("location"), Some(location));
        }
    }

    #[test]
    fn an_imported_script_has_the_url_of_the_origin() {
        let loaded = door().load(&url("https://a.test/old")).unwrap();
        assert_eq!((loaded.status, loaded.url.as_str()), (200, "https://a.test/a?b"));
    }
}
