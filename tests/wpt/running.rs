//! Which tests run, and how they are served.

use crate::{checkout, told, wpt};

const WORKER: &str = "// META: global=worker\n";

fn with_meta(body: &str) -> String {
    format!("{WORKER}{body}")
}

#[test]
fn tests_that_name_a_service_worker_are_listed() {
    let tree = checkout(&[
        ("a/worker.any.js", WORKER),
        ("a/service.any.js", "// META: global=window,serviceworker\n"),
        ("a/window.any.js", "// META: global=window\n"),
        ("a/silent.any.js", "test(() => {}, 'x');\n"),
        ("a/resources/helper.any.js", WORKER),
        (
            "a/variants.any.js",
            &format!("{WORKER}// META: variant=?1-2\n// META: variant=?3-last\n"),
        ),
        ("a/page.https.html", "<script>service_worker_test('resources/w.js', 'runs it');</script>"),
        ("b/other.any.js", WORKER),
        ("common/helper.any.js", WORKER),
    ]);
    let listed = wpt(tree.path(), &["--list", "a"]);
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    assert_eq!(
        listed.stdout,
        [
            "/a/page.https.html",
            "/a/service.any.serviceworker.html",
            "/a/variants.any.serviceworker.html?1-2",
            "/a/variants.any.serviceworker.html?3-last",
            "/a/worker.any.serviceworker.html",
        ]
    );
}

#[test]
fn paths_in_the_expectations_run_though_they_name_no_service_worker() {
    let tree = checkout(&[
        ("a/silent.any.js", "test(() => {}, 'x');\n"),
        ("a/old.worker.js", "importScripts('/resources/testharness.js');\n"),
        ("a/window.any.js", "// META: global=window\n"),
        ("b/silent.any.js", "test(() => {}, 'x');\n"),
        ("expected/expectations.toml", "also = [\"a/\"]\n"),
    ]);
    let listed = wpt(tree.path(), &["--list"]);
    assert_eq!(listed.stdout, ["/a/old.worker.html", "/a/silent.any.serviceworker.html"]);
}

#[test]
fn meta_lines_bring_scripts_title_and_query() {
    let test = "// META: global=serviceworker
// META: title=the title
// META: script=/a/one.js
// META: script=two.js
// META: variant=?x
test(() => assert_equals(one + two + location.search, '12?x'));
test(() => assert_equals(GLOBAL.isWorker() && !GLOBAL.isWindow(), true), 'global');
const place = 'https://web-platform.test:8443/a/b/t.any.worker.js?x';
test(() => assert_equals(location.href, place), 'place');
";
    let tree = checkout(&[
        ("a/b/t.any.js", test),
        ("a/one.js", "self.one = '1';"),
        ("a/b/two.js", "self.two = '2';"),
    ]);
    let ran = wpt(tree.path(), &["--verbose", "a"]);
    assert_eq!(told(&ran), ["/a/b/t.any.serviceworker.html?x  Ok  3 of 3"]);
    assert_eq!(ran.code, 0);
}

#[test]
fn files_are_served_with_headers_and_substitutions_to_every_host_of_the_site() {
    let names = "{{host}} {{domains[www1]}} {{hosts[alt][www]}} {{ports[https][1]}} \
                 {{location[host]}} {{location[scheme]}} {{GET[q]}}";
    let expected = "web-platform.test www1.web-platform.test www.not-web-platform.test 8444 \
                    not-web-platform.test:8000 http v w";
    let test = format!(
        "promise_test(async () => {{
  const response = await fetch('http://not-web-platform.test:8000/a/names.sub.txt?q=v%20w');
  assert_equals(await response.text(), '{expected}');
  assert_equals(response.headers.get('content-type'), 'text/plain');
  assert_equals(response.type, 'cors');
  assert_equals(response.headers.get('x-all'), 'folder');
}}, 'substitution');
promise_test(async () => {{
  const response = await fetch('own.bin');
  assert_equals(response.headers.get('content-type'), 'text/x-own');
  assert_equals(response.headers.get('x-host'), 'web-platform.test');
}}, 'headers');
promise_test(async () => {{
  assert_equals((await fetch('/a/../../../etc/passwd')).status, 404);
  assert_equals((await fetch('/a/%2e%2e%2f%2e%2e%2fetc/passwd')).status, 404);
}}, 'nothing outside');
"
    );
    let tree = checkout(&[
        ("a/t.any.js", &with_meta(&test)),
        ("a/names.sub.txt", names),
        // CORS is enforced.
        (
            "a/__dir__.headers",
            "X-All: folder\nAccess-Control-Allow-Origin: *\nAccess-Control-Expose-Headers: x-all\n",
        ),
        ("a/own.bin", "x"),
        ("a/own.bin.sub.headers", "Content-Type: text/x-own\nX-Host: {{host}}\n"),
    ]);
    let ran = wpt(tree.path(), &["--verbose", "a"]);
    assert_eq!(told(&ran), ["/a/t.any.serviceworker.html  Ok  3 of 3"]);
}

#[test]
fn a_root_hides_the_roots_after_it() {
    let newer = checkout(&[("a/new.any.js", &with_meta("importScripts('/b/helper.js');"))]);
    let older = checkout(&[
        ("a/old.any.js", WORKER),
        ("b/helper.js", "test(() => {}, 'from the second root');"),
        ("b/t.any.js", WORKER),
    ]);
    let older = older.path().to_str().expect("a temporary folder's name is UTF-8");
    let ran = wpt(newer.path(), &["--root", older, "--verbose", "--jobs", "1"]);
    assert_eq!(
        told(&ran),
        ["/a/new.any.serviceworker.html  Ok  1 of 1", "/b/t.any.serviceworker.html  Ok  0 of 0"]
    );
}

#[test]
fn a_test_that_hangs_is_its_own_loss() {
    let tree = checkout(&[
        ("a/endless.any.js", &with_meta("for (;;);")),
        ("a/fine.any.js", &with_meta("test(() => {}, 'x');")),
        ("a/silent.any.js", &with_meta("promise_test(() => new Promise(() => {}), 'never');")),
        ("a/throws.any.js", &with_meta("throw new Error('at once');")),
    ]);
    let ran = wpt(tree.path(), &["--verbose", "--timeout", "2s", "--jobs", "1", "a"]);
    let told = told(&ran).join("\n");
    assert!(told.contains("/a/endless.any.serviceworker.html  Timeout  0 of 0"), "{told}");
    assert!(told.contains("/a/fine.any.serviceworker.html  Ok  1 of 1"), "{told}");
    let silent =
        "/a/silent.any.serviceworker.html  Timeout  0 of 1\n    Timeout  never: no message";
    assert!(told.contains(silent), "{told}");
    assert!(told.contains("/a/throws.any.serviceworker.html  Error  0 of 0"), "{told}");
    assert!(told.contains("Error: at once"), "{told}");
    assert_eq!(ran.code, 1, "nobody expects that");
}

#[test]
fn what_needs_python_is_left_out_without_it() {
    let tree = checkout(&[
        ("a/fine.any.js", &with_meta("test(() => {}, 'x');")),
        ("a/handler.any.js", &with_meta("promise_test(() => fetch('answer.py'), 'x');")),
    ]);
    let ran = wpt(tree.path(), &["--verbose", "a"]);
    let told = told(&ran).join("\n");
    assert!(told.contains("/a/handler.any.serviceworker.html  Skip  0 of 0"), "{told}");
    assert!(told.contains("needs Python: GET /a/answer.py"), "{told}");
    assert_eq!(ran.code, 0);
    let missing = crate::process::run(
        tree.path(),
        &["wpt", "--root", ".", "--expectations", "expected", "--python", "no-such-python", "a"],
    );
    assert!(missing.stderr.contains("tests that need Python are left out"), "{}", missing.stderr);
}

#[test]
fn a_variant_for_http2_is_left_out_unless_the_expectations_name_it() {
    let variants = "// META: global=serviceworker\n// META: variant=?default\n\
                    // META: variant=?wpt_flags=h2\ntest(() => {}, 'x');";
    let tree = checkout(&[("a/t.any.js", variants)]);
    let ran = wpt(tree.path(), &["--verbose", "--jobs", "1", "a"]);
    assert_eq!(
        told(&ran),
        [
            "/a/t.any.serviceworker.html?wpt_flags=h2  Skip  0 of 0",
            "    the runner's servers do not speak HTTP/2",
            "/a/t.any.serviceworker.html?default  Ok  1 of 1",
        ]
    );
    assert_eq!(ran.code, 0);
}

#[test]
fn mistakes_are_named_with_their_remedy() {
    let tree = checkout(&[("a/t.any.js", WORKER)]);
    let cases: [(&[&str], &str); 4] = [
        (&["wpt", "--root", "nowhere"], "there is no folder nowhere; give --root a checkout"),
        (&["wpt", "--root", "a"], "a is no checkout of web-platform-tests: it has no resources/"),
        (&["wpt", "--root", ".", "b"], "there is no b in ."),
        (&["wpt", "--root", ".", "resources"], "no test for a service worker is there"),
    ];
    for (arguments, message) in cases {
        let failed = crate::process::run(tree.path(), arguments);
        assert_eq!(failed.code, 1, "{arguments:?}");
        assert!(failed.stderr.contains(message), "{arguments:?}: {}", failed.stderr);
    }
    let wrong = crate::process::run(tree.path(), &["wpt", "--root", ".", "--timeout", "0s"]);
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
}

#[test]
fn pages_that_use_no_document_run_in_a_page() {
    let harness = "<script src='/resources/testharness.js'></script>\n";
    let page = format!(
        "<!doctype html>\n<title>t</title>\n{harness}<script>\n\
         test(() => assert_equals(window === self, true), 'window');\n\
         test(() => document.createElement('p'), 'no document');\n</script>"
    );
    let any = "// META: global=window\n// META: script=/a/one.js\n\
               test(() => assert_equals(GLOBAL.isWindow(), true, one), 'global');";
    let tree = checkout(&[
        (
            "a/own.https.html",
            &page.replace("document.createElement", "self['document']['create' + 'Element']"),
        ),
        ("a/frames.https.html", &format!("{harness}<script>with_iframe('x');</script>")),
        ("a/t.https.any.js", any),
        (
            "a/w.https.window.js",
            "test(() => assert_equals(GLOBAL.isWorker(), false), 'no worker');",
        ),
        ("a/one.js", "self.one = '1';"),
        ("b/other.https.html", &page),
        ("expected/expectations.toml", "pages = [\"a/\"]\n"),
    ]);
    let ran = wpt(tree.path(), &["--verbose", "--jobs", "1"]);
    assert_eq!(
        told(&ran),
        [
            "/a/frames.https.html  Skip  0 of 0",
            "    a page has no DOM: with_iframe",
            "/a/own.https.html  Ok  1 of 2",
            "    Fail  no document: a page has no DOM: createElement",
            "/a/t.https.any.html  Ok  1 of 1",
            "/a/w.https.window.html  Ok  1 of 1",
        ]
    );
    assert_eq!(ran.code, 1);
}
