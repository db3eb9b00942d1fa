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
    assert_eq!(run.lines_with("it is no SQLite database").len(), 1, "{run:#?}");
    let aside = fs::read(path.with_extension("damaged-1")).expect("it was set aside");
    assert!(aside.starts_with(b"something else "));
}

/// Puts 2,000 records; the page that damages come to is in the middle of them.
const WRITER: &str = r#"
self.addEventListener("install", (event) => event.waitUntil((async () => {
  for (const name of ["mail", "other"]) {
    const request = indexedDB.open(name);
    request.onupgradeneeded = () => {
      const store = request.result.createObjectStore("store");
      for (let key = 0; key < 2000; key++) store.put("x".repeat(100), key);
    };
    await new Promise((resolve) => request.onsuccess = resolve);
  }
})()));
"#;

const READER: &str = r#"
const ended = (request, names) => new Promise((resolve) => {
  for (const name of names) request.addEventListener(name, () => resolve(name));
});
self.addEventListener("install", (event) => event.waitUntil((async () => {
  const other = indexedDB.open("other");
  await ended(other, ["success"]);
  const request = indexedDB.open("mail");
  await ended(request, ["success"]);
  const closed = ended(request.result, ["close"]);
  const reading = request.result.transaction("store");
  const all = reading.objectStore("store").getAll();
  const how = await ended(reading, ["complete", "abort"]);
  console.log(`${how}: ${reading.error?.name}, then ${await closed}`);
  const again = indexedDB.open("mail");
  again.onupgradeneeded = ({ oldVersion }) => console.log(`anew from ${oldVersion}`);
  await ended(again, ["success"]);
  const count = other.result.transaction("store").objectStore("store").count();
  await ended(count, ["success"]);
  console.log(`the other has ${count.result}`);
})()));
"#;

#[test]
fn damage_that_shows_in_a_transaction_ends_it_and_the_connections_and_keeps_the_file() {
    let project = folder(&[("sw.js", WRITER), ("reader.js", READER)]);
    run(project.path(), &["run", "sw.js", "--state", "state"]).expect_code(0);
    let listed = run(project.path(), &["storage", "--state", "state", "--format", "json"]);
    let line: serde_json::Value = serde_json::from_str(&listed.stdout[0]).expect("JSON");
    assert_eq!(line["name"], "mail");
    let path = project.path().join(line["path"].as_str().expect("a path"));
    let mut bytes = fs::read(&path).expect("the file is there");
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xa5);
    fs::write(&path, &bytes).expect("the file is there");

    let run = run(project.path(), &["run", "reader.js", "--state", "state", "--format", "json"]);
    assert_eq!(run.lines_with("abort: UnknownError, then close").len(), 1, "{run:#?}");
    assert_eq!(run.lines_with("it is kept as").len(), 1, "{run:#?}");
    assert_eq!(run.lines_with("anew from 0").len(), 1, "{run:#?}");
    assert_eq!(run.lines_with("the other has 2000").len(), 1, "{run:#?}");
    let aside = fs::read(path.with_extension("damaged-1")).expect("it was set aside");
    assert!(aside == bytes, "it has every byte");
}

#[test]
fn blobs_have_files_that_count_and_go_with_their_record() {
    let writer = r#"
        const ended = (request, name) => new Promise((resolve) => request["on" + name] = resolve);
        self.addEventListener("install", (event) => event.waitUntil((async () => {
          const request = indexedDB.open("mail");
          request.onupgradeneeded = () => request.result.createObjectStore("files");
          await ended(request, "success");
          const begin = () => request.result.transaction("files", "readwrite");
          const bytes = new Uint8Array(3_000_000).map((_, at) => at % 251);
          let writing = begin();
          writing.objectStore("files").put(new File([bytes], "a.bin"), "a");
          writing.objectStore("files").put({ blob: new Blob([bytes, "end"]) }, "b");
          await ended(writing, "complete");
          writing = begin();
          const get = writing.objectStore("files").get("b");
          writing.objectStore("files").delete("b");
          await ended(writing, "complete");
          // It is read a piece at a time, and outlives its record.
          let [at, pieces, largest] = [0, 0, 0];
          for await (const piece of get.result.blob.stream()) {
            pieces += 1;
            largest = Math.max(largest, piece.length);
            if (piece.some((byte, i) => at + i < 3_000_000 && byte !== (at + i) % 251)) throw at;
            at += piece.length;
          }
          console.log(`${at} bytes, pieces: ${pieces}, largest ${largest}`);
        })()));
    "#;
    let reader = r#"
        self.addEventListener("install", (event) => event.waitUntil(new Promise((resolve) => {
          const request = indexedDB.open("mail");
          request.onsuccess = () => {
            const get = request.result.transaction("files").objectStore("files").get("a");
            get.onsuccess = async () => {
              const tail = new Uint8Array(await get.result.slice(2_000_000).arrayBuffer());
              console.log(`${get.result.name}: ${tail.length} from ${tail[0]}`);
              resolve();
            };
            get.onerror = () => resolve(console.log(`refused: ${get.error.name}`));
          };
        })));
    "#;
    let project = folder(&[("sw.js", writer), ("reader.js", reader)]);
    let run_with_state = |script| ["run", script, "--state", "state", "--format", "json"];
    let first = run(project.path(), &run_with_state("sw.js")).expect_code(0);
    let read = "3000003 bytes, pieces: 4, largest 1048576";
    assert_eq!(first.lines_with(read).len(), 1, "{first:#?}");
    let listed = run(project.path(), &["storage", "--state", "state", "--format", "json"]);
    let line: serde_json::Value = serde_json::from_str(&listed.stdout[0]).expect("JSON");
    let bytes = line["bytes"].as_u64().expect("a number");
    assert!((3_000_000..3_100_000).contains(&bytes), "{line}");
    let second = run(project.path(), &run_with_state("reader.js")).expect_code(0);
    let tail = format!("a.bin: 1000000 from {}", 2_000_000 % 251);
    assert_eq!(second.lines_with(&tail).len(), 1, "{second:#?}");

    let path = project.path().join(line["path"].as_str().expect("a path"));
    let files = fs::read_dir(path.with_extension("blobs")).expect("a folder of files");
    for file in files {
        fs::remove_file(file.expect("an entry").path()).expect("a file");
    }
    // A script that is registered already is not run again.
    fs::write(project.path().join("later.js"), reader).expect("a file");
    let third = run(project.path(), &run_with_state("later.js"));
    assert_eq!(third.lines_with("refused: NotReadableError").len(), 1, "{third:#?}");
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
