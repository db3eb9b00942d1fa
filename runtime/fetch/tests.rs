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
    Environment {
        http: Rc::new(servers.clone()),
        interceptor: None,
        cors,
        preflights: Rc::default(),
        store: Arc::new(Store::in_memory().unwrap()),
        partition: "https://a.test".into(),
        jar: Rc::default(),
        on_cookie_change: Rc::new(|_| {}),
        on_store_error: Rc::new(|error| panic!("{error}")),
        keepalive_bytes: 0,
        now_ms: 1e12,
    }
}

fn servers(table: &str) -> ScriptedServers {
    toml::from_str(table).unwrap()
}

fn sent(servers: &ScriptedServers, name: &str) -> Vec<Option<String>> {
    servers.requests().iter().map(|request| header(&request.headers, name)).collect()
}

/// Type, status, header names and body of what a script gets, or the cause for the trace.
async fn outcome(
    environment: &Environment,
    request: Request,
) -> Result<(&'static str, u16, Vec<String>, String), String> {
    use futures::TryStreamExt;
    let response = fetch(environment, request).await.map_err(|error| error.to_string())?;
    let names = response.headers.into_iter().map(|(name, _)| name).collect();
    let body = match response.body {
        None => String::new(),
        Some(body) => {
            let chunks: Vec<Bytes> = body.try_collect().await.map_err(|error| error.to_string())?;
            String::from_utf8(chunks.concat()).unwrap()
        }
    };
    Ok((response.kind.name(), response.status, names, body))
}

const OTHER: &str = r#"
    ["https://b.test"]
    "GET /open" = { headers = { access-control-allow-origin = "*", x-secret = "s" }, body = "b" }
    "GET /closed" = { headers = { x-secret = "s" }, body = "b" }
    "GET /mine" = { headers = { cross-origin-resource-policy = "same-site" } }
    "PUT /api" = { headers = { access-control-allow-origin = "*" } }
    "OPTIONS /no" = { headers = { access-control-allow-origin = "*" } }
    ["https://b.test"."OPTIONS /api".headers]
    access-control-allow-origin = "*"
    access-control-allow-methods = "PUT"
    access-control-allow-headers = "x-a"
    access-control-max-age = "60"
"#;

#[tokio::test]
async fn cors_decides_what_another_origin_shows() {
    let servers = servers(OTHER);
    let strict = environment(&servers, Cors::Enforce);
    let relaxed = environment(&servers, Cors::Relax);
    let open = outcome(&strict, request("GET", "https://b.test/open")).await;
    assert_eq!(open, Ok(("cors", 200, vec![], "b".to_owned())));
    let problem = "CORS forbids the response of https://b.test/closed: it has no \
                   access-control-allow-origin";
    let closed = outcome(&strict, request("GET", "https://b.test/closed")).await;
    assert_eq!(closed, Err(problem.to_owned()));
    let closed = outcome(&relaxed, request("GET", "https://b.test/closed")).await;
    assert_eq!(closed, Ok(("cors", 200, vec!["x-secret".to_owned()], "b".to_owned())));
    let no_cors = |url| Request { mode: Mode::NoCors, ..request("GET", url) };
    let hidden = outcome(&strict, no_cors("https://b.test/closed")).await.unwrap();
    assert_eq!((hidden.0, hidden.1), ("opaque", 200));
    assert!(outcome(&strict, no_cors("https://b.test/mine")).await.is_err());
    assert!(outcome(&relaxed, no_cors("https://b.test/mine")).await.is_ok());
    let own = Request { mode: Mode::SameOrigin, ..request("GET", "https://b.test/open") };
    assert!(outcome(&relaxed, own).await.is_err());
}

#[tokio::test]
async fn a_preflight_asks_once_for_a_while() {
    let servers = servers(OTHER);
    let mut strict = environment(&servers, Cors::Enforce);
    let put = |header: &str| {
        let mut put = request("PUT", "https://b.test/api");
        put.headers.push((header.to_owned(), "1".to_owned()));
        put
    };
    assert!(outcome(&strict, put("X-A")).await.is_ok());
    assert!(outcome(&strict, put("X-A")).await.is_ok());
    let methods = || servers.requests().into_iter().map(|request| request.method);
    assert_eq!(methods().collect::<Vec<_>>(), ["OPTIONS", "PUT", "PUT"]);
    assert_eq!(sent(&servers, "access-control-request-headers")[0].as_deref(), Some("x-a"));
    let refused = outcome(&strict, put("X-B")).await.unwrap_err();
    assert!(refused.ends_with("it does not allow the header x-b"), "{refused}");
    strict.now_ms += 60_001.0;
    assert!(outcome(&strict, put("X-A")).await.is_ok());
    assert_eq!(methods().filter(|method| method == "OPTIONS").count(), 3);
    let refused = outcome(&strict, request("DELETE", "https://b.test/no")).await.unwrap_err();
    assert!(refused.ends_with("it does not allow the method DELETE"), "{refused}");
}

#[tokio::test]
async fn cookies_go_where_credentials_go() {
    let servers =
        servers("['https://a.test']\n'GET /' = { headers = { set-cookie = 'id=7; Max-Age=9' } }");
    let environment = environment(&servers, Cors::Enforce);
    let (_, _, names, _) = outcome(&environment, request("GET", "https://a.test/")).await.unwrap();
    assert_eq!(names, Vec::<String>::new());
    let omit = Request { credentials: Credentials::Omit, ..request("GET", "https://a.test/") };
    outcome(&environment, omit).await.unwrap();
    outcome(&environment, request("GET", "https://a.test/")).await.unwrap();
    assert_eq!(sent(&servers, "cookie"), [None, None, Some("id=7".to_owned())]);
    assert_eq!(environment.store.cookies("https://a.test", 0).unwrap().len(), 1);
}

#[tokio::test]
async fn the_cache_mode_decides_who_answers() {
    let cached = "{ headers = { cache-control = 'max-age=60', etag = '\"1\"' }, body = 'old' }";
    let servers = servers(&format!(
        "['https://a.test']\n'GET /' = [{cached}, 304, {{ body = 'new' }}]\n'GET /none' = 404"
    ));
    let environment = environment(&servers, Cors::Enforce);
    let get = async |mode| {
        let get = Request { cache: mode, ..request("GET", "https://a.test/") };
        outcome(&environment, get).await.map(|(_, _, _, body)| body)
    };
    assert!(get(CacheMode::OnlyIfCached).await.is_err());
    for (mode, body, requests) in [
        (CacheMode::Default, "old", 1),
        (CacheMode::Default, "old", 1),
        (CacheMode::OnlyIfCached, "old", 1),
        (CacheMode::NoCache, "old", 2),
        (CacheMode::NoStore, "new", 3),
        (CacheMode::ForceCache, "old", 3),
        (CacheMode::Reload, "new", 4),
    ] {
        assert_eq!(get(mode).await.as_deref(), Ok(body), "{mode:?}");
        assert_eq!(servers.requests().len(), requests, "{mode:?}");
    }
    assert_eq!(sent(&servers, "if-none-match")[1].as_deref(), Some("\"1\""));
    assert_eq!(sent(&servers, "cache-control")[1].as_deref(), Some("max-age=0"));
}

#[tokio::test]
async fn integrity_is_of_the_whole_body() {
    let servers = servers("['https://a.test']\n'GET /' = { body = 'text' }");
    let environment = environment(&servers, Cors::Enforce);
    let right = "sha256-mC2ePrmW9VnmM/TRlN7zdh2Qn1o7ZH0ahR/q1nwyydE=";
    for (integrity, is_right) in [(right, true), ("sha256-AAAA", false), ("md5-x", true)] {
        let integrity = integrity.to_owned();
        let request = Request { integrity, ..request("GET", "https://a.test/") };
        let outcome = outcome(&environment, request).await;
        assert_eq!(outcome.is_ok(), is_right, "{outcome:?}");
    }
}
