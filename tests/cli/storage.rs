//! `kittiwake storage`: what a state folder holds of IndexedDB.

use std::fs;

use crate::folder;
use crate::process::run;

const WORKER: &str = r#"
self.addEventListener("install", (event) => event.waitUntil(new Promise((resolve) => {
  const request = indexedDB.open("mail", 3);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("drafts");
    const outbox = request.result.createObjectStore("outbox", { autoIncrement: true });
    outbox.createIndex("by name", "name");
    outbox.add({ name: "Ann" });
    outbox.add({ name: "Bob" });
  };
  request.onsuccess = resolve;
})));
"#;

#[test]
fn databases_are_listed_with_their_object_stores() {
    let project = folder(&[("sw.js", WORKER)]);
    run(project.path(), &["run", "sw.js", "--state", "state"]).expect_code(0);
    let listed = run(project.path(), &["storage", "--state", "state"]).expect_code(0);
    assert!(listed.stdout[0].starts_with("https://app.test  \"mail\"  version 3  "), "{listed:?}");
    let stores = ["  \"drafts\"  0 records", "  \"outbox\"  2 records  indexes [\"by name\"]"];
    assert_eq!(listed.stdout[1..], stores);

    let options = ["storage", "--state", "state", "--format", "json"];
    let listed = run(project.path(), &options).expect_code(0);
    let line: serde_json::Value = serde_json::from_str(&listed.stdout[0]).expect("JSON");
    assert_eq!(line["object_stores"][1]["records"], 2);
    assert_eq!((&line["kind"], &line["version"]), (&"indexed-db".into(), &3.into()));
}

#[test]
fn a_folder_without_state_has_no_databases_and_stays_as_it_is() {
    let project = folder(&[]);
    fs::create_dir(project.path().join("state")).expect("a folder");
    let listed = run(project.path(), &["storage", "--state", "state"]).expect_code(0);
    assert_eq!(listed.stdout, [""; 0]);
    let entries = fs::read_dir(project.path().join("state")).expect("a folder");
    assert_eq!(entries.count(), 0);
}

#[test]
fn a_damaged_database_is_unknown_error_to_the_script_and_told_to_the_operator() {
    let project = folder(&[("sw.js", WORKER)]);
    run(project.path(), &["run", "sw.js", "--state", "state"]).expect_code(0);
    let listed = run(project.path(), &["storage", "--state", "state", "--format", "json"]);
    let line: serde_json::Value = serde_json::from_str(&listed.stdout[0]).expect("JSON");
    let path = project.path().join(line["path"].as_str().expect("a path"));
    fs::write(&path, "something else ".repeat(100)).expect("the file is there");

    let reader = r#"
        self.addEventListener("install", (event) => event.waitUntil(new Promise((resolve) => {
          const request = indexedDB.open("mail");
          request.onerror = () => resolve(console.log(`refused: ${request.error.name}`));
        })));
    "#;
    fs::write(project.path().join("reader.js"), reader).expect("a file");
    let options = ["run", "reader.js", "--state", "state", "--format", "json"];
    let run = run(project.path(), &options);
    assert_eq!(run.lines_with("refused: UnknownError").len(), 1, "{run:#?}");
    assert_eq!(run.lines_with("is not an SQLite database").len(), 1, "{run:#?}");
    let aside = fs::read(path.with_extension("damaged-1")).expect("it was set aside");
    assert!(aside.starts_with(b"something else "));
}

#[test]
fn buckets_outlive_the_process_and_what_they_hold_goes_with_them() {
    let writer = r#"
        self.addEventListener("install", (event) => event.waitUntil((async () => {
          for (const name of ["kept", "dropped"]) {
            const bucket = await navigator.storageBuckets.open(name, { persisted: true });
            const cache = await bucket.caches.open("letters");
            await cache.put("/", new Response(new Uint8Array(100_000)));
            await new Promise((resolve) => {
              const request = bucket.indexedDB.open("mail");
              request.onsuccess = resolve;
            });
          }
          await navigator.storageBuckets.delete("dropped");
        })()));
    "#;
    let project = folder(&[("sw.js", writer)]);
    run(project.path(), &["run", "sw.js", "--state", "state"]).expect_code(0);
    let bodies = fs::read_dir(project.path().join("state/caches")).expect("a folder").count();
    let databases = fs::read_dir(project.path().join("state/indexed_db")).expect("a folder");
    assert_eq!((bodies, databases.count()), (1, 1));
    let listed = run(project.path(), &["storage", "--state", "state"]).expect_code(0);
    let start = "https://app.test  bucket kept  \"mail\"  version 1  ";
    assert!(listed.stdout[0].starts_with(start), "{listed:?}");

    let reader = r#"
        self.addEventListener("install", (event) => event.waitUntil((async () => {
          const names = await navigator.storageBuckets.keys();
          const bucket = await navigator.storageBuckets.open("kept");
          const databases = (await bucket.indexedDB.databases()).length;
          const found = await bucket.caches.match("/");
          const bytes = (await found.bytes()).length;
          console.log(`${names} ${await bucket.persisted()} ${databases} ${bytes}`);
        })()));
    "#;
    fs::write(project.path().join("reader.js"), reader).expect("a file");
    let run = run(project.path(), &["run", "reader.js", "--state", "state", "--format", "json"]);
    assert_eq!(run.lines_with("kept true 1 100000").len(), 1, "{run:#?}");
}

#[test]
fn a_cookie_that_a_script_was_promised_outlives_the_process() {
    let writer = r#"
        self.addEventListener("install", (event) => event.waitUntil((async () => {
          const expires = Date.now() + 86_400_000;
          await cookieStore.set({ name: "kept", value: "1", expires });
          await cookieStore.set("until the end", "2");
        })()));
    "#;
    let project = folder(&[("sw.js", writer)]);
    run(project.path(), &["run", "sw.js", "--state", "state"]).expect_code(0);
    let reader = r#"
        self.addEventListener("install", (event) => event.waitUntil((async () => {
          const found = (await cookieStore.getAll()).map(({ name, value }) => `${name}=${value}`);
          console.log(`found ${found};`);
        })()));
    "#;
    fs::write(project.path().join("reader.js"), reader).expect("a file");
    let run = run(project.path(), &["run", "reader.js", "--state", "state", "--format", "json"]);
    assert_eq!(run.lines_with("found kept=1;").len(), 1, "{run:#?}");
}

#[test]
fn a_dump_has_every_record_with_its_key_and_its_value() {
    let writer = r#"
        self.addEventListener("install", (event) => event.waitUntil(new Promise((resolve) => {
          const request = indexedDB.open("mail");
          request.onupgradeneeded = () => {
            const store = request.result.createObjectStore("outbox", { keyPath: "id" });
            store.createIndex("by name", "name", { unique: true });
            const when = new Date(0);
            const blob = new Blob(["hello"], { type: "text/plain" });
            const id = [1, when, new Uint8Array([255])];
            store.put({ id, name: "Änn", more: [1.5, -3, , null] });
            const [set, map] = [new Set([1n, undefined]), new Map([["k", /x/g]])];
            store.put({ id: "b", when, set, map, blob });
          };
          request.onsuccess = resolve;
        })));
    "#;
    let project = folder(&[("sw.js", writer)]);
    run(project.path(), &["run", "sw.js", "--state", "state"]).expect_code(0);
    let dumped = run(project.path(), &["storage", "--state", "state", "--dump"]).expect_code(0);
    let lines = dumped.stdout.iter().map(|line| serde_json::from_str(line).expect("JSON"));
    let lines: Vec<serde_json::Value> = lines.collect();
    assert_eq!(lines.len(), 3, "{dumped:#?}");
    assert_eq!(lines[0]["object_stores"][0]["key_path"], "id");
    assert_eq!(lines[0]["object_stores"][0]["indexes"][0]["unique"], true);
    // Numbers are before strings, and arrays behind.
    assert_eq!((&lines[1]["object_store"], &lines[1]["key"]), (&"outbox".into(), &"b".into()));
    let value = &lines[1]["value"];
    assert_eq!(value["when"]["$date"], 0);
    assert_eq!(value["set"]["$set"][0]["$bigint"], "0x1");
    assert_eq!(value["map"]["$map"][0][1]["$regexp"], "x");
    assert_eq!(value["blob"]["$host"]["parts"][0]["$bytes"], "68656c6c6f");
    let key = serde_json::json!([1, { "$date": 0 }, { "$bytes": "ff" }]);
    assert_eq!((&lines[2]["key"], &lines[2]["value"]["name"]), (&key, &"Änn".into()));
    let more = serde_json::json!({ "$sparse": { "0": 1.5, "1": -3, "3": null }, "length": 4 });
    assert_eq!(lines[2]["value"]["more"], more);

    let other = ["storage", "--state", "state", "--dump", "--origin", "https://other.test"];
    assert_eq!(run(project.path(), &other).expect_code(0).stdout, [""; 0]);
}
