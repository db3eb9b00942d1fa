//! Fetches from scripted servers, with CORS enforced unless a test says otherwise.

use super::*;
use crate::simulation::ScriptedServers;

/// A request of `https://a.test`, as a script makes it.
pub(super) fn request(method: &str, url: &str) -> Request {
    let client = Url::parse("https://a.test/sw.js").unwrap();
    Request {
        method: method.to_owned(),
        url_list: vec![Url::parse(url).unwrap()],
        headers: Vec::new(),
        body: Body::Empty,
        origin: client.origin(),
        mode: Mode::Cors,
        credentials: Credentials::SameOrigin,
        cache: CacheMode::Default,
        redirect: RedirectMode::Follow,
        referrer: Referrer::Url(client),
        referrer_policy: ReferrerPolicy::DEFAULT,
        integrity: String::new(),
        keepalive: false,
        destination: String::new(),
        tainting: Tainting::Basic,
        service_workers: ServiceWorkersMode::None,
        reload: false,
    }
}

fn environment(servers: &ScriptedServers, cors: Cors) -> Environment {
    let http = Rc::new(servers.clone());
    Environment { http, interceptor: None, cors, preflights: Rc::default(), now_ms: 0.0 }
}
