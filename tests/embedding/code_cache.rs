//! What V8 made of a worker's scripts is kept in the state folder, and is never more than a help.

use std::fs;
use std::path::Path;

use futures::executor::block_on;
use kittiwake::{Builder, EventOutcome, LastChance, Runtime};
use rusqlite::Connection;
use url::Url;

const CLASSIC: &str = r#"
importScripts("/lib.js");
onsync = (event) => event.waitUntil(work(event.tag));
"#;
const LIBRARY: &str = r#"
async function work(tag) {
  if (tag === "fails") throw new Error("as asked");
}
"#;
const MODULE: &str = r#"
import { work } from "./work.js";
onsync = (event) => event.waitUntil(work(event.tag));
"#;

fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = [
        ("sw.js", CLASSIC),
        ("lib.js", LIBRARY),
        ("module.js", MODULE),
        ("work.js", &format!("export {LIBRARY}").replace("export \n", "export ")),
    ];
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file in a temporary folder");
    }
    folder
}

fn url(path: &str) -> Url {
    Url::parse("https://app.test/").and_then(|base| base.join(path)).expect("a URL")
}

fn builder(site: &Path) -> Builder {
    Runtime::builder().serve(url("/"), site).state_folder(site.join("state"))
}

/// One process's life: the worker gets an event with each of the tags.
fn run(builder: Builder, script: &str, tags: &[&str]) -> Vec<EventOutcome> {
    let runtime = builder.start().expect("it starts");
    block_on(async {
        match script {
            "sw.js" => runtime.register(url(script), None).await,
            _ => runtime.register_module(url(script), None).await,
        }
        .expect("it registers");
        let mut outcomes = Vec::new();
        for tag in tags {
            let outcome = runtime.dispatch_sync(None, tag, LastChance::No).await;
            outcomes.push(outcome.expect("there is one worker"));
        }
        runtime.idle().await.expect("it runs");
        runtime.shut_down().await.expect("it ends");
        outcomes
    })
}

/// Number, URL and code of all that is kept.
fn kept(site: &Path) -> Vec<(i64, String, Vec<u8>)> {
    let database = Connection::open(site.join("state/kittiwake.sqlite")).expect("a database");
    let mut kept = database.prepare("SELECT id, url, code FROM script_code ORDER BY url").unwrap();
    let rows = kept.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.collect::<Result<_, _>>().expect("rows")
}

fn urls(site: &Path) -> Vec<String> {
    kept(site).into_iter().map(|(_, url, _)| url).collect()
}

#[test]
fn code_is_kept_after_the_first_event_that_went_well_and_is_used_by_the_next_process() {
    for (script, imported) in [("sw.js", "lib.js"), ("module.js", "work.js")] {
        let site = site();
        let outcomes = run(builder(site.path()), script, &["fails"]);
        assert!(matches!(&outcomes[..], [EventOutcome::Rejected(_)]), "{outcomes:?}");
        assert_eq!(urls(site.path()), Vec::<String>::new(), "{script}");

        assert_eq!(run(builder(site.path()), script, &["mail"]), [EventOutcome::Fulfilled]);
        let first = kept(site.path());
        let mut expected = [url(imported).to_string(), url(script).to_string()];
        expected.sort();
        assert_eq!(urls(site.path()), expected);
        assert!(first.iter().all(|(_, _, code)| !code.is_empty()), "{script}");

        // V8 took it: else it would have been made and kept anew.
        assert_eq!(run(builder(site.path()), script, &["mail"]), [EventOutcome::Fulfilled]);
        assert_eq!(kept(site.path()), first, "{script}");
    }
}

#[test]
fn code_that_is_damaged_or_not_of_this_engine_is_made_anew() {
    let site = site();
    run(builder(site.path()), "sw.js", &["mail"]);
    let good = kept(site.path());
    let spoil = |sql: &str| {
        let database = Connection::open(site.path().join("state/kittiwake.sqlite")).unwrap();
        assert_eq!(database.execute(sql, []).unwrap(), 2);
    };
    // What the disk did; and what another build of the engine wrote, whole, with its checksum.
    for sql in [
        "UPDATE script_code SET code = zeroblob(length(code))",
        "UPDATE script_code SET code = x'00000000', checksum = 558161692, bytes = 4",
    ] {
        spoil(sql);
        assert_eq!(run(builder(site.path()), "sw.js", &["mail"]), [EventOutcome::Fulfilled]);
        let anew = kept(site.path());
        for (anew, good) in anew.iter().zip(&good) {
            assert_eq!((&anew.1, anew.2.len()), (&good.1, good.2.len()), "{sql}");
        }
    }
}

#[test]
fn a_new_version_has_code_of_its_own_and_the_old_one_s_goes() {
    let site = site();
    run(builder(site.path()), "sw.js", &["mail"]);
    let old = kept(site.path());
    fs::write(site.path().join("sw.js"), format!("{CLASSIC}skipWaiting();")).expect("a file");
    assert_eq!(run(builder(site.path()), "sw.js", &["mail"]), [EventOutcome::Fulfilled]);
    let new = kept(site.path());
    assert_eq!(new.len(), 2);
    assert_ne!(new[1].2, old[1].2);
}

#[test]
fn no_more_code_is_kept_than_the_limit_says() {
    let site = site();
    run(builder(site.path()).code_cache_limit(0), "sw.js", &["mail"]);
    assert_eq!(urls(site.path()), Vec::<String>::new());
    run(builder(site.path()), "sw.js", &["mail"]);
    let largest = kept(site.path()).iter().map(|(_, _, code)| code.len()).max().unwrap_or(0);
    // Room for one of the two.
    fs::write(site.path().join("sw.js"), format!("{CLASSIC}skipWaiting();")).expect("a file");
    run(builder(site.path()).code_cache_limit(largest as u64 + 100), "sw.js", &["mail"]);
    assert_eq!(urls(site.path()).len(), 1);
}
