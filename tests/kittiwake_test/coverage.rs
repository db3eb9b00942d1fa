//! `--coverage`: what the table, lcov, HTML and JSON say of workers, pages and bundles; thresholds.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kittiwake::{Coverage, Snapshots, TestWorld, TestWorldOptions};
use url::Url;

use super::process::{Finished, run};
use super::{test_file, text, write};

/// Line 3 runs once in a test, line 4 not at all; nobody forgets.
const WORKER: &str = "importScripts('/lib/letters.js');
self.addEventListener('message', ({ data, source }) => {
  if (data === 'a letter') source.postMessage(heard(data));
  else forget();
});

function forget() {
  // Only whoever asks for it.
  return caches.delete('letters');
}
";

const LETTERS: &str = "function heard(text) {
  return text.length > 100 ? 'much' : 'little';
}
";

const PAGE: &str = "<!doctype html>
<title>Letters &amp; more</title>
<script>let open = 0;</script>
<script>
  function close() {
    open -= 1;
  }
  open += 1;
</script>
<script src=\"app.js\"></script>
";

const TEST: &str = "test('a letter is heard', async ({ clock, host, page, worker }) => {
  const { active } = await worker.register();
  active.postMessage('a letter');
  await clock.runUntil(() => page.messages.length === 1);
  await host.openPage('/');
});";

fn letters() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = [
        ("sw.js", WORKER),
        ("lib/letters.js", LETTERS),
        ("index.html", PAGE),
        ("app.js", "class Letter {\n  read() {}\n}\nnew Letter();\n"),
        ("app.test.js", &test_file(TEST)),
    ];
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    folder
}

fn cover(folder: &Path, options: &[&str]) -> Finished {
    run(folder, &[&["test", "--coverage"], options].concat())
}

fn lcov(folder: &Path, options: &[&str]) -> String {
    cover(folder, &[&["--coverage-reporter", "lcov"], options].concat()).expect_code(0);
    fs::read_to_string(folder.join("coverage/lcov.info")).unwrap()
}

/// The lines of one file in lcov's text that begin so.
fn of_file<'a>(lcov: &'a str, file: &str, start: &str) -> Vec<&'a str> {
    let file = format!("SF:{file}\n");
    let part = lcov.split("end_of_record").find(|part| part.contains(&file));
    let part = part.unwrap_or_else(|| panic!("{file} is not in {lcov}"));
    part.lines().filter(|line| line.starts_with(start)).collect()
}

#[test]
fn the_table_names_what_no_test_ran() {
    let app = letters();
    let finished = cover(app.path(), &[]).expect_code(0);
    let table = text(&finished).split_once("\n\n").unwrap().1.to_owned();
    let table = table.split_once("\n\n").unwrap().1;
    assert_eq!(
        table,
        "coverage           lines  branches  functions  uncovered lines
app.js          100.00 %         -     0.00 %
index.html       66.67 %         -     0.00 %  6
lib/letters.js  100.00 %   50.00 %   100.00 %
sw.js            60.00 %   50.00 %    50.00 %  4-9
all files        72.73 %   50.00 %    40.00 %"
    );
    assert!(
        !finished.stdout.concat().contains('\u{1b}'),
        "nobody looks on, so nothing is coloured"
    );
    assert!(!app.path().join("coverage").exists());
}

#[test]
fn lcov_counts_every_world_of_every_thread() {
    let app = letters();
    write(app.path(), "b.test.js", &test_file(TEST));
    let lcov = lcov(app.path(), &["--repeat", "3", "--jobs", "2"]);
    assert_eq!(of_file(&lcov, "sw.js", "DA:"), ["DA:1,6", "DA:2,6", "DA:3,6", "DA:4,0", "DA:9,0"]);
    assert_eq!(of_file(&lcov, "sw.js", "FNDA:"), ["FNDA:6,(anonymous:2:34)", "FNDA:0,forget"]);
    assert_eq!(of_file(&lcov, "sw.js", "BRDA:"), ["BRDA:2,0,0,6", "BRDA:4,1,0,0"]);
    assert_eq!(
        of_file(&lcov, "lib/letters.js", "FN"),
        ["FN:1,heard", "FNDA:6,heard", "FNF:1", "FNH:1"]
    );
    assert_eq!(of_file(&lcov, "index.html", "DA:"), ["DA:3,6", "DA:6,0", "DA:8,6"]);
    assert_eq!(of_file(&lcov, "index.html", "FN:"), ["FN:5,close"]);
    assert_eq!(lcov.matches("SF:").count(), 4, "test files are no part of the app: {lcov}");
}

#[test]
fn a_worker_counts_whatever_ended_it() {
    let worker = "self.addEventListener('message', ({ data }) => {
  if (data === 'spin') {
    for (let turns = 0; ; ) turns += 1;
  }
  if (data === 'fill') {
    for (const all = []; ; ) all.push(new Array(10_000).fill(all.length));
  }
  console.log(data);
});";
    let body = "test('ended', async ({ clock, worker }) => {
  const { active } = await worker.register();
  active.postMessage('spin');
  await clock.advance(1);
}, 1000);
test('full', async ({ clock, worker }) => {
  const { active } = await worker.register();
  active.postMessage('fill');
  await clock.advance(1);
});
test('told', async ({ clock, host, worker }) => {
  const { active } = await worker.register();
  active.postMessage('hello');
  await clock.advance(1);
  await host.kill(worker);
});";
    let app = tempfile::tempdir().unwrap();
    write(app.path(), "sw.js", worker);
    write(app.path(), "app.test.js", &test_file(body));
    let options = ["--coverage-reporter", "lcov", "--timeout", "2m"];
    cover(app.path(), &options);
    let lcov = fs::read_to_string(app.path().join("coverage/lcov.info")).unwrap();
    let lines = of_file(&lcov, "sw.js", "DA:");
    let [one, two, spun, five, filled, eight] = lines[..] else { panic!("{lcov}") };
    assert_eq!([one, two, five, eight], ["DA:1,3", "DA:2,3", "DA:5,2", "DA:8,1"]);
    for (line, start) in [(spun, "DA:3,"), (filled, "DA:6,")] {
        let turns: u64 = line.strip_prefix(start).unwrap().parse().unwrap();
        assert!(turns > 1000, "{line}");
    }
}

#[test]
fn bundles_are_told_of_by_their_sources() {
    // Line by line: the first line of the bundle is its own, the others are lines of two sources.
    let map = |sources: &str, mappings: &str| {
        format!(r#"{{"version":3,"sources":[{sources}],"names":[],"mappings":"{mappings}"}}"#)
    };
    let bundle = "(() => {
  function send() {
    return 1;
  }
  addEventListener('sync', send);
})();
";
    let outbox = "// Sends.\nexport function send(): number {\n  return 1;\n}\n";
    let worker = "import { send } from './outbox';\naddEventListener('sync', send);\n";
    // 2:2 is outbox.ts:2:7; 3:4 is outbox.ts:3:2; 4:2 is outbox.ts:4:0; 5:2 is sw.ts:2:0.
    let map = map(r#""../src/outbox.ts","../src/sw.ts""#, ";EACO;IACL;EACF;ECFA");
    let app = tempfile::tempdir().unwrap();
    let body = "test('it runs', ({ worker }) => worker.register());";
    let beside = format!("{bundle}//# sourceMappingURL=sw.js.map\n");
    let files = [
        ("public/sw.js", beside.as_str()),
        ("public/sw.js.map", &map),
        ("src/outbox.ts", outbox),
        ("src/sw.ts", worker),
        ("app.test.js", &test_file(body)),
    ];
    for (name, text) in files {
        write(app.path(), name, text);
    }
    let first = lcov(app.path(), &["--root", "public"]);
    assert_eq!(of_file(&first, "src/outbox.ts", "FN:"), ["FN:2,send"]);
    assert_eq!(of_file(&first, "src/outbox.ts", "DA:"), ["DA:3,0"]);
    assert_eq!(of_file(&first, "src/sw.ts", "DA:"), ["DA:2,1"]);
    assert_eq!(of_file(&first, "src/sw.ts", "FNF:"), ["FNF:0"], "the wrapper is the bundler's");
    assert!(!first.contains("public/"), "{first}");

    use base64::Engine;
    let data = base64::prelude::BASE64_STANDARD.encode(&map);
    let inline = format!("{bundle}//# sourceMappingURL=data:application/json;base64,{data}\n");
    write(app.path(), "public/sw.js", &inline);
    fs::remove_file(app.path().join("public/sw.js.map")).unwrap();
    assert_eq!(lcov(app.path(), &["--root", "public"]), first);
}

#[test]
fn a_threshold_that_is_missed_is_a_failure_and_says_where() {
    let app = letters();
    cover(app.path(), &["--coverage-threshold", "lines=72.7,branches=50"]).expect_code(0);
    cover(app.path(), &["--coverage-threshold", "lines=75.5,functions=90"])
        .expect_code(1)
        .expect_stderr(
            "error: coverage: 72.73 % of lines ran, less than the 75.5 % of --coverage-threshold; \
             the least in sw.js: 60.00 %",
        )
        .expect_stderr("40.00 % of functions ran, less than the 90 %");
    for (wrong, told) in [("lines", "write it as in"), ("lines=101", "0 to 100")] {
        cover(app.path(), &["--coverage-threshold", wrong]).expect_code(2).expect_stderr(told);
    }
    let nothing = test_file("test('nothing', () => {});");
    fs::remove_file(app.path().join("sw.js")).unwrap();
    write(app.path(), "app.test.js", &nothing);
    cover(app.path(), &["--coverage-threshold", "lines=1"])
        .expect_code(1)
        .expect_stderr("no script of the app was loaded");
}

#[test]
fn patterns_choose_files() {
    let app = letters();
    let told = |options: &[&str]| {
        let lcov = lcov(app.path(), options);
        let files = lcov.lines().filter_map(|line| line.strip_prefix("SF:"));
        files.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(told(&["--coverage-include", "*.js"]), ["app.js", "lib/letters.js", "sw.js"]);
    assert_eq!(told(&["--coverage-include", "./lib"]), ["lib/letters.js"]);
    let exclude = ["--coverage-exclude", "{app,sw}.js", "--coverage-exclude", "**/*.html"];
    assert_eq!(told(&exclude), ["lib/letters.js"]);
    cover(app.path(), &["--coverage-include", "{a"]).expect_code(2).expect_stderr("{a");
    run(app.path(), &["test", "--coverage-dir", "x"]).expect_code(2).expect_stderr("--coverage");
}

#[test]
fn html_and_json_are_written_to_the_folder() {
    let app = letters();
    write(app.path(), "app.js", "const a = '<b>' + `</script>`;\n");
    let options =
        ["--coverage-reporter", "html", "--coverage-reporter", "json", "--coverage-dir", "out/c"];
    let finished = cover(app.path(), &options).expect_code(0);
    assert!(!text(&finished).contains("uncovered lines"), "text was not asked for");
    let read = |name: &str| fs::read_to_string(app.path().join("out/c").join(name)).unwrap();
    let index = read("index.html");
    for page in ["app.js.html", "index.html.html", "lib-letters.js.html", "sw.js.html"] {
        assert!(index.contains(&format!("href=\"{page}\"")), "{index}");
    }
    assert!(read("app.js.html").contains("&lt;b&gt;"));
    let worker = read("sw.js.html");
    assert!(worker.contains("<tr class=\"no\" id=\"L9\">"), "{worker}");
    assert!(worker.contains("<tr class=\"yes\" id=\"L3\">"), "{worker}");
    assert!(!worker.contains("src=") && !worker.contains("http"), "it needs nothing beside it");
    assert!(read("lib-letters.js.html").contains("<mark>'much'"));
    let json: serde_json::Value = serde_json::from_str(&read("coverage-final.json")).unwrap();
    let worker = &json["sw.js"];
    assert_eq!(worker["fnMap"]["1"]["name"], "forget");
    assert_eq!(worker["f"]["1"], 0);
    assert_eq!(worker["statementMap"]["0"]["start"]["line"], 1);
}

/// Counting changes nothing of what happens.
#[tokio::test(flavor = "current_thread")]
async fn the_trace_is_the_same() {
    let app = letters();
    let mut options = TestWorldOptions {
        origin: Url::parse("https://app.test").unwrap(),
        root: app.path().to_owned(),
        seed: 7,
        limit: Duration::from_secs(120),
        snapshots: Arc::new(Snapshots::default()),
        coverage: None,
        inspector: None,
    };
    let mut traces = Vec::new();
    for coverage in [None, Some(Coverage::new())] {
        options.coverage = coverage.clone();
        let world = TestWorld::open(&app.path().join("app.test.js"), &options).await.unwrap();
        traces.push(world.run(&world.tests()[0]).await.unwrap().trace);
        world.close().await.unwrap();
        let scripts = coverage.map(|coverage| coverage.scripts()).unwrap_or_default();
        assert_eq!(scripts.is_empty(), options.coverage.is_none());
    }
    assert_eq!(traces[0], traces[1]);
    assert!(traces[0].len() > 5);
}
