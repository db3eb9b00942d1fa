//! Registrations, syncs and events over the control API, and what it says of bad input.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Daemon, WORKER, of_scope};
use crate::server::Server;

pub const TESTS: &[(&str, fn())] = &[
    ("a_worker_is_registered_listed_inspected_and_deleted", registered),
    ("a_script_that_fails_leaves_nothing_behind", nothing_half_registered),
    ("registrations_come_in_pages", pages_of_registrations),
    ("syncs_come_in_pages_and_fire_when_the_network_returns", pages_of_syncs),
    ("a_sync_that_waits_is_fired_at_once", fired_now),
    ("a_periodic_sync_is_fired_before_its_time", periodic_fired_now),
    ("events_are_dispatched_and_their_ends_told", events),
    ("a_request_goes_through_the_worker", fetched),
    ("every_error_is_a_problem_that_names_its_request", problems),
    ("the_document_describes_every_operation", document),
];

fn registered() {
    let (daemon, server) = Daemon::with_worker(&[]);
    let scope = format!("{}/", server.origin);
    let list = daemon.get("/v1/registrations").expect_status(200).json();
    assert_eq!(list["registrations"].as_array().expect("a list").len(), 1, "{list:#}");
    assert_eq!(list["next"], Value::Null);
    let found = daemon.get(&of_scope(&scope, "")).expect_status(200).json();
    assert_eq!(found, list["registrations"][0]);
    assert_eq!(found["scope"], scope);
    assert_eq!(found["waiting"], Value::Null);
    let active = &found["active"];
    assert_eq!(active["script"], format!("{}/sw.js", server.origin));
    assert_eq!((&active["type"], &active["state"]), (&json!("classic"), &json!("activated")));
    assert_eq!(active["running"], true, "it was started to be installed");

    let realms = daemon.get("/v1/realms").expect_status(200).json();
    assert_eq!(realms["realms"][0]["kind"], "worker", "{realms:#}");
    assert_eq!(daemon.get("/v1/clients").expect_status(200).json(), json!({ "clients": [] }));

    // Once more: it is there and up to date.
    daemon.register(&server);
    daemon.delete(&of_scope(&scope, "")).expect_status(204);
    daemon.delete(&of_scope(&scope, "")).expect_problem(404, "unknown-scope");
    daemon.get(&of_scope(&scope, "")).expect_problem(404, "unknown-scope");
    let list = daemon.get("/v1/registrations").json();
    assert_eq!(list, json!({ "registrations": [], "next": null }));
}

fn nothing_half_registered() {
    let daemon = Daemon::start(&[]);
    let server = Server::start(&[
        ("/rejects.js", "oninstall = (event) => event.waitUntil(Promise.reject(Error('no')));"),
        ("/throws.js", "throw new Error('at once');"),
        ("/broken.js", "this is no script"),
        ("/module.js", "import './other.js'; export {};"),
        ("/other.js", ""),
    ]);
    let register = |body: Value| daemon.post("/v1/registrations", &body);
    let script = |path: &str| json!({ "script": format!("{}{path}", server.origin) });
    let detail = register(script("/rejects.js")).expect_problem(422, "not-installed");
    assert!(detail.contains("was not installed: Error: no"), "{detail}");
    let detail = register(script("/throws.js")).expect_problem(422, "not-registered");
    assert!(detail.contains("at once"), "{detail}");
    let detail = register(script("/broken.js")).expect_problem(422, "not-registered");
    assert!(detail.contains("SyntaxError"), "{detail}");
    register(script("/not-there.js")).expect_problem(422, "not-registered");
    register(script("/module.js")).expect_problem(422, "not-registered");
    let detail = register(json!({ "script": "http://app.example/sw.js" }));
    let detail = detail.expect_problem(422, "script");
    assert!(detail.contains("https"), "{detail}");
    register(json!({ "script": "sw.js" })).expect_problem(400, "bad-request");
    register(json!({ "script": "https://app.example/sw.js", "scope": "/" }))
        .expect_problem(400, "bad-request");
    let nobody = json!({ "script": "http://127.0.0.1:9/sw.js" });
    register(nobody).expect_problem(422, "not-registered");
    let list = daemon.get("/v1/registrations").json();
    assert_eq!(list["registrations"], json!([]), "nothing is half-registered");
    assert_eq!(daemon.get("/v1/realms").json(), json!({ "realms": [] }));

    let mut module = script("/module.js");
    module["type"] = json!("module");
    let answer = register(module).expect_status(201);
    assert_eq!(answer.json()["active"]["type"], "module");
    assert!(answer.headers["location"].to_str().expect("a path").starts_with("/v1/registrations/"));
}

fn pages_of_registrations() {
    let daemon = Daemon::start(&[]);
    let server = Server::start(&[("/sw.js", WORKER)]);
    let scope = |name: &str| format!("{}/{name}/", server.origin);
    for name in ["c", "a", "d", "b"] {
        let script = format!("{}/sw.js", server.origin);
        let body = json!({ "script": script, "scope": scope(name) });
        daemon.post("/v1/registrations", &body).expect_status(201);
    }
    let scopes = |page: &Value| -> Vec<String> {
        let registrations = page["registrations"].as_array().expect("a list").iter();
        registrations.map(|each| each["scope"].as_str().expect("a scope").to_owned()).collect()
    };
    let first = daemon.get("/v1/registrations?limit=3").json();
    assert_eq!(scopes(&first), ["a", "b", "c"].map(scope));
    let next = first["next"].as_str().expect("there is more");
    let second = daemon.get(&format!("/v1/registrations?limit=3&after={next}")).json();
    assert_eq!((scopes(&second), &second["next"]), (vec![scope("d")], &Value::Null));
}

fn pages_of_syncs() {
    let (mut daemon, server) = Daemon::with_worker(&["--network", "online"]);
    let scope = format!("{}/", server.origin);
    let away = daemon.put("/v1/network", &json!({ "network": "offline" })).expect_status(200);
    assert_eq!(away.json()["syncs_may_fire"], false);
    let tags = ["a", "b", "c", "d", "e"];
    daemon.register_syncs(&scope, &tags);
    let mut seen = Vec::new();
    let mut next = String::new();
    loop {
        let page = daemon.get(&format!("/v1/syncs?scope={scope}&limit=2{next}")).json();
        let syncs = page["syncs"].as_array().expect("a list");
        assert!(syncs.len() <= 2, "{page:#}");
        for sync in syncs {
            assert_eq!((&sync["state"], &sync["type"]), (&json!("pending"), &json!("one-shot")));
            assert_eq!((&sync["failed_attempts"], &sync["next_due"]), (&json!(0), &Value::Null));
            seen.push(sync["tag"].as_str().expect("a tag").to_owned());
        }
        match page["next"].as_str() {
            Some(after) => next = format!("&after={after}"),
            None => break,
        }
    }
    assert_eq!(seen, tags);
    daemon.get("/v1/syncs?scope=https://no.test/").expect_problem(404, "unknown-scope");
    daemon.get("/v1/syncs?after=nonsense").expect_problem(400, "bad-request");
    daemon.get("/v1/syncs?limit=0").expect_problem(400, "bad-request");

    daemon.put("/v1/network", &json!({ "network": "online" })).expect_status(200);
    daemon.wait_for_all(&tags, "done");
    assert_eq!(daemon.get("/v1/syncs").json()["syncs"], json!([]));
    let mut posted: Vec<_> = server.requests().into_iter().map(|request| request.body).collect();
    posted.sort();
    assert_eq!(posted, tags);
}

fn fired_now() {
    let (mut daemon, server) = Daemon::with_worker(&[]);
    let scope = format!("{}/", server.origin);
    daemon.register_syncs(&scope, &["fail"]);
    daemon.process.wait_for_line("fail  waiting  5m");
    let sync = daemon.get("/v1/syncs?state=waiting").json()["syncs"][0].clone();
    assert_eq!((&sync["tag"], &sync["failed_attempts"]), (&json!("fail"), &json!(1)));
    assert!(sync["next_due"].as_str().expect("a time").ends_with('Z'));

    let fire = json!({ "scope": scope, "tag": "fail" });
    let fired = daemon.post("/v1/syncs/fire", &fire).expect_status(202).json();
    assert_eq!(fired, json!({ "state": "due" }));
    daemon.process.wait_for_line("fail  waiting  15m");
    daemon.post("/v1/syncs/fire", &fire).expect_status(202);
    daemon.process.wait_for_line("fail  gave-up");
    daemon.post("/v1/syncs/fire", &fire).expect_problem(404, "unknown-sync");
    let elsewhere = json!({ "scope": "https://no.test/", "tag": "fail" });
    daemon.post("/v1/syncs/fire", &elsewhere).expect_problem(404, "unknown-scope");
}

fn periodic_fired_now() {
    let (mut daemon, server) = Daemon::with_worker(&[]);
    let scope = format!("{}/", server.origin);
    let message = json!({ "message": { "periodic": ["news"] } });
    daemon.post(&of_scope(&scope, "/message"), &message).expect_status(202);
    daemon.process.wait_for_line("news  registered  12h");
    let sync = daemon.get("/v1/syncs?type=periodic").json()["syncs"][0].clone();
    assert_eq!((&sync["tag"], &sync["state"]), (&json!("news"), &json!("waiting")));
    let fire = json!({ "scope": scope, "tag": "news", "type": "periodic" });
    daemon.post("/v1/syncs/fire", &fire).expect_status(202);
    daemon.process.wait_for_line("news  done  12h");
    assert_eq!(server.requests()[0].path, "/outbox/news");
}

fn events() {
    let (daemon, server) = Daemon::with_worker(&[]);
    let scope = format!("{}/", server.origin);
    let dispatch = |kind: &str, body: Value| daemon.post(&of_scope(&scope, kind), &body);
    let fulfilled = json!({ "outcome": "fulfilled" });
    assert_eq!(dispatch("/push", json!({})).expect_status(200).json(), fulfilled);
    assert_eq!(dispatch("/push", json!({ "data_base64": "//8=" })).json(), fulfilled);
    let rejected = dispatch("/push", json!({ "data": "bad" })).expect_status(200).json();
    assert_eq!(rejected["outcome"], "rejected");
    assert!(rejected["reason"].as_str().expect("a reason").contains("bad push"));
    assert_eq!(dispatch("/sync", json!({ "tag": "x" })).json(), fulfilled);
    let failed = dispatch("/sync", json!({ "tag": "fail", "last_chance": true })).json();
    assert_eq!(failed["outcome"], "rejected");
    dispatch("/message", json!({ "message": { "any": [1, null] } })).expect_status(202);

    dispatch("/push", json!({ "data_base64": "?" })).expect_problem(400, "bad-request");
    dispatch("/push", json!({ "data": "", "data_base64": "" })).expect_problem(400, "bad-request");
    dispatch("/sync", json!({})).expect_problem(400, "bad-request");
    for kind in ["/push", "/sync", "/message"] {
        let body = json!({ "/push": {}, "/sync": { "tag": "" }, "/message": { "message": 1 } });
        let answer = daemon.post(&of_scope("https://no.test/", kind), &body[kind]);
        answer.expect_problem(404, "unknown-scope");
    }
}

fn fetched() {
    let (daemon, server) = Daemon::with_worker(&[]);
    let fetch = |body: Value| daemon.post("/v1/fetch", &body);
    let url = |path: &str| format!("{}{path}", server.origin);
    let hi = fetch(json!({ "url": url("/hi") })).expect_status(200).json();
    assert_eq!((&hi["status"], &hi["source"]), (&json!(200), &json!("worker")));
    assert_eq!((&hi["body"], &hi["cut"]), (&json!("hi"), &json!(false)));
    let headers = hi["headers"].as_array().expect("a list");
    assert!(headers.contains(&json!({ "name": "x-by", "value": "worker" })), "{hi:#}");
    let bytes = fetch(json!({ "url": url("/bytes"), "mode": "navigate" })).json();
    assert_eq!((&bytes["body"], &bytes["body_base64"]), (&Value::Null, &json!("/wA=")));
    let past = json!({ "url": url("/past"), "method": "POST", "body": "x" });
    assert_eq!(fetch(past).json()["source"], "network");
    assert_eq!(
        (server.requests()[0].path.as_str(), server.requests()[0].body.as_str()),
        ("/past", "x")
    );

    let nobody =
        fetch(json!({ "url": "http://127.0.0.1:9/" })).expect_problem(502, "network-error");
    assert!(nobody.contains("127.0.0.1:9"), "{nobody}");
    fetch(json!({ "url": "file:///etc/passwd" })).expect_problem(400, "bad-request");
    fetch(json!({ "url": url("/"), "method": "TRACE" })).expect_problem(400, "bad-request");
    fetch(json!({ "url": url("/"), "body": "x" })).expect_problem(400, "bad-request");
    let split = json!([{ "name": "x", "value": "a\r\nb" }]);
    fetch(json!({ "url": url("/"), "headers": split })).expect_problem(400, "bad-request");
}

fn problems() {
    let daemon = Daemon::start(&[]);
    daemon.get("/v1/nothing").expect_problem(404, "unknown-path");
    daemon.delete("/v1/network").expect_problem(405, "unknown-method");
    daemon.get("/v1/registrations/no-url").expect_problem(400, "bad-request");
    let unknown = daemon.get("/v1/syncs?speed=fast").expect_problem(400, "bad-request");
    assert!(unknown.contains("speed"), "{unknown}");
    let post = |body: &'static str| {
        daemon.send(daemon.request(Method::POST, "/v1/registrations").body(body))
    };
    post("{\"script\": ").expect_problem(400, "bad-request");
    post("").expect_problem(400, "bad-request");
    let unknown = post("{\"script\": \"https://a.test/\", \"speed\": 1}");
    assert!(unknown.expect_problem(400, "bad-request").contains("speed"));
    let plain = reqwest::Client::new().post(format!("{}/v1/registrations", daemon.base));
    let plain = daemon.send(plain.bearer_auth(&daemon.token).body("{}"));
    plain.expect_problem(415, "not-json");
    let large = json!({ "script": "x".repeat(9 << 20) });
    daemon.post("/v1/registrations", &large).expect_problem(413, "too-large");

    // A client may name its request, in plain characters.
    let named = daemon.request(Method::GET, "/v1/nothing").header("x-request-id", "mine-1");
    assert_eq!(daemon.send(named).json()["instance"], "urn:kittiwake:request:mine-1");
    let named = daemon.request(Method::GET, "/v1/nothing").header("x-request-id", "a b\"c");
    assert_ne!(daemon.send(named).headers["x-request-id"], "a b\"c");
}

fn document() {
    let daemon = Daemon::start(&[]);
    let document = daemon.get("/openapi.json").expect_status(200).json();
    assert!(document["openapi"].as_str().expect("a version").starts_with("3."));
    assert_eq!(document["info"]["title"], "Kittiwake");
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("operations").keys();
        methods.map(move |method| format!("{method} {path}"))
    });
    let mut operations: Vec<_> = operations.collect();
    operations.sort();
    let expected = "delete /v1/registrations/{scope}
get /healthz
get /metrics
get /readyz
get /v1/clients
get /v1/network
get /v1/realms
get /v1/registrations
get /v1/registrations/{scope}
get /v1/status
get /v1/syncs
get /v1/trace
get /v1/trace/stream
post /v1/fetch
post /v1/registrations
post /v1/registrations/{scope}/message
post /v1/registrations/{scope}/push
post /v1/registrations/{scope}/sync
post /v1/syncs/fire
put /v1/network";
    assert_eq!(operations.join("\n"), expected);
    assert_eq!(document["security"], json!([{ "token": [] }]));
    let scheme = &document["components"]["securitySchemes"]["token"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("bearer")));
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("operations") {
            assert!(operation["summary"].is_string(), "{method} {path} says nothing of itself");
            assert!(operation["responses"].is_object(), "{method} {path}");
        }
    }
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("it is of this document");
        assert!(document.pointer(pointer).is_some(), "{reference} is nowhere");
    }
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), member) {
                    ("$ref", Value::String(reference)) => found.push(reference.clone()),
                    _ => collect_references(member, found),
                }
            }
        }
        Value::Array(elements) => {
            elements.iter().for_each(|element| collect_references(element, found));
        }
        _ => {}
    }
}
