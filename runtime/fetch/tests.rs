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
        in_background: None,
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

/// Status, `content-range`, `content-length` and body of what answers a request for a part.
async fn part(
    environment: &Environment,
    url: &str,
    headers: &[(&str, &str)],
) -> (u16, Option<String>, Option<String>, String) {
    let mut get = request("GET", url);
    let named = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    get.headers.extend(named);
    let response = fetch(environment, get).await.unwrap();
    let [range, length] =
        ["content-range", "content-length"].map(|name| header(&response.headers, name));
    let status = response.status;
    let body = response.into_loaded().await.unwrap().body;
    (status, range, length, String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn a_part_of_what_the_cache_has_comes_from_the_cache() {
    let fresh = "headers = { cache-control = 'max-age=60', etag = '\"1\"' }";
    let servers = servers(&format!(
        "['https://a.test']\n'GET /' = [{{ {fresh}, body = '0123456789' }}, 304, 416]\n\
         'GET /no' = {{ status = 404, {fresh}, body = 'gone' }}"
    ));
    let mut environment = environment(&servers, Cors::Enforce);
    outcome(&environment, request("GET", "https://a.test/")).await.unwrap();
    for (range, of, body) in [
        ("bytes=0-1", "bytes 0-1/10", "01"),
        ("bytes=8-", "bytes 8-9/10", "89"),
        ("bytes=-3", "bytes 7-9/10", "789"),
        ("bytes=5-100", "bytes 5-9/10", "56789"),
    ] {
        let length = Some(body.len().to_string());
        let expected = (206, Some(of.to_owned()), length, body.to_owned());
        assert_eq!(part(&environment, "https://a.test/", &[("Range", range)]).await, expected);
    }
    let beyond = part(&environment, "https://a.test/", &[("Range", "bytes=10-")]).await;
    assert_eq!((beyond.0, &*beyond.3), (200, "0123456789"));
    outcome(&environment, request("GET", "https://a.test/no")).await.unwrap();
    let gone = part(&environment, "https://a.test/no", &[("Range", "bytes=0-1")]).await;
    assert_eq!((gone.0, &*gone.3), (404, "gone"));
    assert_eq!(servers.requests().len(), 2);
    environment.now_ms += 61_000.0;
    let confirmed = part(&environment, "https://a.test/", &[("Range", "bytes=0-1")]).await;
    assert_eq!((confirmed.0, &*confirmed.3), (206, "01"));
    assert_eq!(sent(&servers, "if-none-match")[2].as_deref(), Some("\"1\""));
    assert_eq!(sent(&servers, "range")[2].as_deref(), Some("bytes=0-1"));
}

#[tokio::test]
async fn a_part_that_the_cache_cannot_make_is_asked_of_the_server_and_not_kept() {
    let fresh = "cache-control = 'max-age=60'";
    let whole = format!("{{ headers = {{ {fresh} }}, body = 'whole' }}");
    let servers = servers(&format!(
        "['https://a.test']\n\
         'GET /' = [{whole}, {{ status = 206, body = 'part' }}]\n\
         'GET /new' = [{{ status = 416, headers = {{ {fresh} }} }}, {{ body = 'whole' }}]\n\
         'GET /coded' = [{{ headers = {{ {fresh}, content-encoding = 'br' }}, body = 'b' }}, 206]"
    ));
    let environment = environment(&servers, Cors::Enforce);
    let whole = async |url: &str| outcome(&environment, request("GET", url)).await.unwrap().3;
    assert_eq!(whole("https://a.test/").await, "whole");
    for headers in [
        [("Range", "bytes=0-1,3-4"), ("X-A", "")],
        [("Range", "items=0-1"), ("X-A", "")],
        [("Range", "bytes=0-1"), ("If-Range", "\"1\"")],
    ] {
        assert_eq!(part(&environment, "https://a.test/", &headers).await.3, "part", "{headers:?}");
    }
    assert_eq!(whole("https://a.test/").await, "whole");
    assert_eq!(servers.requests().len(), 4);
    let range = [("Range", "bytes=9-")];
    assert_eq!(part(&environment, "https://a.test/new", &range).await.0, 416);
    assert_eq!(whole("https://a.test/new").await, "whole");
    whole("https://a.test/coded").await;
    assert_eq!(part(&environment, "https://a.test/coded", &range).await.0, 206);
}

#[tokio::test]
async fn what_may_be_stale_is_used_only_by_those_who_do_not_mind() {
    let window = "{ headers = { cache-control = 'max-age=0, stale-while-revalidate=9' } }";
    let servers = servers(&format!("['https://a.test']\n'GET /' = {window}"));
    let mut environment = environment(&servers, Cors::Enforce);
    let asked = Rc::new(RefCell::new(Vec::new()));
    let takes = asked.clone();
    environment.in_background = Some(Rc::new(move |_, anew| takes.borrow_mut().push(anew)));
    let counts = async |environment: &Environment, request| {
        outcome(environment, request).await.unwrap();
        (servers.requests().len(), asked.borrow().len())
    };
    let get = || request("GET", "https://a.test/");
    assert_eq!(counts(&environment, get()).await, (1, 0));
    environment.now_ms += 9_000.0;
    assert_eq!(counts(&environment, get()).await, (1, 1));
    let anew = asked.borrow_mut().pop().unwrap();
    assert_eq!(anew.await.unwrap(), 200);
    assert_eq!(servers.requests().len(), 2);
    for mind in [
        Request { cache: CacheMode::NoCache, ..get() },
        Request { headers: vec![("Cache-Control".to_owned(), "max-age=0".to_owned())], ..get() },
    ] {
        let requests = servers.requests().len();
        assert_eq!(counts(&environment, mind).await, (requests + 1, 0));
    }
    environment.now_ms += 9_001.0;
    let requests = servers.requests().len();
    assert_eq!(counts(&environment, get()).await, (requests + 1, 0));
}

#[tokio::test]
async fn a_misdirected_request_is_sent_once_more() {
    let servers = servers("['https://a.test']\n'POST /' = [421, 200]\n'GET /' = 421");
    let environment = environment(&servers, Cors::Enforce);
    let body = Body::Whole(Bytes::from_static(b"text"));
    let post = Request { body, ..request("POST", "https://a.test/") };
    assert_eq!(outcome(&environment, post).await.unwrap().1, 200);
    let bodies: Vec<_> = servers.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [Some(Bytes::from_static(b"text")), Some(Bytes::from_static(b"text"))]);
    assert_eq!(outcome(&environment, request("GET", "https://a.test/")).await.unwrap().1, 421);
    assert_eq!(servers.requests().len(), 4);
    let body = Body::Stream(Box::pin(futures::stream::empty()));
    let stream = Request { body, ..request("POST", "https://a.test/") };
    outcome(&environment, stream).await.unwrap();
    assert_eq!(servers.requests().len(), 5);
}
