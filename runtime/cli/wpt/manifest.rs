//! Which tests a checkout has for a service worker or for a page without a DOM, by WPT's own rules
//! for names and `META` lines:
//! <https://web-platform-tests.org/writing-tests/testharness.html#tests-for-other-or-multiple-globals>

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::checkout::Checkout;
use crate::Refusal;

/// One test: a file, or one of its variants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// The file, from the root.
    pub file: String,
    /// What follows the URL, as `?1-1000`; empty without variants.
    pub variant: String,
    /// The name that wpt.fyi knows the test by.
    pub id: String,
    /// Path and query of what is loaded: the worker's script, or the page.
    pub path: String,
    /// Where the test runs.
    pub scope: Scope,
    /// Why it is not run, unless the expectations name it.
    pub lacks: Option<String>,
    /// Whether the test asks for the long time limit.
    pub long: bool,
}

/// The global scope that a test runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// A service worker's.
    ServiceWorker,
    /// A page's.
    Page,
}

/// Beginnings of paths whose tests run in more than the service worker that they name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Also {
    /// Those of other workers' tests, which run in a service worker.
    #[serde(rename = "also")]
    pub workers: Vec<String>,
    /// Those of windows' tests, which run in a page.
    pub pages: Vec<String>,
}

fn is_below(prefixes: &[String], file: &str) -> bool {
    prefixes.iter().any(|prefix| file.starts_with(prefix.as_str()))
}

impl Test {
    /// What names the test in expectations.
    pub fn key(&self) -> String {
        match self.scope {
            Scope::ServiceWorker => format!("{}{}", self.file, self.variant),
            Scope::Page => self.id.trim_start_matches('/').to_owned(),
        }
    }

    /// The area that a summary counts the test to.
    pub fn area(&self) -> &str {
        area_of(&self.file)
    }
}

/// The area of a file: its top-level folder, or two levels of `html`, which has many.
pub fn area_of(file: &str) -> &str {
    let depth = if file.starts_with("html/") { 2 } else { 1 };
    let end = file.match_indices('/').nth(depth - 1).map_or(file.len(), |(at, _)| at);
    &file[..end]
}

/// The file that a key of the expectations is about.
pub fn file_of(key: &str) -> String {
    let path = key.split('?').next().unwrap_or_default();
    let made = [".any", ".window"].into_iter().find_map(|kind| {
        let stem = path.strip_suffix(".html")?.strip_suffix(kind)?;
        Some(format!("{stem}{kind}.js"))
    });
    made.unwrap_or_else(|| path.to_owned())
}

/// The tests below `path` that are for a service worker: those that say so, and those that `also`
/// has.
pub fn tests(checkout: &Checkout, path: &str, also: &Also) -> Result<Vec<Test>, Refusal> {
    let mut tests = Vec::new();
    for file in checkout.files(path)? {
        if let Some(kind) = kind_of(&file) {
            let place = checkout.find(&file).expect("it was listed");
            if let Ok(text) = read(&place) {
                let found = kind.tests(&file, &text, is_below(&also.workers, &file));
                if is_below(&also.pages, &file) {
                    tests.extend(kind.page_tests(&file, &text, found.is_empty()));
                }
                tests.extend(found);
            }
        }
    }
    Ok(tests)
}

fn read(place: &Path) -> std::io::Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(place)?).into_owned())
}

enum Kind {
    /// `x.any.js`: a script for every global that it names.
    Any,
    /// `x.worker.js`: a script for a dedicated worker.
    Worker,
    /// `x.window.js`: a script for a window.
    Window,
    /// A page, whose only work may be to run a service worker: `service_worker_test(url)`.
    Page,
}

fn kind_of(file: &str) -> Option<Kind> {
    let in_resources = file.split('/').any(|part| part == "resources" || part == "support");
    match file {
        _ if in_resources => None,
        _ if file.ends_with(".any.js") => Some(Kind::Any),
        _ if file.ends_with(".worker.js") => Some(Kind::Worker),
        _ if file.ends_with(".window.js") => Some(Kind::Window),
        _ if file.ends_with(".html") => Some(Kind::Page),
        _ => None,
    }
}

impl Kind {
    fn tests(&self, file: &str, text: &str, is_also: bool) -> Vec<Test> {
        let meta = Meta::from(text);
        match self {
            Kind::Any if meta.is_for_service_worker() || (is_also && meta.is_for_worker()) => {
                let stem = file.strip_suffix(".any.js").expect("its kind says so");
                meta.tests(file, &format!("/{stem}.any.serviceworker.html"), |variant| {
                    format!("/{stem}.any.worker.js{variant}")
                })
            }
            Kind::Worker if is_also => {
                let stem = file.strip_suffix(".js").expect("its kind says so");
                meta.tests(file, &format!("/{stem}.html"), |variant| format!("/{file}{variant}"))
            }
            Kind::Page => worker_of_page(file, text).into_iter().collect(),
            Kind::Any | Kind::Worker | Kind::Window => Vec::new(),
        }
    }

    /// Those that run in a page.
    fn page_tests(&self, file: &str, text: &str, is_left: bool) -> Vec<Test> {
        let meta = Meta::from(text);
        let made = match self {
            Kind::Any if meta.is_for_window() => Some(".any"),
            Kind::Window => Some(".window"),
            Kind::Page if is_left && text.contains("testharness.js") => None,
            _ => return Vec::new(),
        };
        let path = match made {
            Some(_) => format!("/{}.html", file.strip_suffix(".js").expect("its kind says so")),
            None => format!("/{file}"),
        };
        let mut tests = meta.tests(file, &path, |variant| format!("{path}{variant}"));
        for test in &mut tests {
            test.scope = Scope::Page;
            let of_dom = wanted_of_dom(text).map(|used| format!("a page has no DOM: {used}"));
            test.lacks = of_dom.or(test.lacks.take());
            test.long |= asks_for_long(text);
        }
        tests
    }
}

/// What a test uses that only documents have, if it does.
fn wanted_of_dom(text: &str) -> Option<String> {
    const WANTED: [&str; 17] = [
        "with_iframe",
        "with_sandboxed_iframe",
        "createElement",
        "contentWindow",
        "<iframe",
        "window.open(",
        "XMLHttpRequest",
        "new Worker(",
        "SharedWorker",
        "document.",
        "<img",
        "<video",
        "<canvas",
        "<object",
        "<embed",
        "login_https",
        "ShadowRealm",
    ];
    let is_code = |line: &&str| !line.trim_start().starts_with(['*', '/']);
    let used = |wanted: &&str| text.lines().filter(is_code).any(|line| line.contains(wanted));
    WANTED.into_iter().find(used).map(str::to_owned)
}

fn asks_for_long(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.replace(['"', '\''], "");
        line.contains("name=timeout") && line.contains("content=long")
    })
}

/// A page that calls `service_worker_test(script)`, if that is all it does.
fn worker_of_page(file: &str, text: &str) -> Option<Test> {
    let calls: Vec<_> = text.match_indices("service_worker_test(").collect();
    let [(at, call)] = calls.as_slice() else { return None };
    let others = ["promise_test(", "async_test(", "test(function", "test(()"];
    if others.iter().any(|other| text.contains(other)) {
        return None;
    }
    let rest = text[at + call.len()..].trim_start();
    let quote = rest.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let script = rest[1..].split(quote).next()?;
    let base = url::Url::parse("https://web-platform.test/").expect("a URL");
    let script = base.join(file).and_then(|page| page.join(script)).ok()?;
    Some(Test {
        file: file.to_owned(),
        variant: String::new(),
        id: format!("/{file}"),
        path: script[url::Position::BeforePath..].to_owned(),
        scope: Scope::ServiceWorker,
        lacks: None,
        long: asks_for_long(text),
    })
}

/// Why a variant is left out.
const HTTP2: &str = "the runner's servers do not speak HTTP/2";

/// The `// META:` lines at the beginning of a script.
struct Meta<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Meta<'a> {
    fn from(text: &'a str) -> Meta<'a> {
        let lines = text.lines().map_while(|line| {
            let meta = line.trim_end().strip_prefix("//")?.trim_start().strip_prefix("META:")?;
            meta.trim_start().split_once('=')
        });
        Meta(lines.collect())
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(other, _)| *other == name).map(|(_, value)| *value)
    }

    /// The harness, and what the test asks for besides.
    fn scripts(&self) -> impl Iterator<Item = &'a str> {
        let named = self.values("script").map(|script| match script {
            "/resources/WebIDLParser.js" => "/resources/webidl2/lib/webidl2.js",
            other => other,
        });
        std::iter::once("/resources/testharness.js").chain(named)
    }

    fn globals(&self) -> impl Iterator<Item = &'a str> {
        self.values("global").flat_map(|value| value.split(',')).map(str::trim)
    }

    fn is_for_service_worker(&self) -> bool {
        self.globals().any(|global| matches!(global, "worker" | "serviceworker"))
    }

    /// Whether the test is for a window: without a word about it, it is.
    fn is_for_window(&self) -> bool {
        let mut globals = self.globals().peekable();
        globals.peek().is_none() || globals.any(|global| global == "window")
    }

    /// Whether the test is for any kind of worker: without a word about it, it is.
    fn is_for_worker(&self) -> bool {
        let mut globals = self.globals().peekable();
        globals.peek().is_none() || globals.any(|global| global.contains("worker"))
    }

    fn tests(&self, file: &str, id: &str, path: impl Fn(&str) -> String) -> Vec<Test> {
        let long = self.values("timeout").any(|value| value.trim() == "long");
        let mut variants: Vec<&str> = self.values("variant").map(str::trim).collect();
        if variants.is_empty() {
            variants.push("");
        }
        let test = |variant: &str| Test {
            file: file.to_owned(),
            variant: variant.to_owned(),
            id: format!("{id}{variant}"),
            path: path(variant),
            scope: Scope::ServiceWorker,
            lacks: variant.contains("wpt_flags=h2").then(|| HTTP2.to_owned()),
            long,
        };
        variants.into_iter().map(test).collect()
    }
}

/// By which a script learns in what it runs.
const GLOBAL: &str = "self.GLOBAL = {
  isWindow: function() { return false; },
  isWorker: function() { return true; },
  isShadowRealm: function() { return false; },
};
";

/// The script that runs `any_script`, a test for any global, in a worker: what WPT's own server
/// makes.
pub fn worker_wrapper(any_script: &str, text: &str, query: &str) -> String {
    use std::fmt::Write;

    let meta = Meta::from(text);
    let quoted = |text: &str| serde_json::to_string(text).expect("a string serialises");
    let mut wrapper = String::new();
    if let Some(title) = meta.values("title").next() {
        writeln!(wrapper, "self.META_TITLE = {};", quoted(title)).expect("a string takes all");
    }
    wrapper.push_str(GLOBAL);
    let own = format!("{any_script}{query}");
    for script in meta.scripts().chain([own.as_str()]) {
        writeln!(wrapper, "importScripts({});", quoted(script)).expect("a string takes all");
    }
    wrapper.push_str("done();\n");
    wrapper
}

/// The page that runs `script`, a test for any global or for a window: what WPT's own server makes.
pub fn page_wrapper(script: &str, text: &str) -> String {
    let meta = Meta::from(text);
    let title = meta.values("title").next().unwrap_or_default();
    let timeout = meta.values("timeout").next().unwrap_or("normal");
    let scripts = meta.scripts().chain([script]);
    let scripts = scripts.map(|script| format!("<script src=\"{script}\"></script>\n"));
    format!(
        "<!doctype html>\n<meta charset=utf-8>\n<title>{title}</title>\n\
         <meta name=timeout content={timeout}>\n<script>\nself.GLOBAL = {{\n  \
         isWindow: function() {{ return true; }},\n  isWorker: function() {{ return false; }},\n  \
         isShadowRealm: function() {{ return false; }},\n}};\n</script>\n{}",
        scripts.collect::<String>()
    )
}
