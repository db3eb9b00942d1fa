//! The line between the gate and the servers: latency, loss, bandwidth, a captive portal, hosts
//! that are down.
//!
//! Invariant: what a request meets depends on the conditions, on the entropy and on the requests
//! before it; without conditions every request passes as it is.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use futures::stream::LocalBoxStream;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep, sleep_until};
use url::Url;

use super::{
    Http, HttpBody, HttpError, HttpRequest, HttpResponse, Loaded, UpgradedConnection,
    WebSocketRequest, authority, status_text, whole_body,
};
use crate::doors::Entropy;
use crate::network::Conditions;

/// How long a client waits for an answer that was lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Puts conditions between whoever asks and `inner`.
#[derive(Clone)]
pub struct Link {
    conditions: Rc<RefCell<Conditions>>,
    entropy: Rc<dyn Entropy>,
    up: Rc<Lane>,
    down: Rc<Lane>,
    inner: Rc<dyn Http>,
}

type Body = LocalBoxStream<'static, Result<Bytes, HttpError>>;

/// One direction of the line: what passes, passes one after the other.
#[derive(Default)]
struct Lane {
    free_at: Cell<Option<Instant>>,
}

impl Link {
    /// A line to `inner`; whoever reads the signal writes `conditions`.
    pub fn new(
        conditions: Rc<RefCell<Conditions>>,
        entropy: Rc<dyn Entropy>,
        inner: Rc<dyn Http>,
    ) -> Link {
        Link { conditions, entropy, up: Rc::default(), down: Rc::default(), inner }
    }

    async fn exchange(self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let conditions = self.conditions.borrow().clone();
        let host = authority(&request.url);
        if is_down(&conditions, &request.url) {
            return Err(HttpError::Refused { host });
        }
        match request.body.take() {
            Some(HttpBody::Whole(body)) => {
                self.up.carry(conditions.bits_per_second, body.len()).await;
                request.body = Some(HttpBody::Whole(body));
            }
            Some(HttpBody::Stream(parts)) => {
                request.body = Some(HttpBody::Stream(self.slowed(parts, |link| &link.up)));
            }
            None => {}
        }
        self.arrive(&conditions, &host).await?;
        let response = match &conditions.portal {
            Some(portal) => portal_answer(portal, &request.url),
            None => self.inner.send(request).await?,
        };
        self.arrive(&conditions, &host).await?;
        let body = self.slowed(response.body, |link| &link.down);
        Ok(HttpResponse { body, ..response })
    }

    /// One way along the line, or none.
    async fn arrive(&self, conditions: &Conditions, host: &str) -> Result<(), HttpError> {
        if self.loses(conditions) {
            sleep(PATIENCE).await;
            return Err(HttpError::Timeout { host: host.to_owned() });
        }
        if !conditions.latency.is_zero() {
            sleep(conditions.latency / 2).await;
        }
        Ok(())
    }

    fn loses(&self, conditions: &Conditions) -> bool {
        // Nothing is drawn without need, so that other conditions leave the sequence alone.
        let loss = f64::from(conditions.loss_per_million) / 1e6;
        loss > 0.0 && self.entropy.random() < loss
    }

    /// A body that passes a lane at the rate that holds when each part of it comes.
    fn slowed(&self, body: Body, lane: fn(&Link) -> &Lane) -> Body {
        let link = self.clone();
        let pass = move |part: Result<Bytes, HttpError>| {
            let link = link.clone();
            async move {
                if let Ok(part) = &part {
                    let rate = link.conditions.borrow().bits_per_second;
                    lane(&link).carry(rate, part.len()).await;
                }
                part
            }
        };
        body.then(pass).boxed_local()
    }
}

impl Lane {
    async fn carry(&self, bits_per_second: Option<u64>, bytes: usize) {
        let Some(rate) = bits_per_second else { return };
        let micros = bytes as u128 * 8 * 1_000_000 / u128::from(rate.max(1));
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        let now = Instant::now();
        let begins = self.free_at.get().map_or(now, |free| free.max(now));
        let Some(ends) = begins.checked_add(Duration::from_micros(micros)) else {
            return std::future::pending().await;
        };
        self.free_at.set(Some(ends));
        sleep_until(ends).await;
    }
}

impl Http for Link {
    fn send(
        &self,
        request: HttpRequest,
    ) -> LocalBoxFuture<'static, Result<HttpResponse, HttpError>> {
        if self.conditions.borrow().is_clear() {
            return self.inner.send(request);
        }
        self.clone().exchange(request).boxed_local()
    }

    /// Meets everything but what takes time, because nothing else could run meanwhile.
    fn load(&self, url: &Url) -> Result<Loaded, HttpError> {
        let conditions = self.conditions.borrow().clone();
        let host = authority(url);
        if is_down(&conditions, url) {
            return Err(HttpError::Refused { host });
        }
        if self.loses(&conditions) || self.loses(&conditions) {
            return Err(HttpError::Timeout { host });
        }
        let Some(portal) = conditions.portal else {
            return self.inner.load(url);
        };
        let loaded = portal_answer(&portal, &portal).into_loaded().now_or_never();
        loaded.expect("invariant: the portal's page is here already")
    }

    /// Meets a host that is down and a portal, whose log-in page is no WebSocket. What has been
    /// opened meets nothing more.
    fn connect(
        &self,
        request: WebSocketRequest,
    ) -> LocalBoxFuture<'static, Result<UpgradedConnection, HttpError>> {
        let conditions = self.conditions.borrow();
        let host = authority(&request.url);
        let refusal = if is_down(&conditions, &request.url) {
            HttpError::Refused { host }
        } else if conditions.portal.is_some() {
            let cause = "no WebSocket: the portal answered".to_owned();
            HttpError::Broken { host, cause }
        } else {
            return self.inner.connect(request);
        };
        std::future::ready(Err(refusal)).boxed_local()
    }
}

fn is_down(conditions: &Conditions, url: &Url) -> bool {
    let (host, with_port) = (url.host_str().unwrap_or_default(), authority(url));
    conditions.down.iter().any(|down| *down == host || *down == with_port)
}

/// The portal's log-in page, or the redirect to it.
fn portal_answer(portal: &Url, url: &Url) -> HttpResponse {
    let is_here = portal.origin() == url.origin();
    let (status, name, value, body) = match is_here {
        true => (200, "content-type", "text/html", "<!DOCTYPE html><title>Log in</title>\n"),
        false => (302, "location", portal.as_str(), ""),
    };
    HttpResponse {
        status,
        status_text: status_text(status),
        headers: vec![(name.to_owned(), value.to_owned())],
        url: url.clone(),
        body: whole_body(Bytes::from_static(body.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::SeededEntropy;
    use crate::http::follow;
    use crate::network::Network;
    use crate::simulation::ScriptedServers;

    const SERVERS: &str = r#"
        ["https://a.test"]
        "GET /" = { body = "a body of 25 bytes, that is" }
        "POST /" = 204
        "GET /moved" = { status = 302, headers = { location = "https://b.test/" } }
        ["https://b.test"]
        "GET /" = 200
    "#;

    fn link(network: &str, seed: u64) -> (ScriptedServers, Link) {
        let servers: ScriptedServers = toml::from_str(SERVERS).unwrap();
        let network: Network = network.parse().unwrap();
        let conditions = Rc::new(RefCell::new(network.conditions));
        let entropy = Rc::new(SeededEntropy::new(seed));
        (servers.clone(), Link::new(conditions, entropy, Rc::new(servers)))
    }

    /// The answer, and when its headers and its body were there.
    async fn get(link: &Link, url: &str) -> (Result<(u16, String), HttpError>, Duration, Duration) {
        let started = Instant::now();
        let response = follow(link, Url::parse(url).unwrap()).await;
        let headers = started.elapsed();
        let answer = match response {
            Ok(response) => response.into_loaded().await,
            Err(error) => Err(error),
        };
        (answer.map(|loaded| (loaded.status, loaded.url.into())), headers, started.elapsed())
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn latency_is_met_by_each_exchange() {
        let (_, link) = link("latency=2s", 0);
        let (answer, headers, _) = get(&link, "https://a.test/moved").await;
        assert_eq!((answer, headers), (Ok((200, "https://b.test/".to_owned())), secs(4)));
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_share_the_bandwidth() {
        let (_, link) = link("bandwidth=108bit", 0);
        let (one, other) =
            futures::join!(get(&link, "https://a.test/"), get(&link, "https://a.test/"));
        assert_eq!([one.1, one.2, other.1, other.2], [secs(0), secs(2), secs(0), secs(4)]);
        let body = Some(HttpBody::Whole(Bytes::from_static(&[0; 54])));
        let url = Url::parse("https://a.test/").unwrap();
        let post = HttpRequest { method: "POST".to_owned(), body, ..HttpRequest::get(url) };
        let started = Instant::now();
        assert_eq!(link.send(post).await.unwrap().status, 204);
        assert_eq!(started.elapsed(), secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_seed_decides_which_requests_and_responses_are_lost() {
        async fn losses(seed: u64) -> (Vec<bool>, usize) {
            let (servers, link) = link("loss=25%", seed);
            let mut lost = Vec::new();
            for _ in 0..40 {
                let (answer, after, _) = get(&link, "https://a.test/").await;
                assert_eq!(after, if answer.is_ok() { secs(0) } else { PATIENCE });
                lost.push(answer.is_err());
            }
            (lost, servers.requests().len())
        }
        let (lost, arrived) = losses(1).await;
        let failed = lost.iter().filter(|lost| **lost).count();
        // Some requests never arrived, and some that did got no answer.
        assert!(arrived < 40 && 40 - arrived < failed, "{failed} failed, {arrived} arrived");
        assert_eq!((lost.clone(), arrived), losses(1).await);
        assert_ne!(lost, losses(2).await.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_portal_redirects_everything_to_its_page() {
        let (servers, link) = link("portal=http://log.in/here", 0);
        let page = Ok((200, "http://log.in/here".to_owned()));
        assert_eq!(get(&link, "https://a.test/").await.0, page);
        let loaded = link.load(&Url::parse("https://a.test/").unwrap()).unwrap();
        assert_eq!(loaded.content_type.as_deref(), Some("text/html"));
        assert_eq!(servers.requests(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn one_host_is_down_and_the_others_are_not() {
        for down in ["down=b.test", "down=b.test:443"] {
            let (_, link) = link(down, 0);
            assert!(get(&link, "https://a.test/").await.0.is_ok());
            let refused = Err(HttpError::Refused { host: "b.test:443".to_owned() });
            assert_eq!(get(&link, "https://b.test/").await.0, refused);
            assert_eq!(get(&link, "https://a.test/moved").await.0, refused);
            assert!(link.load(&Url::parse("https://b.test/").unwrap()).is_err());
        }
        let (_, link) = link("down=b.test:80", 0);
        assert!(get(&link, "https://b.test/").await.0.is_ok());
    }
}
